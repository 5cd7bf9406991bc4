"""Secrets in a form: written, never shown. Empty keeps what is stored; a tick removes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

from intercom_bridge.models import Secret
from intercom_bridge.models.encryption import SecretField

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm


@dataclass(frozen=True)
class SecretChange:
    """What was asked for: a new text, removal, or neither. Its repr does not tell the text."""

    text: str
    remove: bool

    def __repr__(self) -> str:
        return "<SecretChange>"

    def __bool__(self) -> bool:
        return bool(self.text) or self.remove


class SecretInput(forms.Widget):
    """A password box that is always empty, the stored secret's hint, and a box to remove it."""

    template_name = "admin/intercom_bridge/secret_input.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, None, attrs)
        context["hint"] = value.hint if isinstance(value, Secret) else ""
        context["remove_name"] = f"{name}-remove"
        return context

    def value_from_datadict(self, data: Mapping[str, Any], _files: Any, name: str) -> SecretChange:
        return SecretChange(str(data.get(name) or "").strip(), f"{name}-remove" in data)

    def value_omitted_from_data(self, data: Mapping[str, Any], _files: Any, name: str) -> bool:
        return name not in data and f"{name}-remove" not in data

    def use_required_attribute(self, _initial: Any) -> bool:
        return False


class SecretFormField(forms.Field):
    widget = SecretInput

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("max_length", None)
        # A hidden copy of what was there, to tell a change by, would be the secret in the page.
        kwargs["show_hidden_initial"] = False
        super().__init__(**kwargs)

    def bound_data(self, _data: Any, initial: Any) -> Any:
        # After an error elsewhere on the page the typed secret does not come back into it.
        return initial

    def has_changed(self, _initial: Any, data: Any) -> bool:
        return bool(data)

    def clean(self, value: Any) -> SecretChange:
        change: SecretChange = value
        if change.text and change.remove:
            raise ValidationError("Either type a new one, or tick remove.")
        if any(char.isspace() or not char.isprintable() for char in change.text):
            raise ValidationError("There is white space in it: something else was copied along.")
        return change


class SecretsForm(ModelForm):
    """A form of a model with secrets: what was not touched is kept."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name, field in self.fields.items():
            if not isinstance(field, SecretFormField) or name not in cleaned:
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
