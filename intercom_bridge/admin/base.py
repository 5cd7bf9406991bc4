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

# Longer lists are not counted to the end, because the database would have to read them completely.
MAX_COUNTED = 10_000


# The suffixes that Django's list filters append to the name of a column in the address.
_FILTER_SUFFIXES = ("", "__exact", "__id__exact", "__isnull", "__isempty", "__gte", "__lt")


class ModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # generic in the stubs only
    """Django's ModelAdmin with support for further pages, and pages that depend on the user's permission to read texts.

    Django passes no request to the functions that display a column. Each list and page is therefore served by a copy
    of the admin that holds the request's user as `viewer`. Without a viewer no text is displayed.
    """

    class Media:
        css = STYLES

    viewer: Viewer = None
    # Filters that links of other pages use, in addition to those of `list_filter`.
    linked_lookups: tuple[str, ...] = ()
    # Large columns, which lists do not load.
    list_defer: tuple[str, ...] = ()

    def _viewed_by(self, request: HttpRequest) -> Self:
        bound = copy.copy(self)
        bound.viewer = request.user
        return bound

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Serve the list for the request's user."""
        return super(ModelAdmin, self._viewed_by(request)).changelist_view(request, extra_context)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Serve a row's page for the request's user."""
        return super(ModelAdmin, self._viewed_by(request)).changeform_view(request, *args, **kwargs)

    @property
    def may_read(self) -> bool:
        """Whether the viewer may read the texts of messages, entries and forms."""
        return may_read_messages(self.viewer)

    def readable(self, text: str) -> str:
        """Return the text, or a placeholder if the viewer may not read it."""
        return text if self.may_read else mask(text)

    def reason(self, code: str, detail: str) -> str:
        """Return the text of a reason, without the remote system's words if the viewer may not read texts."""
        return reason_label(code, detail if self.may_read else "")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow only the filters of this list and of links to it.

        Django allows any column. With such filters, secrets and hidden texts could be guessed letter by letter.
        """
        filters: Iterable[Any] = self.list_filter if request is None else self.get_list_filter(request)
        allowed = set(self.linked_lookups)
        for item in filters:
            if isinstance(item, type):
                allowed.add(item.parameter_name)  # type: ignore[attr-defined]
            else:
                name = item if isinstance(item, str) else item[0]
                allowed.update(f"{name}{suffix}" for suffix in _FILTER_SUFFIXES)
        return lookup in allowed

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row, or None. An empty `_to_field` in the address is ignored (Django raises on it)."""
        return super().get_object(request, object_id, from_field or None)

    def changeable_row(self, request: HttpRequest, pk: int) -> Any:
        """Return the row. Raise Http404, or PermissionDenied if the user may not change it."""
        row = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        return row

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        """Return the views of a row's further pages, by name. The views check the permission.

        For those who may change the row, its template has the address of a page as `name_url`.
        """
        return {}

    def row_page_url(self, name: str, row: Model) -> str:
        """Return the address of a further page of a row."""
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
        """Return the template variables with the addresses of a row's further pages: {"test_url": ...}.

        `row` is None on the page that adds a row. That page has no further pages, so the result is empty.
        """
        if row is None or not self.has_change_permission(request, row):
            return {}
        return {f"{name}_url": self.row_page_url(name, row) for name in self.row_pages()}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the links to further pages."""
        context.update(self.page_links(request, context.get("original")))
        return super().render_change_form(request, context, *args, **kwargs)

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        """Return a page of this admin."""
        base = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
        }
        return TemplateResponse(request, f"admin/intercom_bridge/{template}", base | context)


def section(
    title: str | None, fields: tuple[str, ...], *, description: str = "", is_collapsed: bool = False
) -> tuple[str | None, Any]:
    """Return a section of a row's page, as an entry of an admin's `fieldsets`."""
    classes = ("collapse",) if is_collapsed else ()
    return title, {"fields": fields, "description": description, "classes": classes}


def columns_of(row: Model, names: Iterable[str]) -> set[str]:
    """Return those of the form fields `names` that are columns of the row."""
    return {column.name for column in row._meta.concrete_fields} & set(names)
