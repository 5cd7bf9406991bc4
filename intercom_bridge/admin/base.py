from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

if TYPE_CHECKING:
    StockAdmin = admin.ModelAdmin[Any]
else:
    # Generic in the stubs only.
    StockAdmin = admin.ModelAdmin


class ModelAdmin(StockAdmin):
    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # Django looks for a column of the name "" where an address names none.
        return super().get_object(request, object_id, from_field or None)


STYLES = {"all": ("intercom_bridge/admin.css",)}

# Of a longer list nobody wants to know how long it is, and the database would have to read it all.
MOST_COUNTED = 10_000
