"""GDPR export and erasure of one Intercom contact.

This covers only what the bridge stores. The conversation in Intercom and the ticket in iTop have to be erased there. An
erased message leaves a row with its IDs, but without text and names, so that it is not written a second time.
"""

import json
from collections.abc import Iterable
from typing import Any

import structlog
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from intercom_bridge.events.authors import QUESTION as PERSON_OF_ACCOUNT
from intercom_bridge.messenger.identity import messenger_question
from intercom_bridge.models import (
    CachedAnswer,
    CachedTickets,
    Conversation,
    Delivery,
    FileToIntercom,
    FileToItop,
    FormDraft,
    LinkRemoval,
    Mention,
    OutgoingMessage,
    Participant,
    PersonMatch,
    TicketCreation,
    TicketEvent,
    TicketSnapshot,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.delivery import without_index
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.models.ticket_creation import without_files
from intercom_bridge.models.webhook_event import WebhookEventQuerySet
from intercom_bridge.sync.authors import portal_question, question_about
from intercom_bridge.tickets.people.candidates import forget_candidates
from intercom_bridge.tickets.people.evidence import parse_id
from intercom_bridge.tickets.people.match import cached_match_answers

from .redaction import redact_secrets, redact_text

log = structlog.get_logger(__name__)


class CreationPendingError(Exception):
    """A ticket is being created for the contact, so nothing was erased."""


def find_contacts(workspace: Workspace, text: str) -> list[str]:
    """Return the IDs of the contacts that the text may mean: a contact ID, an e-mail address or an iTop person's ID.

    The result always contains the text itself, because not every stored contact has a PersonMatch.
    """
    condition = Q(contact_id=text) | Q(email__iexact=text)
    if person_id := parse_id(text):
        condition |= Q(person_id=person_id)
    matches = PersonMatch.objects.filter(condition, workspace=workspace)
    return sorted({*matches.values_list("contact_id", flat=True), text})


class Contact:
    """A contact of a workspace, and the queries for all rows about this person."""

    def __init__(self, workspace: Workspace, contact_id: str) -> None:
        self.workspace, self.contact_id = workspace, contact_id
        self.matches = PersonMatch.objects.filter(workspace=workspace, contact_id=contact_id)
        self._participations = Participant.objects.filter(
            conversation__workspace=workspace, contact_id=contact_id
        )
        self._mentions = Mention.objects.filter(webhook_event__workspace=workspace, contact_id=contact_id)
        conversation_ids = self._conversation_ids()
        self.conversations = Conversation.objects.filter(
            workspace=workspace, conversation_id__in=conversation_ids
        ).order_by("pk")
        self.webhook_events = self._find_webhook_events()
        self.cached_tickets = CachedTickets.objects.filter(
            Q(person_id__in=self.matches.values("person_id")) | Q(conversation_id__in=conversation_ids),
            workspace=workspace,
        )
        self.cached_answers = self._find_cached_answers()

    def _conversation_ids(self) -> QuerySet[Any]:
        """Return the Intercom IDs of the contact's conversations, including those without a ticket."""
        mentions = self._mentions.exclude(webhook_event__conversation_id="")
        return self._participations.values_list("conversation__conversation_id").union(
            mentions.values_list("webhook_event__conversation_id")
        )

    def _find_webhook_events(self) -> WebhookEventQuerySet:
        """Return the events that name the contact, and all other events of the contact's conversations."""
        in_conversations = WebhookEvent.objects.alias(owner=without_index("workspace_id")).filter(
            owner=self.workspace.pk, conversation_id__in=self._conversation_ids()
        )
        event_keys = self._mentions.values("webhook_event").union(in_conversations.values("pk"))
        return WebhookEvent.objects.filter(pk__in=event_keys).order_by("pk")

    def _find_cached_answers(self) -> QuerySet[CachedAnswer]:
        """Return iTop's answers about the contact's match, and about the Person and the Person's account."""
        condition = cached_match_answers(self.contact_id, self.workspace)
        for person_id, email in self.matches.values_list("person_id", "email"):
            condition |= Q(question=portal_question(person_id))
            condition |= Q(question__startswith=messenger_question(self.workspace, person_id))
            condition |= Q(question__startswith=PERSON_OF_ACCOUNT, value__id=person_id)
            if email:
                condition |= Q(question=question_about(email.casefold()))
        return CachedAnswer.objects.filter(condition, itop=self.workspace.itop)

    @property
    def conversation_count(self) -> int:
        """The number of the contact's conversations, including those without a ticket."""
        return self._conversation_ids().count()

    @property
    def is_known(self) -> bool:
        """Whether anything is stored about the contact."""
        return self._participations.exists() or self._mentions.exists() or self.matches.exists()

    def export(self) -> dict[str, Any]:
        """Return everything that is stored about the contact, as JSON values."""
        return {
            "workspace": self.workspace.workspace_id,
            "contact": self.contact_id,
            "exported_at": timezone.now().isoformat(),
            "person_in_itop": [
                _export_row(match, omit=("workspace", "contact_id")) for match in self.matches
            ],
            "conversations": [self._export_conversation(row) for row in self.conversations],
            "webhook_events": [
                _export_row(event, omit=("workspace", "due_at")) | {"body": _export_body(bytes(event.body))}
                for event in self.webhook_events.iterator(chunk_size=200)
            ],
            "cached_ticket_lists": [
                _export_row(row, omit=("workspace", "terms", "question")) for row in self.cached_tickets
            ],
            "cached_itop_responses": [_export_row(row, omit=("itop", "key")) for row in self.cached_answers],
        }

    def _export_conversation(self, conversation: Conversation) -> dict[str, Any]:
        links = conversation.links.select_related("ticket").order_by("pk")
        deliveries = conversation.deliveries.select_related("ticket").in_order()
        files_to_intercom = FileToIntercom.objects.filter(event__conversation=conversation)
        return {
            "conversation": conversation.conversation_id,
            "participants": [row.contact_id for row in conversation.participants.order_by("pk")],
            "tickets": [
                {"ticket": link.ticket.ref, "linked_at": link.created_at.isoformat(), "sync": link.sync_on}
                for link in links
            ],
            "messages": [
                _export_row(delivery, omit=("conversation", "ticket")) | {"ticket": delivery.ticket.ref}
                for delivery in deliveries.iterator(chunk_size=200)
            ],
            "ticket_creations": _export_rows(conversation.ticket_creations.all()),
            "form_drafts": _export_rows(conversation.form_drafts.all()),
            "outgoing_messages": _export_rows(conversation.outgoing_messages.all()),
            "ticket_events": _export_with_to_json(conversation.ticket_events.select_related("ticket")),
            "files_copied_to_itop": _export_with_to_json(conversation.files_to_itop.select_related("ticket")),
            "files_copied_to_intercom": _export_with_to_json(
                files_to_intercom.select_related("event__ticket")
            ),
        }

    def erase(self) -> dict[str, int]:
        """Erase everything that is stored about the contact. Return the number of erased rows by kind.

        Messages that wait to be written are skipped. Links are kept, because they contain no personal data. Raise
        CreationPendingError if a ticket is being created for the contact; then nothing is erased.
        """
        with transaction.atomic():
            # Lock the rows, so that no worker continues a creation while it is being erased.
            ticket_creations = list(
                TicketCreation.objects.filter(conversation__in=self.conversations).select_for_update()
            )
            if any(creation.state == TicketCreation.State.CREATING for creation in ticket_creations):
                raise CreationPendingError
            # Before the deliveries: this waits for the workers that are creating deliveries from these events.
            webhook_events = self._erase_webhook_events()
            deliveries = Delivery.objects.filter(conversation__in=self.conversations)
            deliveries.skip(ReasonCode.ERASED)
            # This does not stop a worker that is copying a file now. An admin has to delete the file's copy in iTop.
            files = FileToItop.objects.filter(conversation__in=self.conversations)
            files.skip(ReasonCode.ERASED)
            outgoing_messages = OutgoingMessage.objects.filter(conversation__in=self.conversations)
            outgoing_messages.waiting().update(
                state=OutgoingMessage.State.FAILED, reason_code=ReasonCode.ERASED
            )
            # `left_out` contains error texts of iTop, which may quote a message.
            LinkRemoval.objects.filter(conversation__in=self.conversations).update(left_out=[])
            erased = {
                "messages": deliveries.erase_content(
                    author="", idempotency_key="", attempt_log=[], webhook_event=None
                ),
                "ticket creations": _erase_ticket_creations(ticket_creations),
                "form drafts": FormDraft.objects.filter(conversation__in=self.conversations).delete()[0],
                "files for iTop": files.erase_content(reason_detail="", attempt_log=[]),
                "files for Intercom": self._erase_files_to_intercom(),
                "outgoing messages": outgoing_messages.erase_content(),
                "ticket events": self._erase_ticket_events(),
                "webhook events": webhook_events,
                # All candidates of the iTop, because those for another contact may include this person.
                "cached iTop responses": self.cached_answers.delete()[0]
                + forget_candidates(self.workspace.itop),
                "cached ticket lists": self.cached_tickets.delete()[0],
                "person matches": self._erase_matches(),
            }
            # Last, because the queries for the other rows use these rows.
            Mention.objects.filter(webhook_event__in=self.webhook_events).delete()
            self._participations.delete()
        log.info("contact.erased", workspace=self.workspace.workspace_id, rows=sum(erased.values()))
        return erased

    def _erase_webhook_events(self) -> int:
        self.webhook_events.waiting().update(state=WebhookEvent.State.SKIPPED, reason_code=ReasonCode.ERASED)
        return self.webhook_events.erase_content()

    def _erase_ticket_events(self) -> int:
        """Erase the events, and what the snapshots of the linked tickets quote. Return the number of events."""
        TicketSnapshot.objects.filter(ticket__links__conversation__in=self.conversations).erase_content()
        return TicketEvent.objects.filter(conversation__in=self.conversations).erase_content()

    def _erase_files_to_intercom(self) -> int:
        files = FileToIntercom.objects.filter(event__conversation__in=self.conversations)
        waiting = files.filter(state=FileToIntercom.State.WAITING)
        waiting.update(state=FileToIntercom.State.SKIPPED, reason_code=ReasonCode.ERASED)
        return files.erase_content()

    def _erase_matches(self) -> int:
        anonymize_admin_log(self.matches.values_list("pk", flat=True), "erased")
        return self.matches.delete()[0]


def anonymize_admin_log(match_keys: Iterable[int], replacement: str) -> None:
    """Replace the names of these person matches (primary keys) in Django's log of admin actions."""
    content_type = ContentType.objects.get_for_model(PersonMatch)
    entries = LogEntry.objects.filter(content_type=content_type, object_id__in=list(map(str, match_keys)))
    entries.update(object_repr=replacement)


def _erase_ticket_creations(ticket_creations: list[TicketCreation]) -> int:
    for creation in ticket_creations:
        TicketCreation.objects.filter(pk=creation.pk).erase_content(
            # The IDs of the copied parts are kept, so that no part is written again. The authors are removed.
            parts=[part | {"author": "", "author_id": ""} for part in without_files(creation.parts)],
            attempt_log=[],
            reason_detail="",
            note="",
            idempotency_key="",
            caller_id=0,
        )
    return len(ticket_creations)


def _export_rows(rows_of_conversation: QuerySet[Any]) -> list[dict[str, Any]]:
    return [_export_row(row, omit=("conversation",)) for row in rows_of_conversation.order_by("pk")]


def _export_with_to_json(rows: QuerySet[Any]) -> list[dict[str, Any]]:
    """Export rows of a model that has a method `to_json`."""
    exports = (row.to_json() for row in rows.order_by("pk").iterator(chunk_size=200))
    return [{name: _json_value(value) for name, value in export.items()} for export in exports]


def _export_row(row: models.Model, *, omit: Iterable[str]) -> dict[str, Any]:
    """Return the row's columns as JSON values, except binary columns, the primary key and the omitted columns."""
    omitted = {"id", *omit}
    return {
        column.name: _json_value(getattr(row, column.attname))
        for column in row._meta.concrete_fields
        if column.name not in omitted and not isinstance(column, models.BinaryField)
    }


def _json_value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)


def _export_body(raw: bytes) -> Any:
    """Return the parsed JSON of a webhook event, or its text if it is not valid JSON. Secrets are removed."""
    try:
        return redact_secrets(json.loads(raw)) if raw else None
    except (ValueError, RecursionError):
        return redact_text(raw.decode("utf-8", "backslashreplace"))
