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
# Inputs of the preview page that do not belong to the profile's form.
PREVIEW_FIELDS = {"preview-workspace", "preview-who", "csrfmiddlewaretoken"}


class SampleForm(forms.Form):
    """The form in which the user selects the workspace and the person for the preview."""

    workspace = forms.ModelChoiceField(Workspace.objects.none(), label="Workspace", empty_label=None)
    who = forms.CharField(
        label="Person",
        required=False,
        max_length=320,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="An e-mail address or the ID of a Person in iTop. If this is empty, the preview uses the first "
        "person in the scope.",
    )

    def __init__(self, data: Any = None, *, workspaces: QuerySet[Workspace]) -> None:
        super().__init__(data, prefix="preview")
        self.fields["workspace"] = forms.ModelChoiceField(
            workspaces, label="Workspace", empty_label=None, initial=workspaces.first()
        )


class PreviewForm:
    """The submitted form of the profile, and the form that selects the person for the preview. Nothing is saved.

    `profile_form` is None if the saved profile is displayed. If the user has edited the profile, the page contains the
    edited values as hidden inputs (`hidden_values`), so that the next preview gets them too.
    """

    def __init__(self, request: HttpRequest, profile: TicketProfile, form_class: Any) -> None:
        self.profile = profile
        self.profile_form: Any = None
        self.hidden_values: list[tuple[str, str]] = []
        # A POST without this field of the profile's form comes from the preview of the saved profile.
        if "form_attributes" in request.POST:
            self.profile_form = form_class(request.POST, instance=profile)
            self.hidden_values = _hidden_values(request.POST)
        submitted = request.POST or request.GET
        self._workspaces = _workspaces_for(profile)
        self.sample = SampleForm(
            submitted if "preview-workspace" in submitted else None, workspaces=self._workspaces
        )

    def is_valid(self) -> bool:
        """Return whether the profile and the selection are valid, and there is a workspace to draw screens for."""
        if self.profile_form is not None and not self.profile_form.is_valid():
            return False
        return not self.sample.errors and self.workspace is not None

    @property
    def workspace(self) -> Workspace | None:
        """The selected workspace, or the first one if none is selected. None if there are no workspaces."""
        if self.sample.is_bound and self.sample.is_valid():
            selected: Workspace = self.sample.cleaned_data["workspace"]
            return selected
        return self._workspaces.first()

    def screens(self) -> tuple[list[ScreenPreview], list[str]]:
        """Return the panel's screens, and one sentence for each attribute that cannot be displayed."""
        assert self.workspace is not None  # noqa: S101 - callers check is_valid() first
        who = self.sample.cleaned_data["who"] if self.sample.is_bound else ""
        return preview_panel(self.workspace, self.profile, who)


def _workspaces_for(profile: TicketProfile) -> QuerySet[Workspace]:
    """Return the workspaces that use the profile, or all workspaces if none uses it."""
    workspaces = Workspace.objects.select_related("itop", "profile")
    workspaces_with_profile = workspaces.filter(profile=profile.pk)
    if profile.pk and workspaces_with_profile.exists():
        return workspaces_with_profile
    return workspaces


def _hidden_values(submitted: QueryDict) -> list[tuple[str, str]]:
    """Return the name and the value of each submitted input of the profile's form."""
    hidden_values = []
    for name, values in submitted.lists():
        if name not in PREVIEW_FIELDS:
            hidden_values += [(name, str(value)) for value in values]
    return hidden_values


class PreviewAdmin(ModelAdmin):
    """The part of the profile admin with the page of the preview."""

    change_form_template = "admin/intercom_bridge/profile.html"

    def get_urls(self) -> list[URLPattern]:
        pages = [
            path("preview/", self.admin_site.admin_view(self.preview), name=f"{PAGE}_new"),
            path("<int:pk>/preview/", self.admin_site.admin_view(self.preview), name=PAGE),
        ]
        return [*pages, *super().get_urls()]

    def page_links(self, request: HttpRequest, row: Any) -> dict[str, str]:
        """Add the address of the preview, also for a new profile.

        The preview displays entries of tickets' logs, so it requires the permission to read messages.
        """
        links = super().page_links(request, row)
        if may_read_messages(request.user):
            links["preview_url"] = (
                reverse(f"admin:{PAGE}", args=[row.pk]) if row else reverse(f"admin:{PAGE}_new")
            )
        return links

    def preview(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """Display the panel's screens for a profile, with the submitted edits. For a new profile, `pk` is None."""
        if pk:
            profile = get_object_or_404(TicketProfile, pk=pk)
            is_allowed = self.has_view_or_change_permission(request, profile)
        else:
            profile = TicketProfile()
            is_allowed = self.has_add_permission(request)
        if not is_allowed or not may_read_messages(request.user):
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
