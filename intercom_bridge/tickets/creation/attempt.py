"""Attempt to create the ticket of a submitted form: the same code for the panel and for the worker."""

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.connections import itop_client
from intercom_bridge.files.parts import add_stored
from intercom_bridge.models import (
    CachedTickets,
    Delivery,
    FormDraft,
    Log,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    TicketLink,
)
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import reason_of
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.sync.authors import existing_accounts, forget_accounts
from intercom_bridge.sync.circuit_breaker import backoff_seconds
from intercom_bridge.sync.extension_attributes import attribute_codes
from intercom_bridge.sync.failure_notes import note_failed_creation
from intercom_bridge.sync.intake import deliver_since
from intercom_bridge.sync.message import order_of
from intercom_bridge.tickets.conversation import known_ticket
from itop_client import (
    Client,
    CreateResult,
    Deadline,
    InvalidValueError,
    ItopError,
    ItopNoResponseError,
    ItopNotAdministratorError,
    ItopObject,
    ItopPermissionError,
    ItopRejectedError,
    UnclassifiedError,
    UnknownAttributeError,
    ValueProblem,
    create,
    find_created,
)

from .transcript import authors_into_texts, replace_accounts

log = structlog.get_logger(__name__)

BACKGROUND_DEADLINE_SECONDS = 15.0
MAX_RETRY_TIME = dt.timedelta(days=7)
# A creation on which iTop fails this often in an unknown way, although it can be read, is rejected.
MAX_UNCLASSIFIED_ATTEMPTS = 5
# The payload of a submission is as Intercom's inbox had it, so messages that came shortly before may be missing.
MAX_PAYLOAD_AGE = dt.timedelta(minutes=10)
OUTPUT_FIELDS = ("id", "friendlyname")


Failure = ItopError | SecretDecryptionError


def attempt_creation(
    creation: TicketCreation, *, seconds: float = BACKGROUND_DEADLINE_SECONDS
) -> Failure | None:
    """Try to create the ticket within `seconds`. Save the outcome; return the error, or None if the ticket exists.

    After ItopRejectedError the state is REFUSED: iTop will not create the ticket. After an error with `may_have_run`
    iTop may have created it, and the worker repeats the request. Any other error means that the request was certainly
    not executed, and is not itself at fault.

    The caller holds the lease on the conversation.
    """
    creation.attempts += 1
    deadline = Deadline(seconds)
    try:
        client = itop_client(creation.conversation.workspace.itop)
        result = _create_or_recover(creation, client, deadline)
    except ItopRejectedError as error:
        _reject(creation, error)
        return error
    except (ItopError, SecretDecryptionError) as error:
        _postpone(creation, error)
        return error
    creation.log_attempt(
        TicketCreation.Outcome.WRITTEN, ReasonCode.ALREADY_WRITTEN if result.existed else ReasonCode.NONE
    )
    _record(creation, result.ticket)
    return None


def finish(creation: TicketCreation) -> None:
    """Attempt a creation whose outcome is unknown, from the worker, and announce if the ticket will not be created.

    A creation that can never succeed ends as rejected: a pending one keeps its conversation from creating tickets.
    """
    error = attempt_creation(creation)
    if creation.state == TicketCreation.State.CREATING and error is not None:
        _end_if_hopeless(creation, error)
    if creation.state == TicketCreation.State.REFUSED:
        note_failed_creation(creation)


def _end_if_hopeless(creation: TicketCreation, error: Failure) -> None:
    if isinstance(error, ItopPermissionError):
        _reject(creation, error)
    elif timezone.now() - creation.created_at > MAX_RETRY_TIME:
        _reject(creation, error, ReasonCode.GAVE_UP)
    elif creation.attempts >= MAX_UNCLASSIFIED_ATTEMPTS and isinstance(
        error, UnclassifiedError | ItopNoResponseError
    ):
        _end_unclassified(creation, error)


def _end_unclassified(creation: TicketCreation, error: ItopError) -> None:
    """Reject a creation on which iTop fails again and again although it can be read, unless the ticket exists."""
    deadline = Deadline(BACKGROUND_DEADLINE_SECONDS)
    try:
        ticket = _find_earlier(creation, itop_client(creation.conversation.workspace.itop), deadline)
    except (ItopError, SecretDecryptionError):
        # The instance fails too, so the creation waits for it.
        return
    if ticket is None:
        _reject(creation, error, ReasonCode.MESSAGE_SPECIFIC)
    else:
        _record(creation, ticket)


def _create_or_recover(creation: TicketCreation, client: Client, deadline: Deadline) -> CreateResult:
    """Create the ticket; change the request as RECOVERIES say, and repeat it, until iTop accepts it.

    This ends: each recovery removes something from the request, or does not apply. A changed request keeps its
    idempotency key, so it never creates a second ticket.
    """
    profile = creation.conversation.workspace.profile
    while True:
        try:
            return create(
                client,
                creation.ticket_class,
                creation.fields,
                idempotency_key=creation.idempotency_key,
                caller_id=creation.caller_id,
                caller_attribute=profile.code("caller_id"),
                output_fields=OUTPUT_FIELDS,
                deadline=deadline.remaining(),
            )
        except ItopError as error:
            if not _recover(creation, error, client, deadline):
                if isinstance(error, ItopPermissionError) and (
                    earlier := _find_earlier(creation, client, deadline)
                ):
                    return CreateResult(earlier, existed=True)
                raise


def _find_earlier(creation: TicketCreation, client: Client, deadline: Deadline) -> ItopObject | None:
    """Return the ticket that an earlier attempt of unknown outcome created, if there is one."""
    if creation.attempts == 1:
        return None
    return find_created(
        client,
        creation.ticket_class,
        creation.idempotency_key,
        fields=OUTPUT_FIELDS,
        deadline=deadline.remaining(),
    )


# Recoveries


def _recover(creation: TicketCreation, error: ItopError, client: Client, deadline: Deadline) -> bool:
    """Change the request so that iTop may accept it, and save it; return False if there is nothing to change."""
    for adapt in RECOVERIES:
        if adapt(creation, error, client, deadline):
            creation.log_attempt(TicketCreation.Outcome.REFUSED, error.code, error.detail)
            creation.save(update_fields=["fields", "attempts", "attempt_log"])
            log.info(
                "creation.adapted",
                creation=creation.pk,
                **creation.conversation.names,
                recovery=adapt.__name__.lstrip("_"),
            )
            return True
    return False


def _write_without_authors(
    creation: TicketCreation, error: ItopError, _client: Client, _deadline: Deadline
) -> bool:
    """Put the authors' names into the texts: only Administrator accounts set the author of an entry."""
    if not isinstance(error, ItopNotAdministratorError):
        return False
    creation.conversation.workspace.itop.learn(is_administrator=False)
    return _replace_items(creation, authors_into_texts)


def _replace_removed_accounts(
    creation: TicketCreation, error: ItopError, client: Client, deadline: Deadline
) -> bool:
    """After iTop refused an account, replace each account that no longer exists by its author's name in the entries.

    Return whether an entry was changed.
    """
    workspace = creation.conversation.workspace
    log_codes = tuple(workspace.profile.code(name) for name in Log)
    if not isinstance(error, InvalidValueError) or error.attribute not in ("user_id", *log_codes):
        return False
    logs = [creation.fields[code]["items"] for code in log_codes if code in creation.fields]
    used = {item["user_id"] for items in logs for item in items if item.get("user_id")}
    if not used:
        return False
    forget_accounts(workspace.itop)
    missing = used - existing_accounts(client, used, deadline=deadline.remaining())
    return _replace_items(creation, lambda items, names: replace_accounts(items, names, missing=missing))


def _replace_items(
    creation: TicketCreation, change: Callable[[list[dict[str, Any]], list[str]], list[dict[str, Any]]]
) -> bool:
    """Apply `change` to the entries of both logs; return whether it changed any."""
    profile = creation.conversation.workspace.profile
    fields = dict(creation.fields)
    # A profile may map both logs to one attribute.
    for code in {profile.code(name) for name in Log}:
        if code in fields:
            authors = [part["author"] for part in creation.parts if profile.code(part["log"]) == code]
            fields[code] = {"items": change(fields[code]["items"], authors)}
    is_changed: bool = fields != creation.fields
    creation.fields = fields
    return is_changed


def _unusable_attribute(error: ItopError) -> str:
    """Return the attribute that iTop does not have, or whose value it does not accept, else ""."""
    return error.attribute if isinstance(error, UnknownAttributeError | InvalidValueError) else ""


def _drop_extension_attributes(
    creation: TicketCreation, error: ItopError, _client: Client, _deadline: Deadline
) -> bool:
    """Leave out the PHP extension's attributes where iTop does not have them."""
    workspace = creation.conversation.workspace
    codes = attribute_codes(workspace)
    attribute = _unusable_attribute(error)
    if attribute not in codes or attribute not in creation.fields:
        return False
    workspace.learn_attributes(exist=False)
    creation.fields = {code: value for code, value in creation.fields.items() if code not in codes}
    return True


def _drop_origin(creation: TicketCreation, error: ItopError, _client: Client, _deadline: Deadline) -> bool:
    """Leave out the origin where iTop does not have the attribute or the value."""
    origin = creation.conversation.workspace.profile.code("origin")
    if _unusable_attribute(error) != origin or origin not in creation.fields:
        return False
    creation.fields = {code: value for code, value in creation.fields.items() if code != origin}
    return True


# The changes to a request after errors which mean that it was not executed. Each returns False if it does not apply.
RECOVERIES = (_write_without_authors, _replace_removed_accounts, _drop_extension_attributes, _drop_origin)


# Saving the outcome


def _postpone(creation: TicketCreation, error: Failure) -> None:
    """Save when the creation is due again."""
    may_have_run = isinstance(error, ItopError) and error.may_have_run
    seconds = settings.UNKNOWN_OUTCOME_SECONDS if may_have_run else backoff_seconds(creation.attempts)
    creation.due_at = timezone.now() + dt.timedelta(seconds=seconds)
    creation.set_reason(*reason_of(error))
    creation.log_failed_attempt(error)
    creation.save(update_fields=["attempts", "due_at", "reason_code", "reason_detail", "attempt_log"])
    log.warning(
        "creation.postponed",
        creation=creation.pk,
        **creation.conversation.names,
        may_have_run=may_have_run,
        error=type(error).__name__,
    )


def _reject(creation: TicketCreation, error: Failure, code: str = "") -> None:
    """Save that the ticket will not be created, and why."""
    error_code, detail = reason_of(error)
    creation.state = TicketCreation.State.REFUSED
    creation.set_reason(code or error_code, detail)
    creation.problems = _problems_of(error)
    if isinstance(error, ItopRejectedError):
        creation.log_attempt(TicketCreation.Outcome.REFUSED, error_code, detail)
    creation.save(
        update_fields=["attempts", "state", "reason_code", "reason_detail", "problems", "attempt_log"]
    )
    log.info(
        "creation.rejected", creation=creation.pk, **creation.conversation.names, code=creation.reason_code
    )


def _problems_of(error: Exception) -> list[dict[str, Any]]:
    """Return the values that iTop did not accept, as TicketCreation.problems stores them."""
    if isinstance(error, InvalidValueError):
        return [asdict(problem) for problem in error.problems]
    if isinstance(error, ItopRejectedError) and error.attribute:
        kind = "unknown_attribute" if isinstance(error, UnknownAttributeError) else error.code
        return [asdict(ValueProblem(error.attribute, detail=error.detail)) | {"kind": kind}]
    return []


def _record(creation: TicketCreation, made: ItopObject) -> None:
    """Save the ticket, its link, the copied parts and the announcement, and delete the draft, in one transaction."""
    conversation = creation.conversation
    workspace = conversation.workspace
    with transaction.atomic():
        ticket = known_ticket(workspace.itop, made.class_name, made.id, made.text("friendlyname"))
        is_paused = TicketLink.objects.filter(conversation=conversation).exclude(ticket=ticket).are_paused()
        # The link may exist already, adopted from iTop's own attributes. Now it begins where the teammate chose.
        link, _new = TicketLink.objects.update_or_create(
            conversation=conversation,
            ticket=ticket,
            defaults={
                "since_part_at": creation.since_part_at,
                "since_part_order": creation.since_part_order,
                "linked_by": creation.admin_name,
                "attributes_synced": all(code in creation.fields for code in attribute_codes(workspace)),
            },
        )
        if is_paused and link.sync_on:
            link.switch(on=False, at=timezone.now().timestamp())
        Delivery.objects.bulk_create(
            [
                Delivery(
                    ticket=ticket,
                    conversation=conversation,
                    kind=part["kind"],
                    part_id=part["id"],
                    part_order=order_of(part["id"]),
                    part_created_at=part["created_at"],
                    author=part["author"],
                    log=part["log"],
                    idempotency_key=creation.idempotency_key,
                    state=Delivery.State.WRITTEN,
                    reason_code=ReasonCode.COPIED_AT_CREATION,
                    written_at=timezone.now(),
                )
                for part in creation.parts
            ],
            ignore_conflicts=True,
        )
        for part in creation.parts:
            add_stored(link, part)
        creation.state, creation.ticket = TicketCreation.State.CREATED, ticket
        creation.set_reason(ReasonCode.NONE)
        creation.save(
            update_fields=["attempts", "state", "reason_code", "reason_detail", "ticket", "attempt_log"]
        )
        CachedTickets.objects.outdate(workspace.itop, creation.caller_id)
        FormDraft.objects.filter(conversation=conversation, form__key=creation.form_key).delete()
        if creation.announce:
            OutgoingMessage.objects.create(
                conversation=conversation, admin_id=creation.admin_id, body=_announcement(creation, ticket)
            )
        # A message that came between the submission and the link found no ticket, or only the older ones.
        deliver_since(link, creation.created_at - MAX_PAYLOAD_AGE)
    log.info("ticket.created", ticket=ticket.ref, **conversation.names)


def _announcement(creation: TicketCreation, ticket: Ticket) -> str:
    """Return the message to the customer, in block tags because Intercom's API 2.16 requires them."""
    workspace = creation.conversation.workspace
    with translation.override(workspace.language):
        text, name = _("We have opened ticket {ticket} for you."), ticket.ref
        if creation.announce_link:
            text = _("We have opened ticket {ticket} for you. You can follow it there.")
            url = workspace.itop.customer_url(ticket.ticket_class, ticket.object_id)
            name = format_html('<a href="{}">{}</a>', url, ticket.ref)
    return format_html("<p>{}</p>", format_html(text, ticket=name))
