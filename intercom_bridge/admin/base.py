"""The base class of all admins, and what several of them share."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

if TYPE_CHECKING:
    DjangoModelAdmin = admin.ModelAdmin[Any]
else:
    # Generic in the stubs only.
    DjangoModelAdmin = admin.ModelAdmin

STYLES = {"all": ("intercom_bridge/admin.css",)}

# Longer lists are not counted to the end, because the database would have to read them completely.
MAX_COUNTED = 10_000


class ModelAdmin(DjangoModelAdmin):
    """Django's ModelAdmin with support for further pages."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row, or None. An empty `_to_field` in the address is ignored (Django raises on it)."""
        return super().get_object(request, object_id, from_field or None)

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        """Return a page of this admin."""
        base = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
        }
        return TemplateResponse(request, f"admin/intercom_bridge/{template}", base | context)


def columns_of(row: Model, names: Iterable[str]) -> set[str]:
    """Return those of the form fields `names` that are columns of the row."""
    return {column.name for column in row._meta.concrete_fields} & set(names)
