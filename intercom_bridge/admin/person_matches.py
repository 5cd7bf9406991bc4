from __future__ import annotations

from django.contrib import admin

from intercom_bridge.models import PersonMatch

from .readonly import ReadOnlyAdmin, short_time


@admin.register(PersonMatch)
class PersonMatchAdmin(ReadOnlyAdmin):
    matched = short_time("matched_at", "matched")
    list_display = ("name", "email", "org_name", "how", "person_id", "contact_id", "workspace", "matched")
    list_filter = ("how", "workspace")
    list_select_related = ("workspace",)
    search_fields = ("name", "email", "contact_id__exact")
    search_help_text = "A name, an e-mail address, or an Intercom contact's id."
    ordering = ("-pk",)
    fieldsets = (
        ("In Intercom", {"fields": ("workspace", "contact_id", "evidence", "how")}),
        (
            "In iTop",
            {"fields": ("name", "email", "person_id", "org_name", "org_id", "attributes", "matched_at")},
        ),
    )
