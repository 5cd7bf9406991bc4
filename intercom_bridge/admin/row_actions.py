"""Actions on rows. A list offers them for many rows, and a row's own page for that row."""

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

# The number of rows that are changed in one transaction.
BATCH_SIZE = 500
# The hidden input that tells an action that it was started on a row's own page.
FROM_ROW_PAGE = "_row"


@dataclass(frozen=True, kw_only=True)
class RowAction:
    """The texts and functions of an admin's action. Django calls the action like a method of the admin."""

    # Django reads these two attributes of every action.
    short_description: str
    allowed_permissions: ClassVar[tuple[str, ...]] = ("act",)
    # Narrows a queryset to the rows that the action can change.
    eligible: Callable[[Any], QuerySet[Any]]
    # Changes the rows of a queryset. The second argument is the user's name.
    change: Callable[[Any, str], int]
    # The entry in the history of each changed row.
    history: str
    # Complete the messages "3 deliveries <done>" and "3 deliveries unchanged: <refused>".
    done: str
    refused: str

    def __call__(self, admin: RowActionsAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        admin.run_action(request, queryset, self)


class RowActionsAdmin(ModelAdmin):
    """An admin whose actions are also buttons on a row's own page. A button is displayed only if the action applies.

    The actions require the permission to change the model, even if the admin itself is read-only.
    """

    change_form_template = "admin/intercom_bridge/row_with_actions.html"
    # The names of actions that cannot be undone. Their buttons are red.
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
        """Yield the name and the label of each action that can change the row, and whether its button is red."""
        row_as_queryset = self.model._default_manager.filter(pk=row.pk)
        for name, permitted_action in self.get_actions(request).items():
            # Leave out Django's own actions, such as the deletion of the selected rows.
            if permitted_action is None or name not in (self.actions or ()):
                continue
            action, _, label = permitted_action
            if isinstance(action, RowAction) and not action.eligible(row_as_queryset).exists():
                continue
            yield name, label, name in self.dangerous_actions

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run the selected action. If it was started on a row's page, return to that page."""
        response: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)
        if isinstance(response, HttpResponseRedirect) and FROM_ROW_PAGE in request.POST:
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(name, args=[request.POST["_selected_action"]]))
        return response

    def run_action(self, request: HttpRequest, selected: QuerySet[Any], action: RowAction) -> None:
        """Change those selected rows that are eligible, tell the user how many were changed, and wake a worker."""
        # "Select all" offers at most MAX_COUNTED rows, because the list counts no more.
        row_ids = list(selected.values_list("pk", flat=True)[:MAX_COUNTED])
        changed_count = 0
        for start in range(0, len(row_ids), BATCH_SIZE):
            changed_count += self._run_batch(request, row_ids[start : start + BATCH_SIZE], action)
        if changed_count:
            transaction.on_commit(lambda: wake(EVERYTHING))
            self.message_user(request, f"{self._with_noun(changed_count)} {action.done}", messages.SUCCESS)
        if unchanged_count := len(row_ids) - changed_count:
            text = f"{self._with_noun(unchanged_count)} unchanged: {action.refused}"
            self.message_user(request, text, messages.WARNING)

    def _run_batch(self, request: HttpRequest, row_ids: list[Any], action: RowAction) -> int:
        """Change the eligible rows and record it in their history, in one transaction. Return their number."""
        all_rows: QuerySet[Any] = self.model._default_manager.all()
        related: Any = self.list_select_related
        with transaction.atomic():
            # Lock the rows. Otherwise a worker could change them in the meantime, and the history would be wrong.
            eligible_rows = list(
                action.eligible(all_rows)
                .filter(pk__in=row_ids)
                .select_related(*related)
                .defer(*self.list_defer)
                .select_for_update(of=("self",))
            )
            if eligible_rows:
                eligible_ids = [row.pk for row in eligible_rows]
                action.change(all_rows.filter(pk__in=eligible_ids), request.user.get_username())
                user_id: Any = request.user.pk
                LogEntry.objects.log_actions(user_id, eligible_rows, CHANGE, action.history)
        return len(eligible_rows)

    def _with_noun(self, count: int) -> str:
        """Return for example "1 delivery" or "3 deliveries"."""
        noun = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        return f"{count} {noun}"


class RetriableAdmin(RowActionsAdmin):
    """An admin whose failed rows can be retried as long as their contents are stored."""

    actions: tuple[str, ...] | None = ("retry",)
    retry = RowAction(
        short_description="Retry",
        eligible=lambda rows: rows.retriable(),
        change=lambda rows, _: rows.retry_now(),
        history="Retried.",
        done="will be retried.",
        refused="only failed rows whose contents are still stored can be retried.",
    )
