"""A lease: who may act on a row now. By the database's clock, so that machines need not agree on the time."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from typing import Any, TypeVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Leased(models.Model):
    """A row that one holder at a time may work on."""

    lease_token = models.CharField(max_length=32, blank=True, default="", editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


M = TypeVar("M", bound=Leased)


def take_lease(row: Leased, seconds: float) -> Lease | None:
    """The lease on `row`, or None when somebody holds it: a normal outcome, not an error."""
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

    def is_held(self) -> bool:
        return self._held().exists()

    def renew_in_time(self, seconds: float) -> bool:
        """Holds on so that at least two thirds of `seconds` are left; False when it was found lost.

        A write to the database for each piece of work would cost more than the work: while enough is left the row
        is not touched, and whoever chooses the next piece asks for the token in the same query.
        """
        return time.monotonic() - self._renewed < seconds / 3 or self.renew(seconds)

    def renew(self, seconds: float) -> bool:
        """Holds on for `seconds` more; False when it was lost, and then its holder must stop."""
        started = time.monotonic()
        if not self._held().update(lease_until=_from_now(seconds)):
            return False
        self._renewed = started
        return True

    def release(self) -> None:
        _rows(self.row).filter(lease_token=self.token).update(lease_token="", lease_until=None)

    def _held(self) -> models.QuerySet[Any]:
        return _rows(self.row).filter(lease_token=self.token, lease_until__gt=Now())

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _rows(row: Leased) -> models.QuerySet[Any]:
    return type(row)._default_manager.filter(pk=row.pk)


def _from_now(seconds: float) -> Any:
    return Now() + dt.timedelta(seconds=seconds)
