import datetime as dt
import re
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from intercom_bridge.models import Conversation, Delivery, TicketLink
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.sync.reconcile import Comparison, ComparisonError, ConversationDeletedError, compare

from ._rows import find_workspace

# Intercom's rate limit counts requests in windows of ten seconds. If two waits do not help, a third will not either.
MAX_ATTEMPTS = 3
MAX_WAIT_SECONDS = 60.0
# The worker retries a failed comparison within this time.
RETRY_SECONDS = 60.0

_AGE = re.compile(r"(\d{1,4})\s*(minute|hour|day|week)s?", re.IGNORECASE)


class Command(BaseCommand):
    help = (
        "Compare linked conversations with Intercom, and have missing messages written to their tickets, in order. "
        "The worker does this for conversations with recent activity. Exit status 1: some conversations could not be "
        "compared."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--workspace", default="", metavar="ID", help="only this workspace's conversations"
        )
        parser.add_argument(
            "--since",
            default="",
            metavar="WHEN",
            help="only conversations that received a message or were linked since this time: 2026-01-31, "
            "2026-01-31T08:00, “2 days”. Do not use this option after an outage of this service: it would leave out "
            "conversations whose messages were not received during the outage",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="report missing messages, and change nothing"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        conversations = _select(options["workspace"], _parse_since(options["since"]))
        dry_run = bool(options["dry_run"])
        compared_count = failed_count = missing_count = 0
        for pk in list(conversations.values_list("pk", flat=True)):
            conversation = Conversation.objects.select_related("workspace").filter(pk=pk).first()
            if conversation is None:
                continue  # deleted in the meantime
            name = f"{conversation.conversation_id} ({conversation.workspace.workspace_id})"
            try:
                outcome, missing = _compare(conversation, dry_run=dry_run)
                compared_count += 1
                missing_count += missing
            except ComparisonError as error:
                outcome = self.style.ERROR(f"could not be compared: {error}")
                failed_count += 1
                if not dry_run:
                    Conversation.objects.filter(pk=conversation.pk).compare_within(RETRY_SECONDS)
            self.stdout.write(f"{name}: {outcome}")
        self.stdout.write(_summary(compared_count, missing_count, dry_run=dry_run))
        if failed_count:
            retry = "" if dry_run else " The worker will retry."
            raise CommandError(f"{_counted(failed_count, 'conversation')} could not be compared.{retry}")


def _compare(conversation: Conversation, *, dry_run: bool) -> tuple[str, int]:
    """Compare a conversation. Return the outcome as a text, and the number of missing messages."""
    if not conversation.workspace.enabled:
        return "skipped: the workspace is disabled", 0
    if not TicketLink.objects.filter(conversation=conversation).syncing().exists():
        return "skipped: the sync is paused", 0
    try:
        comparison = _compare_with_retries(conversation, dry_run=dry_run)
    except ConversationDeletedError:
        return str(ReasonCode.CONVERSATION_DELETED.label), 0
    if not comparison.gaps:
        return "nothing is missing", 0
    gaps = ", ".join(f"{_counted(gap.messages, 'message')} in {gap.ticket}" for gap in comparison.gaps)
    return f"{'missing' if dry_run else 'filled in'}: {gaps}", sum(gap.messages for gap in comparison.gaps)


def _compare_with_retries(conversation: Conversation, *, dry_run: bool) -> Comparison:
    """Compare, and retry after Intercom's rate limit. Raise ComparisonError or ConversationDeletedError."""
    for _ in range(MAX_ATTEMPTS - 1):  # the last attempt is below
        try:
            return compare(conversation, fill=not dry_run)
        except ComparisonError as error:
            wait_seconds = error.until - time.time()  # `until` is 0 after other errors than the rate limit
            if not 0 < wait_seconds <= MAX_WAIT_SECONDS:
                raise
            time.sleep(wait_seconds)
    return compare(conversation, fill=not dry_run)


def _select(workspace_id: str, since: dt.datetime | None) -> QuerySet[Conversation]:
    """Return the linked conversations that the arguments select. An empty ID selects all workspaces."""
    links = TicketLink.objects.filter(conversation=OuterRef("pk"))
    conversations = Conversation.objects.filter(Exists(links)).order_by("pk")
    if workspace_id:
        conversations = conversations.filter(workspace=find_workspace(workspace_id))
    if since is None:
        return conversations
    is_recent = Q(created_at__gte=since) | Q(part_created_at__gte=int(since.timestamp()))
    recent_messages = Delivery.objects.filter(is_recent, conversation=OuterRef("pk"))
    recent_links = links.filter(created_at__gte=since)
    return conversations.filter(Exists(recent_messages) | Exists(recent_links))


def _parse_since(text: str) -> dt.datetime | None:
    """Parse an ISO date or time, or an age like “2 days”. A time without a zone is in TIME_ZONE."""
    if not text.strip():
        return None
    if age := _AGE.fullmatch(text.strip()):
        number, unit = age.groups()
        return timezone.now() - dt.timedelta(**{f"{unit.lower()}s": int(number)})
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise CommandError(
            f"--since “{text}” is neither a date like 2026-01-31 or 2026-01-31T08:00 nor an age like “2 days”."
        ) from None
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _summary(compared_count: int, missing_count: int, *, dry_run: bool) -> str:
    if dry_run:
        result = f"{_counted(missing_count, 'message')} missing; dry run, nothing was changed"
    elif missing_count:
        result = f"{_counted(missing_count, 'message')} filled in; the worker writes them within a minute"
    else:
        result = "nothing was missing"
    return f"{_counted(compared_count, 'conversation')} compared: {result}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
