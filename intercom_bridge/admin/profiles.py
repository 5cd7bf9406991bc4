from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.db.models import Count, Field, QuerySet
from django.forms import Field as FormField
from django.http import HttpRequest

from intercom_bridge.models import TicketProfile

from .base import STYLES, ModelAdmin
from .codes import CodesFormField

CODE_LISTS = ("form_attributes", "excluded_states", "details_attributes")


@admin.register(TicketProfile)
class TicketProfileAdmin(ModelAdmin):
    list_display = ("name", "ticket_class", "workspace_count", "show_open_in_backoffice_button")
    # Without a hidden copy of the value in the page: the row itself says what has changed.
    formfield_overrides = {
        models.JSONField: {"show_hidden_initial": False, "widget": forms.Textarea(attrs={"rows": 4})}
    }
    search_fields = ("name", "ticket_class")
    save_on_top = True
    fieldsets = (
        (None, {"fields": ("name", "ticket_class")}),
        (
            "Create",
            {
                "fields": ("form_attributes", "defaults"),
                "description": "Codes of attributes of the class, one a line. What iTop needs and the form lacks is "
                "asked for by itself, unless it has a default.",
            },
        ),
        (
            "Show",
            {
                "fields": (
                    "excluded_states",
                    "subtitle_attribute",
                    "details_attributes",
                    "show_open_in_backoffice_button",
                ),
                "description": "Codes, one a line.",
            },
        ),
        (
            "Attributes with other codes than in stock iTop",
            {
                "fields": ("attributes_mapping",),
                "description": "Which attribute of the class plays which part: org_id, caller_id, status, title, "
                "description, origin, public_log, private_log; and, where iTop has the Intercom extension's, "
                "intercom_ref, intercom_url, intercom_sync_activated.",
            },
        ),
    )

    @admin.display(description="workspaces")
    def workspace_count(self, profile: Any) -> int:
        return int(profile.workspace_count)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = rows.annotate(workspace_count=Count("workspaces"))
        return annotated

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> FormField | None:
        if db_field.name in CODE_LISTS:
            return CodesFormField(
                required=not db_field.blank,
                label=str(db_field.verbose_name).capitalize(),
                help_text=db_field.help_text,
                initial=db_field.get_default(),
            )
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    class Media:
        css = STYLES
