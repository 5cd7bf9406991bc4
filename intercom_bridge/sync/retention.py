"""Erase old message contents in small batches. The rows and their ids stay, so nothing is written twice.

Settings define how long contents are kept, and a workspace can override them. Each batch is a transaction of its own,
so that a webhook waits for one batch at most. Batches go through an index by date, which contains only rows that are
not erased yet. Each batch continues at the date where the last one ended.
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

BATCH = 500
# The pause between two batches, in which other transactions can write.
PAUSE_SECONDS = 0.05
# Longer than any cache lifetime: while iTop is down, the bridge also uses expired entries.
KEEP_ANSWERS_DAYS = 7
# The states of jobs that are done. Failed jobs have a retention period of their own.
DONE: dict[type[Job], tuple[str, ...]] = {
    WebhookEvent: (WebhookEvent.State.HANDLED, WebhookEvent.State.SKIPPED),
    Delivery: (Delivery.State.WRITTEN, Delivery.State.RESTORED, Delivery.State.SKIPPED),
    TicketCreation: (TicketCreation.State.CREATED,),
    OutgoingMessage: (OutgoingMessage.State.POSTED,),
    FileToItop: (FileToItop.State.COPIED, FileToItop.State.SKIPPED),
}


def clean_payloads() -> dict[str, int]:
    """Erase or delete old contents. Return the number of rows by table.

    If the process is asked to stop, end after the current batch.
    """
    cleaned: Counter[str] = Counter()
    for old_rows in _all_old_rows():
        since: dt.datetime | None = None
        while not stopping.is_set():
            count, since = old_rows.clean_batch(since)
            cleaned[old_rows.name] += count
            if since is None:
                break
            stopping.wait(PAUSE_SECONDS)
    if any(cleaned.values()):
        log.info("payloads.cleaned", **{name.replace(" ", "_"): count for name, count in cleaned.items()})
    return cleaned


def count_payloads() -> dict[str, int]:
    """Return how many rows of each table `clean_payloads` would clean now."""
    counts: Counter[str] = Counter()
    for old_rows in _all_old_rows():
        counts[old_rows.name] += old_rows.rows.count()
    return counts


@dataclass(frozen=True)
class _OldRows:
    """The rows of a table that are old enough to be cleaned.

    If their QuerySet has `erase_content`, only their content is erased. Otherwise the rows are deleted.
    """

    name: str
    rows: QuerySet[Any]
    date_field: str = "created_at"
    changes: dict[str, Any] = field(default_factory=dict)
    """Values that other fields get when the content is erased."""

    def clean_batch(self, since: dt.datetime | None) -> tuple[int, dt.datetime | None]:
        """Clean a batch of the rows whose date is `since` or later, oldest first.

        Return the number of cleaned rows, and the `since` of the next batch: None if this was the last batch.
        """
        rows = self.rows.filter(**{f"{self.date_field}__gte": since}) if since else self.rows
        with transaction.atomic():
            pks_and_dates = list(rows.order_by(self.date_field).values_list("pk", self.date_field)[:BATCH])
            pks = [pk for pk, _date in pks_and_dates]
            # Filtered again: a failed job may have been put back in the queue since the query.
            batch: Any = self.rows.filter(pk__in=pks)
            if not hasattr(batch, "erase_content"):
                cleaned = batch.delete()[0]
            else:
                cleaned = batch.erase_content(**self.changes)
                if self.rows.model is WebhookEvent:
                    mentions = Mention.objects.filter(webhook_event__in=pks)
                    mentions.filter(webhook_event__cleaned_at__isnull=False).delete()
        if len(pks_and_dates) < BATCH:
            return cleaned, None
        _last_pk, last_date = pks_and_dates[-1]
        return cleaned, last_date


def _all_old_rows() -> Iterator[_OldRows]:
    for period in _retention_periods():
        yield from _old_jobs(period)
        is_old = Q(cleaned_at=None, created_at__lt=_days_ago(period.days))
        is_old_in_conversation = period.applies_to("conversation__workspace") & is_old
        yield _OldRows("ticket events", TicketEvent.objects.filter(is_old_in_conversation))
        files = FileToIntercom.objects.filter(period.applies_to("event__conversation__workspace") & is_old)
        yield _OldRows("files for Intercom", files)
        # These files wait because their messages are skipped. Once erased, they can no longer be copied.
        waiting_files = FileToItop.objects.waiting().without_message().filter(is_old_in_conversation)
        skipped = {"state": FileToItop.State.SKIPPED, "reason_code": ReasonCode.SYNC_PAUSED}
        yield _OldRows("files for iTop", waiting_files, changes=skipped)
    unpolled = TicketSnapshot.objects.with_content().filter(
        poll_at=None, read_at__lt=_days_ago(settings.KEEP_PAYLOADS_DAYS)
    )
    yield _OldRows("ticket snapshots", unpolled, "read_at")
    before = _days_ago(KEEP_ANSWERS_DAYS)
    yield _OldRows("answers of iTop", CachedAnswer.objects.filter(at__lt=before), "at")
    yield _OldRows("cached tickets", CachedTickets.objects.filter(at__lt=before), "at")
    yield _OldRows("form drafts", FormDraft.objects.expired(), "saved_at")


def _old_jobs(period: _RetentionPeriod) -> Iterator[_OldRows]:
    for model, done_states in DONE.items():
        workspace_path, date_field = "conversation__workspace", "created_at"
        if model is WebhookEvent:
            workspace_path, date_field = "workspace", "received_at"
        # One query per state: the index begins with the state, so each query reads one range of it.
        for state in (*done_states, model.FAILED_STATE):
            days = period.failed_days if state == model.FAILED_STATE else period.days
            is_old = Q(state=state, cleaned_at=None, **{f"{date_field}__lt": _days_ago(days)})
            rows = model._default_manager.filter(period.applies_to(workspace_path) & is_old)
            yield _OldRows(str(model._meta.verbose_name_plural), rows, date_field)


def _days_ago(days: int) -> dt.datetime:
    return timezone.now() - dt.timedelta(days=days)


@dataclass(frozen=True)
class _RetentionPeriod:
    """How many days contents are kept, in all workspaces except those excluded.

    Even the period of a single workspace excludes the others: a condition on that workspace would make the database use
    the index by workspace, which also contains the rows that are erased already.
    """

    days: int
    failed_days: int
    excluded_workspaces: tuple[int, ...]

    def applies_to(self, path: str) -> Q:
        """Return the condition for rows whose workspace is at `path` (a lookup path)."""
        return ~Q(**{f"{path}__in": self.excluded_workspaces}) if self.excluded_workspaces else Q()


def _retention_periods() -> Iterator[_RetentionPeriod]:
    """Return the period of the settings, and that of each workspace with values of its own."""
    days, failed_days = settings.KEEP_PAYLOADS_DAYS, settings.KEEP_FAILED_PAYLOADS_DAYS
    workspaces = list(Workspace.objects.order_by("pk"))
    overriding = [
        workspace
        for workspace in workspaces
        if workspace.keep_payloads_days or workspace.keep_failed_payloads_days
    ]
    yield _RetentionPeriod(days, failed_days, tuple(workspace.pk for workspace in overriding))
    for workspace in overriding:
        yield _RetentionPeriod(
            workspace.keep_payloads_days or days,
            workspace.keep_failed_payloads_days or failed_days,
            tuple(other.pk for other in workspaces if other != workspace),
        )
