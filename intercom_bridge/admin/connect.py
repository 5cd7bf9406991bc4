"""The form of the page that connects a workspace: its secrets, the iTop, the scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.db import models, transaction

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace

from .secrets import SECRET_OVERRIDES, SecretsForm

NEW = "new"
DEFAULT_PROFILE_NAME = "Requests"
INTERCOM_FIELDS = ("workspace_id", "name", "region", "client_secret", "access_token")
SERVICE_FIELDS = ("scope", "language", "time_zone")


def _form_field(column: models.Field[Any, Any], **options: Any) -> forms.Field | None:
    for kind, overrides in SECRET_OVERRIDES.items():
        if isinstance(column, kind):
            return column.formfield(**overrides, **options, required=True)
    if isinstance(column, models.URLField):
        options.setdefault("assume_scheme", "https")
    if isinstance(column, models.TextField):
        options["widget"] = AdminTextareaWidget({"rows": 3, "spellcheck": "false"})
    elif isinstance(column, models.CharField) and not column.choices:
        options["widget"] = AdminTextInputWidget()
    return column.formfield(**options)


class WorkspaceForm(SecretsForm):
    """The workspace's own fields."""

    required_css_class = "required"

    class Meta:
        model = Workspace
        fields = (*INTERCOM_FIELDS, *SERVICE_FIELDS)
        formfield_callback = staticmethod(_form_field)


class ItopForm(SecretsForm):
    """A new iTop."""

    required_css_class = "required"

    class Meta:
        model = ItopInstance
        fields = ("name", "url", "token", "time_zone")
        formfield_callback = staticmethod(_form_field)


class ChoiceForm(forms.Form):
    """The iTop and the profile: existing ones, or a new one."""

    required_css_class = "required"

    itop = forms.ChoiceField(label="iTop")
    profile = forms.ChoiceField(label="Ticket profile")

    def __init__(self, *args: Any, may_add_itop: bool, may_add_profile: bool, **kwargs: Any) -> None:
        """Offer the existing rows, and new ones if the user may add them."""
        super().__init__(*args, **kwargs)
        itops = [(str(itop.pk), f"{itop} ({itop.url})") for itop in ItopInstance.objects.all()]
        profiles = [(str(profile.pk), str(profile)) for profile in TicketProfile.objects.all()]
        if may_add_itop:
            itops.append((NEW, "Add a new iTop"))
        if may_add_profile and not profiles:
            profiles.append((NEW, "Add a new profile: UserRequest of a standard iTop"))
        for name, choices in (("itop", itops), ("profile", profiles)):
            self.fields[name] = forms.ChoiceField(label=self.fields[name].label, choices=choices)


class ConnectForm:
    """The page's three forms, validated and saved together."""

    def __init__(self, data: Any = None, *, may_add_itop: bool, may_add_profile: bool) -> None:
        """Create the forms. The one for a new iTop is bound only if a new iTop was chosen."""
        self.workspace = WorkspaceForm(data)
        self.choice = ChoiceForm(
            data, prefix="of", may_add_itop=may_add_itop, may_add_profile=may_add_profile
        )
        selected = data.get("of-itop") if data is not None else None
        self._adds_itop = selected == NEW and may_add_itop
        self.itop = ItopForm(data if self._adds_itop else None, prefix="itop") if may_add_itop else None
        self.intercom_fields = [self.workspace[name] for name in INTERCOM_FIELDS]
        self.itop_choice = [self.choice["itop"]]
        self.service_fields = [*(self.workspace[name] for name in SERVICE_FIELDS), self.choice["profile"]]

    def __iter__(self) -> Iterator[forms.BaseForm]:
        yield from (form for form in (self.workspace, self.choice, self.itop) if form is not None)

    def is_valid(self) -> bool:
        """Validate all forms that were submitted."""
        # Each form has to collect its errors, so the first invalid one must not end the validation.
        invalid = [form for form in self if form.is_bound and not form.is_valid()]
        return not invalid

    @property
    def has_errors(self) -> bool:
        return any(form.errors for form in self if form.is_bound)

    def save(self) -> tuple[Workspace, list[models.Model]]:
        """Save everything in one transaction. Return the workspace and all created rows."""
        created: list[models.Model] = []
        with transaction.atomic():
            workspace: Workspace = self.workspace.save(commit=False)
            if self._adds_itop and self.itop:
                workspace.itop = self.itop.save()
                created.append(workspace.itop)
            else:
                workspace.itop = ItopInstance.objects.get(pk=self.choice.cleaned_data["itop"])
            if self.choice.cleaned_data["profile"] == NEW:
                workspace.profile = TicketProfile.objects.create(name=DEFAULT_PROFILE_NAME)
                created.append(workspace.profile)
            else:
                workspace.profile = TicketProfile.objects.get(pk=self.choice.cleaned_data["profile"])
            workspace.save()
            created.append(workspace)
        return workspace, created
