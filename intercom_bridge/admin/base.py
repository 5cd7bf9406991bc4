from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format

if TYPE_CHECKING:
    StockAdmin = admin.ModelAdmin[Any]
else:
    # Generic in the stubs only.
    StockAdmin = admin.ModelAdmin


class ModelAdmin(StockAdmin):
    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # Django looks for a column of the name "" where an address names none.
        return super().get_object(request, object_id, from_field or None)


def columns_of(row: Model, names: Iterable[str]) -> set[str]:
    """Those of a form's fields that are columns of the row."""
    return {column.name for column in row._meta.concrete_fields} & set(names)


def in_short(when: dt.datetime) -> str:
    """A time that is narrow enough to stand beside others."""
    return date_format(timezone.localtime(when), "Y-m-d H:i:s")


STYLES = {"all": ("intercom_bridge/admin.css",)}

# Of a longer list nobody wants to know how long it is, and the database would have to read it all.
MOST_COUNTED = 10_000
