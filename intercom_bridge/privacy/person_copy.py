"""The export for a person who asks for their data (GDPR, article 15). It contains only that person's own data."""

import datetime as dt
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from django.utils import timezone

from intercom_bridge.intercom.html import to_text
from intercom_bridge.intercom.payloads import Author, Event, Part, PayloadError
from intercom_bridge.models import Delivery, EventKind, TicketCreation, TicketEvent, WebhookEvent
from intercom_bridge.sync.message import name_of, part_from_json
from intercom_bridge.tickets.creation.transcript import entry_of_each_part

from .contact import Contact

NOTE = "The bridge does not have older messages, files, or the texts that are empty here. See Intercom and the tickets."

# The kind and the ID of a conversation part, or "entry" and the key of a TicketEvent.
MessageKey = tuple[str, str]
# The author types of contacts. A teammate or a bot may have the same ID as the contact.
_CONTACT_TYPES = ("user", "lead", "visitor", "contact")


def person_copy(contact: Contact) -> dict[str, Any]:
    """Return the contact's identity, own messages and tickets, as JSON values.

    The result does not contain internal notes, the messages, names and addresses of other people, or internal data of
    the bridge.
    """
    return {
        "contact": contact.contact_id,
        "exported_at": timezone.now().isoformat(),
        "note": NOTE,
        "person": [
            {"name": match.name, "email": match.email, "organization": match.org_name}
            for match in contact.matches
        ],
        "conversations": _conversations(contact),
    }


def _conversations(contact: Contact) -> list[dict[str, Any]]:
    messages = _own_messages(contact)
    tickets = {
        conversation.conversation_id: [
            {"ticket": link.ticket.ref, "linked_at": link.created_at.isoformat()}
            for link in conversation.links.select_related("ticket").order_by("pk")
        ]
        for conversation in contact.conversations
    }
    return [
        {
            "conversation": conversation_id,
            "tickets": tickets.get(conversation_id, []),
            "messages": sorted(messages[conversation_id].values(), key=itemgetter("sent_at")),
        }
        for conversation_id in sorted({*messages, *tickets})
    ]


def _own_messages(contact: Contact) -> defaultdict[str, dict[MessageKey, dict[str, Any]]]:
    """Return the contact's own messages and portal entries: conversation ID -> key -> result of `_message`."""
    messages: defaultdict[str, dict[MessageKey, dict[str, Any]]] = defaultdict(dict)
    # A part may be found more than once. The copied parts lack the files, so they come first and are replaced.
    for conversation_id, part in itertools.chain(_own_copied_parts(contact), _own_parts(contact)):
        sent_at = dt.datetime.fromtimestamp(part.created_at, dt.UTC)
        messages[conversation_id][part.kind, part.id] = _message(
            sent_at, part.body, part.subject, map(name_of, part.attachments)
        )
    for event in _entries_in_portal(contact):
        message = _message(event.happened_at or event.created_at, event.content)
        messages[event.conversation.conversation_id]["entry", event.key] = message
    for delivery in _deliveries(contact).filter(written_at__isnull=False):
        in_conversation = messages.get(delivery.conversation.conversation_id, {})
        if own_message := in_conversation.get((delivery.kind, delivery.part_id)):
            copy = {"ticket": delivery.ticket.ref, "at": delivery.written_at.isoformat()}
            own_message["copied_to"].append(copy)
    return messages


def _deliveries(contact: Contact) -> Any:
    rows = Delivery.objects.filter(conversation__in=contact.conversations)
    return rows.select_related("conversation", "ticket").in_order()


def _entries_in_portal(contact: Contact) -> list[TicketEvent]:
    """Return what the contact wrote in iTop's portal: the entries by an account with the contact's e-mail address."""
    addresses = {match.email.casefold() for match in contact.matches if match.email}
    rows = TicketEvent.objects.filter(
        conversation__in=contact.conversations, kind=EventKind.CUSTOMER_ENTRY, cleaned_at=None
    )
    return [
        row
        for row in rows.select_related("conversation").order_by("pk")
        if row.author_email.casefold() in addresses
    ]


def _own_parts(contact: Contact) -> Iterator[tuple[str, Part]]:
    """Yield the contact's own messages with the ID of the conversation. A message may be stored, and found, twice."""
    for event in contact.webhook_events.iterator(chunk_size=200):
        for part in _parts_of(event):
            if _is_own(part, contact):
                yield event.conversation_id, part
    for delivery in _deliveries(contact).filter(cleaned_at=None).iterator(chunk_size=200):
        if delivery.part:
            stored_part = part_from_json(delivery.part)
            if _is_own(stored_part, contact):
                yield delivery.conversation.conversation_id, stored_part


def _own_copied_parts(contact: Contact) -> Iterator[tuple[str, Part]]:
    """Yield the contact's own messages that were copied when a ticket was created. Their files are missing."""
    creations = TicketCreation.objects.filter(conversation__in=contact.conversations)
    related = creations.select_related("conversation__workspace__profile")
    for creation in related.order_by("pk").iterator(chunk_size=20):
        conversation = creation.conversation
        attribute_code = conversation.workspace.profile.code
        for copied, text in entry_of_each_part(creation.parts, creation.fields, attribute_code):
            author = Author(type=copied.get("author_type", ""), id=copied.get("author_id", ""))
            if _is_author(author, contact):
                part = Part(
                    kind=copied["kind"],
                    id=copied["id"],
                    body=text,
                    created_at=copied["created_at"],
                    author=author,
                )
                yield conversation.conversation_id, part


def _parts_of(event: WebhookEvent) -> tuple[Part, ...]:
    try:
        conversation = Event.parse(json.loads(bytes(event.body))).conversation
    except (ValueError, RecursionError, PayloadError):
        return ()
    return conversation.messages if conversation else ()


def _is_own(part: Part, contact: Contact) -> bool:
    is_message = bool(part.body or part.subject or part.attachments)
    return is_message and _is_author(part.author, contact) and not part.redacted


def _is_author(author: Author, contact: Contact) -> bool:
    return author.id == contact.contact_id and author.type in _CONTACT_TYPES


def _message(sent_at: dt.datetime, body: str, subject: str = "", files: Iterable[str] = ()) -> dict[str, Any]:
    """Return a message as the export contains it. `_own_messages` adds the tickets that it was copied to."""
    return {
        "sent_at": sent_at.isoformat(),
        "subject": subject,
        "text": to_text(body),
        "files": list(files),
        "copied_to": [],
    }
