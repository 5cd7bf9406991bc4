"""A ticket from a press of Create: made once, whatever happens on the way."""

from __future__ import annotations

import datetime as dt

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.connections import itop_client
from intercom_bridge.models import (
    Conversation,
    Delivery,
    KnownTickets,
    Notification,
    Posting,
    Submission,
    Ticket,
    TicketLink,
)
from intercom_bridge.models.delivery import COPIED
from intercom_bridge.models.encryption import SecretUnreadable
from itop_client import InvalidValue, ItopError, ItopObject, ItopRefused, UnknownAttribute, create

from .extension import attribute_codes
from .instance import pause_after
from .intake import deliver_since
from .message import order_of

log = structlog.get_logger(__name__)
Outcome = Submission.Outcome

# The conversation in a press is as Intercom's inbox had it; what came in shortly before may not be in it.
PAYLOAD_MAY_BE_OLD = dt.timedelta(minutes=10)
BACKGROUND_DEADLINE_SECONDS = 15.0


def create_now(submission: Submission, *, deadline: float = BACKGROUND_DEADLINE_SECONDS) -> None:
    """One try at the ticket of a submission, in `deadline` seconds; its state says how it went.

    The caller holds the lease on the conversation. CREATED: there is a ticket, and its link. REFUSED: iTop will
    not have it, the reason is iTop's. CREATING: nobody knows yet; the worker goes on with the identical request.
    Raises ItopError when the request certainly did not run and the fault is not its own.
    """
    workspace = submission.conversation.workspace
    submission.attempts += 1
    try:
        made, was_there = create(
            itop_client(workspace.itop),
            submission.ticket_class,
            submission.fields,
            marker=submission.marker,
            caller_id=submission.caller_id,
            caller_attribute=workspace.profile.code("caller_id"),
            output_fields=("id", "friendlyname"),
            deadline=deadline,
        )
    except (UnknownAttribute, InvalidValue) as refusal:
        if not _do_without(submission, refusal.attribute):
            _refuse(submission, refusal)
            raise
        create_now(submission, deadline=deadline)
    except ItopRefused as refusal:
        _refuse(submission, refusal)
        raise
    except ItopError as trouble:
        seconds = (
            settings.UNKNOWN_OUTCOME_SECONDS if trouble.may_have_run else pause_after(submission.attempts)
        )
        submission.due_at = timezone.now() + dt.timedelta(seconds=seconds)
        submission.reason = str(trouble)[:1000]
        submission.note_trouble(trouble)
        submission.save(update_fields=["attempts", "due_at", "reason", "tries"])
        log.warning(
            "creation.unknown",
            submission=submission.pk,
            **submission.conversation.names,
            may_have_run=trouble.may_have_run,
        )
        raise
    else:
        submission.note_try(Outcome.WRITTEN, "an earlier try had arrived" if was_there else "")
        _record(submission, made)


def _do_without(submission: Submission, attribute: str) -> bool:
    """Takes out what we added by ourselves and this iTop does not know: refused, so nothing ran."""
    workspace = submission.conversation.workspace
    extension = attribute_codes(workspace)
    if attribute not in submission.fields or attribute not in (*extension, workspace.profile.code("origin")):
        return False
    if attribute in extension:
        workspace.itop.learn(has_intercom_attributes=False)
    for code in extension if attribute in extension else (attribute,):
        submission.fields.pop(code, None)
    submission.note_try(Outcome.REFUSED, f"it has no attribute {attribute}; tried again without it")
    submission.save(update_fields=["fields", "tries"])
    return True


def _refuse(submission: Submission, refusal: ItopRefused) -> None:
    submission.state, submission.reason = Submission.State.REFUSED, refusal.reason[:1000]
    if isinstance(refusal, InvalidValue):
        submission.problems = [[attribute, reason] for attribute, _label, reason in refusal.problems]
    elif refusal.attribute:
        submission.problems = [[refusal.attribute, refusal.reason]]
    submission.note_try(Outcome.REFUSED, refusal.reason)
    submission.save(update_fields=["attempts", "state", "reason", "problems", "tries"])
    log.info(
        "creation.refused",
        submission=submission.pk,
        **submission.conversation.names,
        attribute=refusal.attribute,
    )


def _record(submission: Submission, made: ItopObject) -> None:
    """The ticket, its link, the keys of what was copied, and what we say in the conversation: all or nothing."""
    conversation = submission.conversation
    workspace = conversation.workspace
    with transaction.atomic():
        ticket, _new = Ticket.objects.get_or_create(
            itop=workspace.itop,
            ticket_class=made.class_name,
            object_id=made.id,
            defaults={"ref": made.text("friendlyname")[:100]},
        )
        is_paused = TicketLink.objects.filter(conversation=conversation).exclude(ticket=ticket).are_paused()
        # Also where somebody was faster, and adopted it from iTop's own attributes: everything counts from now on.
        link, _new = TicketLink.objects.update_or_create(
            conversation=conversation,
            ticket=ticket,
            defaults={
                "since_part_at": 0,
                "since_part_order": 0,
                "linked_by": submission.admin_name,
                "in_step": all(code in submission.fields for code in attribute_codes(workspace)),
            },
        )
        if is_paused and link.sync_on:
            link.switch(on=False, at=timezone.now().timestamp())
        Delivery.objects.bulk_create(
            [
                Delivery(
                    ticket=ticket,
                    conversation=conversation,
                    kind=kind,
                    part_id=part_id,
                    part_order=order_of(part_id),
                    part_created_at=created_at,
                    author=author,
                    log=log_name,
                    marker=submission.marker,
                    state=Delivery.State.WRITTEN,
                    reason=COPIED,
                    written_at=timezone.now(),
                )
                for kind, part_id, created_at, log_name, author in submission.parts
            ],
            ignore_conflicts=True,
        )
        submission.state, submission.reason, submission.ticket = Submission.State.CREATED, "", ticket
        submission.save(update_fields=["attempts", "state", "reason", "ticket", "tries"])
        KnownTickets.objects.outdate(workspace.itop, submission.caller_id)
        if submission.admin_id:
            Posting.objects.create(
                conversation=conversation,
                admin_id=submission.admin_id,
                body=_announcement(submission, ticket),
            )
        # A message that came between the press and the link found no ticket, or only the other ones.
        since = submission.created_at - PAYLOAD_MAY_BE_OLD
        Notification.objects.look_again(workspace, conversation.conversation_id, since)
        deliver_since(link, since)
        Conversation.objects.filter(pk=conversation.pk).compare_within(0)
    log.info("ticket.created", ticket=ticket.ref, **conversation.names)


def _announcement(submission: Submission, ticket: Ticket) -> str:
    """What the customer reads; always inside block tags, as Intercom's 2.16 wants it."""
    workspace = submission.conversation.workspace
    with translation.override(workspace.language):
        link = format_html(
            '<a href="{}">{}</a>',
            workspace.itop.customer_url(ticket.ticket_class, ticket.object_id),
            ticket.ref,
        )
        return format_html(
            "<p>{}</p>",
            format_html(_("We have opened ticket {ticket} for you. You can follow it there."), ticket=link),
        )


def finish(submission: Submission) -> None:
    """The worker's try at a submission that nobody knows the outcome of."""
    try:
        create_now(submission)
    except (ItopError, SecretUnreadable) as error:
        log.warning(
            "creation.later",
            submission=submission.pk,
            **submission.conversation.names,
            error=type(error).__name__,
        )
