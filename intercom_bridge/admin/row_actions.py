"""What can be done about rows that stand still: in a list for many, on a row's own page for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from intercom_bridge.sync.tasks import wake_for_everything

from .base import MOST_COUNTED, ModelAdmin

STEP = 500
FROM_ITS_PAGE = "_row"


class RowActionsAdmin(ModelAdmin):
    """Actions of a list, offered on a row's own page too where they help. They need the permission to change.

    Also where nobody may edit the row itself: what happened is for reading, what is to be done about it is not.
    """

    change_form_template = "admin/intercom_bridge/row_with_actions.html"

    def has_act_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def helpful_actions(self, _row: Any) -> tuple[str, ...]:
        """The names of the actions that help this row."""
        return ()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        allowed = {name: action[2] for name, action in self.get_actions(request).items() if action}
        helpful = self.helpful_actions(row) if row else ()
        context["row_actions"] = [(name, allowed[name]) for name in helpful if name in allowed]
        context["row_actions_url"] = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist", current_app=self.admin_site.name
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        response: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)
        if isinstance(response, HttpResponseRedirect) and FROM_ITS_PAGE in request.POST:
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(name, args=[request.POST["_selected_action"]]))
        return response

    def act(
        self,
        request: HttpRequest,
        chosen: QuerySet[Any],
        change: Callable[[Any], int],
        *,
        eligible: Callable[[Any], QuerySet[Any]],
        recorded: str,
        done: str,
        refused: str,
    ) -> None:
        """Changes those of the chosen rows that are eligible, records it, says how many, and wakes a worker."""
        # As many as the list has counted, and "select all" has promised.
        keys = list(chosen.values_list("pk", flat=True)[:MOST_COUNTED])
        count = 0
        for start in range(0, len(keys), STEP):
            count += self._act(request, keys[start : start + STEP], change, eligible, recorded)
        if count:
            transaction.on_commit(wake_for_everything)
            self.message_user(request, f"{self._counted(count)} {done}", messages.SUCCESS)
        if left := len(keys) - count:
            self.message_user(request, f"{self._counted(left)} left as before: {refused}", messages.WARNING)

    def _act(
        self,
        request: HttpRequest,
        keys: list[Any],
        change: Callable[[Any], int],
        eligible: Callable[[Any], QuerySet[Any]],
        recorded: str,
    ) -> int:
        everything: QuerySet[Any] = self.model._default_manager.all()
        large: tuple[str, ...] = getattr(self, "list_defer", ())
        related: Any = self.list_select_related
        with transaction.atomic():
            # Locked, so that what is recorded is what was changed.
            rows = list(
                eligible(everything)
                .filter(pk__in=keys)
                .select_related(*related)
                .defer(*large)
                .select_for_update(of=("self",))
            )
            if not rows:
                return 0
            change(everything.filter(pk__in=[row.pk for row in rows]))
            LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, recorded)  # type: ignore[arg-type]
        return len(rows)

    def _counted(self, count: int) -> str:
        name = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        return f"{count} {name}"
