"""The page that imports the data model of an iTop, and the field that displays the imported classes."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from intercom_bridge.datamodel.importing import profile_warnings
from intercom_bridge.datamodel.lookup import class_label, decode
from intercom_bridge.datamodel.xml_stream import FILE, MAX_BYTES
from intercom_bridge.models import DataModelImport, ItopInstance, WorkerHeartbeat
from intercom_bridge.wake import EVERYTHING, wake

from .display import datetime_text, stacked
from .row_actions import RowActionsAdmin

State = DataModelImport.State


class DataModelForm(forms.Form):
    """The form with the file of the data model, and with further classes to import."""

    file = forms.FileField(label="File", help_text=f"The file {FILE} of this iTop.")
    also = forms.CharField(
        label="Further classes",
        required=False,
        max_length=1000,
        help_text="Classes that are not derived from Ticket but are also to be imported, separated by spaces. Usually "
        "none.",
    )

    def clean_file(self) -> Any:
        """Refuse a file that is too large. The worker would refuse it too, but later."""
        upload = self.cleaned_data["file"]
        if upload.size > MAX_BYTES:
            raise forms.ValidationError(
                f"The file is larger than {MAX_BYTES // 1024 // 1024} MB, but a data model usually has about 10 MB. "
                f"Choose iTop's file {FILE}."
            )
        return upload


class DataModelAdmin(RowActionsAdmin):
    """The part of the iTop admin that imports data models."""

    change_form_template = "admin/intercom_bridge/itop.html"

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        return {**super().row_pages(), "datamodel": self.import_data_model}

    @admin.display(description="data model")
    def data_model(self, itop: ItopInstance) -> str:
        rows = list(itop.imported_classes.all()) if itop.pk else []
        if not rows:
            return "Not imported. The bridge assumes the ticket classes of a standard iTop."
        classes = [
            f"{ticket_class.name} ({class_label(ticket_class)}): {len(ticket_class.attributes)} attributes"
            for ticket_class in map(decode, rows)
        ]
        return stacked([*classes, f"From {rows[0].file_name}, {datetime_text(rows[0].imported_at)}"])

    def import_data_model(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Display the form and the latest import. On a valid POST, store the uploaded file for a worker to import."""
        itop = self.changeable_row(request, pk)
        form = DataModelForm(request.POST, request.FILES) if request.method == "POST" else DataModelForm()
        if form.is_valid():
            upload = form.cleaned_data["file"]
            DataModelImport.objects.request(
                itop,
                upload.read(),
                PurePath(upload.name).name,
                form.cleaned_data["also"].split(),
                request.user.get_username(),
            )
            self.log_change(request, itop, f"Uploaded the data model {upload.name}.")
            transaction.on_commit(lambda: wake(EVERYTHING))
            return HttpResponseRedirect(request.path)
        latest = DataModelImport.objects.filter(itop=itop).first()
        state = latest.state if latest else ""
        return self.page(
            request,
            "import_datamodel.html",
            "Import data model",
            original=itop,
            form=form,
            file=FILE,
            latest=latest,
            # A waiting page reloads itself. After an invalid POST it must not: the user is correcting the form.
            is_waiting=state == State.WAITING and request.method == "GET",
            has_worker=WorkerHeartbeat.objects.alive().exists(),
            warnings=profile_warnings(itop) if state == State.IMPORTED else [],
        )
