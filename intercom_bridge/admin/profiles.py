from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.db.models import Count, Field, QuerySet
from django.forms import Field as FormField
from django.http import HttpRequest
from django.template.loader import render_to_string

from intercom_bridge.datamodel.known import attribute_label
from intercom_bridge.datamodel.stock import STOCK_CLASSES
from intercom_bridge.models import LearnedClass, TicketProfile

from .base import STYLES
from .codes import CodesFormField
from .preview import PreviewAdmin
from .profile_form import TicketProfileForm

CODE_LISTS = ("form_attributes", "excluded_states", "details_attributes")


@admin.register(TicketProfile)
class TicketProfileAdmin(PreviewAdmin):
    form = TicketProfileForm
    list_display = ("name", "ticket_class", "workspace_count", "show_open_in_backoffice_button")
    # Without a hidden copy of the value in the page: the row itself says what has changed.
    formfield_overrides = {
        models.JSONField: {"show_hidden_initial": False, "widget": forms.Textarea(attrs={"rows": 4})}
    }
    search_fields = ("name", "ticket_class")
    readonly_fields = ("known_attributes",)
    save_on_top = True
    fieldsets = (
        (None, {"fields": ("name", "ticket_class", "fill_in")}),
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
        ("Attributes of the class", {"fields": ("known_attributes",), "classes": ("collapse",)}),
    )

    @admin.display(description="workspaces")
    def workspace_count(self, profile: Any) -> int:
        return int(profile.workspace_count)

    @admin.display(description="attributes")
    def known_attributes(self, profile: Any) -> str:
        """What can be written in the lists above."""
        learned = LearnedClass.objects.for_profile(profile).filter(name=profile.ticket_class)
        found = learned.select_related("itop").first()
        known = found.ticket_class() if found else STOCK_CLASSES.get(profile.ticket_class)
        if known is None:
            return (
                f"Nothing is known of {profile.ticket_class}: any code may be right. Import the data model on the "
                "page of its iTop."
            )
        return render_to_string(
            "admin/intercom_bridge/known_attributes.html",
            {
                "itop": found.itop if found else None,
                "rows": [(one, attribute_label(known, one.code)) for one in known.attributes.values()],
            },
        )

    def save_model(self, request: HttpRequest, obj: TicketProfile, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.filled_in:
            names = ", ".join(_label(name) for name in form.filled_in)
            self.message_user(request, f"Filled in what fits: {names}.", messages.INFO)
        for sentence in form.warnings:
            self.message_user(request, sentence, messages.WARNING)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        if form.filled_in:
            # The form knows of what was typed only.
            message.append({"changed": {"fields": [_label(name) for name in form.filled_in]}})
        return message

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


def _label(name: str) -> str:
    return str(TicketProfile._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
