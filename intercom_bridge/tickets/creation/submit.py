"""Submit the create form. However often one form arrives, and even at the same time, it creates one ticket."""

import html
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.connections import itop_client
from intercom_bridge.datamodel import Kind
from intercom_bridge.files.parts import count_expected
from intercom_bridge.intercom.payloads import Conversation as Payload
from intercom_bridge.models import Conversation, TicketCreation
from intercom_bridge.models.lease import Lease, take_lease
from intercom_bridge.models.ticket_profile import ORIGIN
from intercom_bridge.sync.authors import accounts_of_authors, has_portal_account
from intercom_bridge.sync.extension_attributes import attributes_of
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import (
    creations_in,
    fetch_full_conversation,
    get_or_create_conversation,
    last_position,
    successful_creations_in,
)
from intercom_bridge.tickets.people.caller import Caller, find_caller
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.wake import EVERYTHING, wake
from itop_client import ItopError, ItopRejectedError, idempotency_key

from .attempt import attempt_creation
from .transcript import Transcript, transcript_of

LEASE_SECONDS = 30.0
# A second submission waits this long for the result of the first. Intercom waits five seconds for the panel.
MAX_WAIT_SECONDS = 3.0
# How much of the panel's deadline has to remain after the wait.
RESPONSE_SECONDS = 0.5
POLL_SECONDS = 0.05
MAX_NAME_LENGTH = 200
# iTop's portal has no page for tickets of other classes, such as Problem and Change.
PORTAL_CLASS = "UserRequest"


class CreationPendingError(Exception):
    """Another submission is being processed, or iTop has not responded. The worker completes the creation."""


class AlreadyCreatedError(Exception):
    """Another form has created a ticket in this conversation, and the teammate has not seen it yet."""

    def __init__(self, creation: TicketCreation) -> None:
        super().__init__(f"{creation} was faster")
        self.creation = creation


def submit_creation(  # noqa: PLR0913 - what a form says
    context: PanelContext,
    form_key: str,
    form_values: Mapping[str, str],
    itop_values: Mapping[str, str],
    *,
    newest_seen_id: int,
    announce: bool,
    copy: bool,
) -> TicketCreation:
    """Create the ticket of this form and return the creation, also if an earlier submission created the ticket.

    form_values: the form's contents, with which the panel can fill the form again.
    itop_values: the same contents as attributes of the ticket.
    newest_seen_id: the id of the newest TicketCreation that the teammate has seen, 0 if none.
    announce: send the customer a message about the ticket, if the workspace's settings allow that.
    copy: write the messages so far to the ticket.

    Raise ItopRejectedError if iTop rejects the form. Raise AlreadyCreatedError, without creating a ticket, if the
    conversation has a creation that the teammate has not seen. Raise CreationPendingError if the outcome is unknown.
    If another ItopError, an IntercomError or a SecretDecryptionError is raised, no ticket was created.
    """
    caller = find_caller(context)
    conversation = get_or_create_conversation(context)
    # The context has loaded the workspace already.
    conversation.workspace = context.workspace
    max_wait = min(MAX_WAIT_SECONDS, context.deadline.remaining() - RESPONSE_SECONDS)
    lease = _wait_for_lease(conversation, max_wait)
    if lease is None:
        raise CreationPendingError
    with lease:
        previous = TicketCreation.objects.filter(conversation=conversation, form_key=form_key).first()
        if previous is not None and previous.state == TicketCreation.State.CREATED:
            return previous
        if TicketCreation.objects.waiting().filter(conversation=conversation).exists():
            # No second ticket is created while the outcome of this form or of another one is unknown.
            raise CreationPendingError
        unseen = created_since(context, form_key, newest_seen_id)
        if unseen is not None:
            raise AlreadyCreatedError(unseen)
        if previous is not None:
            # iTop rejected the previous submission of this form.
            previous.delete()
        announce = announce and context.workspace.announce_tickets and bool(context.request.admin.id)
        creation = _prepare(
            context, caller, conversation, form_key, form_values, itop_values, announce=announce, copy=copy
        )
        error = attempt_creation(creation, seconds=context.deadline.remaining())
        may_exist = isinstance(error, ItopError) and error.may_have_run
        if isinstance(error, ItopRejectedError):
            # The response to this click shows the rejection, so no later screen has to.
            creation.rejection_seen = True
            creation.save(update_fields=["rejection_seen"])
        elif error is not None and not may_exist:
            creation.delete()
    if error is not None and not may_exist:
        raise error
    wake(EVERYTHING)
    if error is not None:
        raise CreationPendingError from error
    return creation


def is_submitted(context: PanelContext, form_key: str) -> bool:
    """Return whether this form was submitted in this conversation, with whatever result."""
    return creations_in(context).filter(form_key=form_key).exists()


def created_since(context: PanelContext, form_key: str, newest_seen_id: int) -> TicketCreation | None:
    """Return the newest ticket creation that the teammate has not seen and that another form made, or None."""
    created = successful_creations_in(context)
    return created.filter(pk__gt=newest_seen_id).exclude(form_key=form_key).first()


def _can_open_in_portal(context: PanelContext, caller: Caller) -> bool:
    if caller.is_default or context.profile.ticket_class != PORTAL_CLASS:
        return False
    seconds = context.deadline.remaining()
    return has_portal_account(context.itop, itop_client(context.itop), caller.person.id, deadline=seconds)


def _wait_for_lease(conversation: Conversation, seconds: float) -> Lease | None:
    """Take the conversation's lease, or return None if another process holds it for all of these seconds."""
    end = time.monotonic() + seconds
    while True:
        lease = take_lease(conversation, LEASE_SECONDS)
        if lease is not None or time.monotonic() > end:
            return lease
        time.sleep(POLL_SECONDS)


def _prepare(  # noqa: PLR0913 - everything a creation consists of
    context: PanelContext,
    caller: Caller,
    conversation: Conversation,
    form_key: str,
    form_values: Mapping[str, str],
    itop_values: Mapping[str, str],
    *,
    announce: bool,
    copy: bool,
) -> TicketCreation:
    """Save the complete request to iTop before the first attempt, because each retry has to be identical."""
    person = caller.person
    if caller.is_default:
        itop_values = _with_customer(context, itop_values)
    if copy:
        payload = fetch_full_conversation(context)
        transcript = transcript_of(context, payload.messages)
        # A position before the first message: the new ticket gets the whole conversation.
        since_part_at, since_part_order = 0, 0
    else:
        payload = context.request.conversation
        transcript = Transcript(entries=())
        since_part_at, since_part_order = last_position(payload)
    return TicketCreation.objects.create(
        announce=announce,
        announce_link=announce and _can_open_in_portal(context, caller),
        note=_note_if_incomplete(payload) if copy else "",
        since_part_at=since_part_at,
        since_part_order=since_part_order,
        conversation=conversation,
        form_key=form_key,
        admin_id=context.request.admin.id[:64],
        admin_name=context.request.admin.name[:200],
        ticket_class=context.profile.ticket_class,
        fields=_fields(context, person, conversation, transcript, itop_values),
        caller_id=person.id,
        idempotency_key=idempotency_key(
            f"Intercom conversation {conversation.conversation_id} ({context.workspace.workspace_id}, {form_key})",
            context.request.admin.name,
        ),
        values=dict(form_values),
        parts=transcript.parts_to_json(),
    )


def _fields(
    context: PanelContext,
    person: Person,
    conversation: Conversation,
    transcript: Transcript,
    itop_values: Mapping[str, str],
) -> dict[str, Any]:
    """Return all fields of the request except the caller.

    `itop_client.create` adds the caller, as a query that matches nothing once a ticket with this key exists.
    """
    code = context.profile.code
    authors = list({entry.part.author for entry in transcript.entries})
    account_ids = accounts_of_authors(
        context.itop,
        [(context.workspace.pk, author) for author in authors],
        deadline=context.deadline.remaining(),
    )
    # Read after the look-up of accounts, which may have shown that the bridge's account is not an Administrator. None
    # means that this is not known yet.
    may_set_author = context.itop.is_administrator is not False
    logs = transcript.logs(
        dict(zip(authors, account_ids, strict=True)),
        code=code,
        may_set_author=may_set_author,
        zone=context.workspace.zone,
        conversation_url=conversation.url,
        count_files=partial(count_expected, context.workspace),
    )
    return (
        dict[str, Any](itop_values)
        | {code("org_id"): person.org_id, code("origin"): ORIGIN}
        | {attribute: {"items": items} for attribute, items in logs.items()}
        | attributes_of(conversation, sync_on=True)
    )


def _with_customer(context: PanelContext, itop_values: Mapping[str, str]) -> dict[str, str]:
    """Return the values. If the description is a text, begin it with a line that names the customer.

    The ticket's caller is the workspace's caller for unknown customers, who did not write the description.
    """
    code = context.profile.code("description")
    attribute = context.ticket_class.attributes.get(code)
    if attribute is None or attribute.kind not in (Kind.TEXT, Kind.HTML):
        return dict(itop_values)
    contact = context.request.contact
    name, email = contact.name[:MAX_NAME_LENGTH], contact.email
    customer = name or email or _("somebody")
    if name and email:
        customer = f"{name} ({email})"
    text = _("Written by %(customer)s. Not verified: iTop does not know this customer.")
    text %= {"customer": customer}
    description = itop_values.get(code, "")
    if attribute.kind is Kind.HTML:
        return {**itop_values, code: f"<p>{html.escape(text)}</p>{description}"}
    return {**itop_values, code: f"{text}\n\n{description}".strip()}


def _note_if_incomplete(conversation: Payload) -> str:
    if conversation.is_complete:
        return ""
    return _(
        "Only the newest %(count)d of the conversation's %(total)d messages and events could be copied."
    ) % {"total": conversation.total_count, "count": len(conversation.parts)}
