"""How an iTop stands: working, or in trouble and paused. Its trouble fails no message."""

from __future__ import annotations

import datetime as dt
import random

import structlog
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from intercom_bridge.models import ItopInstance

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 600.0
# `last_success_at` is for comparing with failures, which are seconds apart: no need to write it each time.
SUCCESS_NOTED_EVERY_SECONDS = 1.0


def is_paused(itop: ItopInstance) -> bool:
    """Whether nothing may go out now, without asking to be the probe."""
    itop.refresh_from_db()
    return itop.paused_until is not None and itop.paused_until > timezone.now()


def seconds_to_wait(itop: ItopInstance) -> float:
    """0.0 when a write may go out: the iTop is not paused, or this is the one probe of a pause that is over.

    `itop` as it was just read.
    """
    if itop.paused_until is None:
        return 0.0
    seconds = (itop.paused_until - timezone.now()).total_seconds()
    if seconds > 0:
        return seconds
    # The probe has its time; should it die, somebody else's turn comes after it.
    probing = timezone.now() + dt.timedelta(seconds=2 * settings.WRITE_SECONDS)
    here = ItopInstance.objects.filter(pk=itop.pk, paused_until=itop.paused_until)
    if here.update(paused_until=probing):
        itop.paused_until = probing
        return 0.0
    return FIRST_PAUSE_SECONDS


def note_success(itop: ItopInstance) -> bool:
    """It took a write; True when that ended a pause."""
    was_paused = itop.paused_until is not None
    last = itop.last_success_at
    now = timezone.now()
    if not was_paused and last and (now - last).total_seconds() < SUCCESS_NOTED_EVERY_SECONDS:
        return False
    itop.last_success_at = now
    ItopInstance.objects.filter(pk=itop.pk).update(
        last_success_at=now, paused_until=None, paused_since=None, pause_reason="", failures_in_a_row=0
    )
    if was_paused:
        itop.paused_until = None
        log.info("itop.works_again", itop=itop.name)
    return was_paused


def note_trouble(itop: ItopInstance, error: Exception) -> float:
    """It is in trouble: nothing is written for a while, longer with each failure in a row. Answers the seconds."""
    seconds = pause_after(itop.failures_in_a_row + 1, FIRST_PAUSE_SECONDS)
    until = timezone.now() + dt.timedelta(seconds=seconds)
    ItopInstance.objects.filter(pk=itop.pk).update(
        paused_until=until,
        paused_since=Coalesce("paused_since", Now()),
        pause_reason=str(error)[:500],
        failures_in_a_row=F("failures_in_a_row") + 1,
    )
    log.warning("itop.paused", itop=itop.name, seconds=round(seconds, 1), error=type(error).__name__)
    return seconds


def pause_after(failures: int, first: float = 2.0) -> float:
    """Seconds until the next try: doubling, with jitter, ten minutes at most."""
    longest = min(LONGEST_PAUSE_SECONDS, first * 2.0 ** (min(failures, 12) - 1))
    return longest * random.uniform(0.75, 1.0)  # noqa: S311
