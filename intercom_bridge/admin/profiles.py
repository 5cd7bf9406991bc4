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

# Columns that contain a list of codes of attributes or states.
CODE_LISTS = ("form_attributes", "excluded_states", "details_attributes")


@admin.register(TicketProfile)
class TicketProfileAdmin(PreviewAdmin):
    """The admin in which ticket profiles are edited and previewed."""

    form = TicketProfileForm
    list_display = ("name", "ticket_class", "workspace_count", "show_open_in_backoffice_button")
    # Leave out the hidden input that Django adds for the initial value if a default is callable. Django then detects a
    # change by comparing the submitted value with the stored row.
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
            description="Enter the codes of the class's attributes, one per line. Attributes that iTop requires for a "
            "new ticket are added to the form automatically, unless they have a default.",
        ),
        section(
            "Ticket details",
            ("excluded_states", "subtitle_attribute", "details_attributes", "show_open_in_backoffice_button"),
            description="Enter codes, one per line.",
        ),
        section(
            "Attribute mapping",
            ("attributes_mapping",),
            description="Needed only for attributes whose codes in your iTop differ from these: org_id, caller_id, "
            "status, title, description, origin, public_log, private_log. If iTop has the attributes of Combodo's "
            "Intercom extension, also from these: intercom_ref, intercom_url, intercom_sync_activated.",
        ),
        section("Attributes of the class", ("known_attributes",), is_collapsed=True),
    )

    class Media:
        """The script that replaces the inputs for codes by pick lists."""

        js = ("intercom_bridge/codes.js",)

    @admin.display(description="workspaces")
    def workspace_count(self, profile: Any) -> int:
        return int(profile.workspace_count)

    @admin.display(description="attributes")
    def known_attributes(self, profile: TicketProfile) -> str:
        """Return a table of the class's attributes, with data for the pick lists of codes.js.

        The class comes from the imported data model, or else from the data model of a standard iTop.
        """
        imported_classes = ImportedClass.objects.for_profile(profile).filter(name=profile.ticket_class)
        imported = imported_classes.select_related("itop").first()
        ticket_class = decode(imported) if imported else BUILTIN_CLASSES.get(profile.ticket_class)
        if ticket_class is None:
            return (
                f"The attributes of {profile.ticket_class} are unknown, so any code is accepted. To have codes "
                "checked, import the data model on the iTop's page."
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
        """Save the profile. Tell the user which fields were corrected automatically, and what looks wrong."""
        super().save_model(request, obj, form, change)
        obj.reset_extension_attributes()
        if form.corrected_fields:
            names = ", ".join(_label(name) for name in form.corrected_fields)
            self.message_user(request, f"Corrected: {names}.", messages.INFO)
        for sentence in form.warnings:
            self.message_user(request, sentence, messages.WARNING)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Return the history entry. Add the automatically corrected fields, which Django does not know about."""
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        if form.corrected_fields:
            message.append({"changed": {"fields": [_label(name) for name in form.corrected_fields]}})
        return message

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        profiles: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = profiles.annotate(workspace_count=Count("workspaces"))
        return annotated

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> FormField | None:
        """Return the form field of a column. A list of codes is edited with one code per line."""
        if db_field.name in CODE_LISTS:
            return CodesFormField.for_column(db_field)
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "subtitle_attribute":
            # The <datalist> in known_attributes.html.
            field.widget.attrs["list"] = "bridge-attribute-codes"
        return field


def _label(field_name: str) -> str:
    return str(TicketProfile._meta.get_field(field_name).verbose_name)  # type: ignore[union-attr]


def _choices(profile: TicketProfile, ticket_class: TicketClass) -> dict[str, Any]:
    """Return the codes that each field of the form may contain, with their labels, as JSON for codes.js.

    A choice is [code, label]. For `defaults` it is [code, label, [[value, label], ...]] with the attribute's values.
    """
    attributes = ticket_class.attributes
    labels = {code: attribute_label(ticket_class, code) for code in attributes}
    values = {
        code: [[value.code, value_label(ticket_class, code, value.code)] for value in attribute.values]
        for code, attribute in attributes.items()
    }
    # The bridge or iTop fills in these attributes, so the create form cannot contain them.
    filled_in_codes = profile.filled_in()
    editable = [
        code
        for code, attribute in attributes.items()
        if attribute.kind not in (Kind.LOG, Kind.OTHER) and code not in filled_in_codes
    ]
    shown = [code for code, attribute in attributes.items() if attribute.kind is not Kind.OTHER]
    return {
        "ticket_class": ticket_class.name,
        "form_attributes": [[code, labels[code]] for code in editable],
        "details_attributes": [[code, labels[code]] for code in shown],
        "excluded_states": values.get(profile.code("status"), []),
        "defaults": [[code, labels[code], values[code]] for code in editable],
    }
