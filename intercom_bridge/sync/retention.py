"""What came in is not kept for ever: payloads go, in small steps. Their rows stay, and with them the keys.

What was written once is never written again because somebody cleaned up. How long they are kept is a setting, which a
workspace may have its own mind about. Each step is a transaction of its own, so that a webhook waits for one at most,
and goes on in the index where the one before ended: the indexes hold only rows that have not been cleaned yet.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from intercom_bridge.models import (
    Delivery,
    ItopAnswer,
    KnownTickets,
    Mention,
    Notification,
    Posting,
    Submission,
    Workspace,
)

from .writer import stopping

log = structlog.get_logger(__name__)

STEP = 500
# Between two steps, for those who wait to write.
BREATH_SECONDS = 0.05
# Longer than any answer of iTop's is relied on, save where it is the last word of one that is away.
KEEP_ANSWERS_DAYS = 7


@dataclass(frozen=True)
class Rule:
    """Which rows of a table lose what, and when: by the state they are in, and the time they were made at."""

    model: type[models.Model]
    workspace: str
    state: str
    made_at: str
    without_payload: dict[str, Any]
    handled: tuple[str, ...]
    failed: tuple[str, ...]


RULES = (
    Rule(
        Notification,
        "workspace",
        "verdict",
        "received_at",
        {"body": b""},
        (Notification.Verdict.HANDLED, Notification.Verdict.SKIPPED),
        (Notification.Verdict.FAILED,),
    ),
    Rule(
        Delivery,
        "conversation__workspace",
        "state",
        "created_at",
        {"part": {}, "item": None},
        (Delivery.State.WRITTEN, Delivery.State.RESTORED, Delivery.State.SKIPPED),
        (Delivery.State.FAILED,),
    ),
    Rule(
        Submission,
        "conversation__workspace",
        "state",
        "created_at",
        {"fields": {}, "values": {}, "problems": []},
        (Submission.State.CREATED,),
        (Submission.State.REFUSED,),
    ),
    Rule(
        Posting,
        "conversation__workspace",
        "state",
        "created_at",
        {"body": ""},
        (Posting.State.POSTED,),
        (Posting.State.FAILED,),
    ),
)


def clean_payloads() -> dict[str, int]:
    """Cleans what is old enough; answers how many rows of each table were cleaned.

    Ends early, between two steps, when the process is asked to end.
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
    """How many rows of each table `clean_payloads` would clean now."""
    counts: dict[str, int] = {}
    for work in _work():
        counts[work.name] = counts.get(work.name, 0) + work.rows.count()
    return counts


@dataclass(frozen=True)
class _Step:
    found: int
    cleaned: int
    # Of the rows found, when the last was made.
    last: dt.datetime | None


@dataclass(frozen=True)
class _Work:
    """Rows that lose their payload, oldest first; without a payload to set, the rows themselves go."""

    name: str
    rows: models.QuerySet[Any]
    made_at: str
    without_payload: Mapping[str, Any] | None = None

    def step(self, since: dt.datetime | None) -> _Step:
        """Cleans some of those made at `since` or later."""
        rows = self.rows.filter(**{f"{self.made_at}__gte": since}) if since else self.rows
        with transaction.atomic():
            found = list(rows.order_by(self.made_at).values_list("pk", self.made_at)[:STEP])
            # Asked again: somebody may have put a failed one back meanwhile.
            here = self.rows.filter(pk__in=[pk for pk, _made_at in found])
            if self.without_payload is None:
                cleaned = here.delete()[0]
            else:
                cleaned = here.update(**self.without_payload, cleaned_at=timezone.now())
                if self.rows.model is Notification:
                    Mention.objects.filter(
                        notification__in=[pk for pk, _made_at in found],
                        notification__cleaned_at__isnull=False,
                    ).delete()
        return _Step(len(found), cleaned, found[-1][1] if found else None)


def _work() -> Iterator[_Work]:
    ages = list(_ages())
    now = timezone.now()
    for rule in RULES:
        for age in ages:
            for states, days in ((rule.handled, age.days), (rule.failed, age.failed_days)):
                # One state at a time: each is one stretch of the index.
                for state in states:
                    old = {rule.state: state, f"{rule.made_at}__lt": now - dt.timedelta(days=days)}
                    rows = rule.model._default_manager.filter(age.of(rule.workspace), cleaned_at=None, **old)
                    name = str(rule.model._meta.verbose_name_plural)
                    yield _Work(name, rows, rule.made_at, rule.without_payload)
    before = now - dt.timedelta(days=KEEP_ANSWERS_DAYS)
    yield _Work("answers of iTop", ItopAnswer.objects.filter(at__lt=before), "at")
    yield _Work("known tickets", KnownTickets.objects.filter(at__lt=before), "at")


@dataclass(frozen=True)
class _Age:
    """So many days are payloads kept: those of one workspace, or of all that have no number of their own.

    The workspaces are told by the `others`, which it is not about: an index by workspace would lead through all that
    one ever got, cleaned or not.
    """

    days: int
    failed_days: int
    others: tuple[int, ...]

    def of(self, path: str) -> Q:
        """Narrows rows whose workspace is at `path`."""
        return ~Q(**{f"{path}__in": self.others}) if self.others else Q()


def _ages() -> Iterator[_Age]:
    usual, usual_failed = settings.KEEP_PAYLOADS_DAYS, settings.KEEP_FAILED_PAYLOADS_DAYS
    workspaces = list(Workspace.objects.order_by("pk"))
    with_their_own = [one for one in workspaces if one.keep_payloads_days or one.keep_failed_payloads_days]
    yield _Age(usual, usual_failed, tuple(one.pk for one in with_their_own))
    for workspace in with_their_own:
        yield _Age(
            workspace.keep_payloads_days or usual,
            workspace.keep_failed_payloads_days or usual_failed,
            tuple(one.pk for one in workspaces if one != workspace),
        )
