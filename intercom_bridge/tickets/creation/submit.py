"""Submit the create form: one ticket, however often and however simultaneously the form arrives."""

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
from intercom_bridge.models import Conversation, PersonMatch, TicketCreation
from intercom_bridge.models.lease import Lease, take_lease
from intercom_bridge.models.ticket_profile import ORIGIN
from intercom_bridge.sync.authors import accounts_of, has_portal_account
from intercom_bridge.sync.extension_attributes import attributes_of
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import (
    created_in,
    creations_in,
    fetch_full_conversation,
    get_or_create_conversation,
    last_position,
)
from intercom_bridge.tickets.people.caller import Caller, find_caller
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.wake import EVERYTHING, wake
from itop_client import ItopError, ItopRejectedError, idempotency_key

from .attempt import attempt_creation
from .transcript import Transcript, transcript_of

LEASE_SECONDS = 30.0
# A second submission waits this long for the first one's result. The panel has five seconds in all.
MAX_WAIT_SECONDS = 3.0
POLL_SECONDS = 0.05
MAX_NAME_LENGTH = 200
# The portal has no page for others, such as Problem and Change.
PORTAL_CLASS = "UserRequest"


class CreationPendingError(Exception):
    """Another submission is being processed, or iTop has not responded. The worker finishes the creation."""


class AlreadyCreatedError(Exception):
    """Another form has made `creation` in this conversation, and the teammate has not seen it yet."""

    def __init__(self, creation: TicketCreation) -> None:
        super().__init__(f"{creation} was faster")
        self.creation = creation


def submit_creation(  # noqa: PLR0913 - what a form says
    context: PanelContext,
    form_key: str,
    typed: Mapping[str, str],
    values: Mapping[str, str],
    *,
    seen: int,
    announce: bool,
    copy: bool,
) -> TicketCreation:
    """Create the ticket of this form and return the creation, or the one that an earlier submission made.

    `typed` fills the form again, `values` are sent to iTop, `seen` is the id of the newest creation that the teammate
    knows. `announce`: the customer gets a message, if the workspace sends one. `copy`: the ticket gets the conversation
    so far.

    Raise ItopRejectedError if iTop rejected the form; another ItopError, IntercomError or SecretDecryptionError if
    certainly nothing was created; CreationPendingError if the outcome is unknown; AlreadyCreatedError if nothing was
    created because a creation newer than `seen` exists.
    """
    caller = find_caller(context)
    conversation = get_or_create_conversation(context)
    conversation.workspace = context.workspace
    lease = _wait_for_lease(conversation, min(MAX_WAIT_SECONDS, context.deadline.remaining() - 0.5))
    if lease is None:
        raise CreationPendingError
    with lease:
        earlier = TicketCreation.objects.filter(conversation=conversation, form_key=form_key).first()
        if earlier is not None and earlier.state == TicketCreation.State.CREATED:
            return earlier
        if TicketCreation.objects.waiting().filter(conversation=conversation).exists():
            # Whichever form it belongs to: there is no second ticket while an outcome is unknown.
            raise CreationPendingError
        newer = created_since(context, form_key, seen)
        if newer is not None:
            raise AlreadyCreatedError(newer)
        if earlier is not None:
            earlier.delete()
        announce = announce and context.workspace.announce_tickets and bool(context.request.admin.id)
        creation = _prepare(
            context, caller, conversation, form_key, typed, values, announce=announce, copy=copy
        )
        error = attempt_creation(creation, seconds=context.deadline.remaining())
        may_exist = isinstance(error, ItopError) and error.may_have_run
        if isinstance(error, ItopRejectedError):
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
    """Return whether this form was submitted, so that iTop may have received it."""
    return creations_in(context).filter(form_key=form_key).exists()


def created_since(context: PanelContext, form_key: str, seen: int) -> TicketCreation | None:
    """Return the newest creation from this conversation by another form, if it is newer than `seen`."""
    return created_in(context).filter(pk__gt=seen).exclude(form_key=form_key).first()


def _can_follow(context: PanelContext, caller: Caller) -> bool:
    """Return whether the customer can open the ticket in the portal."""
    if caller.is_default or context.profile.ticket_class != PORTAL_CLASS:
        return False
    seconds = context.deadline.remaining()
    return has_portal_account(context.itop, itop_client(context.itop), caller.person.id, deadline=seconds)


def _wait_for_lease(conversation: Conversation, seconds: float) -> Lease | None:
    """Take the lease; poll the row, because the holder may be another process."""
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
    typed: Mapping[str, str],
    values: Mapping[str, str],
    *,
    announce: bool,
    copy: bool,
) -> TicketCreation:
    """Render the request once, and save it before the first attempt."""
    person = caller.person
    values = _with_author(context, values) if caller.is_default else values
    payload = fetch_full_conversation(context) if copy else context.request.conversation
    since_part_at, since_part_order = (0, 0) if copy else last_position(payload)
    transcript = transcript_of(context, payload.messages) if copy else Transcript(entries=())
    return TicketCreation.objects.create(
        announce=announce,
        announce_link=announce and _can_follow(context, caller),
        note=_note_if_incomplete(payload) if copy else "",
        since_part_at=since_part_at,
        since_part_order=since_part_order,
        conversation=conversation,
        form_key=form_key,
        admin_id=context.request.admin.id[:64],
        admin_name=context.request.admin.name[:200],
        ticket_class=context.profile.ticket_class,
        fields=_fields(context, person, conversation, transcript, values),
        caller_id=person.id,
        idempotency_key=idempotency_key(
            f"Intercom conversation {conversation.conversation_id} ({context.workspace.workspace_id}, {form_key})",
            context.request.admin.name,
        ),
        values=dict(typed),
        parts=transcript.keys(),
    )


def _fields(
    context: PanelContext,
    person: Person,
    conversation: Conversation,
    transcript: Transcript,
    values: Mapping[str, str],
) -> dict[str, Any]:
    """Return all fields of the request but the caller, which carries the idempotency check."""
    code = context.profile.code
    may_set_author = context.itop.is_administrator is not False
    accounts: dict[str, int] = {}
    if may_set_author and transcript.emails:
        client = itop_client(context.itop)
        signed_in = person.email if person.how == PersonMatch.How.ITOP else ""
        emails = {*transcript.emails, *filter(None, [signed_in])}
        accounts = accounts_of(context.itop, client, emails, deadline=context.deadline.remaining())
        if signed_in:
            # The address in iTop is more reliable than the one that Intercom has.
            accounts[context.request.contact.email.strip().casefold()] = accounts.get(signed_in.casefold(), 0)
        # The look-up may have shown that the account is not Administrator.
        may_set_author = context.itop.is_administrator is not False
    logs = transcript.logs(
        accounts,
        code=code,
        may_set_author=may_set_author,
        zone=context.workspace.zone,
        conversation_url=conversation.url,
        count_files=partial(count_expected, context.workspace),
    )
    return (
        dict[str, Any](values)
        | {code("org_id"): person.org_id, code("origin"): ORIGIN}
        | {attribute: {"items": items} for attribute, items in logs.items()}
        | attributes_of(conversation, sync_on=True)
    )


def _with_author(context: PanelContext, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values with the customer's name at the beginning of the description: the caller did not write it."""
    code = context.profile.code("description")
    attribute = context.ticket_class.attributes.get(code)
    if attribute is None or attribute.kind not in (Kind.TEXT, Kind.HTML):
        return dict(values)
    contact = context.request.contact
    name, email = contact.name[:MAX_NAME_LENGTH], contact.email
    customer = f"{name} ({email})" if name and email else name or email or _("somebody")
    text = _("Written by %(customer)s. Not verified: iTop does not know this customer.")
    text %= {"customer": customer}
    if attribute.kind is Kind.HTML:
        return {**values, code: f"<p>{html.escape(text)}</p>{values.get(code, '')}"}
    return {**values, code: f"{text}\n\n{values.get(code, '')}".strip()}


def _note_if_incomplete(conversation: Payload) -> str:
    if conversation.is_complete:
        return ""
    return _(
        "Only the newest %(count)d of the conversation's %(total)d messages and events could be copied."
    ) % {"total": conversation.total_count, "count": len(conversation.parts)}
