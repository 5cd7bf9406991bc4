"""Tables of what happened: for reading only, and cheap to open however long they grow."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format, localize
from django.utils.html import format_html
from django.utils.safestring import SafeString

from intercom_bridge.redaction import without_secrets

from .base import MOST_COUNTED, STYLES, ModelAdmin, in_short
from .hidden import hidden, may_read_messages, without_quotes, without_texts

MAX_SHOWN = 200_000


class SlimChangeList(ChangeList):
    """A list that leaves the large columns in the database."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters)
        deferred: tuple[str, ...] = getattr(self.model_admin, "list_defer", ())
        return rows.defer(*deferred)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        for row in self.result_list:
            row.viewer = request.user


if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    # Generic in the stubs only.
    AnyPaginator = Paginator


class ShortPaginator(AnyPaginator):
    """Counts as far as people leaf: a database reads all that it counts."""

    @cached_property
    def _found(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MOST_COUNTED + 1].count())

    @property
    def is_longer(self) -> bool:
        return self._found > MOST_COUNTED

    @property
    def count(self) -> int:
        return min(self._found, MOST_COUNTED)


class ReadOnlyAdmin(ModelAdmin):
    list_defer: tuple[str, ...] = ()
    # Columns that hold what people wrote: nobody filters by them, and so nobody guesses at them.
    texts: tuple[str, ...] = ()
    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    paginator = ShortPaginator
    actions: tuple[str, ...] | None = None

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return SlimChangeList

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        row = super().get_object(request, *args, **kwargs)
        if row is not None:
            # What is shown of it depends on who looks. Without this nothing that is hidden is shown.
            row.viewer = request.user
        return row

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        # Django lets any column of the table be filtered by in the address.
        if lookup.split("__")[0] in self.texts:
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[arg-type]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Also when a workspace is deleted: what was written once would be written again without its row.
        return False

    class Media:
        css = STYLES


def may_read(row: Any) -> bool:
    """Whether who looks at this row may read what people wrote."""
    return may_read_messages(getattr(row, "viewer", None))


@admin.display(description="reason", ordering="reason")
def reason_column(_admin: ReadOnlyAdmin, row: Any) -> str:
    """The reason of a row's state; without what iTop quotes in it for those who may not read what people wrote."""
    return str(row.reason if may_read(row) else without_quotes(row.reason))


def pretty(value: Any, *, with_texts: bool = True) -> str:
    """A value of a JSON column, or the bytes of a body, as text that a page can hold, whatever is in it."""
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            text = _as_json(json.loads(bytes(value).decode("utf-8", "backslashreplace")), with_texts)
        except (ValueError, RecursionError):
            # Not JSON, or JSON that nobody should write: shown as it came.
            text = bytes(value).decode("utf-8", "backslashreplace") if with_texts else hidden(value)
    else:
        text = _as_json(value, with_texts)
    # NUL and lone surrogates can be in a text but not in a page.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\u0000")
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}\n… ({len(text) - MAX_SHOWN} more characters)"
    return text


def _as_json(value: Any, with_texts: bool) -> str:
    shown = without_secrets(value)
    return json.dumps(
        shown if with_texts else without_texts(shown), indent=2, ensure_ascii=False, default=str
    )


def as_block(value: Any, *, with_texts: bool) -> SafeString:
    return format_html('<pre class="bridge-json">{}</pre>', pretty(value, with_texts=with_texts))


def as_kept(row: Any, value: Any) -> str:
    """A payload as its viewer may see it, or since when it is no longer kept (sync/retention.py)."""
    if row.cleaned_at is None:
        return as_block(value, with_texts=may_read(row))
    when = date_format(timezone.localtime(row.cleaned_at), "Y-m-d")
    return f"No longer kept: it was removed on {when}, its time being over or at the contact's request. The row stays."


def short_time(name: str, label: str) -> Callable[[ReadOnlyAdmin, Any], str]:
    """A column for the date in `name`, narrow enough to stand beside others."""

    @admin.display(description=label, ordering=name)
    def column(_admin: ReadOnlyAdmin, row: Any) -> str:
        value = getattr(row, name)
        return in_short(value) if value else "-"

    return column


def as_time(seconds: float) -> str:
    """Unix seconds as a date; as they came when they are none."""
    try:
        return str(localize(timezone.localtime(dt.datetime.fromtimestamp(seconds, dt.UTC))))
    except (ValueError, OverflowError, OSError):
        return str(seconds)
