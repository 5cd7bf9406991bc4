"""Reopen a resolved ticket when its customer writes, or post a note if the ticket is closed."""

import structlog
from django.utils import translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.models import (
    Delivery,
    EventKind,
    Log,
    OutgoingMessage,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
)
from intercom_bridge.models.event_rules import rules_of
from intercom_bridge.models.job import reason_of
from intercom_bridge.models.reason import ReasonCode, reason_label
from intercom_bridge.models.ticket_profile import RESOLVED_STATES
from itop_client import Client, Deadline, ItopError, ItopObject, apply_once, idempotency_key

from .failure_notes import queue_note, ticket_link

log = structlog.get_logger(__name__)

STIMULUS = "ev_reopen"
CUSTOMER_TYPES = ("user", "lead")


def reopen_or_note(
    delivery: Delivery, written: ItopObject | None, client: Client, deadline: Deadline
) -> tuple[str, str]:
    """After a message was written to a ticket: reopen the ticket if it is resolved, or post a note if it is closed.

    `written` is the ticket as iTop returned it after the write. It is None if an earlier attempt wrote the message:
    then the ticket's state is unknown. Return the delivery's reason code and detail; an ItopError becomes a reason.
    """
    workspace = delivery.conversation.workspace
    profile = workspace.profile
    status = written.text(profile.code("status")) if written else ""
    may_be_resolved = written is None or status in RESOLVED_STATES
    is_closed = status in profile.excluded_states and status not in RESOLVED_STATES
    if (may_be_resolved or is_closed) and _is_new_customer_message(delivery):
        if may_be_resolved and rules_of(workspace).reopens_tickets:
            code, detail = _reopen(delivery, client, deadline)
            if code:
                return code, detail
        if is_closed:
            _note_closed(delivery)
    if written is None:
        return ReasonCode.ALREADY_WRITTEN, ""
    # Also for a resolved ticket that is not reopened.
    if status in profile.excluded_states:
        return ReasonCode.TICKET_CLOSED, status
    return ReasonCode.NONE, ""


def _is_new_customer_message(delivery: Delivery) -> bool:
    """Return whether the customer wrote the message while the ticket was linked and its sync was on.

    An older message that is copied later, or an entry that is written again, is no reason to reopen the ticket.
    """
    is_written_again = delivery.erased_times > 0
    if delivery.log != Log.PUBLIC or is_written_again:
        return False
    if delivery.part.get("author", {}).get("type") not in CUSTOMER_TYPES:
        return False
    link = TicketLink.objects.filter(conversation=delivery.conversation_id, ticket=delivery.ticket_id).first()
    if link is None or delivery.part_created_at < int(link.created_at.timestamp()):
        return False
    return not link.was_paused_at(delivery.part_created_at)


def _reopen(delivery: Delivery, client: Client, deadline: Deadline) -> tuple[str, str]:
    """Reopen the ticket if it is resolved. Return the delivery's reason code and detail, ("", "") if it is not."""
    ticket = delivery.ticket
    try:
        is_reopened = _apply_stimulus(delivery, client, deadline)
    except ItopError as error:
        code, detail = reason_of(error)
        log.warning("ticket.not_reopened", ticket=ticket.ref, itop=ticket.itop.name, code=code)
        _note_not_reopened(delivery, reason_label(code, detail))
        return ReasonCode.TICKET_NOT_REOPENED, detail or reason_label(code)
    if not is_reopened:
        return ReasonCode.NONE, ""
    log.info("ticket.reopened", ticket=ticket.ref, itop=ticket.itop.name)
    return ReasonCode.TICKET_REOPENED, ""


def _apply_stimulus(delivery: Delivery, client: Client, deadline: Deadline) -> bool:
    """Apply the stimulus if the ticket is resolved, again if the outcome is unknown. Return whether it was applied."""
    ticket, workspace = delivery.ticket, delivery.conversation.workspace
    key = idempotency_key(
        f"Intercom message {delivery.part_id} ({workspace.workspace_id}), reopening", delivery.author
    )

    def apply() -> ItopObject | None:
        return apply_once(
            client,
            ticket.ticket_class,
            ticket.object_id,
            STIMULUS,
            status=workspace.profile.code("status"),
            states=RESOLVED_STATES,
            idempotency_key=key,
            deadline=deadline.remaining(),
        )

    try:
        return apply() is not None
    except ItopError as error:
        if not error.may_have_run:
            raise
    # This does nothing if iTop has executed the first request. Either way, the ticket is reopened.
    apply()
    return True


def _note_not_reopened(delivery: Delivery, reason: str) -> None:
    with translation.override(delivery.conversation.workspace.language):
        problem = format_html(
            _(
                "The customer has written to ticket {ticket}, which is resolved, but the bridge could not reopen it. "
                "{reason}"
            ),
            ticket=ticket_link(delivery.ticket),
            reason=reason,
        )
        to_do = _("The message is in the ticket. If there is more to do, reopen the ticket in iTop.")
        _note_once(delivery, "not reopened", problem, to_do)


def _note_closed(delivery: Delivery) -> None:
    """Warn teammates in a note that the ticket is closed, unless the conversation also has an open ticket."""
    conversation = delivery.conversation
    others = TicketSnapshot.objects.filter(
        ticket__links__in=conversation.links.syncing(), ticket__gone_at=None
    ).exclude(ticket=delivery.ticket)
    closed_states = conversation.workspace.profile.excluded_states
    if others.exclude(status__in=["", *closed_states]).exists():  # "" if unknown
        return
    with translation.override(conversation.workspace.language):
        problem = format_html(
            _(
                "Ticket {ticket} is closed. The customer's message was added to it, but nobody will see it there."
            ),
            ticket=ticket_link(delivery.ticket),
        )
        to_do = _("If there is something to do, open the panel and click “Create a follow-up ticket”.")
        _note_once(delivery, "closed", problem, to_do)


def _note_once(delivery: Delivery, subject: str, *paragraphs: str) -> None:
    """Queue a note about the subject (such as "closed"), unless there is one and the ticket was not reopened since."""
    conversation, ticket = delivery.conversation, delivery.ticket
    prefix = f"{subject} {ticket.pk} "
    earlier_notes = OutgoingMessage.objects.filter(conversation=conversation, once_key__startswith=prefix)
    last_note = earlier_notes.order_by("-pk").first()
    if last_note is not None:
        reopenings = TicketEvent.objects.filter(
            ticket=ticket, conversation=conversation, kind=EventKind.REOPENED
        )
        if not reopenings.filter(created_at__gt=last_note.created_at).exists():
            return
    queue_note(conversation, f"{prefix}{earlier_notes.count() + 1}", *paragraphs)
