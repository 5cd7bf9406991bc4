"""Which workspace serves somebody, and why; how many people each scope covers, and where two overlap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from intercom_bridge.desk.coverage import Overlap, Reach, Served, overlaps, reaches, who_serves
from intercom_bridge.models import ItopInstance
from intercom_bridge.models.encryption import SecretUnreadable
from itop_client import ItopError

from .base import ModelAdmin

PAGE = "intercom_bridge_workspace_scopes"


class WhoForm(forms.Form):
    who = forms.CharField(
        label="Who",
        max_length=320,
        strip=True,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="An e-mail address, a name, or the number of a Person in iTop.",
    )


@dataclass
class OfItop:
    """What is shown of one iTop."""

    itop: ItopInstance
    trouble: str = ""
    people: list[Served] = field(default_factory=list)
    reaches: list[Reach] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)


class ScopeTesterAdmin(ModelAdmin):
    """For the admin of workspaces: the page, and the address that leads to it."""

    def get_urls(self) -> list[URLPattern]:
        page = path("scopes/", self.admin_site.admin_view(self.scopes), name=PAGE)
        return [page, *super().get_urls()]

    def scopes_url(self) -> str:
        return reverse(f"admin:{PAGE}")

    def scopes(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = WhoForm(request.GET) if "who" in request.GET else WhoForm()
        shown: list[OfItop] = []
        if "count" in request.GET:
            shown = [_counted(itop) for itop in ItopInstance.objects.all()]
        elif form.is_valid():
            shown = [_found(itop, form.cleaned_data["who"]) for itop in ItopInstance.objects.all()]
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Who is served",
            "form": form,
            "shown": shown,
            "counted": "count" in request.GET,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/intercom_bridge/scopes.html", context)


def _found(itop: ItopInstance, who: str) -> OfItop:
    try:
        return OfItop(itop, people=who_serves(who, itop))
    except (ItopError, SecretUnreadable) as error:
        return OfItop(itop, trouble=str(error))


def _counted(itop: ItopInstance) -> OfItop:
    try:
        return OfItop(itop, reaches=reaches(itop), overlaps=list(overlaps(itop)))
    except SecretUnreadable as error:
        return OfItop(itop, trouble=str(error))
