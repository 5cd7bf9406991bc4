"""Create the ticket of a submitted form in iTop. The panel makes the first attempt, the worker all later ones."""

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
from intercom_bridge.tickets.conversation import get_or_create_ticket
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
# After this many unclear failures the creation is rejected, provided that iTop can be read.
MAX_UNCLASSIFIED_ATTEMPTS = 5
# Intercom's inbox may have loaded the conversation this long before the form was submitted. The submission then lacks
# the messages that came in between.
MAX_PAYLOAD_AGE = dt.timedelta(minutes=10)
OUTPUT_FIELDS = ("id", "friendlyname")

Failure = ItopError | SecretDecryptionError


def attempt_creation(
    creation: TicketCreation, *, seconds: float = BACKGROUND_DEADLINE_SECONDS
) -> Failure | None:
    """Try to create the ticket within `seconds`, and save the outcome. The caller holds the conversation's lease.

    Return None if the ticket exists now, otherwise the error:
    - ItopRejectedError: iTop does not accept this request. The creation's state is REFUSED.
    - An error whose `may_have_run` is True: iTop may have created the ticket. The worker repeats the request.
    - Any other error: iTop did not execute the request. The cause lies outside the request, so a retry may succeed.
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
    reason_code = ReasonCode.ALREADY_WRITTEN if result.existed else ReasonCode.NONE
    creation.log_attempt(TicketCreation.Outcome.WRITTEN, reason_code)
    _save_created_ticket(creation, result.ticket)
    return None


def retry_creation(creation: TicketCreation) -> None:
    """Repeat a pending creation in the worker. If it is rejected, post a note in the conversation.

    Reject a creation that no retry can complete, because the conversation gets no other ticket while one is pending.
    """
    error = attempt_creation(creation)
    if error is not None and creation.state == TicketCreation.State.CREATING:
        _reject_if_retries_are_useless(creation, error)
    if creation.state == TicketCreation.State.REFUSED:
        note_failed_creation(creation)


def _reject_if_retries_are_useless(creation: TicketCreation, error: Failure) -> None:
    is_unclear = isinstance(error, UnclassifiedError | ItopNoResponseError)
    if isinstance(error, ItopPermissionError):
        _reject(creation, error)
    elif timezone.now() - creation.created_at > MAX_RETRY_TIME:
        _reject(creation, error, ReasonCode.GAVE_UP)
    elif is_unclear and creation.attempts >= MAX_UNCLASSIFIED_ATTEMPTS:
        _reject_unless_created(creation, error)


def _reject_unless_created(creation: TicketCreation, error: Failure) -> None:
    """Look for the ticket in iTop, and save it if it exists. Otherwise reject the creation.

    Change nothing if iTop cannot be read: then iTop is at fault and not this request, and the worker tries again.
    """
    deadline = Deadline(BACKGROUND_DEADLINE_SECONDS)
    try:
        ticket = _find_earlier(creation, itop_client(creation.conversation.workspace.itop), deadline)
    except (ItopError, SecretDecryptionError):
        return
    if ticket is None:
        _reject(creation, error, ReasonCode.MESSAGE_SPECIFIC)
    else:
        _save_created_ticket(creation, ticket)


def _create_or_recover(creation: TicketCreation, client: Client, deadline: Deadline) -> CreateResult:
    """Create the ticket. After an error that a recovery can handle, change the request and send it again.

    The loop ends because each recovery removes something from the request. A changed request keeps its idempotency
    key, so it never creates a second ticket. Raise the error if no recovery applies.
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
            if _recover(creation, error, client, deadline):
                continue
            if not isinstance(error, ItopPermissionError):
                raise
            # The account may have lost its permission after an earlier attempt had created the ticket.
            earlier = _find_earlier(creation, client, deadline)
            if earlier is None:
                raise
            return CreateResult(earlier, existed=True)


def _find_earlier(creation: TicketCreation, client: Client, deadline: Deadline) -> ItopObject | None:
    """Return the ticket that an earlier attempt created without our knowing, or None. Raise ItopError."""
    is_first_attempt = creation.attempts == 1
    if is_first_attempt:
        return None
    return find_created(
        client,
        creation.ticket_class,
        creation.idempotency_key,
        fields=OUTPUT_FIELDS,
        deadline=deadline.remaining(),
    )


def _recover(creation: TicketCreation, error: ItopError, client: Client, deadline: Deadline) -> bool:
    """Apply the first recovery that fits the error, and save the changed request. Return whether one fitted."""
    for recovery in RECOVERIES:
        if recovery(creation, error, client, deadline):
            creation.log_attempt(TicketCreation.Outcome.REFUSED, error.code, error.detail)
            creation.save(update_fields=["fields", "attempts", "attempt_log"])
            log.info(
                "creation.adapted",
                creation=creation.pk,
                **creation.conversation.log_fields,
                recovery=recovery.__name__.lstrip("_"),
            )
            return True
    return False


def _write_without_authors(
    creation: TicketCreation, error: ItopError, _client: Client, _deadline: Deadline
) -> bool:
    """Move the authors' names into the texts: iTop lets only Administrator accounts set the author of an entry."""
    if not isinstance(error, ItopNotAdministratorError):
        return False
    creation.conversation.workspace.itop.learn(is_administrator=False)
    return _replace_items(creation, authors_into_texts)


def _replace_removed_accounts(
    creation: TicketCreation, error: ItopError, client: Client, deadline: Deadline
) -> bool:
    """If iTop refused an account, replace the accounts that no longer exist by their authors' names in the entries."""
    workspace = creation.conversation.workspace
    log_codes = tuple(workspace.profile.code(name) for name in Log)
    if not isinstance(error, InvalidValueError) or error.attribute not in ("user_id", *log_codes):
        return False
    entries = [
        entry for code in log_codes if code in creation.fields for entry in creation.fields[code]["items"]
    ]
    account_ids = {entry["user_id"] for entry in entries if entry.get("user_id")}
    if not account_ids:
        return False
    forget_accounts(workspace.itop)
    missing = account_ids - existing_accounts(client, account_ids, deadline=deadline.remaining())
    return _replace_items(creation, lambda items, names: replace_accounts(items, names, missing=missing))


def _replace_items(
    creation: TicketCreation, change: Callable[[list[dict[str, Any]], list[str]], list[dict[str, Any]]]
) -> bool:
    """Replace the entries of each log by `change(entries, names of their authors)`. Return whether any changed."""
    profile = creation.conversation.workspace.profile
    fields = dict(creation.fields)
    # A set, because a profile may map both logs to one attribute.
    for code in {profile.code(name) for name in Log}:
        if code in fields:
            authors = [part["author"] for part in creation.parts if profile.code(part["log"]) == code]
            fields[code] = {"items": change(fields[code]["items"], authors)}
    is_changed: bool = fields != creation.fields
    creation.fields = fields
    return is_changed


def _unusable_attribute(error: ItopError) -> str:
    """Return the attribute that iTop lacks or whose value it rejects; "" after any other error."""
    return error.attribute if isinstance(error, UnknownAttributeError | InvalidValueError) else ""


def _drop_extension_attributes(
    creation: TicketCreation, error: ItopError, _client: Client, _deadline: Deadline
) -> bool:
    """Leave out the PHP extension's attributes if iTop lacks one of them or rejects its value."""
    workspace = creation.conversation.workspace
    codes = attribute_codes(workspace)
    attribute = _unusable_attribute(error)
    if attribute not in codes or attribute not in creation.fields:
        return False
    workspace.learn_attributes(exist=False)
    creation.fields = {code: value for code, value in creation.fields.items() if code not in codes}
    return True


def _drop_origin(creation: TicketCreation, error: ItopError, _client: Client, _deadline: Deadline) -> bool:
    """Leave out the origin if iTop lacks the attribute or the value."""
    origin = creation.conversation.workspace.profile.code("origin")
    if _unusable_attribute(error) != origin or origin not in creation.fields:
        return False
    creation.fields = {code: value for code, value in creation.fields.items() if code != origin}
    return True


# Each returns False if it does not fit the error. Otherwise it changes the request, which iTop did not execute.
RECOVERIES = (_write_without_authors, _replace_removed_accounts, _drop_extension_attributes, _drop_origin)


def _postpone(creation: TicketCreation, error: Failure) -> None:
    """Save the failed attempt, and when the worker repeats it."""
    may_have_run = isinstance(error, ItopError) and error.may_have_run
    seconds = settings.UNKNOWN_OUTCOME_SECONDS if may_have_run else backoff_seconds(creation.attempts)
    creation.due_at = timezone.now() + dt.timedelta(seconds=seconds)
    creation.set_reason(*reason_of(error))
    creation.log_failed_attempt(error)
    creation.save(update_fields=["attempts", "due_at", "reason_code", "reason_detail", "attempt_log"])
    log.warning(
        "creation.postponed",
        creation=creation.pk,
        **creation.conversation.log_fields,
        may_have_run=may_have_run,
        error=type(error).__name__,
    )


def _reject(creation: TicketCreation, error: Failure, reason_code: str = "") -> None:
    """Save that the ticket will not be created, and why: `reason_code`, or else the error's own code."""
    error_code, detail = reason_of(error)
    creation.state = TicketCreation.State.REFUSED
    creation.set_reason(reason_code or error_code, detail)
    creation.problems = _problems_of(error)
    if isinstance(error, ItopRejectedError):
        creation.log_attempt(TicketCreation.Outcome.REFUSED, error_code, detail)
    creation.save(
        update_fields=["attempts", "state", "reason_code", "reason_detail", "problems", "attempt_log"]
    )
    log.info(
        "creation.rejected",
        creation=creation.pk,
        **creation.conversation.log_fields,
        code=creation.reason_code,
    )


def _problems_of(error: Exception) -> list[dict[str, Any]]:
    """Return the attributes that iTop rejected, as `TicketCreation.problems` stores them."""
    if isinstance(error, InvalidValueError):
        return [asdict(problem) for problem in error.problems]
    if isinstance(error, ItopRejectedError) and error.attribute:
        kind = "unknown_attribute" if isinstance(error, UnknownAttributeError) else error.code
        return [asdict(ValueProblem(error.attribute, detail=error.detail)) | {"kind": kind}]
    return []


def _save_created_ticket(creation: TicketCreation, itop_ticket: ItopObject) -> None:
    """Save the ticket, its link, the copied parts and the announcement, and delete the draft, in one transaction."""
    conversation = creation.conversation
    itop = conversation.workspace.itop
    with transaction.atomic():
        ref = itop_ticket.text("friendlyname")
        ticket = get_or_create_ticket(itop, itop_ticket.class_name, itop_ticket.id, ref)
        link = _save_link(creation, ticket)
        _save_copied_parts(creation, link)
        creation.state, creation.ticket = TicketCreation.State.CREATED, ticket
        creation.set_reason(ReasonCode.NONE)
        creation.save(
            update_fields=["attempts", "state", "reason_code", "reason_detail", "ticket", "attempt_log"]
        )
        CachedTickets.objects.outdate(itop, creation.caller_id)
        FormDraft.objects.filter(conversation=conversation, form__key=creation.form_key).delete()
        if creation.announce:
            OutgoingMessage.objects.create(
                conversation=conversation, admin_id=creation.admin_id, body=_announcement(creation, ticket)
            )
        # Messages that came between the submission and now were not delivered to this ticket.
        deliver_since(link, creation.created_at - MAX_PAYLOAD_AGE)
    log.info("ticket.created", ticket=ticket.ref, **conversation.log_fields)


def _save_link(creation: TicketCreation, ticket: Ticket) -> TicketLink:
    """Create or update the link of the new ticket. It is paused if all other links of the conversation are."""
    conversation = creation.conversation
    is_paused = TicketLink.objects.filter(conversation=conversation).exclude(ticket=ticket).are_paused()
    # The link may have been adopted from the PHP extension's attributes before this outcome was known. Even then the
    # new ticket gets the messages from the point that the teammate chose in the form.
    link, _is_new = TicketLink.objects.update_or_create(
        conversation=conversation,
        ticket=ticket,
        defaults={
            "since_part_at": creation.since_part_at,
            "since_part_order": creation.since_part_order,
            "linked_by": creation.admin_name,
            "attributes_synced": all(
                code in creation.fields for code in attribute_codes(conversation.workspace)
            ),
        },
    )
    if is_paused and link.sync_on:
        link.switch(on=False, at=timezone.now().timestamp())
    return link


def _save_copied_parts(creation: TicketCreation, link: TicketLink) -> None:
    """Save a written delivery for each part that the new ticket contains, and queue the parts' files."""
    Delivery.objects.bulk_create(
        [
            Delivery(
                ticket=link.ticket,
                conversation=creation.conversation,
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


def _announcement(creation: TicketCreation, ticket: Ticket) -> str:
    """Return the message to the customer as HTML. Intercom's API 2.16 requires a block tag around it."""
    workspace = creation.conversation.workspace
    with translation.override(workspace.language):
        if creation.announce_link:
            text = _("We have opened ticket {ticket} for you. You can follow its progress at this link.")
            url = workspace.itop.customer_url(ticket.ticket_class, ticket.object_id)
            ticket_name: str = format_html('<a href="{}">{}</a>', url, ticket.ref)
        else:
            text, ticket_name = _("We have opened ticket {ticket} for you."), ticket.ref
    return format_html("<p>{}</p>", format_html(text, ticket=ticket_name))
