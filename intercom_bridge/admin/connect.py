"""The forms of the page that connects a workspace: its secrets, the iTop, the scope.

If the workspace cannot be saved yet, the user need not enter the secrets again: the session keeps them, encrypted.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import models, transaction
from django.http import HttpRequest

from intercom_bridge.models import ItopInstance, Secret, TicketProfile, Workspace
from intercom_bridge.models.encryption import SecretField

from .secrets import SECRET_OVERRIDES, SecretFormField, SecretsForm

# The choice that stands for a new iTop or a new profile.
NEW = "new"
DEFAULT_PROFILE_NAME = "Requests"
INTERCOM_FIELDS = ("workspace_id", "name", "region", "client_secret", "access_token")
SERVICE_FIELDS = ("scope", "language", "time_zone")
SESSION_KEY = "connect_secrets"
# The page's hidden input with the random key of the secrets in the session.
ENTERED = "entered"


def _form_field(column: models.Field[Any, Any], **options: Any) -> forms.Field | None:
    """Return the form field for a column, with the widgets of Django's admin. A secret is required."""
    if isinstance(column, SecretField):
        return column.formfield(**SECRET_OVERRIDES[SecretField], **options, required=True)
    if isinstance(column, models.URLField):
        options.setdefault("assume_scheme", "https")
    if isinstance(column, models.TextField):
        options["widget"] = AdminTextareaWidget({"rows": 3, "spellcheck": "false"})
    elif isinstance(column, models.CharField) and not column.choices:
        options.setdefault("widget", AdminTextInputWidget())
    return column.formfield(**options)


class _ConnectForm(SecretsForm):
    """A form for a new row with secrets.

    `entered` are the secrets that the user entered in an earlier submission of the page, by the name of their input.
    The form does not require these secrets again.
    """

    required_css_class = "required"

    def __init__(self, *args: Any, entered: Mapping[str, Secret], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self._secret_fields():
            if secret := entered.get(self.add_prefix(name)):
                setattr(self.instance, name, secret)
                field.required = False
                field.widget.is_entered = True

    def full_clean(self) -> None:
        """Validate the form. If a secret has an error, drop the errors of the whole row, which repeat that error."""
        super().full_clean()
        if self.is_bound and any(self.has_error(name) for name, _ in self._secret_fields()):
            self.errors.pop(NON_FIELD_ERRORS, None)

    def mark_valid_secrets(self) -> dict[str, Secret]:
        """Mark the inputs with valid secrets as entered. Return these secrets by the name of their input.

        If the whole row has an error, no secret counts as valid, because a secret may be the cause.
        """
        valid_secrets: dict[str, Secret] = {}
        for name, field in self._secret_fields():
            secret: Secret = self.cleaned_data.get(name, Secret())
            field.widget.is_entered = bool(secret) and not self.non_field_errors()
            if field.widget.is_entered:
                valid_secrets[self.add_prefix(name)] = secret
        return valid_secrets

    def _secret_fields(self) -> Iterator[tuple[str, Any]]:
        return ((name, field) for name, field in self.fields.items() if isinstance(field, SecretFormField))


class WorkspaceForm(_ConnectForm):
    """The workspace's own fields."""

    class Meta(SecretsForm.Meta):
        model = Workspace
        fields = (*INTERCOM_FIELDS, *SERVICE_FIELDS)
        formfield_callback = staticmethod(_form_field)
        help_texts = {
            "time_zone": "The time zone of dates in the panel. A new iTop gets the same time zone. If its server uses "
            "another one, change it later on the iTop's page."
        }


class ItopForm(_ConnectForm):
    """The fields of a new iTop."""

    class Meta(SecretsForm.Meta):
        model = ItopInstance
        fields = ("name", "url", "token")
        formfield_callback = staticmethod(_form_field)


class ChoiceForm(forms.Form):
    """The choice of an existing or new iTop, and of an existing or new ticket profile."""

    required_css_class = "required"

    itop = forms.ChoiceField(label="iTop")
    profile = forms.ChoiceField(label="Ticket profile")

    def __init__(self, *args: Any, may_add_itop: bool, may_add_profile: bool, **kwargs: Any) -> None:
        """Offer the existing rows, and a new row if the user may add it. Offer a new profile only if none exists."""
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
    """The page's three forms, which are validated and saved together."""

    def __init__(
        self, data: Any, *, may_add_itop: bool, may_add_profile: bool, entered: Mapping[str, Secret]
    ) -> None:
        """Create the forms. `data` is what the user submitted, or None.

        The form for a new iTop is bound only if the user chose "Add a new iTop".
        """
        self.workspace = WorkspaceForm(data, entered=entered)
        self.choice = ChoiceForm(
            data, prefix="of", may_add_itop=may_add_itop, may_add_profile=may_add_profile
        )
        selected = data.get("of-itop") if data is not None else None
        self._adds_itop = selected == NEW and may_add_itop
        self.itop: ItopForm | None = None
        if may_add_itop:
            itop_data = data if self._adds_itop else None
            self.itop = ItopForm(itop_data, prefix="itop", entered=entered)
        self.intercom_fields = [self.workspace[name] for name in INTERCOM_FIELDS]
        self.itop_choice = [self.choice["itop"]]
        self.service_fields = [*(self.workspace[name] for name in SERVICE_FIELDS), self.choice["profile"]]

    def __iter__(self) -> Iterator[forms.BaseForm]:
        yield from (form for form in (self.workspace, self.choice, self.itop) if form is not None)

    def is_valid(self) -> bool:
        """Validate all forms that were submitted."""
        # `all` would stop at the first invalid form. Every form has to be validated, because the page displays the
        # errors of all forms.
        invalid_forms = [form for form in self if form.is_bound and not form.is_valid()]
        return not invalid_forms

    @property
    def has_errors(self) -> bool:
        return any(form.errors for form in self if form.is_bound)

    def mark_valid_secrets(self) -> dict[str, Secret]:
        """Mark the inputs with valid secrets as entered. Return these secrets by the name of their input."""
        valid_secrets: dict[str, Secret] = {}
        for form in (self.workspace, self.itop):
            if form is not None and form.is_bound:
                valid_secrets.update(form.mark_valid_secrets())
        return valid_secrets

    def build(self) -> Workspace:
        """Return the workspace with its iTop and profile. New rows are not saved."""
        workspace: Workspace = self.workspace.save(commit=False)
        if self._adds_itop and self.itop:
            workspace.itop = self.itop.save(commit=False)
            workspace.itop.time_zone = workspace.time_zone
        else:
            workspace.itop = ItopInstance.objects.get(pk=self.choice.cleaned_data["itop"])
        if self.choice.cleaned_data["profile"] == NEW:
            workspace.profile = TicketProfile(name=DEFAULT_PROFILE_NAME)
        else:
            workspace.profile = TicketProfile.objects.get(pk=self.choice.cleaned_data["profile"])
        return workspace


def save_new(workspace: Workspace) -> list[models.Model]:
    """Save a new workspace, and its iTop and profile if they are new, in one transaction. Return the saved rows."""
    rows: tuple[models.Model, ...] = (workspace.itop, workspace.profile, workspace)
    new_rows = [row for row in rows if row.pk is None]
    with transaction.atomic():
        for row in new_rows:
            row.save()
    return new_rows


def entered_secrets(request: HttpRequest) -> dict[str, Secret]:
    """Return the secrets that the user entered in the previous submission of this page, by the name of their input.

    The session stores the secrets encrypted, with a random key. Only the page on which they were entered contains the
    key, so another tab does not get the secrets. Return {} without the key, or if nothing is stored.
    """
    stored = request.session.get(SESSION_KEY, {})
    if not stored or request.POST.get(ENTERED) != stored["key"]:
        return {}
    entered = {name: Secret(ciphertext) for name, ciphertext in stored["secrets"].items()}
    return {name: secret for name, secret in entered.items() if secret.is_readable}


def keep_secrets(request: HttpRequest, form: ConnectForm) -> str:
    """Store the valid secrets of an unsaved submission in the session. Return the key for the page's hidden input."""
    key = secrets.token_urlsafe(16)
    ciphertexts = {name: secret.ciphertext for name, secret in form.mark_valid_secrets().items()}
    request.session[SESSION_KEY] = {"key": key, "secrets": ciphertexts}
    return key


def forget_secrets(request: HttpRequest) -> None:
    """Remove the secrets that `keep_secrets` has stored."""
    request.session.pop(SESSION_KEY, None)
