"""A press of Create: whatever arrives twice, or at the same time, makes one ticket."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.authors import accounts_of, forget_accounts
from intercom_bridge.connections import itop_client
from intercom_bridge.desk import Desk, Person, whole_conversation
from intercom_bridge.desk.creations import created, creations_in
from intercom_bridge.intercom.payloads import Conversation as Payload
from intercom_bridge.models import Conversation, Participant, Posting, Submission
from intercom_bridge.models.lease import Lease, take_lease
from intercom_bridge.sync.creator import create_now
from intercom_bridge.sync.extension import attributes_of
from intercom_bridge.sync.tasks import wake_for_everything
from intercom_bridge.sync.transcript import Transcript
from itop_client import InvalidValue, ItopError, ItopNotAdministrator, ItopRefused, marker

LEASE_SECONDS = 30.0
# Of the five seconds in all: a second press waits so long for the first.
WAIT_SECONDS = 3.0
POLL_SECONDS = 0.05


class StillCreating(Exception):
    """Another press is at it, or iTop has not answered: the worker goes on."""


class CreatedMeanwhile(Exception):
    """Another form made a ticket of this conversation that this one's teammate has not been told of."""

    def __init__(self, submission: Submission) -> None:
        super().__init__(f"{submission} was faster")
        self.submission = submission


def press_create(
    desk: Desk, form_key: str, typed: Mapping[str, str], values: Mapping[str, str], *, seen: int = 0
) -> Submission:
    """The submission of this form, created: with its ticket. `typed` fills the form again, `values` go to iTop.

    Raises ItopRefused (the form is at fault), another ItopError or IntercomError (nothing was created, for certain),
    StillCreating (nobody knows yet, and nothing is lost), CreatedMeanwhile (nothing was created: there is a creation
    from this conversation that is newer than `seen`).
    """
    person = desk.person()
    conversation = Conversation.objects.known(desk.workspace, desk.request.conversation.id)
    conversation.workspace = desk.workspace
    Participant.objects.note(conversation, desk.request.contact_ids)
    lease = _wait_for_lease(conversation, min(WAIT_SECONDS, desk.deadline.remaining() - 0.5))
    if lease is None:
        raise StillCreating
    with lease:
        earlier = Submission.objects.filter(conversation=conversation, form_key=form_key).first()
        if earlier is not None and earlier.state == Submission.State.CREATED:
            return earlier
        if Submission.objects.unfinished().filter(conversation=conversation).exists():
            # This form's press, or another one's: while nobody knows its outcome there is no second ticket.
            raise StillCreating
        faster = created_since(desk, form_key, seen)
        if faster is not None:
            raise CreatedMeanwhile(faster)
        if earlier is not None:
            earlier.delete()
        submission = _prepare(desk, person, conversation, form_key, typed, values)
        try:
            _create(desk, person, submission, values)
        except ItopRefused:
            submission.told = True
            submission.save(update_fields=["told"])
            raise
        except ItopError as error:
            if error.may_have_run:
                wake_for_everything()
                raise StillCreating from error
            submission.delete()
            raise
    wake_for_everything()
    return submission


def was_pressed(desk: Desk, form_key: str) -> bool:
    """Whether a press of this form has got so far that iTop may have been asked."""
    presses = creations_in(desk.workspace, desk.request.conversation.id)
    return presses.filter(form_key=form_key).exists()


def created_since(desk: Desk, form_key: str, seen: int) -> Submission | None:
    """The newest creation from this conversation by another form, if it is newer than `seen`."""
    presses = creations_in(desk.workspace, desk.request.conversation.id)
    return created(presses).filter(pk__gt=seen).exclude(form_key=form_key).first()


def _wait_for_lease(conversation: Conversation, seconds: float) -> Lease | None:
    """A second click waits for the first one's answer; across processes there is nothing to wait on but the row."""
    end = time.monotonic() + seconds
    while True:
        lease = take_lease(conversation, LEASE_SECONDS)
        if lease is not None or time.monotonic() > end:
            return lease
        time.sleep(POLL_SECONDS)


def _prepare(
    desk: Desk,
    person: Person,
    conversation: Conversation,
    form_key: str,
    typed: Mapping[str, str],
    values: Mapping[str, str],
) -> Submission:
    whole = _whole_conversation(desk)
    transcript = Transcript.of(whole.messages, skip_ids=Posting.objects.part_ids_in(conversation))
    return Submission.objects.create(
        note=_what_is_missing(whole),
        conversation=conversation,
        form_key=form_key,
        admin_id=desk.request.admin.id[:64],
        admin_name=desk.request.admin.name[:200],
        ticket_class=desk.profile.ticket_class,
        fields=_fields(desk, person, conversation, transcript, values),
        caller_id=person.id,
        marker=marker(
            f"Intercom conversation {conversation.conversation_id} ({desk.workspace.workspace_id}, {form_key})",
            desk.request.admin.name,
        ),
        values=dict(typed),
        parts=transcript.keys(),
    )


def _create(desk: Desk, person: Person, submission: Submission, values: Mapping[str, str]) -> None:
    try:
        create_now(submission, deadline=desk.deadline.remaining())
    except ItopNotAdministrator:
        if desk.itop.is_administrator is False:
            raise
        # Refused, so nothing ran: the authors' names stand in the texts from now on.
        desk.itop.learn(is_administrator=False)
    except InvalidValue as refusal:
        # An account that we remember and that iTop no longer has: nothing ran, and it is asked for again.
        if "user_id" not in refusal.reason or not forget_accounts(desk.itop):
            raise
    else:
        return
    conversation = submission.conversation
    transcript = Transcript.of(
        _whole_conversation(desk).messages, skip_ids=Posting.objects.part_ids_in(conversation)
    )
    submission.fields = _fields(desk, person, conversation, transcript, values)
    submission.state = Submission.State.CREATING
    submission.save(update_fields=["fields", "state"])
    create_now(submission, deadline=desk.deadline.remaining())


def _fields(
    desk: Desk, person: Person, conversation: Conversation, transcript: Transcript, values: Mapping[str, str]
) -> dict[str, Any]:
    """Everything but the caller, which carries the guard."""
    code = desk.profile.code
    accounts: dict[str, int] = {}
    if desk.itop.is_administrator is not False and transcript.emails:
        client = itop_client(desk.itop)
        accounts = accounts_of(desk.itop, client, transcript.emails, deadline=desk.deadline.remaining())
    may_set_author = desk.itop.is_administrator is not False
    logs = transcript.logs(accounts, may_set_author=may_set_author, zone=desk.workspace.zone)
    return (
        dict[str, Any](values)
        | {code("org_id"): person.org_id, code("origin"): "chat"}
        | {code(log): {"items": items} for log, items in logs.items()}
        | attributes_of(conversation, sync_on=True)
    )


def _whole_conversation(desk: Desk) -> Payload:
    return whole_conversation(desk.workspace, desk.request.conversation, desk.deadline)


def _what_is_missing(conversation: Payload) -> str:
    if conversation.is_complete:
        return ""
    return _(
        "Of the conversation's %(total)d messages and events, only the newest %(count)d could be copied."
    ) % {
        "total": conversation.total_count,
        "count": len(conversation.parts),
    }
