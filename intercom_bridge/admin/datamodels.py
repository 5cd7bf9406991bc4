"""The page that imports the data model of an iTop, and the field that displays what was imported."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse

from intercom_bridge.datamodel.importing import ImportResult, import_data_model
from intercom_bridge.datamodel.lookup import class_label, decode
from intercom_bridge.datamodel.xml_stream import FILE, DataModelError
from intercom_bridge.models import ItopInstance

from .display import datetime_text, stacked
from .row_actions import RowActionsAdmin

PAGE = "intercom_bridge_itopinstance_datamodel"


class DataModelForm(forms.Form):
    """The file, and classes that are not tickets."""

    file = forms.FileField(label="File", help_text=f"{FILE} of this iTop.")
    also = forms.CharField(
        label="Further classes",
        required=False,
        max_length=1000,
        help_text="Classes that are not derived from Ticket, separated by spaces. Usually none.",
    )


class DataModelAdmin(RowActionsAdmin):
    """The part of the iTop admin that imports data models."""

    change_form_template = "admin/intercom_bridge/itop.html"

    def get_urls(self) -> list[URLPattern]:
        page = path("<int:pk>/datamodel/", self.admin_site.admin_view(self.import_data_model), name=PAGE)
        return [page, *super().get_urls()]

    @admin.display(description="data model")
    def data_model(self, itop: ItopInstance) -> str:
        rows = list(itop.imported_classes.all()) if itop.pk else []
        if not rows:
            return "Not imported. Tickets are treated as those of a standard iTop."
        classes = [(row.name, decode(row)) for row in rows]
        return stacked(
            [
                *(
                    f"{name} ({class_label(ticket_class)}): {len(ticket_class.attributes)} attributes"
                    for name, ticket_class in classes
                ),
                f"From {rows[0].file_name}, {datetime_text(rows[0].imported_at)}",
            ]
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        if row and self.has_change_permission(request, row):
            context["import_url"] = reverse(f"admin:{PAGE}", args=[row.pk], current_app=self.admin_site.name)
        return super().render_change_form(request, context, *args, **kwargs)

    def import_data_model(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Display the form, and import the file that was uploaded."""
        itop = get_object_or_404(ItopInstance, pk=pk)
        if not self.has_change_permission(request, itop):
            raise PermissionDenied
        form = DataModelForm(request.POST, request.FILES) if request.method == "POST" else DataModelForm()
        if form.is_valid():
            upload = form.cleaned_data["file"]
            try:
                result = import_data_model(itop, upload, upload.name, also=form.cleaned_data["also"].split())
            except DataModelError as error:
                message = str(error)
                form.add_error("file", f"{message[:1].upper()}{message[1:]} Nothing was changed.")
            else:
                self._report(request, itop, result, upload.name)
                return HttpResponseRedirect(
                    reverse("admin:intercom_bridge_itopinstance_change", args=[itop.pk])
                )
        return self.page(
            request, "import_datamodel.html", "Import data model", original=itop, form=form, file=FILE
        )

    def _report(self, request: HttpRequest, itop: ItopInstance, result: ImportResult, file_name: str) -> None:
        names = ", ".join(imported.name for imported in result.classes)
        self.log_change(request, itop, f"Imported the data model from {file_name}: {names}.")
        self.message_user(request, f"Imported from {file_name}: {names}.", messages.SUCCESS)
        if result.removed:
            removed = ", ".join(result.removed)
            self.message_user(
                request, f"Removed, because the file no longer has them: {removed}.", messages.WARNING
            )
        for sentence in result.profile_warnings:
            self.message_user(request, f"Does not match: {sentence}", messages.WARNING)
