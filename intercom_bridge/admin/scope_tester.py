"""The page that explains which workspaces serve a person, and counts the people in each scope."""

from collections.abc import Callable, Iterable
from functools import partial
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
    """The form with the person to look up."""

    who = forms.CharField(
        label="Person",
        max_length=320,
        strip=True,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="An e-mail address, a name, or the ID of a Person in iTop.",
    )


class ScopeTesterAdmin(ModelAdmin):
    """The part of the workspace admin with the page that tests scopes."""

    def get_urls(self) -> list[URLPattern]:
        page = path("scopes/", self.admin_site.admin_view(self.scopes), name=PAGE)
        return [page, *super().get_urls()]

    def scopes(self, request: HttpRequest) -> HttpResponse:
        """Display the form and, if the user has asked for it, a report for each iTop.

        With "count" in the address, the report contains the number of people in each scope. With "who", it contains the
        persons that match this text, and whether each workspace serves them.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = PersonForm(request.GET) if "who" in request.GET else PersonForm()
        is_counted = "count" in request.GET
        itops = ItopInstance.objects.all()
        reports = []
        if is_counted:
            reports = [_report(itop, "counts", partial(count_scopes, itop)) for itop in itops]
        elif form.is_valid():
            who = form.cleaned_data["who"]
            reports = [_report(itop, "people", partial(report_people, who, itop)) for itop in itops]
        return self.page(request, "scopes.html", "Scope test", form=form, reports=reports, counted=is_counted)


def _report(itop: ItopInstance, name: str, read: Callable[[], Iterable[Any]]) -> dict[str, Any]:
    """Return the template's variables for one iTop: what `read` returns under this name, or iTop's error."""
    try:
        return {"itop": itop, name: list(read())}
    except (ItopError, SecretDecryptionError) as error:
        return {"itop": itop, "problem": str(error)}
