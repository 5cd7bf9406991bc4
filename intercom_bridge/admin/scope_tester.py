"""The page that explains which workspace serves a person, and counts the people of each scope."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from intercom_bridge.models import ItopInstance
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.tickets.scope_report import count_scopes, report_people
from itop_client import ItopError

from .base import ModelAdmin

PAGE = "intercom_bridge_workspace_scopes"


class PersonForm(forms.Form):
    """The person to look up."""

    who = forms.CharField(
        label="Person",
        max_length=320,
        strip=True,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="An e-mail address, a name, or the ID of a Person in iTop.",
    )


class ScopeTesterAdmin(ModelAdmin):
    """The part of the workspace admin that tests scopes."""

    def get_urls(self) -> list[URLPattern]:
        page = path("scopes/", self.admin_site.admin_view(self.scopes), name=PAGE)
        return [page, *super().get_urls()]

    def scopes(self, request: HttpRequest) -> HttpResponse:
        """Display the form, and the requested report for each iTop."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = PersonForm(request.GET) if "who" in request.GET else PersonForm()
        counted = "count" in request.GET
        reports = []
        if counted or form.is_valid():
            text = "" if counted else form.cleaned_data["who"]
            reports = [_report(itop, text) for itop in ItopInstance.objects.all()]
        return self.page(request, "scopes.html", "Scope test", form=form, reports=reports, counted=counted)


def _report(itop: ItopInstance, text: str) -> dict[str, Any]:
    """Return the people in one iTop, or the size of each scope if the text is empty, or a problem."""
    try:
        if text:
            return {"itop": itop, "people": list(report_people(text, itop))}
        return {"itop": itop, "counts": list(count_scopes(itop))}
    except (ItopError, SecretDecryptionError) as error:
        return {"itop": itop, "problem": str(error)}
