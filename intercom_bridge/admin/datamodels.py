"""The data model of an iTop in the admin: a page that takes its file, and what was learned of it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join

from intercom_bridge.datamodel.design import FILE, DataModelError
from intercom_bridge.datamodel.known import class_label
from intercom_bridge.datamodel.learning import Lesson, learn
from intercom_bridge.models import ItopInstance

from .base import in_short
from .row_actions import RowActionsAdmin

PAGE = "intercom_bridge_itopinstance_datamodel"


class DataModelForm(forms.Form):
    file = forms.FileField(label="File", help_text=f"{FILE} of this iTop.")
    also = forms.CharField(
        label="Further classes",
        required=False,
        max_length=1000,
        help_text="Classes to learn that do not descend from Ticket, with spaces between them. Usually none.",
    )


class DataModelAdmin(RowActionsAdmin):
    """For the admin of iTops: a button on an iTop's page, the page it leads to, and a field that tells."""

    change_form_template = "admin/intercom_bridge/itop.html"

    def get_urls(self) -> list[URLPattern]:
        page = path("<int:pk>/datamodel/", self.admin_site.admin_view(self.import_data_model), name=PAGE)
        return [page, *super().get_urls()]

    @admin.display(description="data model")
    def data_model(self, itop: ItopInstance) -> str:
        rows = list(itop.learned_classes.all()) if itop.pk else []
        if not rows:
            return "Not imported: its tickets are taken for those of stock iTop."
        learned = format_html_join(
            "\n",
            "<div>{} ({}): {} attributes</div>",
            (
                (row.name, class_label(known), len(known.attributes))
                for row in rows
                for known in (row.ticket_class(),)
            ),
        )
        when = in_short(rows[0].imported_at)
        return format_html("{}<div>From {}, {}</div>", learned, rows[0].file_name, when)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        if row and self.has_change_permission(request, row):
            context["import_url"] = reverse(f"admin:{PAGE}", args=[row.pk], current_app=self.admin_site.name)
        return super().render_change_form(request, context, *args, **kwargs)

    def import_data_model(self, request: HttpRequest, pk: int) -> HttpResponse:
        itop = get_object_or_404(ItopInstance, pk=pk)
        if not self.has_change_permission(request, itop):
            raise PermissionDenied
        form = DataModelForm(request.POST, request.FILES) if request.method == "POST" else DataModelForm()
        if form.is_valid():
            upload = form.cleaned_data["file"]
            try:
                lesson = learn(itop, upload, upload.name, also=form.cleaned_data["also"].split())
            except DataModelError as error:
                message = str(error)
                form.add_error("file", f"{message[:1].upper()}{message[1:]} Nothing was changed.")
            else:
                self._tell(request, itop, lesson, upload.name)
                return HttpResponseRedirect(
                    reverse("admin:intercom_bridge_itopinstance_change", args=[itop.pk])
                )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": itop,
            "title": "Import its data model",
            "form": form,
            "file": FILE,
        }
        return TemplateResponse(request, "admin/intercom_bridge/import_datamodel.html", context)

    def _tell(self, request: HttpRequest, itop: ItopInstance, lesson: Lesson, file_name: str) -> None:
        names = ", ".join(one.name for one in lesson.classes)
        self.log_change(request, itop, f"Imported its data model from {file_name}: {names}.")
        self.message_user(request, f"Learned from {file_name}: {names}.", messages.SUCCESS)
        if lesson.forgotten:
            self.message_user(
                request,
                f"Forgotten, since it has them no more: {', '.join(lesson.forgotten)}.",
                messages.WARNING,
            )
        for sentence in lesson.misfits:
            self.message_user(request, f"Does not fit: {sentence}", messages.WARNING)
