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

# Intercom's rate limit has windows of ten seconds, so more attempts would not help.
MAX_ATTEMPTS = 3
MAX_WAIT_SECONDS = 60.0
# When the worker retries a failed comparison.
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
            "2026-01-31T08:00, “2 days”. Do not use this option after an outage of this service, because messages "
            "sent during the outage were not received",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="report missing messages, and change nothing"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        conversations = _select(options["workspace"], _parse_since(options["since"]))
        dry_run = bool(options["dry_run"])
        compared = failed = messages = 0
        for pk in list(conversations.values_list("pk", flat=True)):
            conversation = Conversation.objects.select_related("workspace").filter(pk=pk).first()
            if conversation is None:
                continue
            name = f"{conversation.conversation_id} ({conversation.workspace.workspace_id})"
            try:
                text, count = _compare_one(conversation, dry_run=dry_run)
                compared, messages = compared + 1, messages + count
            except ComparisonError as error:
                text, failed = self.style.ERROR(f"could not be compared: {error}"), failed + 1
                if not dry_run:
                    Conversation.objects.filter(pk=conversation.pk).compare_within(RETRY_SECONDS)
            self.stdout.write(f"{name}: {text}")
        self.stdout.write(_summary(compared, messages, dry_run=dry_run))
        if failed:
            later = "" if dry_run else " The worker will retry."
            raise CommandError(f"{_counted(failed, 'conversation')} could not be compared.{later}")


def _compare_one(conversation: Conversation, *, dry_run: bool) -> tuple[str, int]:
    """Compare a conversation. Return a text for the user and the number of missing messages."""
    if not conversation.workspace.enabled:
        return "skipped: the workspace is disabled", 0
    if not TicketLink.objects.filter(conversation=conversation).syncing().exists():
        return "skipped: the sync is paused", 0
    try:
        comparison = _compare_with_retries(conversation, dry_run=dry_run)
    except ConversationDeletedError:
        return str(ReasonCode.CONVERSATION_DELETED.label), 0
    gaps = [f"{_counted(gap.messages, 'message')} in {gap.ticket}" for gap in comparison.gaps]
    count = sum(gap.messages for gap in comparison.gaps)
    if not gaps:
        return "nothing is missing", 0
    return f"{'missing' if dry_run else 'filled in'}: {', '.join(gaps)}", count


def _compare_with_retries(conversation: Conversation, *, dry_run: bool) -> Comparison:
    """Compare, and wait for Intercom's rate limit. Raise ComparisonError or ConversationDeletedError."""
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return compare(conversation, fill=not dry_run)
        except ComparisonError as error:
            seconds = error.until - time.time()
            if not 0 < seconds <= MAX_WAIT_SECONDS:
                raise
            time.sleep(seconds)
    return compare(conversation, fill=not dry_run)


def _select(workspace_id: str, since: dt.datetime | None) -> QuerySet[Conversation]:
    links = TicketLink.objects.filter(conversation=OuterRef("pk"))
    conversations = Conversation.objects.filter(Exists(links)).order_by("pk")
    if workspace_id:
        conversations = conversations.filter(workspace=find_workspace(workspace_id))
    if since is None:
        return conversations
    received = Delivery.objects.filter(
        Q(created_at__gte=since) | Q(part_created_at__gte=int(since.timestamp())), conversation=OuterRef("pk")
    )
    return conversations.filter(Exists(received) | Exists(links.filter(created_at__gte=since)))


def _parse_since(text: str) -> dt.datetime | None:
    """Parse an ISO date or time (in the time zone of the settings, unless given), or an age like “2 days”."""
    if not text.strip():
        return None
    if age := _AGE.fullmatch(text.strip()):
        return timezone.now() - dt.timedelta(**{f"{age[2].lower()}s": int(age[1])})
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise CommandError(
            f"--since “{text}” is neither a date like 2026-01-31 or 2026-01-31T08:00 nor a time like “2 days”."
        ) from None
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _summary(compared: int, messages: int, *, dry_run: bool) -> str:
    if dry_run:
        found = f"{_counted(messages, 'message')} missing; dry run, nothing was changed"
    elif messages:
        found = f"{_counted(messages, 'message')} filled in; the worker writes them within a minute"
    else:
        found = "nothing was missing"
    return f"{_counted(compared, 'conversation')} compared: {found}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
