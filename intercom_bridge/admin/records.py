"""Admins of records. Their pages are read-only, and open fast even if the tables are large."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from intercom_bridge.models import Conversation, Participant, PersonMatch, Workspace

from .base import MAX_COUNTED, ModelAdmin
from .display import NOTHING, attempts_table, datetime_column, intercom_link, itop_link, link, stacked
from .search import SearchResult, look_up

WORKSPACE_FILTER = ("conversation__workspace", admin.RelatedFieldListFilter)


class RecordList(ChangeList):
    """A change list of a RecordAdmin. It does not load the large columns."""

    model_admin: RecordAdmin

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return super().get_queryset(request, exclude_parameters).defer(*self.model_admin.list_defer)

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows of the page, and the values from other tables that their columns display."""
        super().get_results(request)
        self.model_admin.prepare_rows(self.result_list)


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # generic in the stubs only
    """A paginator that counts at most MAX_COUNTED rows."""

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MAX_COUNTED + 1].count())

    @property
    def is_longer(self) -> bool:
        return self._counted > MAX_COUNTED

    @property
    def count(self) -> int:
        return min(self._counted, MAX_COUNTED)


def counts_column(rows_of: type[Model], label: str, field: str, owner: str) -> Callable[[Any, Any], str]:
    """Return an admin field with the number of rows for each value of `field`, each linked to the list of these rows.

    Those rows count whose `owner` is the row of the page.
    """

    @admin.display(description=label)
    def column(page: RecordAdmin, row: Model) -> str:
        rows = rows_of._default_manager.filter(**{owner: row})
        return page.counts_by(field, rows, **{f"{owner}__id__exact": row.pk})

    return column


class RecordAdmin(ModelAdmin):
    """A read-only admin, so all its fields are."""

    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    paginator = BoundedPaginator
    actions: tuple[str, ...] | None = None
    ordering: ClassVar[tuple[str, ...]] = ("-pk",)
    created = datetime_column("created_at", "created")

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return RecordList

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: records are created by the bridge."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False, also when a workspace is deleted: without its record a message would be written again."""
        return False

    def prepare_rows(self, rows: Iterable[Any]) -> None:
        """Read the values from other tables. Only called for a copy of the admin that serves one request."""

    # Links to other records

    def record_link(self, row: Model, label: object = "") -> SafeString | str:
        """Return a link to the row's page, or only the label if the viewer may not open it."""
        text = label or row
        if not self._may_view(type(row)):
            return str(text)
        meta = row._meta
        return link(reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk]), text)

    def list_link(self, model: type[Model], label: object, **filters: object) -> SafeString | str:
        """Return a link to the filtered list, or only the label if the viewer may not open it."""
        if not self._may_view(model):
            return str(label)
        meta = model._meta
        address = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
        return link(f"{address}?{urlencode(filters)}", label)

    def counts_by(self, field: str, rows: QuerySet[Any], **filters: object) -> SafeString | str:
        """Return the number of rows per value of `field`, each linked. `filters` select the same rows in a list."""
        counts = list(rows.order_by(field).values_list(field).annotate(count=Count("pk")))
        labels = dict(rows.model._meta.get_field(field).choices)
        return stacked(
            self.list_link(
                rows.model, f"{count} {labels.get(value, value)}", **filters, **{f"{field}__exact": value}
            )
            for value, count in counts
        )

    def _may_view(self, model: type[Model]) -> bool:
        label, name = model._meta.app_label, model._meta.model_name
        has_perm = getattr(self.viewer, "has_perm", None)
        return bool(has_perm and any(has_perm(f"{label}.{action}_{name}") for action in ("view", "change")))

    @admin.display(description="reason", ordering="reason_code")
    def reason_text(self, row: Any) -> str:
        """Return why the row is in its state."""
        return self.reason(row.reason_code, row.reason_detail)

    @admin.display(description="attempts")
    def attempt_history(self, row: Any) -> str:
        return attempts_table(row, with_texts=self.may_read)


class CustomerColumn(RecordAdmin):
    """A list column with the names of the conversation's customers, read with two queries for all rows.

    On a row's page, the conversation is linked.
    """

    _customers: Mapping[int, list[str]] = {}

    def conversation_of(self, row: Any) -> Conversation:
        """Return the conversation of a row."""
        conversation: Conversation = row.conversation
        return conversation

    def prepare_rows(self, rows: Iterable[Any]) -> None:
        """Read the names of the customers."""
        if "customer" in self.list_display and self._may_view(PersonMatch):
            self._customers = customer_names([self.conversation_of(row) for row in rows])

    @admin.display(description="customer")
    def customer(self, row: Any) -> str:
        return ", ".join(self._customers.get(self.conversation_of(row).pk, [])) or "-"

    @admin.display(description="in Intercom")
    def in_intercom(self, row: Any) -> str:
        return intercom_link(self.conversation_of(row))


def customer_names(conversations: Collection[Conversation]) -> dict[int, list[str]]:
    """Return the names of the customers that are matched with iTop persons, by the conversation's primary key."""
    workspaces = {conversation.pk: conversation.workspace_id for conversation in conversations}
    participants = Participant.objects.filter(conversation__in=list(workspaces)).order_by("pk")
    pairs = list(participants.values_list("conversation_id", "contact_id"))
    matches = PersonMatch.objects.filter(
        workspace__in=set(workspaces.values()), contact_id__in={contact for _, contact in pairs}
    )
    rows = matches.values_list("workspace_id", "contact_id", "name")
    names = {(workspace, contact): name for workspace, contact, name in rows}
    found: dict[int, list[str]] = {}
    for conversation, contact in pairs:
        name = names.get((workspaces[conversation], contact))
        if name:
            found.setdefault(conversation, []).append(name)
    return found


class SearchableAdmin(RecordAdmin):
    """Records that are found by a ticket, a conversation or a person. Every search uses an index."""

    # Makes Django display the search field.
    search_fields = ("pk",)
    search_help_text = (
        "A ticket reference, a conversation ID, or a person (name, e-mail address, iTop ID or Intercom ID)."
    )
    # A column with a teammate's name. It has no index and is searched only if nothing else is found.
    teammate_column = ""

    def search_condition(self, found: SearchResult) -> Q:
        if self.teammate_column and not found:
            return Q(**{f"{self.teammate_column}__icontains": found.text})
        return Q(ticket__in=found.tickets) | Q(conversation__in=found.conversations)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        """Return the rows that match the search text, and whether they may contain duplicates."""
        text = " ".join(search_term.replace("\x00", "").strip('"').split())
        return (queryset.filter(self.search_condition(look_up(text))) if text else queryset), False

    @admin.display(description="in iTop")
    def in_itop(self, row: Any) -> str:
        return itop_link(row.ticket) if row.ticket else NOTHING


class ConversationRecordAdmin(CustomerColumn, SearchableAdmin):
    """Records with a conversation and, mostly, a ticket."""

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, row: Any) -> Workspace:
        return self.conversation_of(row).workspace
