"""What came in is not kept for ever: payloads go, in small steps. Their rows stay, and with them the keys.

What was written once is never written again because somebody cleaned up. Each step is a transaction of its own, so
that a webhook waits for one at most, and reads as much of an index as it cleans: the indexes hold only rows that
have not been cleaned yet.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from intercom_bridge.models import Delivery, ItopAnswer, KnownTickets, Notification, Posting, Submission

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
    state: str
    made_at: str
    without_payload: dict[str, Any]
    handled: tuple[str, ...]
    failed: tuple[str, ...]


RULES = (
    Rule(
        Notification,
        "verdict",
        "received_at",
        {"body": b""},
        (Notification.Verdict.HANDLED, Notification.Verdict.SKIPPED),
        (Notification.Verdict.FAILED,),
    ),
    Rule(
        Delivery,
        "state",
        "created_at",
        {"part": {}, "item": None},
        (Delivery.State.WRITTEN, Delivery.State.RESTORED, Delivery.State.SKIPPED),
        (Delivery.State.FAILED,),
    ),
    Rule(
        Submission,
        "state",
        "created_at",
        {"fields": {}},
        (Submission.State.CREATED,),
        (Submission.State.REFUSED,),
    ),
    Rule(
        Posting,
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
    for name, rows, step in _work():
        while not stopping.is_set():
            found, done = step(rows)
            cleaned[name] = cleaned.get(name, 0) + done
            if found < STEP:
                break
            stopping.wait(BREATH_SECONDS)
    if any(cleaned.values()):
        log.info("payloads.cleaned", **{name.replace(" ", "_"): count for name, count in cleaned.items()})
    return cleaned


def count_payloads() -> dict[str, int]:
    """How many rows of each table `clean_payloads` would clean now."""
    counts: dict[str, int] = {}
    for name, rows, _ in _work():
        counts[name] = counts.get(name, 0) + rows.count()
    return counts


Rows = models.QuerySet[Any]
Step = Callable[[Rows], tuple[int, int]]


def _work() -> list[tuple[str, Rows, Step]]:
    now = timezone.now()
    work: list[tuple[str, Rows, Step]] = []
    for rule in RULES:
        name = str(rule.model._meta.verbose_name_plural)
        for states, days in (
            (rule.handled, settings.KEEP_PAYLOADS_DAYS),
            (rule.failed, settings.KEEP_FAILED_PAYLOADS_DAYS),
        ):
            # One state at a time: each is one stretch of the index.
            for state in states:
                rows = rule.model._default_manager.filter(
                    **{rule.state: state, f"{rule.made_at}__lt": now - dt.timedelta(days=days)},
                    cleaned_at=None,
                ).order_by(rule.made_at)
                work.append((name, rows, _cleaning(rule)))
    before = now - dt.timedelta(days=KEEP_ANSWERS_DAYS)
    work.append(("answers of iTop", ItopAnswer.objects.filter(at__lt=before).order_by("at"), _delete))
    work.append(("known tickets", KnownTickets.objects.filter(at__lt=before).order_by("at"), _delete))
    return work


def _cleaning(rule: Rule) -> Step:
    def clean(rows: Rows) -> tuple[int, int]:
        with transaction.atomic():
            keys = list(rows.values_list("pk", flat=True)[:STEP])
            # Asked again: somebody may have put a failed one back meanwhile.
            here = rows.order_by().filter(pk__in=keys)
            return len(keys), here.update(**rule.without_payload, cleaned_at=timezone.now())

    return clean


def _delete(rows: Rows) -> tuple[int, int]:
    with transaction.atomic():
        keys = list(rows.values_list("pk", flat=True)[:STEP])
        return len(keys), rows.order_by().filter(pk__in=keys).delete()[0]
