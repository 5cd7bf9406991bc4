"""A ticket profile tried out before it is saved: the panel's screens for a sample person, drawn as in Intercom."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from intercom_bridge.canvas.rehearsal import rehearse
from intercom_bridge.models import TicketProfile, Workspace

from .base import ModelAdmin
from .hidden import may_read_messages

PAGE = "intercom_bridge_ticketprofile_preview"
OURS = {"preview-workspace", "preview-who", "csrfmiddlewaretoken"}


class SampleForm(forms.Form):
    """For whom it is tried, beside the profile's own form."""

    workspace = forms.ModelChoiceField(Workspace.objects.none(), label="In the workspace", empty_label=None)
    who = forms.CharField(
        label="For",
        required=False,
        max_length=320,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="An e-mail address or the number of a Person in iTop. Empty: the first one that is served.",
    )

    def __init__(self, data: Any = None, *, workspaces: Any) -> None:
        super().__init__(data, prefix="preview")
        self.fields["workspace"] = forms.ModelChoiceField(
            workspaces, label="In the workspace", empty_label=None, initial=workspaces.first()
        )


class PreviewAdmin(ModelAdmin):
    """For the admin of profiles: a button beside Save, and the page it leads to."""

    change_form_template = "admin/intercom_bridge/profile.html"

    def get_urls(self) -> list[URLPattern]:
        pages = [
            path("preview/", self.admin_site.admin_view(self.preview), name=f"{PAGE}_new"),
            path("<int:pk>/preview/", self.admin_site.admin_view(self.preview), name=PAGE),
        ]
        return [*pages, *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        profile = context.get("original")
        if may_read_messages(request.user):
            context["preview_url"] = (
                reverse(f"admin:{PAGE}", args=[profile.pk]) if profile else reverse(f"admin:{PAGE}_new")
            )
        return super().render_change_form(request, context, *args, **kwargs)

    def preview(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """What was typed comes with it, and goes on with each look; nothing of it is saved."""
        profile = get_object_or_404(TicketProfile, pk=pk) if pk else TicketProfile()
        allowed = (
            self.has_view_or_change_permission(request, profile) if pk else self.has_add_permission(request)
        )
        # The last entries of a ticket's logs are on it.
        if not allowed or not may_read_messages(request.user):
            raise PermissionDenied
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": profile if pk else None,
            "title": "Preview",
        }
        typed = request.POST if request.method == "POST" and "form_attributes" in request.POST else None
        if typed is not None:
            form = self.get_form(request, profile if pk else None)(typed, instance=profile)
            if not form.is_valid():
                return self._page(request, context | {"profile_form": form})
            context["typed"] = [
                (name, value) for name, values in typed.lists() if name not in OURS for value in values
            ]
        # Those that use it first: it is tried on them.
        workspaces = Workspace.objects.select_related("itop", "profile").filter(
            **({"profile": pk} if pk and Workspace.objects.filter(profile=pk).exists() else {})
        )
        data = request.POST or request.GET
        sample = SampleForm(data if "preview-workspace" in data else None, workspaces=workspaces)
        context["sample"] = sample
        workspace = (
            sample.cleaned_data["workspace"] if sample.is_bound and sample.is_valid() else workspaces.first()
        )
        if workspace is not None and not sample.errors:
            who = sample.cleaned_data["who"] if sample.is_bound else ""
            context["screens"], context["not_shown"] = rehearse(workspace, profile, who)
            context["profile"] = profile
        return self._page(request, context)

    def _page(self, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
        return TemplateResponse(
            request, "admin/intercom_bridge/preview.html", context | {"media": self.media}
        )
