"""A form for rows with secrets. Secrets can be entered and removed, but are never displayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

from intercom_bridge.models import Secret
from intercom_bridge.models.encryption import SecretField

from .time_zones import TimeZoneSelect


@dataclass(frozen=True)
class SecretChange:
    """What the user did with a secret in the form: entered a new one, selected "Remove", or neither."""

    # "" if no new secret was entered.
    text: str = field(repr=False)
    remove: bool

    def __bool__(self) -> bool:
        return bool(self.text) or self.remove


class SecretInput(forms.Widget):
    """A password input that is always empty, with a hint at the stored secret, and a checkbox to remove it."""

    template_name = "admin/intercom_bridge/secret_input.html"
    # Whether the user has entered a secret in an earlier submission that was not saved. The page says so.
    is_entered = False

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Return the template's context. It contains the secret's hint, but not the secret itself."""
        context = super().get_context(name, None, attrs)
        context["hint"] = value.hint if isinstance(value, Secret) else ""
        context["remove_name"] = f"{name}-remove"
        context["is_entered"] = self.is_entered
        return context

    def value_from_datadict(self, data: Mapping[str, Any], _files: Any, name: str) -> SecretChange:
        return SecretChange(str(data.get(name) or "").strip(), f"{name}-remove" in data)

    def value_omitted_from_data(self, data: Mapping[str, Any], _files: Any, name: str) -> bool:
        return name not in data and f"{name}-remove" not in data

    def use_required_attribute(self, _initial: Any) -> bool:
        """Return False, because an empty input is allowed: it keeps the stored secret."""
        return False


class SecretFormField(forms.Field):
    """A field whose cleaned value is a SecretChange."""

    widget = SecretInput

    def __init__(self, **kwargs: Any) -> None:
        """Create the field. Never add a hidden input with the initial value: the page would contain the secret."""
        # Django passes the maximum length of a text column, but forms.Field does not accept it.
        kwargs.pop("max_length", None)
        kwargs["show_hidden_initial"] = False
        super().__init__(**kwargs)

    def bound_data(self, _data: Any, initial: Any) -> Any:
        """Return the stored secret for the redisplayed form. An entered secret is not sent back to the browser."""
        return initial

    def has_changed(self, _initial: Any, data: Any) -> bool:
        return bool(data)

    def clean(self, value: Any) -> SecretChange:
        """Return the change. Raise ValidationError if it contradicts itself or cannot be a secret."""
        change: SecretChange = value
        if self.required and not change.text:
            raise ValidationError(self.error_messages["required"], code="required")
        if change.text and change.remove:
            raise ValidationError("Either enter a new secret or select “Remove”, not both.")
        if any(char.isspace() or not char.isprintable() for char in change.text):
            raise ValidationError("The secret contains spaces or control characters. Copy it again.")
        return change


class SecretsForm(forms.ModelForm):  # type: ignore[type-arg] # generic in the stubs only
    """A form of a model with secrets. Empty inputs keep the stored secrets."""

    class Meta:
        """The options that the forms of workspaces and iTops share."""

        widgets = {"time_zone": TimeZoneSelect}

    def clean(self) -> dict[str, Any]:
        """Replace each SecretChange in the cleaned data by the Secret to be stored."""
        cleaned = super().clean() or self.cleaned_data
        for name, form_field in self.fields.items():
            if not isinstance(form_field, SecretFormField) or name not in cleaned:
                continue
            change: SecretChange = cleaned[name]
            if change.remove:
                cleaned[name] = Secret()
            elif change.text:
                cleaned[name] = Secret.seal(change.text)
            else:
                cleaned[name] = getattr(self.instance, name)
        return cleaned


SECRET_OVERRIDES: dict[type[models.Field[Any, Any]], dict[str, Any]] = {
    SecretField: {"form_class": SecretFormField, "widget": SecretInput}
}
