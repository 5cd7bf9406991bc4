"""A list of iTop codes in a form: one a line."""

from __future__ import annotations

from typing import Any

from django import forms


class CodesWidget(forms.Textarea):
    def format_value(self, value: Any) -> str:
        if isinstance(value, list):
            return "\n".join(str(code) for code in value)
        return "" if value is None else str(value)


class CodesFormField(forms.Field):
    """A JSON list of texts, written one a line; commas between them will do too."""

    widget = CodesWidget(attrs={"rows": 8, "cols": 40, "class": "bridge-codes", "spellcheck": "false"})

    def to_python(self, value: Any) -> list[str]:
        lines = str(value or "").replace(",", "\n").split("\n")
        return [line.strip() for line in lines if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != (initial or []))
