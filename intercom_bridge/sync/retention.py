"""Delete old message contents in small batches. The rows and their keys stay, so nothing is written twice.

A setting says how long contents are kept, and a workspace can override it. Each batch is a transaction, so that a
webhook waits for one batch at most, and continues in the index where the previous one ended. The indexes contain only
rows that are not cleaned yet.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
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
from intercom_bridge.models.file_to_intercom import FileToIntercomQuerySet
from intercom_bridge.models.job import Job, JobQuerySet
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.models.ticket_event import TicketEventQuerySet
from intercom_bridge.models.ticket_snapshot import TicketSnapshotQuerySet

from .writer import stopping

log = structlog.get_logger(__name__)

STEP = 500
# A pause between two batches, so that other transactions can write.
BREATH_SECONDS = 0.05
# Longer than the cache lifetimes. Older entries are only used while iTop is down.
KEEP_ANSWERS_DAYS = 7


@dataclass(frozen=True)
class Rule:
    """Which rows of a table are cleaned, by state and creation time."""

    model: type[Job]
    workspace: str
    state: str
    made_at: str
    handled: tuple[str, ...]
    failed: tuple[str, ...]


# These rows stay without their content. Others are deleted.
_WITH_CONTENT = (JobQuerySet, TicketEventQuerySet, TicketSnapshotQuerySet, FileToIntercomQuerySet)

RULES = (
    Rule(
        WebhookEvent,
        "workspace",
        "state",
        "received_at",
        (WebhookEvent.State.HANDLED, WebhookEvent.State.SKIPPED),
        (WebhookEvent.State.FAILED,),
    ),
    Rule(
        Delivery,
        "conversation__workspace",
        "state",
        "created_at",
        (Delivery.State.WRITTEN, Delivery.State.RESTORED, Delivery.State.SKIPPED),
        (Delivery.State.FAILED,),
    ),
    Rule(
        TicketCreation,
        "conversation__workspace",
        "state",
        "created_at",
        (TicketCreation.State.CREATED,),
        (TicketCreation.State.REFUSED,),
    ),
    Rule(
        OutgoingMessage,
        "conversation__workspace",
        "state",
        "created_at",
        (OutgoingMessage.State.POSTED,),
        (OutgoingMessage.State.FAILED,),
    ),
    Rule(
        FileToItop,
        "conversation__workspace",
        "state",
        "created_at",
        (FileToItop.State.COPIED, FileToItop.State.SKIPPED),
        (FileToItop.State.FAILED,),
    ),
)


def clean_payloads() -> dict[str, int]:
    """Delete old contents; return the number of rows by table.

    End between two batches if the process is asked to stop.
    """
    cleaned: dict[str, int] = {}
    for work in _work():
        since = None
        while not stopping.is_set():
            step = work.step(since)
            cleaned[work.name] = cleaned.get(work.name, 0) + step.cleaned
            if step.found < STEP:
                break
            since = step.last
            stopping.wait(BREATH_SECONDS)
    if any(cleaned.values()):
        log.info("payloads.cleaned", **{name.replace(" ", "_"): count for name, count in cleaned.items()})
    return cleaned


def count_payloads() -> dict[str, int]:
    """Return how many rows of each table `clean_payloads` would clean now."""
    counts: dict[str, int] = {}
    for work in _work():
        counts[work.name] = counts.get(work.name, 0) + work.rows.count()
    return counts


@dataclass(frozen=True)
class _Step:
    found: int
    cleaned: int
    # When the last of the found rows was created.
    last: dt.datetime | None


@dataclass(frozen=True)
class _Work:
    """Rows to clean, oldest first. Jobs, events and snapshots stay without content; others are deleted."""

    name: str
    rows: models.QuerySet[Any]
    made_at: str
    # Values of other fields of the cleaned rows.
    changes: dict[str, Any] = field(default_factory=dict)

    def step(self, since: dt.datetime | None) -> _Step:
        """Clean a batch of the rows created at `since` or later."""
        rows = self.rows.filter(**{f"{self.made_at}__gte": since}) if since else self.rows
        with transaction.atomic():
            found = list(rows.order_by(self.made_at).values_list("pk", self.made_at)[:STEP])
            # Filter again: a failed row may have been queued again.
            here = self.rows.filter(pk__in=[pk for pk, _made_at in found])
            if not isinstance(here, _WITH_CONTENT):
                cleaned = here.delete()[0]
            else:
                cleaned = here.erase_content(**self.changes)
                if self.rows.model is WebhookEvent:
                    Mention.objects.filter(
                        webhook_event__in=[pk for pk, _made_at in found],
                        webhook_event__cleaned_at__isnull=False,
                    ).delete()
        return _Step(len(found), cleaned, found[-1][1] if found else None)


def _work() -> Iterator[_Work]:
    ages = list(_ages())
    now = timezone.now()
    for rule in RULES:
        for age in ages:
            for states, days in ((rule.handled, age.days), (rule.failed, age.failed_days)):
                # One state at a time, because each is one range of the index.
                for state in states:
                    old = {rule.state: state, f"{rule.made_at}__lt": now - dt.timedelta(days=days)}
                    rows = rule.model._default_manager.filter(age.of(rule.workspace), cleaned_at=None, **old)
                    name = str(rule.model._meta.verbose_name_plural)
                    yield _Work(name, rows, rule.made_at)
    for age in ages:
        until = now - dt.timedelta(days=age.days)
        events = TicketEvent.objects.filter(
            age.of("conversation__workspace"), cleaned_at=None, created_at__lt=until
        )
        yield _Work("ticket events", events, "created_at")
        files = FileToIntercom.objects.filter(
            age.of("event__conversation__workspace"), cleaned_at=None, created_at__lt=until
        )
        yield _Work("files for Intercom", files, "created_at")
        without_message = FileToItop.objects.waiting().without_message()
        left_out = without_message.filter(
            age.of("conversation__workspace"), cleaned_at=None, created_at__lt=until
        )
        # Once it is erased, a message that was left out during a pause can no longer be written.
        skipped = {"state": FileToItop.State.SKIPPED, "reason_code": ReasonCode.SYNC_PAUSED}
        yield _Work("files for iTop", left_out, "created_at", skipped)
    unpolled = TicketSnapshot.objects.with_content().filter(
        poll_at=None, read_at__lt=now - dt.timedelta(days=settings.KEEP_PAYLOADS_DAYS)
    )
    yield _Work("ticket snapshots", unpolled, "read_at")
    before = now - dt.timedelta(days=KEEP_ANSWERS_DAYS)
    yield _Work("answers of iTop", CachedAnswer.objects.filter(at__lt=before), "at")
    yield _Work("cached tickets", CachedTickets.objects.filter(at__lt=before), "at")
    yield _Work("form drafts", FormDraft.objects.expired(), "saved_at")


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
