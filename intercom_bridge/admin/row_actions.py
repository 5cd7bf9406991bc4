"""Actions on rows: in a list for many rows, on a row's own page for that row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from intercom_bridge.wake import EVERYTHING, wake

from .base import MAX_COUNTED, ModelAdmin

BATCH_SIZE = 500
FROM_ROW_PAGE = "_row"


@dataclass(frozen=True, kw_only=True)
class RowAction:
    """The texts and functions of an action. The texts complete "3 deliveries …" in the messages to the user.

    `eligible` narrows a queryset to the rows that can be changed, `change` changes a queryset, and `history` is
    recorded in the history of each row.
    """

    eligible: Callable[[Any], QuerySet[Any]]
    change: Callable[[Any], int]
    history: str
    done: str
    refused: str


class RowActionsAdmin(ModelAdmin):
    """Actions that are offered in the list and, where they apply, on a row's own page.

    They require the permission to change the model, also where the admin does not allow rows to be edited.
    """

    change_form_template = "admin/intercom_bridge/row_with_actions.html"
    # Actions that cannot be undone, whose buttons are red.
    dangerous_actions: tuple[str, ...] = ()

    def has_act_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def applicable_actions(self, _row: Any) -> tuple[str, ...]:
        return ()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        allowed = {name: action[2] for name, action in self.get_actions(request).items() if action}
        applicable = self.applicable_actions(row) if row else ()
        context["row_actions"] = [
            (name, allowed[name], name in self.dangerous_actions) for name in applicable if name in allowed
        ]
        context["row_actions_url"] = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist", current_app=self.admin_site.name
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Return to the row's page after an action that was started there."""
        response: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)
        if isinstance(response, HttpResponseRedirect) and FROM_ROW_PAGE in request.POST:
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(name, args=[request.POST["_selected_action"]]))
        return response

    def run_action(self, request: HttpRequest, selected: QuerySet[Any], action: RowAction) -> None:
        """Change the eligible rows among those selected, report how many, and wake a worker."""
        # As many as the list counts and "select all" promises.
        keys = list(selected.values_list("pk", flat=True)[:MAX_COUNTED])
        count = sum(
            self._run_batch(request, keys[start : start + BATCH_SIZE], action)
            for start in range(0, len(keys), BATCH_SIZE)
        )
        if count:
            transaction.on_commit(lambda: wake(EVERYTHING))
            self.message_user(request, f"{self._counted(count)} {action.done}", messages.SUCCESS)
        if unchanged := len(keys) - count:
            text = f"{self._counted(unchanged)} unchanged: {action.refused}"
            self.message_user(request, text, messages.WARNING)

    def _run_batch(self, request: HttpRequest, keys: list[Any], action: RowAction) -> int:
        all_rows: QuerySet[Any] = self.model._default_manager.all()
        related: Any = self.list_select_related
        with transaction.atomic():
            # Locked, so that the history records exactly what was changed.
            rows = list(
                action.eligible(all_rows)
                .filter(pk__in=keys)
                .select_related(*related)
                .defer(*self.list_defer)
                .select_for_update(of=("self",))
            )
            if rows:
                action.change(all_rows.filter(pk__in=[row.pk for row in rows]))
                LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, action.history)  # type: ignore[arg-type]
        return len(rows)

    def _counted(self, count: int) -> str:
        name = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        return f"{count} {name}"


class RetriableAdmin(RowActionsAdmin):
    """Failed rows can be retried as long as their contents are stored."""

    actions: tuple[str, ...] | None = ("retry",)

    def applicable_actions(self, row: Any) -> tuple[str, ...]:
        return ("retry",) if self.model.objects.filter(pk=row.pk).retriable().exists() else ()

    @admin.action(description="Retry", permissions=["act"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        action = RowAction(
            eligible=lambda rows: rows.retriable(),
            change=lambda rows: rows.retry_now(),
            history="Retried.",
            done="will be retried.",
            refused="only failed rows whose contents are still stored can be retried.",
        )
        self.run_action(request, queryset, action)
