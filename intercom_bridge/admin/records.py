"""Base classes of the admins of records. Their pages are read-only, and open fast even if the tables are large."""

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
        """Read the rows of the page, and then the values that their columns display from other tables."""
        super().get_results(request)
        self.model_admin.prepare_rows(self.result_list)


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # generic in the stubs only
    """A paginator that counts at most MAX_COUNTED rows. It does not offer the rows after that."""

    @cached_property
    def _bounded_count(self) -> int:
        # One more than MAX_COUNTED, to learn whether there are more.
        rows: Any = self.object_list
        return int(rows.order_by()[: MAX_COUNTED + 1].count())

    @property
    def is_longer(self) -> bool:
        """Whether the list has more than MAX_COUNTED rows. The template then says so."""
        return self._bounded_count > MAX_COUNTED

    @property
    def count(self) -> int:
        return min(self._bounded_count, MAX_COUNTED)


def counts_column(
    related_model: type[Model], label: str, field: str, foreign_key: str
) -> Callable[[Any, Any], str]:
    """Return an admin field that counts the related rows by the value of `field`, for example "3 written, 1 failed".

    Each count links to the list of these rows. `foreign_key` is the column of the related model that refers to the row
    of the page.
    """

    @admin.display(description=label)
    def column(model_admin: RecordAdmin, row: Model) -> str:
        related_rows = related_model._default_manager.filter(**{foreign_key: row})
        return model_admin.counts_by(field, related_rows, **{f"{foreign_key}__id__exact": row.pk})

    return column


class RecordAdmin(ModelAdmin):
    """An admin whose rows are written by the bridge. Users can neither add nor edit nor delete them."""

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
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False. This also prevents the deletion of a workspace or an iTop with records.

        The record of a message prevents the bridge from writing the message a second time.
        """
        return False

    def prepare_rows(self, rows: Iterable[Any]) -> None:
        """Read the values that the columns display from other tables, for all rows of the page at once.

        Subclasses store them on `self`, which is a copy of the admin for one request (see ModelAdmin).
        """

    # Links to other records

    def record_link(self, row: Model, label: object = "") -> SafeString | str:
        """Return a link to the row's page, or only the text if the viewer may not open it. The label is optional."""
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
        """Return the number of rows for each value of `field`. Each number links to the list of these rows.

        `filters` are the parameters that select `rows` in the list's address.
        """
        counts = rows.order_by(field).values_list(field).annotate(count=Count("pk"))
        labels = dict(rows.model._meta.get_field(field).choices)
        links = []
        for value, count in counts:
            label = f"{count} {labels.get(value, value)}"
            links.append(self.list_link(rows.model, label, **filters, **{f"{field}__exact": value}))
        return stacked(links)

    def _may_view(self, model: type[Model]) -> bool:
        app, name = model._meta.app_label, model._meta.model_name
        has_perm = getattr(self.viewer, "has_perm", None)
        # There is no viewer outside of a request.
        return bool(has_perm and (has_perm(f"{app}.view_{name}") or has_perm(f"{app}.change_{name}")))

    @admin.display(description="reason", ordering="reason_code")
    def reason_text(self, row: Any) -> str:
        return self.reason(row.reason_code, row.reason_detail)

    @admin.display(description="attempts")
    def attempt_history(self, row: Any) -> str:
        return attempts_table(row, with_texts=self.may_read)


class CustomerColumn(RecordAdmin):
    """Fields for rows with a conversation: the customers' names, and a link to the conversation in Intercom.

    The names for all rows of a list are read with two queries.
    """

    # The customers' names, by the conversation's primary key.
    _customers: Mapping[int, list[str]] = {}

    def conversation_of(self, row: Any) -> Conversation:
        """Return the conversation of a row. Subclasses override this if the row has no column `conversation`."""
        conversation: Conversation = row.conversation
        return conversation

    def prepare_rows(self, rows: Iterable[Any]) -> None:
        """Read the names of the customers, if the list displays them and the viewer may see them."""
        if "customer" in self.list_display and self._may_view(PersonMatch):
            self._customers = customer_names([self.conversation_of(row) for row in rows])

    @admin.display(description="customer")
    def customer(self, row: Any) -> str:
        return ", ".join(self._customers.get(self.conversation_of(row).pk, [])) or "-"

    @admin.display(description="in Intercom")
    def in_intercom(self, row: Any) -> str:
        return intercom_link(self.conversation_of(row))


def customer_names(conversations: Collection[Conversation]) -> dict[int, list[str]]:
    """Return the names of the customers of each conversation, by its primary key.

    A customer's name is the name of the iTop person that the contact is matched with. Contacts without a match are
    left out.
    """
    workspace_of = {conversation.pk: conversation.workspace_id for conversation in conversations}
    participants = Participant.objects.filter(conversation__in=list(workspace_of)).order_by("pk")
    participations = list(participants.values_list("conversation_id", "contact_id"))
    matches = PersonMatch.objects.filter(
        workspace__in=set(workspace_of.values()), contact_id__in={contact for _, contact in participations}
    )
    rows = matches.values_list("workspace_id", "contact_id", "name")
    # A contact ID is unique only within its workspace.
    name_of = {(workspace, contact): name for workspace, contact, name in rows}
    customers: dict[int, list[str]] = {}
    for conversation, contact in participations:
        name = name_of.get((workspace_of[conversation], contact))
        if name:
            customers.setdefault(conversation, []).append(name)
    return customers


class SearchableAdmin(RecordAdmin):
    """An admin whose rows can be searched by a ticket, a conversation or a person. These searches use indexes."""

    # Django displays the search field only if this is not empty. `get_search_results` does not use it.
    search_fields = ("pk",)
    search_help_text = (
        "A ticket reference, a conversation ID, or a person (name, e-mail address, iTop ID or Intercom ID)."
    )
    # The column with a teammate's name, or "". It has no index, so it is searched only if the text is neither a ticket
    # nor a conversation nor a person.
    teammate_column = ""

    def search_condition(self, found: SearchResult) -> Q:
        """Return the condition for the rows of the tickets and conversations found. If none, search by teammate."""
        if self.teammate_column and not found:
            return Q(**{f"{self.teammate_column}__icontains": found.text})
        return Q(ticket__in=found.tickets) | Q(conversation__in=found.conversations)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        """Return the rows that match the search text, and False, because they contain no duplicates."""
        text = " ".join(search_term.replace("\x00", "").strip('"').split())
        if text:
            queryset = queryset.filter(self.search_condition(look_up(text)))
        return queryset, False

    @admin.display(description="in iTop")
    def in_itop(self, row: Any) -> str:
        return itop_link(row.ticket) if row.ticket else NOTHING


class ConversationRecordAdmin(CustomerColumn, SearchableAdmin):
    """An admin of records that have a conversation and usually a ticket."""

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, row: Any) -> Workspace:
        return self.conversation_of(row).workspace
