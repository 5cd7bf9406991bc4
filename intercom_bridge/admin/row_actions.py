"""Actions on rows: in a list for many rows, on a row's own page for that row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import messages
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
    """An action of an admin: its texts and functions.

    `eligible` narrows a queryset to the rows that can be changed, `change` changes a queryset for the user with this
    name, and `history` is recorded in the history of each row. `done` and `refused` complete "3 deliveries …" in the
    messages to the user.
    """

    # Django reads these two, as from a function.
    short_description: str
    allowed_permissions: ClassVar[tuple[str, ...]] = ("act",)
    eligible: Callable[[Any], QuerySet[Any]]
    change: Callable[[Any, str], int]
    history: str
    done: str
    refused: str

    def __call__(self, page: RowActionsAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        page.run_action(request, queryset, self)


class RowActionsAdmin(ModelAdmin):
    """Actions that are offered in the list and, where they apply, on a row's own page.

    They require the permission to change the model, also where the admin does not allow rows to be edited.
    """

    change_form_template = "admin/intercom_bridge/row_with_actions.html"
    # Actions that cannot be undone, whose buttons are red.
    dangerous_actions: tuple[str, ...] = ()

    def has_act_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        context["row_actions"] = list(self._buttons(request, row)) if row else []
        context["row_actions_url"] = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist", current_app=self.admin_site.name
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def _buttons(self, request: HttpRequest, row: Any) -> Iterator[tuple[str, str, bool]]:
        """Yield the actions that can change the row: name, label, and whether the button is red."""
        rows = self.model._default_manager.filter(pk=row.pk)
        for name, allowed in self.get_actions(request).items():
            if allowed and name in (self.actions or ()):
                action, _name, label = allowed
                if not isinstance(action, RowAction) or action.eligible(rows).exists():
                    yield name, label, name in self.dangerous_actions

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
                changed = all_rows.filter(pk__in=[row.pk for row in rows])
                action.change(changed, request.user.get_username())
                LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, action.history)  # type: ignore[arg-type]
        return len(rows)

    def _counted(self, count: int) -> str:
        name = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        return f"{count} {name}"


class RetriableAdmin(RowActionsAdmin):
    """Failed rows can be retried as long as their contents are stored."""

    actions: tuple[str, ...] | None = ("retry",)
    retry = RowAction(
        short_description="Retry",
        eligible=lambda rows: rows.retriable(),
        change=lambda rows, _: rows.retry_now(),
        history="Retried.",
        done="will be retried.",
        refused="only failed rows whose contents are still stored can be retried.",
    )
