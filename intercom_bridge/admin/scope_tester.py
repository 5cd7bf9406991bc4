"""The page that explains which workspace serves a person, and counts the people of each scope."""

from dataclasses import dataclass

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from intercom_bridge.models import ItopInstance
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.tickets.scope_report import PersonReport, ScopeSize, count_scopes, report_people
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


@dataclass(frozen=True)
class ItopReport:
    """What was found in one iTop: people, or the number of people per workspace, or a problem."""

    itop: ItopInstance
    people: tuple[PersonReport, ...] = ()
    counts: tuple[ScopeSize, ...] = ()
    problem: str = ""


class ScopeTesterAdmin(ModelAdmin):
    """The part of the workspace admin that tests scopes."""

    def get_urls(self) -> list[URLPattern]:
        page = path("scopes/", self.admin_site.admin_view(self.scopes), name=PAGE)
        return [page, *super().get_urls()]

    def scopes(self, request: HttpRequest) -> HttpResponse:
        """Display the form, and for each iTop what was asked for."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = PersonForm(request.GET) if "who" in request.GET else PersonForm()
        counted = "count" in request.GET
        reports = []
        if counted or form.is_valid():
            text = "" if counted else form.cleaned_data["who"]
            reports = [_report(itop, text) for itop in ItopInstance.objects.all()]
        return self.page(request, "scopes.html", "Scope test", form=form, reports=reports, counted=counted)


def _report(itop: ItopInstance, text: str) -> ItopReport:
    """Look up the person, or count the people of each scope if the text is empty."""
    try:
        if text:
            return ItopReport(itop, people=tuple(report_people(text, itop)))
        return ItopReport(itop, counts=tuple(count_scopes(itop)))
    except (ItopError, SecretDecryptionError) as error:
        return ItopReport(itop, problem=str(error))
