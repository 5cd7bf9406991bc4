"""The admin of ticket profiles."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.db.models import Count, Field, QuerySet
from django.forms import Field as FormField
from django.http import HttpRequest
from django.template.loader import render_to_string

from intercom_bridge.datamodel import Kind, TicketClass
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.lookup import attribute_label, decode, value_label
from intercom_bridge.models import ImportedClass, TicketProfile

from .base import section
from .preview import PreviewAdmin
from .profile_form import CodesFormField, TicketProfileForm

CODE_LISTS = ("form_attributes", "excluded_states", "details_attributes")


@admin.register(TicketProfile)
class TicketProfileAdmin(PreviewAdmin):
    """Profiles are edited and previewed here."""

    form = TicketProfileForm
    list_display = ("name", "ticket_class", "workspace_count", "show_open_in_backoffice_button")
    # Without a hidden initial value: changes are detected by the row itself.
    formfield_overrides = {
        models.JSONField: {"show_hidden_initial": False, "widget": forms.Textarea(attrs={"rows": 4})}
    }
    search_fields = ("name", "ticket_class")
    readonly_fields = ("known_attributes",)
    save_on_top = True
    fieldsets = (
        section(None, ("name", "ticket_class", "fill_in", "accept_other")),
        section(
            "Create form",
            ("form_attributes", "defaults"),
            description="Attributes of the class, as codes: one per line. Those that iTop requires are added "
            "automatically, unless they have a default.",
        ),
        section(
            "Ticket details",
            ("excluded_states", "subtitle_attribute", "details_attributes", "show_open_in_backoffice_button"),
            description="Codes, one per line.",
        ),
        section(
            "Attribute mapping",
            ("attributes_mapping",),
            description="Only for attributes whose codes differ from those of a standard iTop: org_id, "
            "caller_id, status, title, description, origin, public_log, private_log. If iTop has the attributes "
            "of Combodo's Intercom extension, also: intercom_ref, intercom_url, intercom_sync_activated.",
        ),
        section("Attributes of the class", ("known_attributes",), is_collapsed=True),
    )

    class Media:
        """The script of the pick lists."""

        js = ("intercom_bridge/codes.js",)

    @admin.display(description="workspaces")
    def workspace_count(self, profile: Any) -> int:
        return int(profile.workspace_count)

    @admin.display(description="attributes")
    def known_attributes(self, profile: TicketProfile) -> str:
        """Return the attributes of the class as a table, and as data for the pick lists of codes.js."""
        rows = ImportedClass.objects.for_profile(profile).filter(name=profile.ticket_class)
        imported = rows.select_related("itop").first()
        ticket_class = decode(imported) if imported else BUILTIN_CLASSES.get(profile.ticket_class)
        if ticket_class is None:
            return (
                f"The attributes of {profile.ticket_class} are unknown, so any code is accepted. Import the data model "
                "on the page of the iTop."
            )
        attributes = ticket_class.attributes.values()
        return render_to_string(
            "admin/intercom_bridge/known_attributes.html",
            {
                "itop": imported.itop if imported else None,
                "rows": [
                    (attribute, attribute_label(ticket_class, attribute.code)) for attribute in attributes
                ],
                "choices": _choices(profile, ticket_class),
            },
        )

    def save_model(self, request: HttpRequest, obj: TicketProfile, form: Any, change: bool) -> None:
        """Save the profile, and display its corrections and warnings."""
        super().save_model(request, obj, form, change)
        obj.workspaces.update(has_intercom_attributes=None)
        if form.filled_in:
            names = ", ".join(_label(name) for name in form.filled_in)
            self.message_user(request, f"Corrected: {names}.", messages.INFO)
        for sentence in form.warnings:
            self.message_user(request, sentence, messages.WARNING)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Return the history entry. The fields that were corrected are not among the submitted ones."""
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        if form.filled_in:
            message.append({"changed": {"fields": [_label(name) for name in form.filled_in]}})
        return message

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = rows.annotate(workspace_count=Count("workspaces"))
        return annotated

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> FormField | None:
        """Return a field with one code per line for lists of codes."""
        if db_field.name in CODE_LISTS:
            return CodesFormField.for_column(db_field)
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "subtitle_attribute":
            field.widget.attrs["list"] = "bridge-attribute-codes"
        return field


def _label(name: str) -> str:
    return str(TicketProfile._meta.get_field(name).verbose_name)  # type: ignore[union-attr]


def _choices(profile: TicketProfile, ticket_class: TicketClass) -> dict[str, Any]:
    """Return the codes that each field of the form may contain, with their labels, as JSON for codes.js."""
    labels = {code: attribute_label(ticket_class, code) for code in ticket_class.attributes}
    values = {
        code: [[value.code, value_label(ticket_class, code, value.code)] for value in attribute.values]
        for code, attribute in ticket_class.attributes.items()
    }
    editable = [
        code
        for code, attribute in ticket_class.attributes.items()
        if attribute.kind not in (Kind.LOG, Kind.OTHER) and code not in profile.filled_in()
    ]
    shown = [code for code, attribute in ticket_class.attributes.items() if attribute.kind is not Kind.OTHER]
    return {
        "ticket_class": ticket_class.name,
        "form_attributes": [[code, labels[code]] for code in editable],
        "details_attributes": [[code, labels[code]] for code in shown],
        "excluded_states": values.get(profile.code("status"), []),
        "defaults": [[code, labels[code], values[code]] for code in editable],
    }
