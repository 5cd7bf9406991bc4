"""Post each outgoing message to Intercom exactly once, in order, and reopen its conversation if the rules ask for it.

Only the lowest waiting message of a conversation is due, so a conversation has one poster at a time. A claim counts
the attempt before the call and lasts longer than an attempt may take, by the database's clock. Intercom has no
idempotency keys: every attempt after the first looks for the message in the conversation before it posts.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import structlog
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.connections import intercom_client
from intercom_bridge.files.from_itop import FileReader
from intercom_bridge.intercom.client import (
    IntercomAuthenticationError,
    IntercomClient,
    IntercomError,
    IntercomRateLimitedError,
    IntercomRejectedError,
    ReplyFile,
)
from intercom_bridge.intercom.html import comparable
from intercom_bridge.intercom.payloads import Conversation, Part
from intercom_bridge.models import (
    EventKind,
    FileToIntercom,
    OutgoingMessage,
    TicketEvent,
    TicketLink,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.event_rules import EventRules, rules_of
from intercom_bridge.models.job import reason_of
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.ops.metrics import count_files_of_message, event_seconds, observe
from intercom_bridge.sync.circuit_breaker import backoff_seconds

from . import teammates
from .files import is_about_files
from .message_files import READ_SECONDS, FilesNotReadyError, MessageFiles
from .record import links_moved_from, report_after_merge
from .rules import REOPENING

log = structlog.get_logger(__name__)

# All calls of an attempt together take at most ATTEMPT_SECONDS and one more call.
CALL_SECONDS: Final = 10.0
ATTEMPT_SECONDS: Final = 40.0
CLAIM_SECONDS: Final = 60.0
# An attempt that fails while Intercom accepts other messages of the workspace is repeated this often.
MAX_ATTEMPTS: Final = 20
MAX_AGE: Final = dt.timedelta(days=7)
# What another attempt cannot change, and nobody needs to do anything about.
POINTLESS: Final = (ReasonCode.CONVERSATION_DELETED, ReasonCode.CONVERSATION_MERGED, ReasonCode.NOT_LINKED)
HELD_SECONDS: Final = 60.0
UNKNOWN_SECONDS: Final = 10.0
# With files: one call, the claim of an attempt, which reads them and may post twice, and how long Intercom may still be
# executing one.
UPLOAD_SECONDS: Final = 60.0
UPLOAD_CLAIM_SECONDS: Final = READ_SECONDS + 2 * UPLOAD_SECONDS + 2 * CLAIM_SECONDS
UPLOAD_UNKNOWN_SECONDS: Final = 30.0
# How long a message waits for an iTop that does not return its files, until it is tried again.
FILES_HELD_SECONDS: Final = 20.0
# Intercom does not document how it rejects a file.
REJECTS_FILES: Final = (400, 413, 415, 422)
# Intercom's clock may differ from ours.
MAX_CLOCK_DIFFERENCE: Final = 600
MAX_REOPENED_PER_DAY: Final = 3
REOPENABLE: Final = ("closed", "snoozed")
CUSTOMER_TYPES: Final = ("user", "lead", "contact")


def post(message: OutgoingMessage) -> None:
    """Try to post a message if it is due. A rejection is final; after any other error, try again later."""
    if not _claim(message):
        return
    workspace = message.conversation.workspace
    if not workspace.enabled:
        _hold(message, ReasonCode.WORKSPACE_DISABLED)
        return
    if not workspace.access_token:
        _hold(message, ReasonCode.NO_ACCESS_TOKEN)
        return
    with FileReader() as reader:
        attempt = _Attempt(message, reader)
        try:
            attempt.run()
        except FilesNotReadyError as error:
            _hold(message, *reason_of(error.cause), seconds=FILES_HELD_SECONDS)
        except IntercomRejectedError as error:
            _settle(message, OutgoingMessage.State.FAILED, *attempt.reason_for_rejection(error))
        except (IntercomError, SecretDecryptionError) as error:
            _try_later(message, error)


class _Attempt:
    def __init__(self, message: OutgoingMessage, reader: FileReader) -> None:
        self.message = message
        self._files = MessageFiles(message, reader)
        self.conversation = message.conversation
        self.workspace = message.conversation.workspace
        self._deadline = time.monotonic() + ATTEMPT_SECONDS
        self._events = _events_of(message)

    def run(self) -> None:
        """Post the message, and reopen the conversation.

        Raise IntercomError, SecretDecryptionError, or FilesNotReadyError if nothing was posted.
        """
        message = self.message
        if not message.part_id:
            # Also if nothing is to be posted any more: the part must be known when a webhook reports it.
            earlier = self._find_earlier() if message.attempts > 1 else None
            code = "" if earlier else self._why_not()
            if code:
                _settle(message, OutgoingMessage.State.FAILED, code)
                return
            if not self._post(earlier):
                message.delete()
                return
        code, detail = "", ""
        if message.reopens:
            try:
                code, detail = self._reopen()
            except IntercomError as error:
                if message.part_id:
                    raise
                # A further attempt might post it again, because Intercom did not show it.
                code, detail = reason_of(error)
        _settle(message, OutgoingMessage.State.POSTED, code, detail)
        for event in self._events:
            if event.happened_at:
                seconds = max(0.0, (timezone.now() - event.happened_at).total_seconds())
                observe(event_seconds, seconds, self.workspace.workspace_id)

    def reason_for_rejection(self, error: IntercomRejectedError) -> tuple[str, str]:
        """Return the reason code and the detail: what the conversation's state says, or else Intercom's words."""
        # Reconciliation stores that a conversation does not exist.
        type(self.conversation).objects.filter(pk=self.conversation.pk).compare_within(0)
        if _is_deleted(error):
            return ReasonCode.CONVERSATION_DELETED, ""
        merged_at = 0
        try:
            merged_at = self._client().conversation(self._id, deadline=self._left()).merged_away_at
        except IntercomError as second:
            if _is_deleted(second):
                return ReasonCode.CONVERSATION_DELETED, ""
        self.conversation.learn_merged_away(merged_at)
        return (ReasonCode.CONVERSATION_MERGED, "") if merged_at else reason_of(error)

    def _why_not(self) -> str:
        tickets = {event.ticket_id for event in self._events}
        # A note that its links were moved is tried: whether Intercom accepts it is not documented.
        if tickets and self.conversation.merged_away_at:
            return ReasonCode.CONVERSATION_MERGED
        links = TicketLink.objects.filter(conversation=self.conversation, ticket__in=tickets)
        if not tickets or links.syncing().exists():
            return ""
        return ReasonCode.SYNC_PAUSED if links.exists() else ReasonCode.NOT_LINKED

    def _post(self, part: Part | None) -> bool:
        """Store the part of the message, after posting it if there is none yet.

        Return False if it is not needed: a note about a reopening that does not take place.
        """
        message = self.message
        author = message.admin_id or self._author()
        if part is None:
            if message.reopens:
                self._decide_reopening()
                if not message.reopens and message.once_key.startswith(REOPENING):
                    return False
            uploads = self._read_files() if self._files else []
            part, author = self._reply(author, uploads)
        message.admin_id = author
        if part:
            message.part_id = part.id
            message.save(update_fields=["part_id", "admin_id"])
        if part and part.app_package_code and self.workspace.app_package_code != part.app_package_code:
            Workspace.objects.filter(pk=self.workspace.pk).update(app_package_code=part.app_package_code)
        return True

    def _find_earlier(self) -> Part | None:
        """Return the part that an earlier attempt of unknown outcome has posted."""
        message, code = self.message, self.workspace.app_package_code
        since = message.created_at.timestamp() - MAX_CLOCK_DIFFERENCE
        text = comparable(message.body)
        others = OutgoingMessage.objects.exclude(pk=message.pk).part_ids_in(self.conversation)
        for part in self._found.parts:
            # Intercom may show another author.
            if (
                # A customer may have sent the same words.
                part.author.type not in CUSTOMER_TYPES
                and part.created_at >= since
                and part.id not in others
                and (part.part_type == "note") is message.is_note
                and (not code or part.app_package_code == code)
                and comparable(part.body) == text
            ):
                return part
        return None

    def _author(self, *, is_fresh: bool = False) -> str:
        """Return the teammate in whose name an automatic message is posted."""
        rules = rules_of(self.workspace)
        agents = [event for event in self._events if event.kind != EventKind.CUSTOMER_ENTRY]
        emails = {event.author_email for event in agents} - {""}
        is_named = len(emails) == 1 and (self.message.is_note or rules.shows_agent_names)
        email = emails.pop() if is_named else ""
        return teammates.author_of(self.workspace, rules, email, is_fresh=is_fresh, deadline=self._left())

    def _read_files(self) -> list[ReplyFile]:
        """Return the message's files. Reading them from iTop does not count against the time of the attempt."""
        start = time.monotonic()
        uploads = self._files.read()
        self._deadline += time.monotonic() - start
        return uploads

    def _reply(self, author: str, uploads: Sequence[ReplyFile]) -> tuple[Part | None, str]:
        """Post as the author, and return the part and the author that was used.

        If this teammate has left Intercom, an automatic message is posted by the one who is next in line; a message
        that a teammate wrote fails.
        """
        try:
            return self._reply_with(uploads, author), author
        except IntercomRejectedError as error:
            if self.message.admin_id or _is_deleted(error):
                raise
            present = self._author(is_fresh=True)
            if present == author:
                raise
        return self._reply_with(uploads, present), present

    def _reply_with(self, uploads: Sequence[ReplyFile], author: str) -> Part | None:
        """Post as the author, without the files if Intercom does not accept them: the text names them."""
        try:
            return self._reply_as(author, uploads)
        except IntercomRejectedError as error:
            if not uploads or error.status not in REJECTS_FILES:
                raise
            without_files = self._reply_as(author, [])
            self._files.mark_rejected(error.detail)
            return without_files

    def _reply_as(self, author: str, uploads: Sequence[ReplyFile]) -> Part | None:
        return self._client().reply(
            self._id,
            admin_id=author,
            body=self.message.body,
            note=self.message.is_note,
            files=uploads,
            deadline=UPLOAD_SECONDS if uploads else self._left(),
        )

    # --- Reopening ---

    def _decide_reopening(self) -> None:
        """Store whether the message is to reopen the conversation, with the reason in its text, before it is posted."""
        message = self.message
        with translation.override(self.workspace.language):
            reason = format_html("<p>{}</p>", _("Because of this change, the conversation was reopened."))
        message.body = message.body.removesuffix(reason)
        found = self._found
        is_reopenable = found.state in REOPENABLE and not found.merged_away_at
        message.reopens = is_reopenable and not self._is_reopened_too_often()
        if message.reopens:
            message.body += reason
        message.save(update_fields=["body", "reopens"])

    def _is_reopened_too_often(self) -> bool:
        reopened = TicketEvent.objects.filter(
            conversation=self.conversation,
            ticket__in={event.ticket_id for event in self._events},
            reopened=True,
            created_at__gt=timezone.now() - dt.timedelta(days=1),
        )
        return reopened.count() >= MAX_REOPENED_PER_DAY

    def _reopen(self) -> tuple[str, str]:
        """Open and assign the conversation. Return the reason code and detail if Intercom refuses it, else ("", "")."""
        message = self.message
        code, detail = "", ""
        try:
            found = self._found
            author = message.admin_id or self._author()
            if found.state in REOPENABLE:
                self._client().open(self._id, admin_id=author, deadline=self._left())
            message.reopened_at = timezone.now()
            kind, assignee = self._assignee(found)
            if assignee and assignee != (found.team_id if kind == "team" else found.admin_id):
                self._client().assign(
                    self._id, admin_id=author, assignee_type=kind, assignee_id=assignee, deadline=self._left()
                )
        except (IntercomRejectedError, IntercomAuthenticationError) as error:
            # The message is posted, so it has not failed.
            code, detail = reason_of(error)
            log.warning("conversation.not_reopened", **self.conversation.names, error=type(error).__name__)
        if message.reopened_at is not None:
            message.save(update_fields=["reopened_at"])
            self._count_reopening()
        return code, detail

    def _count_reopening(self) -> None:
        """Mark one event as the reason: there is a limit per day."""
        kinds = rules_of(self.workspace).reopens_on
        reasons = [event for event in self._events if event.kind in kinds] or self._events
        TicketEvent.objects.filter(pk__in=[event.pk for event in reasons[:1]]).update(reopened=True)

    def _assignee(self, found: Conversation) -> tuple[str, str]:
        """Return the type ("admin" or "team") and the id of who gets the conversation, ("", "") for no change."""
        to = self.message.assign_to
        if to.get("type") == EventRules.Assignee.LAST_TEAMMATE:
            return "admin", self._last_teammate(found)
        if to.get("type") == EventRules.Assignee.LINKED_BY:
            return "admin", self._linked_by()
        return to.get("type", ""), to.get("id", "")

    def _last_teammate(self, found: Conversation) -> str:
        own = OutgoingMessage.objects.part_ids_in(self.conversation)
        for part in reversed(found.parts):
            is_own = part.id in own or part.app_package_code
            if part.author.type == "admin" and part.body and not is_own:
                return part.author.id
        return ""

    def _linked_by(self) -> str:
        """Return the id of the teammate who linked the ticket: the link has only the name, which must be unique."""
        tickets = {event.ticket_id for event in self._events}
        link = TicketLink.objects.filter(conversation=self.conversation, ticket__in=tickets).first()
        if link is None or not link.linked_by:
            return ""
        found = teammates.teammates(self.workspace, deadline=self._left())
        same = [admin.id for admin in found if admin.name[:200].casefold() == link.linked_by.casefold()]
        return same[0] if len(same) == 1 else ""

    # --- Calls ---

    @property
    def _id(self) -> str:
        return self.conversation.conversation_id

    def _client(self) -> IntercomClient:
        return intercom_client(self.workspace)

    def _left(self) -> float:
        return max(1.0, min(CALL_SECONDS, self._deadline - time.monotonic()))

    @cached_property
    def _found(self) -> Conversation:
        return self._client().conversation(self._id, deadline=self._left())


def _events_of(message: OutgoingMessage) -> list[TicketEvent]:
    """Return the events that the message reports, or because of which it reopens the conversation."""
    pk = message.once_key.removeprefix(REOPENING)
    is_reason = Q(pk=int(pk)) if pk != message.once_key and pk.isdecimal() else Q(pk=None)
    if is_about_files(message) and not message.admin_name:
        is_reason |= Q(files__message=message)
    events = TicketEvent.objects.filter(Q(message=message) | is_reason, conversation=message.conversation)
    return list(events.order_by("pk").distinct())


def _is_deleted(error: IntercomError) -> bool:
    return error.status == 404 and error.intercom_code in ("not_found", "conversation_not_found")


def _claim(message: OutgoingMessage) -> bool:
    """Take the message, and count the attempt before the call. Return False if another worker was faster."""
    claimed = OutgoingMessage.objects.next_due().filter(pk=message.pk, attempts=message.attempts)
    seconds = UPLOAD_CLAIM_SECONDS if message.files.exists() else CLAIM_SECONDS
    until = Now() + dt.timedelta(seconds=seconds)
    if not claimed.update(attempts=F("attempts") + 1, due_at=until):
        return False
    message.attempts += 1
    return True


def _hold(message: OutgoingMessage, code: str, detail: str = "", *, seconds: float = HELD_SECONDS) -> None:
    """Keep a message that cannot be posted for now. This is no attempt."""
    message.attempts -= 1
    message.set_reason(code, detail)
    _postpone(message, seconds)


def _try_later(message: OutgoingMessage, error: Exception) -> None:
    if _is_hopeless(message):
        _settle(message, OutgoingMessage.State.FAILED, *reason_of(error))
        return
    seconds = backoff_seconds(message.attempts)
    if getattr(error, "may_have_run", False):
        # Intercom may still be executing it.
        has_files = message.files.exists()
        seconds = max(seconds, UPLOAD_UNKNOWN_SECONDS if has_files else UNKNOWN_SECONDS)
    if isinstance(error, IntercomRateLimitedError):
        seconds = max(seconds, error.until - timezone.now().timestamp())
    message.set_reason(*reason_of(error))
    _postpone(message, seconds)
    log.warning(
        "outgoing_message.postponed", message=message.pk, **message.conversation.names, seconds=round(seconds)
    )


def _is_hopeless(message: OutgoingMessage) -> bool:
    """Return whether Intercom accepts other messages of the workspace, or has not worked for days."""
    if timezone.now() - message.created_at > MAX_AGE:
        return True
    newer = OutgoingMessage.objects.filter(
        conversation__workspace=message.conversation.workspace,
        state=OutgoingMessage.State.POSTED,
        created_at__gt=message.created_at,
    )
    return message.attempts >= MAX_ATTEMPTS and newer.exists()


def _postpone(message: OutgoingMessage, seconds: float) -> None:
    message.due_at = timezone.now() + dt.timedelta(seconds=seconds)
    OutgoingMessage.objects.filter(pk=message.pk).update(
        attempts=message.attempts,
        due_at=Now() + dt.timedelta(seconds=seconds),
        reason_code=message.reason_code,
        reason_detail=message.reason_detail,
    )


@transaction.atomic
def _settle(message: OutgoingMessage, state: str, code: str = ReasonCode.NONE, detail: str = "") -> None:
    conversation = message.conversation
    message.state = state
    message.set_reason(code, detail)
    message.save(update_fields=["state", "admin_id", "reason_code", "reason_detail"])
    if state == OutgoingMessage.State.POSTED:
        message.files.filter(state=FileToIntercom.State.NAMED).update(state=FileToIntercom.State.POSTED)
    count_files_of_message(message)
    if code in POINTLESS and message.broadcast_id is None:
        # So that nobody is alerted, and nobody retries it. A broadcast may reach its customer in another conversation.
        OutgoingMessage.objects.filter(pk=message.pk).erase_content()
    if code == ReasonCode.CONVERSATION_MERGED:
        # A teammate may have moved the links while this message was being posted.
        tickets = [event.ticket_id for event in _events_of(message)]
        for link in links_moved_from(conversation).filter(ticket__in=tickets):
            report_after_merge(conversation, link)
    # Notifications that waited until it was known whether they report this message.
    WebhookEvent.objects.release_postponed(conversation.workspace, conversation.conversation_id)
    log.info("outgoing_message.finished", message=message.pk, **conversation.names, state=state)
