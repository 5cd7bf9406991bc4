"""The dashboard: a page of numbers for users who may view deliveries. It contains no texts of messages."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from intercom_bridge.models import Delivery, ItopInstance, WorkerHeartbeat, Workspace

from . import activity
from .activity import Day, RowCount, Selection
from .base import STYLES

State = Delivery.State
# The states of messages, in the order of the table's columns.
STATES = (State.WRITTEN, State.RESTORED, State.SKIPPED, State.WAITING, State.FAILED)
# In seconds.
MINUTE, HOUR, DAY = 60, 3600, 86_400


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Display the numbers of all workspaces and iTops, of one workspace, or of one iTop."""
    if not request.user.has_perm("intercom_bridge.view_delivery"):
        raise PermissionDenied
    selection, selected_row = _selection(request)
    days = activity.count_days(selection)
    context = {
        **admin.site.each_context(request),
        "title": "Dashboard",
        "styles": STYLES["all"],
        "selected": selected_row,
        "is_empty": not Delivery.objects.exists(),
        "workers": WorkerHeartbeat.objects.alive().count(),
        "backlog": _with_links(request, selection, activity.count_backlog(selection)),
        "failures": _with_links(request, selection, activity.count_failures(selection)),
        "loads": [
            ("workspace", "Workspaces", activity.workspace_load()),
            ("itop", "iTops", activity.itop_load()),
        ],
        "days": [_day_context(day) for day in reversed(days) if day.total],
        "busiest": max((day.total for day in days), default=0),
        "states": [state.label for state in STATES],
        "totals": [sum(day.counts.get(state, 0) for day in days) for state in STATES],
        "total": sum(day.total for day in days),
        "counted_at": min((day.counted_at for day in days if day.counted_at), default=None),
        "sample_size": activity.SAMPLE_SIZE,
    }
    return TemplateResponse(request, "admin/intercom_bridge/dashboard.html", context)


def _selection(request: HttpRequest) -> tuple[Selection, Workspace | ItopInstance | None]:
    """Return the workspace or iTop in the page's address, as a Selection and as a row.

    If the address contains none, or one that does not exist, select everything; the row is then None.
    """
    for parameter, model in (("workspace", Workspace), ("itop", ItopInstance)):
        text = request.GET.get(parameter, "")
        # A longer number does not fit a database column.
        if text.isascii() and text.isdigit() and len(text) < 19:
            row: Any = model.objects.filter(pk=int(text)).first()
            if row is not None:
                return Selection(**{parameter: row.pk}), row
    return Selection(), None


def _with_links(
    request: HttpRequest, selection: Selection, entries: list[RowCount]
) -> list[tuple[RowCount, str]]:
    return [(entry, _list_url(request, selection, entry)) for entry in entries]


def _list_url(request: HttpRequest, selection: Selection, entry: RowCount) -> str:
    """Return the address of the list of the counted rows.

    Return "" if no row was counted, or if the user may not open the list. Return "" also if an iTop is selected: the
    lists have no filter by iTop, so they would contain rows that were not counted.
    """
    may_view = request.user.has_perm(f"intercom_bridge.view_{entry.model}")
    if not entry.count or selection.itop or not may_view:
        return ""
    query = entry.query
    if selection.workspace:
        column = "workspace" if entry.model == "webhookevent" else "conversation__workspace"
        query += f"&{column}__id__exact={selection.workspace}"
    return f"{reverse(f'admin:intercom_bridge_{entry.model}_changelist')}?{query}"


def _day_context(day: Day) -> dict[str, Any]:
    return {
        "date": f"{day.date:%Y-%m-%d}",
        "total": day.total,
        "counts": [day.counts.get(state, 0) for state in STATES],
        "median": format_duration(day.median),
        "p95": format_duration(day.p95),
    }


def format_duration(seconds: float | None) -> str:
    """Return a duration in a suitable unit, for example "4.2 s" or "3 h"; "–" for None.

    Each unit is used up to two of the next larger one.
    """
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds / HOUR:.0f} h"
    return f"{seconds / DAY:.0f} days"
