"""Delete old message contents in small batches. The rows and their keys stay, so nothing is written twice.

A setting says how long contents are kept, and a workspace can override it. Each batch is a transaction, so that a
webhook waits for one batch at most, and continues in the index where the previous one ended. The indexes contain only
rows that are not cleaned yet.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from intercom_bridge.models import (
    CachedAnswer,
    CachedTickets,
    Delivery,
    FileToIntercom,
    FileToItop,
    FormDraft,
    Mention,
    OutgoingMessage,
    TicketCreation,
    TicketEvent,
    TicketSnapshot,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.job import Job
from intercom_bridge.models.reason import ReasonCode

from .writer import stopping

log = structlog.get_logger(__name__)

STEP = 500
# A pause between two batches, so that other transactions can write.
BREATH_SECONDS = 0.05
# Longer than the cache lifetimes. Older entries are only used while iTop is down.
KEEP_ANSWERS_DAYS = 7
# The states of jobs that are done. Failed ones keep their content for a time of their own.
DONE: dict[type[Job], tuple[str, ...]] = {
    WebhookEvent: (WebhookEvent.State.HANDLED, WebhookEvent.State.SKIPPED),
    Delivery: (Delivery.State.WRITTEN, Delivery.State.RESTORED, Delivery.State.SKIPPED),
    TicketCreation: (TicketCreation.State.CREATED,),
    OutgoingMessage: (OutgoingMessage.State.POSTED,),
    FileToItop: (FileToItop.State.COPIED, FileToItop.State.SKIPPED),
}


def clean_payloads() -> dict[str, int]:
    """Delete old contents; return the number of rows by table.

    End between two batches if the process is asked to stop.
    """
    cleaned: Counter[str] = Counter()
    for work in _work():
        since: dt.datetime | None = None
        while not stopping.is_set():
            count, since = work.clean_batch(since)
            cleaned[work.name] += count
            if since is None:
                break
            stopping.wait(BREATH_SECONDS)
    if any(cleaned.values()):
        log.info("payloads.cleaned", **{name.replace(" ", "_"): count for name, count in cleaned.items()})
    return cleaned


def count_payloads() -> dict[str, int]:
    """Return how many rows of each table `clean_payloads` would clean now."""
    counts: Counter[str] = Counter()
    for work in _work():
        counts[work.name] += work.rows.count()
    return counts


@dataclass(frozen=True)
class _Work:
    """Rows to clean, oldest first. Those whose QuerySet can erase their content stay; others are deleted."""

    name: str
    rows: QuerySet[Any]
    made_at: str = "created_at"
    # Values of other fields of the cleaned rows.
    changes: dict[str, Any] = field(default_factory=dict)

    def clean_batch(self, since: dt.datetime | None) -> tuple[int, dt.datetime | None]:
        """Clean a batch of the rows created at `since` or later.

        Return the number of cleaned rows, and the `since` of the next batch: None if this was the last batch.
        """
        rows = self.rows.filter(**{f"{self.made_at}__gte": since}) if since else self.rows
        with transaction.atomic():
            found = list(rows.order_by(self.made_at).values_list("pk", self.made_at)[:STEP])
            keys = [pk for pk, _made_at in found]
            # Filter again: a failed row may have been queued again.
            here: Any = self.rows.filter(pk__in=keys)
            if not hasattr(here, "erase_content"):
                cleaned = here.delete()[0]
            else:
                cleaned = here.erase_content(**self.changes)
                if self.rows.model is WebhookEvent:
                    mentions = Mention.objects.filter(webhook_event__in=keys)
                    mentions.filter(webhook_event__cleaned_at__isnull=False).delete()
        return cleaned, found[-1][1] if len(found) == STEP else None


def _work() -> Iterator[_Work]:
    for age in _ages():
        for model, done in DONE.items():
            path, made_at = "conversation__workspace", "created_at"
            if model is WebhookEvent:
                path, made_at = "workspace", "received_at"
            # One state at a time, because each is one range of the index.
            for state in (*done, model.FAILED_STATE):
                days = age.failed_days if state == model.FAILED_STATE else age.days
                old = Q(state=state, cleaned_at=None, **{f"{made_at}__lt": _days_ago(days)})
                rows = model._default_manager.filter(age.of(path) & old)
                yield _Work(str(model._meta.verbose_name_plural), rows, made_at)
        old = Q(cleaned_at=None, created_at__lt=_days_ago(age.days))
        of_conversation = age.of("conversation__workspace") & old
        yield _Work("ticket events", TicketEvent.objects.filter(of_conversation))
        files = FileToIntercom.objects.filter(age.of("event__conversation__workspace") & old)
        yield _Work("files for Intercom", files)
        left_out = FileToItop.objects.waiting().without_message().filter(of_conversation)
        # Once it is erased, a message that was left out during a pause can no longer be written.
        skipped = {"state": FileToItop.State.SKIPPED, "reason_code": ReasonCode.SYNC_PAUSED}
        yield _Work("files for iTop", left_out, changes=skipped)
    unpolled = TicketSnapshot.objects.with_content().filter(
        poll_at=None, read_at__lt=_days_ago(settings.KEEP_PAYLOADS_DAYS)
    )
    yield _Work("ticket snapshots", unpolled, "read_at")
    before = _days_ago(KEEP_ANSWERS_DAYS)
    yield _Work("answers of iTop", CachedAnswer.objects.filter(at__lt=before), "at")
    yield _Work("cached tickets", CachedTickets.objects.filter(at__lt=before), "at")
    yield _Work("form drafts", FormDraft.objects.expired(), "saved_at")


def _days_ago(days: int) -> dt.datetime:
    return timezone.now() - dt.timedelta(days=days)


@dataclass(frozen=True)
class _Age:
    """How many days the contents are kept, in one workspace or in all that have no values of their own.

    `others` are the workspaces to exclude. An index by workspace would lead to all its rows, cleaned or not.
    """

    days: int
    failed_days: int
    others: tuple[int, ...]

    def of(self, path: str) -> Q:
        """Return the condition for rows whose workspace is at `path`."""
        return ~Q(**{f"{path}__in": self.others}) if self.others else Q()


def _ages() -> Iterator[_Age]:
    usual, usual_failed = settings.KEEP_PAYLOADS_DAYS, settings.KEEP_FAILED_PAYLOADS_DAYS
    workspaces = list(Workspace.objects.order_by("pk"))
    with_values = [row for row in workspaces if row.keep_payloads_days or row.keep_failed_payloads_days]
    yield _Age(usual, usual_failed, tuple(row.pk for row in with_values))
    for workspace in with_values:
        yield _Age(
            workspace.keep_payloads_days or usual,
            workspace.keep_failed_payloads_days or usual_failed,
            tuple(row.pk for row in workspaces if row != workspace),
        )
