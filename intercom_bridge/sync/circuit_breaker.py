"""A circuit breaker per iTop instance: while an iTop fails, its messages wait, and the bridge does not burden it.

`ItopInstance.paused_until` is the breaker's state. None means closed. A time in the future means open: nothing is
written. After that time, one write is the probe: its success closes the breaker, its failure opens it for longer.
"""

import datetime as dt
import random

import structlog
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from intercom_bridge.models import ItopInstance
from intercom_bridge.models.job import reason_of

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 600.0
# `last_success_at` is saved only this often. That is exact enough, because failures are seconds apart.
SUCCESS_NOTED_EVERY_SECONDS = 1.0


def claim_write(itop: ItopInstance) -> bool:
    """Return whether a write may be sent: the circuit breaker is closed, or this write becomes its one probe.

    `itop` must have been read from the database just before.
    """
    if itop.paused_until is None:
        return True
    if itop.paused_until > timezone.now():
        return False
    # If the worker that sends the probe crashes, another worker can send one after this time.
    probe_until = timezone.now() + dt.timedelta(seconds=2 * settings.WRITE_SECONDS)
    unclaimed = ItopInstance.objects.filter(pk=itop.pk, paused_until=itop.paused_until)
    if not unclaimed.update(paused_until=probe_until):
        return False
    itop.paused_until = probe_until
    return True


def record_success(itop: ItopInstance) -> None:
    """Record that iTop responded to a write, and close the circuit breaker."""
    was_paused = itop.paused_until is not None
    last = itop.last_success_at
    now = timezone.now()
    if not was_paused and last and (now - last).total_seconds() < SUCCESS_NOTED_EVERY_SECONDS:
        return
    itop.last_success_at = now
    ItopInstance.objects.filter(pk=itop.pk).update(
        last_success_at=now,
        paused_until=None,
        paused_since=None,
        pause_code="",
        pause_detail="",
        failures_in_a_row=0,
    )
    if was_paused:
        itop.paused_until, itop.failures_in_a_row = None, 0
        log.info("itop.resumed", itop=itop.name)


def record_failure(itop: ItopInstance, error: Exception) -> float:
    """Open the circuit breaker, for longer with each consecutive failure. Return for how many seconds."""
    seconds = backoff_seconds(itop.failures_in_a_row + 1, FIRST_PAUSE_SECONDS)
    until = timezone.now() + dt.timedelta(seconds=seconds)
    code, detail = reason_of(error)
    ItopInstance.objects.filter(pk=itop.pk).update(
        paused_until=until,
        paused_since=Coalesce("paused_since", Now()),
        pause_code=code,
        pause_detail=detail[:500],
        failures_in_a_row=F("failures_in_a_row") + 1,
    )
    log.warning("itop.paused", itop=itop.name, seconds=round(seconds, 1), error=type(error).__name__)
    return seconds


def backoff_seconds(failures: int, first: float = 2.0) -> float:
    """Return the seconds to wait after this many failures: `first`, then doubled each time, at most ten minutes.

    Random jitter shortens the time by up to a quarter.
    """
    # The exponent is limited so that the number stays small.
    seconds = min(LONGEST_PAUSE_SECONDS, first * 2.0 ** (min(failures, 12) - 1))
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311
