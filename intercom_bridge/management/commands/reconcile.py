from __future__ import annotations

import datetime as dt
import re
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from intercom_bridge.models import Conversation, Delivery, TicketLink, Workspace
from intercom_bridge.reasons import GONE
from intercom_bridge.sync.reconcile import CannotCompare, Comparison, ConversationGone, compare

# Intercom counts calls in windows of ten seconds: after a few of them it must be something else.
TRIES = 3
LONGEST_WAIT_SECONDS = 60.0
# When the worker tries what could not be compared.
AGAIN_SECONDS = 60.0

_AGO = re.compile(r"(\d{1,4})\s*(minute|hour|day|week)s?", re.IGNORECASE)


class Command(BaseCommand):
    help = (
        "Compares the linked conversations with Intercom's own and has what is missing written to their tickets, in "
        "order. The worker does this by itself for conversations in which something happens. Exit status 1: some "
        "could not be compared."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--workspace", default="", metavar="ID", help="only this workspace's conversations"
        )
        parser.add_argument(
            "--since",
            default="",
            metavar="WHEN",
            help="only conversations from which something has reached us since then, or that were linked since then: "
            "2026-01-31, 2026-01-31T08:00, “2 days”. After an outage of your own leave it out: what was lost in it "
            "did not reach us",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="says what is missing, and changes nothing"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        chosen = _chosen(options["workspace"], _moment(options["since"]))
        dry_run = bool(options["dry_run"])
        compared = failed = messages = 0
        for pk in list(chosen.values_list("pk", flat=True)):
            conversation = Conversation.objects.select_related("workspace").filter(pk=pk).first()
            if conversation is None:
                continue
            name = f"{conversation.conversation_id} ({conversation.workspace.workspace_id})"
            try:
                said, count = _one(conversation, dry_run=dry_run)
                compared, messages = compared + 1, messages + count
            except CannotCompare as trouble:
                said, failed = self.style.ERROR(f"could not be compared: {trouble}"), failed + 1
                if not dry_run:
                    Conversation.objects.filter(pk=conversation.pk).compare_within(AGAIN_SECONDS)
            self.stdout.write(f"{name}: {said}")
        self.stdout.write(_summary(compared, messages, dry_run=dry_run))
        if failed:
            later = "" if dry_run else " The worker tries again."
            raise CommandError(f"{_counted(failed, 'conversation')} could not be compared.{later}")


def _one(conversation: Conversation, *, dry_run: bool) -> tuple[str, int]:
    """What to say about it, and how many messages were missing."""
    if not conversation.workspace.enabled:
        return "left alone: the workspace is turned off", 0
    if not TicketLink.objects.filter(conversation=conversation).syncing().exists():
        return "left alone: the sync is paused", 0
    try:
        comparison = _compare_patiently(conversation, dry_run=dry_run)
    except ConversationGone:
        return GONE, 0
    gaps = [f"{_counted(gap.messages, 'message')} in {gap.ticket}" for gap in comparison.gaps]
    count = sum(gap.messages for gap in comparison.gaps)
    if not gaps:
        return "nothing is missing", 0
    return f"{'missing' if dry_run else 'filled in'}: {', '.join(gaps)}", count


def _compare_patiently(conversation: Conversation, *, dry_run: bool) -> Comparison:
    """Waits where Intercom says how long it wants to be left alone. Raises CannotCompare, ConversationGone."""
    for _ in range(TRIES - 1):
        try:
            return compare(conversation, fill=not dry_run)
        except CannotCompare as trouble:
            seconds = trouble.until - time.time()
            if not 0 < seconds <= LONGEST_WAIT_SECONDS:
                raise
            time.sleep(seconds)
    return compare(conversation, fill=not dry_run)


def _chosen(workspace_id: str, since: dt.datetime | None) -> QuerySet[Conversation]:
    links = TicketLink.objects.filter(conversation=OuterRef("pk"))
    conversations = Conversation.objects.filter(Exists(links)).order_by("pk")
    if workspace_id:
        workspace = Workspace.objects.filter(workspace_id=workspace_id).first()
        if workspace is None:
            known = ", ".join(Workspace.objects.values_list("workspace_id", flat=True)) or "none"
            raise CommandError(f"There is no workspace {workspace_id}. Known: {known}.")
        conversations = conversations.filter(workspace=workspace)
    if since is None:
        return conversations
    reached_us = Delivery.objects.filter(
        Q(created_at__gte=since) | Q(part_created_at__gte=int(since.timestamp())), conversation=OuterRef("pk")
    )
    return conversations.filter(Exists(reached_us) | Exists(links.filter(created_at__gte=since)))


def _moment(text: str) -> dt.datetime | None:
    """An ISO date or time (the settings' time zone if it has none), or so long ago."""
    if not text.strip():
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return timezone.now() - dt.timedelta(**{f"{ago[2].lower()}s": int(ago[1])})
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
    return f"{_counted(compared, 'conversation')} looked at: {found}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
