from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    # Generic in the stubs only.
    ModelAdmin = admin.ModelAdmin

STYLES = {"all": ("intercom_bridge/admin.css",)}

# Of a longer list nobody wants to know how long it is, and the database would have to read it all.
MOST_COUNTED = 10_000
