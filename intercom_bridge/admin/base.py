"""The base class of all admins, and functions that several of them use."""

import copy
from collections.abc import Callable, Iterable
from typing import Any, Self

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from intercom_bridge.models.reason import reason_label

from .masking import Viewer, mask, may_read_messages

STYLES = {"all": ("intercom_bridge/admin.css",)}

# The most rows that a list counts. To count all, the database would have to read the whole table.
MAX_COUNTED = 10_000

# What Django's list filters append to the name of a column in the address of a filtered list.
_FILTER_SUFFIXES = ("", "__exact", "__id__exact", "__isnull", "__isempty", "__gte", "__lt")


class ModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # generic in the stubs only
    """Django's ModelAdmin with further pages for a row, and with texts that only users with a permission can read.

    A method that displays a column gets no request from Django, so it does not know the user. Therefore each request is
    served by a copy of the admin that has the user as `viewer`. As long as `viewer` is None, no text is displayed.
    """

    class Media:
        css = STYLES

    viewer: Viewer = None
    # Further filters, in addition to `list_filter`. Links on other pages of the admin use them.
    linked_lookups: tuple[str, ...] = ()
    # Large columns that the list does not load.
    list_defer: tuple[str, ...] = ()

    def _copy_for(self, request: HttpRequest) -> Self:
        admin_copy = copy.copy(self)
        admin_copy.viewer = request.user
        return admin_copy

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super(ModelAdmin, self._copy_for(request)).changelist_view(request, extra_context)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super(ModelAdmin, self._copy_for(request)).changeform_view(request, *args, **kwargs)

    @property
    def may_read(self) -> bool:
        """Whether the viewer may read the texts of messages, entries and forms."""
        return may_read_messages(self.viewer)

    def readable(self, text: str) -> str:
        """Return the text, or a placeholder if the viewer may not read it."""
        return text if self.may_read else mask(text)

    def reason(self, code: str, detail: str) -> str:
        """Return the text of a reason code. If the viewer may read texts, add the detail from iTop or Intercom."""
        return reason_label(code, detail if self.may_read else "")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Return whether the list may be filtered by this parameter of the address.

        Only `list_filter` and `linked_lookups` are allowed. Django would allow any column of the model: a user could
        then guess secrets and hidden texts letter by letter.
        """
        filters: Iterable[Any] = self.list_filter if request is None else self.get_list_filter(request)
        allowed_lookups = set(self.linked_lookups)
        for list_filter in filters:
            if isinstance(list_filter, type):
                allowed_lookups.add(list_filter.parameter_name)  # type: ignore[attr-defined]
            else:
                # The name of a column, or a tuple of that name and a filter class.
                column = list_filter if isinstance(list_filter, str) else list_filter[0]
                allowed_lookups.update(f"{column}{suffix}" for suffix in _FILTER_SUFFIXES)
        return lookup in allowed_lookups

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row, or None. An empty `_to_field` in the address is ignored; Django would raise an error."""
        return super().get_object(request, object_id, from_field or None)

    def changeable_row(self, request: HttpRequest, pk: int) -> Any:
        """Return the row. Raise Http404 if it does not exist, or PermissionDenied if the user may not change it."""
        row = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        return row

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        """Return the views of a row's further pages, by name. Each view checks the user's permission itself.

        `page_links` passes the address of the page "test" to the row's template as `test_url`.
        """
        return {}

    def row_page_url(self, name: str, row: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=[row.pk])

    def get_urls(self) -> list[URLPattern]:
        pages = [
            path(
                f"<int:pk>/{name.replace('_', '-')}/",
                self.admin_site.admin_view(view),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{name}",
            )
            for name, view in self.row_pages().items()
        ]
        return [*pages, *super().get_urls()]

    def page_links(self, request: HttpRequest, row: Any) -> dict[str, str]:
        """Return the template variables with the addresses of a row's further pages, for example {"test_url": ...}.

        Return {} on the page that adds a row (`row` is None), and for users who may not change the row.
        """
        if row is None or not self.has_change_permission(request, row):
            return {}
        return {f"{name}_url": self.row_page_url(name, row) for name in self.row_pages()}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context.update(self.page_links(request, context.get("original")))
        return super().render_change_form(request, context, *args, **kwargs)

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        """Return a page of this admin with its own template."""
        base_context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
        }
        return TemplateResponse(request, f"admin/intercom_bridge/{template}", base_context | context)


def section(
    title: str | None, fields: tuple[str, ...], *, description: str = "", is_collapsed: bool = False
) -> tuple[str | None, Any]:
    """Return a section of a row's page, as an entry of an admin's `fieldsets`."""
    classes = ("collapse",) if is_collapsed else ()
    return title, {"fields": fields, "description": description, "classes": classes}


def columns_of(row: Model, names: Iterable[str]) -> set[str]:
    """Return which of the names of form fields are also names of the row's columns."""
    return {column.name for column in row._meta.concrete_fields} & set(names)
