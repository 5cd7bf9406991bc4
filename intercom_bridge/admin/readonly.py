"""Tables of what happened: for reading only, and cheap to open however long they grow."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format, localize
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .base import STYLES, ModelAdmin

MAX_SHOWN = 200_000


class SlimChangeList(ChangeList):
    """A list that leaves the large columns in the database."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters)
        deferred: tuple[str, ...] = getattr(self.model_admin, "list_defer", ())
        return rows.defer(*deferred)


class ReadOnlyAdmin(ModelAdmin):
    list_defer: tuple[str, ...] = ()
    list_per_page = 50
    show_full_result_count = False
    actions: tuple[str, ...] | None = None

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return SlimChangeList

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Also when a workspace is deleted: what was written once would be written again without its row.
        return False

    class Media:
        css = STYLES


def pretty(value: Any) -> str:
    """A value of a JSON column, or the bytes of a body, as text that a page can hold, whatever is in it."""
    if isinstance(value, bytes | bytearray | memoryview):
        text = bytes(value).decode("utf-8", "backslashreplace")
        try:
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass  # not JSON, or JSON that nobody should write: shown as it came
    else:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    # NUL and lone surrogates can be in a text but not in a page.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\u0000")
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}\n… ({len(text) - MAX_SHOWN} more characters)"
    return text


def as_block(value: Any) -> SafeString:
    return format_html('<pre class="bridge-json">{}</pre>', pretty(value))


def as_kept(row: Any, value: Any) -> str:
    """A payload, or that and since when it is no longer kept (sync/retention.py)."""
    if row.cleaned_at is None:
        return as_block(value)
    when = date_format(timezone.localtime(row.cleaned_at), "Y-m-d")
    return f"No longer kept: it was removed on {when}, its time being over. The row stays."


def short_time(name: str, label: str) -> Callable[[ReadOnlyAdmin, Any], str]:
    """A column for the date in `name`, narrow enough to stand beside others."""

    @admin.display(description=label, ordering=name)
    def column(_admin: ReadOnlyAdmin, row: Any) -> str:
        value = getattr(row, name)
        return date_format(timezone.localtime(value), "Y-m-d H:i:s") if value else "-"

    return column


def as_time(seconds: int) -> str:
    """Intercom's Unix seconds as a date; as they came when they are none."""
    try:
        return str(localize(timezone.localtime(dt.datetime.fromtimestamp(seconds, dt.UTC))))
    except (ValueError, OverflowError, OSError):
        return str(seconds)
