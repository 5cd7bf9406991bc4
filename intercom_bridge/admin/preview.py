"""The preview of a ticket profile: the panel's screens for a sample person, displayed as in Intercom."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse

from intercom_bridge.models import TicketProfile, Workspace
from intercom_bridge.panel.preview import ScreenPreview, preview_panel

from .base import ModelAdmin
from .masking import may_read_messages

PAGE = "intercom_bridge_ticketprofile_preview"
PREVIEW_FIELDS = {"preview-workspace", "preview-who", "csrfmiddlewaretoken"}


class SampleForm(forms.Form):
    """The sample customer whose panel is displayed."""

    workspace = forms.ModelChoiceField(Workspace.objects.none(), label="Workspace", empty_label=None)
    who = forms.CharField(
        label="Person",
        required=False,
        max_length=320,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="An e-mail address or the ID of a Person in iTop. If empty, the first person in the scope.",
    )

    def __init__(self, data: Any = None, *, workspaces: QuerySet[Workspace]) -> None:
        super().__init__(data, prefix="preview")
        self.fields["workspace"] = forms.ModelChoiceField(
            workspaces, label="Workspace", empty_label=None, initial=workspaces.first()
        )


class PreviewForm:
    """The profile's form as it was submitted, if it was, and the form that selects the sample.

    Nothing is saved. The submitted values travel with each preview (`hidden_values`).
    """

    def __init__(self, request: HttpRequest, profile: TicketProfile, form_class: Any) -> None:
        self.profile = profile
        edited = request.POST if request.method == "POST" and "form_attributes" in request.POST else None
        self.profile_form = form_class(edited, instance=profile) if edited is not None else None
        self.hidden_values = _hidden_values(edited) if edited is not None else []
        data = request.POST or request.GET
        self._workspaces = _workspaces_for(profile)
        self.sample = SampleForm(data if "preview-workspace" in data else None, workspaces=self._workspaces)

    def is_valid(self) -> bool:
        """Return whether there is a profile and a sample to be displayed."""
        if self.profile_form is not None and not self.profile_form.is_valid():
            return False
        return not self.sample.errors and self.workspace is not None

    @property
    def workspace(self) -> Workspace | None:
        """The selected workspace, or the first one."""
        if self.sample.is_bound and self.sample.is_valid():
            selected: Workspace = self.sample.cleaned_data["workspace"]
            return selected
        return self._workspaces.first()

    def screens(self) -> tuple[list[ScreenPreview], list[str]]:
        """Return the screens, and the sentences that say which attributes are not displayed."""
        assert self.workspace is not None  # noqa: S101 - is_valid
        who = self.sample.cleaned_data["who"] if self.sample.is_bound else ""
        return preview_panel(self.workspace, self.profile, who)


def _workspaces_for(profile: TicketProfile) -> QuerySet[Workspace]:
    """Return the workspaces that use the profile, or all if none does."""
    workspaces = Workspace.objects.select_related("itop", "profile")
    using = workspaces.filter(profile=profile.pk)
    return using if profile.pk and using.exists() else workspaces


def _hidden_values(data: QueryDict) -> list[tuple[str, str]]:
    return [
        (name, str(value)) for name, values in data.lists() if name not in PREVIEW_FIELDS for value in values
    ]


class PreviewAdmin(ModelAdmin):
    """The part of the profile admin with the preview."""

    change_form_template = "admin/intercom_bridge/profile.html"

    def get_urls(self) -> list[URLPattern]:
        pages = [
            path("preview/", self.admin_site.admin_view(self.preview), name=f"{PAGE}_new"),
            path("<int:pk>/preview/", self.admin_site.admin_view(self.preview), name=PAGE),
        ]
        return [*pages, *super().get_urls()]

    def page_links(self, request: HttpRequest, row: Any) -> dict[str, str]:
        links = super().page_links(request, row)
        if may_read_messages(request.user):
            links["preview_url"] = (
                reverse(f"admin:{PAGE}", args=[row.pk]) if row else reverse(f"admin:{PAGE}_new")
            )
        return links

    def preview(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """Display the screens of a saved or an edited profile."""
        profile = get_object_or_404(TicketProfile, pk=pk) if pk else TicketProfile()
        allowed = (
            self.has_view_or_change_permission(request, profile) if pk else self.has_add_permission(request)
        )
        # The preview displays the latest entries of a ticket's logs.
        if not allowed or not may_read_messages(request.user):
            raise PermissionDenied
        form = PreviewForm(request, profile, self.get_form(request, profile if pk else None))
        screens, warnings = form.screens() if form.is_valid() else ([], [])
        context = {
            "original": profile if pk else None,
            "form": form,
            "screens": screens,
            "warnings": warnings,
        }
        return self.page(request, "preview.html", "Preview", **context)
