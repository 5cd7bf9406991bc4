"""Claiming due work: one conditional UPDATE; somebody who got there first is a normal outcome."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import models
from django.utils import timezone


def claim(row: Any, seconds: float, *, due: str = "due_at") -> bool:
    """Puts a due row `seconds` into the future, so that it is ours until then and, should we die, somebody's after.

    `due` is the row's field that says when it is due; False when another worker was faster.
    """
    manager: models.Manager[Any] = type(row)._default_manager
    later = timezone.now() + dt.timedelta(seconds=seconds)
    if not manager.filter(pk=row.pk, **{due: getattr(row, due)}).update(**{due: later}):
        return False
    setattr(row, due, later)
    return True
