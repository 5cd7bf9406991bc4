"""The dashboard: how the bridge is doing, on one page of numbers, for whoever may see deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from intercom_bridge.models import Delivery, ItopInstance, WorkerPulse, Workspace

from . import activity, chart
from .activity import Day, Failure, Scope, Wait
from .base import STYLES

State = Delivery.State
# From the bottom of a bar up.
STATES = (State.WRITTEN, State.RESTORED, State.SKIPPED, State.WAITING, State.FAILED)


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("intercom_bridge.view_delivery"):
        raise PermissionDenied
    scope, shown = _chosen(request)
    days = activity.days(scope)
    context = {
        **admin.site.each_context(request),
        "title": "Dashboard",
        "styles": STYLES["all"],
        "shown": shown,
        "is_empty": not Delivery.objects.exists(),
        "workers": WorkerPulse.objects.alive().count(),
        "waits": _linked(request, scope, activity.waits(scope)),
        "failures": _linked(request, scope, activity.failures(scope)),
        "tables": [
            ("workspace", "Workspaces", activity.workspaces()),
            ("itop", "iTops", activity.itops()),
        ],
        "days": [_in_words(day) for day in days],
        "states": [(state.value, state.label) for state in STATES],
        "totals": [(state, sum(day.counts.get(state, 0) for day in days)) for state in STATES],
        "messages_drawn": chart.stacked([(_messages_title(day), _parts(day)) for day in days]),
        "times_drawn": chart.ranges([(_times_title(day), day.p50, day.p95) for day in days]),
        "counted_at": min((day.counted_at for day in days if day.counted_at), default=None),
        "has_times": any(day.p50 is not None for day in days),
        "sample": activity.SAMPLE,
    }
    return TemplateResponse(request, "admin/intercom_bridge/dashboard.html", context)


def _chosen(request: HttpRequest) -> tuple[Scope, Workspace | ItopInstance | None]:
    """What the address narrows the page to; everything, where it names nothing that is there."""
    for name, model in (("workspace", Workspace), ("itop", ItopInstance)):
        given = request.GET.get(name, "")
        if given.isascii() and given.isdigit() and len(given) < 19:
            row: Any = model.objects.filter(pk=int(given)).first()
            if row is not None:
                return Scope(**{name: row.pk}), row
    return Scope(), None


def _linked(
    request: HttpRequest, scope: Scope, found: Iterable[Wait | Failure]
) -> list[tuple[Wait | Failure, str]]:
    """Each with the address of the list of just these rows; "" for who may not see it, and where there is none."""
    return [(one, _list_of(request, scope, one) if one.count else "") for one in found]


def _list_of(request: HttpRequest, scope: Scope, one: Wait | Failure) -> str:
    # The lists know no iTop: one of them would show other rows than were counted.
    if scope.itop or not request.user.has_perm(f"intercom_bridge.view_{one.model}"):
        return ""
    query = one.query
    if scope.workspace:
        column = "workspace" if one.model == "notification" else "conversation__workspace"
        query += f"&{column}__id__exact={scope.workspace}"
    return f"{reverse(f'admin:intercom_bridge_{one.model}_changelist')}?{query}"


def _parts(day: Day) -> list[tuple[str, int]]:
    return [(state.value, day.counts.get(state, 0)) for state in STATES]


def _messages_title(day: Day) -> str:
    parts = ", ".join(f"{day.counts[state]:,} {state.label}" for state in STATES if day.counts.get(state))
    return f"{day.date:%Y-%m-%d}: {parts or 'no message'}"


def _times_title(day: Day) -> str:
    if day.p50 is None:
        return f"{day.date:%Y-%m-%d}: no message that says"
    return f"{day.date:%Y-%m-%d}: half within {chart.in_words(day.p50)}, 95 of 100 within {chart.in_words(day.p95)}"


def _in_words(day: Day) -> dict[str, Any]:
    return {
        "date": f"{day.date:%Y-%m-%d}",
        "counts": [count for _, count in _parts(day)],
        "p50": chart.in_words(day.p50),
        "p95": chart.in_words(day.p95),
    }
