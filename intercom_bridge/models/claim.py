"""Claiming due work: one conditional UPDATE; somebody who got there first is a normal outcome."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import models
from django.utils import timezone


def claim(row: Any, seconds: float) -> bool:
    """Puts a due row `seconds` into the future, so that it is ours until then and, should we die, somebody's after.

    `row` has a `due_at`; False when another worker was faster.
    """
    manager: models.Manager[Any] = type(row)._default_manager
    later = timezone.now() + dt.timedelta(seconds=seconds)
    if not manager.filter(pk=row.pk, due_at=row.due_at).update(due_at=later):
        return False
    row.due_at = later
    return True
