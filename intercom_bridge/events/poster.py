"""Post each outgoing message to Intercom exactly once, in order, and reopen its conversation if the rules ask for it.

Only the first waiting message of a conversation can be due, so only one worker posts in a conversation at a time. A
worker claims a message by setting its due time, by the database's clock, to a time after the end of the attempt. It
counts the attempt before the call, because a killed worker cannot count it afterwards. Intercom has no idempotency
keys, so every attempt after the first looks for the message in the conversation before it posts.
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
from intercom_bridge.intercom.payloads import Conversation as ConversationPayload
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import (
    Conversation,
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

# Limits for a message without files: for one call, for all calls of an attempt together, and for the claim, which must
# last longer than an attempt. When the time of an attempt is over, each further call gets one second.
CALL_SECONDS: Final = 10.0
ATTEMPT_SECONDS: Final = 40.0
CLAIM_SECONDS: Final = 60.0
# Give up after this many attempts if Intercom has accepted newer messages of the workspace, or else after MAX_AGE.
MAX_ATTEMPTS: Final = 20
MAX_AGE: Final = dt.timedelta(days=7)
# Reasons that a retry cannot remove, and about which nobody needs to do anything.
POINTLESS: Final = (ReasonCode.CONVERSATION_DELETED, ReasonCode.CONVERSATION_MERGED, ReasonCode.NOT_LINKED)
# The pause while the workspace is disabled or has no access token.
HELD_SECONDS: Final = 60.0
# The least pause after a call without an answer, which Intercom may still be executing.
UNKNOWN_SECONDS: Final = 10.0
# A message with files has these limits instead of CALL_SECONDS, CLAIM_SECONDS and UNKNOWN_SECONDS. An attempt reads
# the files from iTop and may post twice.
UPLOAD_SECONDS: Final = 60.0
UPLOAD_CLAIM_SECONDS: Final = READ_SECONDS + 2 * UPLOAD_SECONDS + 2 * CLAIM_SECONDS
UPLOAD_UNKNOWN_SECONDS: Final = 30.0
# The pause while iTop does not return the message's files.
FILES_HELD_SECONDS: Final = 20.0
# Statuses that may mean that Intercom does not accept a file. Its documentation names none.
FILE_REJECTION_STATUSES: Final = (400, 413, 415, 422)
# A part can be this many seconds older than its message, because Intercom's clock can be behind ours.
MAX_CLOCK_DIFFERENCE: Final = 600
MAX_REOPENED_PER_DAY: Final = 3
REOPENABLE: Final = ("closed", "snoozed")
CUSTOMER_TYPES: Final = ("user", "lead", "contact")


def post(message: OutgoingMessage) -> None:
    """Post a message if it is due. A message that Intercom rejects has failed; after other errors it is tried again."""
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
            _finish(message, OutgoingMessage.State.FAILED, *attempt.reason_for_rejection(error))
        except (IntercomError, SecretDecryptionError) as error:
            _try_later(message, error)


class _Attempt:
    """One attempt to post a message. Another attempt creates another object."""

    def __init__(self, message: OutgoingMessage, reader: FileReader) -> None:
        self.message = message
        self._files = MessageFiles(message, reader)
        self.conversation = message.conversation
        self.workspace = message.conversation.workspace
        self._deadline = time.monotonic() + ATTEMPT_SECONDS
        self._events = _events_of(message)

    def run(self) -> None:
        """Post the message, unless an earlier attempt did, and reopen the conversation.

        Raise IntercomError or SecretDecryptionError, or FilesNotReadyError before anything is posted.
        """
        message = self.message
        if not message.part_id and not self._ensure_posted():
            return
        code, detail = "", ""
        if message.reopens:
            try:
                code, detail = self._reopen()
            except IntercomError as error:
                if message.part_id:
                    raise
                # Intercom did not return the part, so a further attempt might not find it and would post again.
                code, detail = reason_of(error)
        _finish(message, OutgoingMessage.State.POSTED, code, detail)
        for event in self._events:
            if event.happened_at:
                delay = max(0.0, (timezone.now() - event.happened_at).total_seconds())
                observe(event_seconds, delay, self.workspace.workspace_id)

    def reason_for_rejection(self, error: IntercomRejectedError) -> tuple[str, str]:
        """Return the reason code and the detail for a message that Intercom rejected.

        If the conversation was deleted or merged, this is the reason. Otherwise the detail is Intercom's own message.
        """
        # Schedule a comparison of the conversation: if it was deleted, the comparison stores this.
        Conversation.objects.filter(pk=self.conversation.pk).compare_within(0)
        if _is_deleted(error):
            return ReasonCode.CONVERSATION_DELETED, ""
        try:
            merged_at = self._client().conversation(self._id, deadline=self._left()).merged_away_at
        except IntercomError as read_error:
            return (ReasonCode.CONVERSATION_DELETED, "") if _is_deleted(read_error) else reason_of(error)
        self.conversation.learn_merged_away(merged_at)
        return (ReasonCode.CONVERSATION_MERGED, "") if merged_at else reason_of(error)

    def _ensure_posted(self) -> bool:
        """Post the message, unless an earlier attempt did. Return False if it is no longer to be posted."""
        message = self.message
        # Look for an earlier post even if the message must not be posted any more: when a webhook reports the part, the
        # bridge must know that this is its own message.
        earlier = self._find_earlier() if message.attempts > 1 else None
        if earlier:
            self._store_part(earlier, message.admin_id or self._author_id())
            return True
        if code := self._why_not_posted():
            _finish(message, OutgoingMessage.State.FAILED, code)
            return False
        author_id = message.admin_id or self._author_id()
        uploads = self._read_files() if self._files else []
        if message.reopens:
            # This adds a sentence at the end of the text, so the files are named before.
            self._decide_reopening()
            if not message.reopens and message.once_key.startswith(REOPENING):
                # The note would only explain the reopening, which does not take place.
                message.delete()
                return False
        part, author_id = self._reply(author_id, uploads)
        self._store_part(part, author_id)
        return True

    def _why_not_posted(self) -> str:
        """Return the code of the reason why the message must not be posted, "" if there is none."""
        tickets = {event.ticket_id for event in self._events}
        if not tickets:
            # A message without events, such as the note that the links were moved, is tried even after a merge, because
            # Intercom's documentation does not say whether a merged conversation accepts notes.
            return ""
        if self.conversation.merged_away_at:
            return ReasonCode.CONVERSATION_MERGED
        links = TicketLink.objects.filter(conversation=self.conversation, ticket__in=tickets)
        if links.syncing().exists():
            return ""
        return ReasonCode.SYNC_PAUSED if links.exists() else ReasonCode.NOT_LINKED

    def _store_part(self, part: Part | None, author_id: str) -> None:
        """Store the author, and the id of the part that Intercom created. `part` is None if Intercom returned none."""
        message = self.message
        message.admin_id = author_id
        if part is None:
            # `_finish` saves the author.
            return
        message.part_id = part.id
        message.save(update_fields=["part_id", "admin_id"])
        if part.app_package_code and part.app_package_code != self.workspace.app_package_code:
            Workspace.objects.filter(pk=self.workspace.pk).update(app_package_code=part.app_package_code)

    def _find_earlier(self) -> Part | None:
        """Return the part that an earlier attempt posted, None if there is none.

        The author is not compared, because Intercom may show another one.
        """
        message, app_code = self.message, self.workspace.app_package_code
        since = message.created_at.timestamp() - MAX_CLOCK_DIFFERENCE
        text = comparable(message.body)
        other_part_ids = OutgoingMessage.objects.exclude(pk=message.pk).part_ids_in(self.conversation)
        for part in self._payload.parts:
            # A customer may have sent the same words.
            is_ours = part.author.type not in CUSTOMER_TYPES and (
                not app_code or part.app_package_code == app_code
            )
            is_available = part.created_at >= since and part.id not in other_part_ids
            is_same_kind = (part.part_type == "note") is message.is_note
            if is_ours and is_available and is_same_kind and comparable(part.body) == text:
                return part
        return None

    def _author_id(self, *, refresh: bool = False) -> str:
        """Return the id of the teammate in whose name an automatic message is posted.

        This is the teammate with the e-mail address of the agent who made all the changes. The workspace's rules decide
        if several agents made them, or if agents' names are hidden from customers. `refresh`: ask Intercom again.
        """
        rules = rules_of(self.workspace)
        by_agents = [event for event in self._events if event.kind != EventKind.CUSTOMER_ENTRY]
        emails = {event.author_email for event in by_agents} - {""}
        may_name_agent = self.message.is_note or rules.shows_agent_names
        email = emails.pop() if len(emails) == 1 and may_name_agent else ""
        return teammates.author_of(self.workspace, rules, email, refresh=refresh, deadline=self._left())

    def _read_files(self) -> list[ReplyFile]:
        """Read the message's files from iTop. Extend the deadline, which is for calls to Intercom, by that time."""
        start = time.monotonic()
        uploads = self._files.read()
        self._deadline += time.monotonic() - start
        return uploads

    def _reply(self, author_id: str, uploads: Sequence[ReplyFile]) -> tuple[Part | None, str]:
        """Post the message. Return its part, or None if Intercom did not return it, and the id of the actual author.

        If the author has left Intercom, an automatic message is posted in the name of another teammate (`_author_id`).
        A message that a teammate wrote fails, because nobody else may appear as its author.
        """
        try:
            return self._reply_with_or_without_files(author_id, uploads), author_id
        except IntercomRejectedError as error:
            if self.message.admin_id or _is_deleted(error):
                raise
            other_id = self._author_id(refresh=True)
            if other_id == author_id:
                raise
        return self._reply_with_or_without_files(other_id, uploads), other_id

    def _reply_with_or_without_files(self, author_id: str, uploads: Sequence[ReplyFile]) -> Part | None:
        """Post the message with its files. If Intercom rejects them, post it without them: its text names them."""
        try:
            return self._reply_as(author_id, uploads)
        except IntercomRejectedError as error:
            if not uploads or error.status not in FILE_REJECTION_STATUSES:
                raise
            # If Intercom rejects this call as well, the files are not the reason, and are not marked.
            part = self._reply_as(author_id, [])
            self._files.mark_rejected(error.detail)
            return part

    def _reply_as(self, author_id: str, uploads: Sequence[ReplyFile]) -> Part | None:
        return self._client().reply(
            self._id,
            admin_id=author_id,
            body=self.message.body,
            note=self.message.is_note,
            files=uploads,
            deadline=UPLOAD_SECONDS if uploads else self._left(),
        )

    # --- Reopening ---

    def _decide_reopening(self) -> None:
        """Decide, before the message is posted, whether it reopens the conversation. If so, say this in its text."""
        message = self.message
        with translation.override(self.workspace.language):
            explanation = format_html(
                "<p>{}</p>", _("Because of this change, the conversation was reopened.")
            )
        # An earlier attempt may have added the sentence.
        message.body = message.body.removesuffix(explanation)
        payload = self._payload
        is_reopenable = payload.state in REOPENABLE and not payload.merged_away_at
        message.reopens = is_reopenable and not self._is_reopened_too_often()
        if message.reopens:
            message.body += explanation
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
            payload = self._payload
            author_id = message.admin_id or self._author_id()
            if payload.state in REOPENABLE:
                self._client().open(self._id, admin_id=author_id, deadline=self._left())
            message.reopened_at = timezone.now()
            kind, assignee = self._assignee()
            current_assignee = payload.team_id if kind == "team" else payload.admin_id
            if assignee and assignee != current_assignee:
                self._client().assign(
                    self._id,
                    admin_id=author_id,
                    assignee_type=kind,
                    assignee_id=assignee,
                    deadline=self._left(),
                )
        except (IntercomRejectedError, IntercomAuthenticationError) as error:
            # The message itself is posted, so it does not count as failed.
            code, detail = reason_of(error)
            log.warning(
                "conversation.not_reopened", **self.conversation.log_fields, error=type(error).__name__
            )
        if message.reopened_at is not None:
            message.save(update_fields=["reopened_at"])
            self._mark_reopening_event()
        return code, detail

    def _mark_reopening_event(self) -> None:
        """Mark the first event that caused the reopening. MAX_REOPENED_PER_DAY limits the number of these marks."""
        kinds = rules_of(self.workspace).reopens_on
        # If the rules have changed since the message was stored, perhaps none of its events reopens any more.
        causes = [event for event in self._events if event.kind in kinds] or self._events
        if causes:
            TicketEvent.objects.filter(pk=causes[0].pk).update(reopened=True)

    def _assignee(self) -> tuple[str, str]:
        """Return the type ("admin" or "team") and the id of who gets the conversation. An empty id: no change."""
        assign_to = self.message.assign_to
        if assign_to.get("type") == EventRules.Assignee.LAST_TEAMMATE:
            return "admin", self._last_teammate_id()
        if assign_to.get("type") == EventRules.Assignee.LINKED_BY:
            return "admin", self._linker_id()
        return assign_to.get("type", ""), assign_to.get("id", "")

    def _last_teammate_id(self) -> str:
        """Return the id of the teammate who wrote last in the conversation, "" if none did."""
        our_part_ids = OutgoingMessage.objects.part_ids_in(self.conversation)
        for part in reversed(self._payload.parts):
            is_automatic = part.id in our_part_ids or part.app_package_code
            if part.author.type == "admin" and part.body and not is_automatic:
                return part.author.id
        return ""

    def _linker_id(self) -> str:
        """Return the id of the teammate who linked the ticket, "" if unknown.

        The link only stores the teammate's name, so the id is unknown if two teammates have this name.
        """
        tickets = {event.ticket_id for event in self._events}
        link = TicketLink.objects.filter(conversation=self.conversation, ticket__in=tickets).first()
        if link is None or not link.linked_by:
            return ""
        admins = teammates.teammates(self.workspace, deadline=self._left())
        ids = [admin.id for admin in admins if admin.name[:200].casefold() == link.linked_by.casefold()]
        return ids[0] if len(ids) == 1 else ""

    # --- Calls ---

    @property
    def _id(self) -> str:
        return self.conversation.conversation_id

    def _client(self) -> IntercomClient:
        return intercom_client(self.workspace)

    def _left(self) -> float:
        """Return the seconds that the next call may take."""
        return max(1.0, min(CALL_SECONDS, self._deadline - time.monotonic()))

    @cached_property
    def _payload(self) -> ConversationPayload:
        """The conversation as Intercom returns it."""
        return self._client().conversation(self._id, deadline=self._left())


def _events_of(message: OutgoingMessage) -> list[TicketEvent]:
    """Return the events that the message reports.

    If a note only explains a reopening, this is the first event that caused it. If a message has nothing but files,
    these are the files' events. In a teammate's message (`admin_name`), files do not count, because it is posted even
    if the sync is paused.
    """
    is_event = Q(message=message)
    event_pk = message.once_key.removeprefix(REOPENING)
    if message.once_key.startswith(REOPENING) and event_pk.isdecimal():
        is_event |= Q(pk=int(event_pk), conversation=message.conversation)
    if is_about_files(message) and not message.admin_name:
        # After a merge, the events may be those of the other conversation.
        is_event |= Q(files__message=message)
    events = TicketEvent.objects.filter(is_event)
    return list(events.order_by("pk").distinct())


def _is_deleted(error: IntercomError) -> bool:
    """Return whether the error says that the conversation does not exist any more."""
    return error.status == 404 and error.intercom_code in ("not_found", "conversation_not_found")


def _claim(message: OutgoingMessage) -> bool:
    """Claim the message for one attempt, and count the attempt. Return False if another worker was faster."""
    claimed = OutgoingMessage.objects.next_due().filter(pk=message.pk, attempts=message.attempts)
    seconds = UPLOAD_CLAIM_SECONDS if message.files.exists() else CLAIM_SECONDS
    until = Now() + dt.timedelta(seconds=seconds)
    if not claimed.update(attempts=F("attempts") + 1, due_at=until):
        return False
    message.attempts += 1
    return True


def _hold(message: OutgoingMessage, code: str, detail: str = "", *, seconds: float = HELD_SECONDS) -> None:
    """Postpone a message that has to wait for something else, such as iTop or a setting. This counts as no attempt."""
    message.attempts -= 1
    message.set_reason(code, detail)
    _postpone(message, seconds)


def _try_later(message: OutgoingMessage, error: Exception) -> None:
    """Postpone the message after an attempt that failed, or give it up."""
    if _should_give_up(message):
        _finish(message, OutgoingMessage.State.FAILED, *reason_of(error))
        return
    seconds = backoff_seconds(message.attempts)
    if getattr(error, "may_have_run", False):
        # Intercom may still be posting the message. Until it has, the next attempt cannot find it in the conversation.
        has_files = message.files.exists()
        seconds = max(seconds, UPLOAD_UNKNOWN_SECONDS if has_files else UNKNOWN_SECONDS)
    if isinstance(error, IntercomRateLimitedError):
        seconds = max(seconds, error.until - timezone.now().timestamp())
    message.set_reason(*reason_of(error))
    _postpone(message, seconds)
    log.warning(
        "outgoing_message.postponed",
        message=message.pk,
        **message.conversation.log_fields,
        seconds=round(seconds),
    )


def _should_give_up(message: OutgoingMessage) -> bool:
    """Return whether the message is too old, or failed often while Intercom accepted newer ones of the workspace."""
    if timezone.now() - message.created_at > MAX_AGE:
        return True
    newer = OutgoingMessage.objects.filter(
        conversation__workspace=message.conversation.workspace,
        state=OutgoingMessage.State.POSTED,
        created_at__gt=message.created_at,
    )
    return message.attempts >= MAX_ATTEMPTS and newer.exists()


def _postpone(message: OutgoingMessage, seconds: float) -> None:
    """Make the message due in `seconds`, by the database's clock, and store its reason and number of attempts."""
    message.due_at = timezone.now() + dt.timedelta(seconds=seconds)
    OutgoingMessage.objects.filter(pk=message.pk).update(
        attempts=message.attempts,
        due_at=Now() + dt.timedelta(seconds=seconds),
        reason_code=message.reason_code,
        reason_detail=message.reason_detail,
    )


@transaction.atomic
def _finish(message: OutgoingMessage, state: str, code: str = ReasonCode.NONE, detail: str = "") -> None:
    """Store that the message is posted or has failed, and start what waited for this."""
    conversation = message.conversation
    message.state = state
    message.set_reason(code, detail)
    message.save(update_fields=["state", "admin_id", "reason_code", "reason_detail"])
    if state == OutgoingMessage.State.POSTED:
        message.files.filter(state=FileToIntercom.State.NAMED).update(state=FileToIntercom.State.POSTED)
    count_files_of_message(message)
    if code in POINTLESS and message.broadcast_id is None:
        # A message without content is neither reported to the operators nor retried. The message of a broadcast keeps
        # its content, because it may reach the customer in another conversation.
        OutgoingMessage.objects.filter(pk=message.pk).erase_content()
    if code == ReasonCode.CONVERSATION_MERGED:
        # A teammate may have moved links while this message was being posted. Report its events and files where the
        # links are. The events of the files may be there already.
        for link in links_moved_from(conversation):
            report_after_merge(conversation, link)
    # Notifications wait while it is unknown whether they report this message or a teammate's.
    WebhookEvent.objects.release_postponed(conversation.workspace, conversation.conversation_id)
    log.info("outgoing_message.finished", message=message.pk, **conversation.log_fields, state=state)
