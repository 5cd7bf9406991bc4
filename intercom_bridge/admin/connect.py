"""Connecting a workspace on one page: the steps in Intercom, its secrets, the iTop, whom it serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.db import models, transaction

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace

from .secrets import SECRET_OVERRIDES, SecretChange, SecretsForm

NEW = "new"
STOCK_PROFILE = "Requests"


def _field(column: models.Field[Any, Any], **options: Any) -> forms.Field | None:
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


class _WorkspaceForm(SecretsForm):
    required_css_class = "required"

    class Meta:
        model = Workspace
        fields = (
            "workspace_id",
            "name",
            "region",
            "client_secret",
            "access_token",
            "scope",
            "language",
            "time_zone",
        )
        formfield_callback = staticmethod(_field)

    def clean_client_secret(self) -> SecretChange:
        return _given(self.cleaned_data["client_secret"])

    def clean_access_token(self) -> SecretChange:
        return _given(self.cleaned_data["access_token"])


class _ItopForm(SecretsForm):
    required_css_class = "required"

    class Meta:
        model = ItopInstance
        fields = ("name", "url", "token", "time_zone")
        formfield_callback = staticmethod(_field)

    def clean_token(self) -> SecretChange:
        return _given(self.cleaned_data["token"])


def _given(secret: SecretChange) -> SecretChange:
    if not secret.text:
        raise ValidationError("This is needed.")
    return secret


class _ChoiceForm(forms.Form):
    """Which iTop and which profile, of those that there are."""

    required_css_class = "required"

    itop = forms.ChoiceField(label="Which iTop")
    profile = forms.ChoiceField(label="Ticket profile")

    def __init__(self, *args: Any, may_add_itop: bool, may_add_profile: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        itops = [(str(itop.pk), f"{itop} ({itop.url})") for itop in ItopInstance.objects.all()]
        profiles = [(str(one.pk), str(one)) for one in TicketProfile.objects.all()]
        if may_add_itop:
            itops.append((NEW, "A new one, as given below"))
        if may_add_profile and not profiles:
            profiles.append((NEW, "A new one: UserRequest as in stock iTop"))
        for name, choices in (("itop", itops), ("profile", profiles)):
            self.fields[name] = forms.ChoiceField(label=self.fields[name].label, choices=choices)


class ConnectForm:
    """The page's three forms as one: valid or not, saved together or not at all."""

    def __init__(self, data: Any = None, *, may_add_itop: bool, may_add_profile: bool) -> None:
        self.workspace = _WorkspaceForm(data)
        self.choice = _ChoiceForm(
            data, prefix="of", may_add_itop=may_add_itop, may_add_profile=may_add_profile
        )
        chosen = data.get("of-itop") if data is not None else None
        self._makes_itop = chosen == NEW and may_add_itop
        self.itop = _ItopForm(data if self._makes_itop else None, prefix="itop") if may_add_itop else None

    def __iter__(self) -> Iterator[forms.BaseForm]:
        yield from (form for form in (self.workspace, self.choice, self.itop) if form is not None)

    @property
    def intercom_fields(self) -> list[forms.BoundField]:
        names = ("workspace_id", "name", "region", "client_secret", "access_token")
        return [self.workspace[name] for name in names]

    @property
    def choice_of_itop(self) -> list[forms.BoundField]:
        return [self.choice["itop"]]

    @property
    def service_fields(self) -> list[forms.BoundField]:
        return [
            *(self.workspace[name] for name in ("scope", "language", "time_zone")),
            self.choice["profile"],
        ]

    def is_valid(self) -> bool:
        asked = [self.workspace, self.choice, *([self.itop] if self._makes_itop and self.itop else [])]
        wrong = [form for form in asked if not form.is_valid()]
        return not wrong

    @property
    def has_errors(self) -> bool:
        return any(form.errors for form in self if form.is_bound)

    def save(self) -> tuple[Workspace, list[models.Model]]:
        """The workspace, and all rows that were made."""
        made: list[models.Model] = []
        with transaction.atomic():
            workspace: Workspace = self.workspace.save(commit=False)
            if self._makes_itop and self.itop:
                workspace.itop = self.itop.save()
                made.append(workspace.itop)
            else:
                workspace.itop = ItopInstance.objects.get(pk=self.choice.cleaned_data["itop"])
            if self.choice.cleaned_data["profile"] == NEW:
                workspace.profile = TicketProfile.objects.create(name=STOCK_PROFILE)
                made.append(workspace.profile)
            else:
                workspace.profile = TicketProfile.objects.get(pk=self.choice.cleaned_data["profile"])
            workspace.save()
            made.append(workspace)
        return workspace, made
