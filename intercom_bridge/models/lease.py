"""A lease on a row. It ends by the database's clock, so the clocks of the machines may differ."""

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
    free = _rows(row).filter(Q(lease_until=None) | Q(lease_until__lt=Now()))
    if not free.update(lease_token=token, lease_until=_from_now(seconds)):
        return None
    return Lease(row, token)


class Lease:
    """The exclusive right to work on a row, until it is released or its time is over. A `with` block releases it."""

    def __init__(self, row: Leased, token: str) -> None:
        self.row = row
        self.token = token
        self._renewed_at = time.monotonic()

    def renew_in_time(self, seconds: float) -> bool:
        """Renew the lease if less than two thirds of `seconds` are left. Return False if the lease was lost.

        While more time is left, return True without a query, because renewing for each message would cost more than the
        message. A loss is not noticed then, so the caller's query for the next message must require the token.
        """
        is_recent = time.monotonic() - self._renewed_at < seconds / 3
        return is_recent or self.renew(seconds)

    def renew(self, seconds: float) -> bool:
        """Renew the lease for `seconds`. Return False if it was lost: then the holder must stop."""
        # Taken before the query, so that the lease never seems to last longer than it does.
        started_at = time.monotonic()
        held = _rows(self.row).filter(lease_token=self.token, lease_until__gt=Now())
        if not held.update(lease_until=_from_now(seconds)):
            return False
        self._renewed_at = started_at
        return True

    def release(self) -> None:
        _rows(self.row).filter(lease_token=self.token).update(lease_token="", lease_until=None)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def database_time() -> Any:
    """Return the database's time, plus a millisecond.

    SQLite's clock has only milliseconds. Without the addition, a time that was stored just before could appear to be in
    the future.
    """
    return Now() + dt.timedelta(milliseconds=1)


def _rows(row: Leased) -> models.QuerySet[Any]:
    return type(row)._default_manager.filter(pk=row.pk)


def _from_now(seconds: float) -> Any:
    return Now() + dt.timedelta(seconds=seconds)
