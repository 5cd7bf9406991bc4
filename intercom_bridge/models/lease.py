"""A lease on a row, by the database's clock, so that the clocks of the machines need not agree."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Leased(models.Model):
    """A row that has at most one holder at a time."""

    lease_token = models.CharField(max_length=32, blank=True, default="", editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


def take_lease(row: Leased, seconds: float) -> Lease | None:
    """Return a lease on `row`, or None if another process holds it, which is a normal outcome."""
    token = secrets.token_hex(16)
    taken = _rows(row).filter(Q(lease_until=None) | Q(lease_until__lt=Now()))
    if not taken.update(lease_token=token, lease_until=_from_now(seconds)):
        return None
    return Lease(row, token)


class Lease:
    """Held until released, or until its time is over. As a context manager it releases at the end."""

    def __init__(self, row: Leased, token: str) -> None:
        self.row = row
        self.token = token
        self._renewed = time.monotonic()

    def renew_in_time(self, seconds: float) -> bool:
        """Renew the lease if less than two thirds of `seconds` are left. Return False if this showed that it was lost.

        While more time is left, return True without a query, because renewing for each message would cost more than the
        message. The caller's query for its next message then requires the token, so it finds none after a loss.
        """
        return time.monotonic() - self._renewed < seconds / 3 or self.renew(seconds)

    def renew(self, seconds: float) -> bool:
        """Renew the lease for `seconds`; return False if it was lost, and its holder must stop."""
        started = time.monotonic()
        held = _rows(self.row).filter(lease_token=self.token, lease_until__gt=Now())
        if not held.update(lease_until=_from_now(seconds)):
            return False
        self._renewed = started
        return True

    def release(self) -> None:
        _rows(self.row).filter(lease_token=self.token).update(lease_token="", lease_until=None)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def database_time() -> Any:
    """Return the database's time. SQLite has only milliseconds, so it is rounded up: what was stored before is past."""
    return Now() + dt.timedelta(milliseconds=1)


def _rows(row: Leased) -> models.QuerySet[Any]:
    return type(row)._default_manager.filter(pk=row.pk)


def _from_now(seconds: float) -> Any:
    return Now() + dt.timedelta(seconds=seconds)
