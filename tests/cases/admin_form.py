"""What a browser sends when a form of the admin is submitted."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse


def form_values(client: Client, model: str, page: str, *args: Any) -> dict[str, str]:
    """Return what a browser sends if the form is submitted unchanged."""
    response = client.get(reverse(f"admin:intercom_bridge_{model}_{page}", args=args))
    values: dict[str, str] = {}
    for field in response.context["adminform"].form:
        value = field.value()
        if type(field.field).__name__ == "SecretFormField" or value in (None, False, ""):
            continue
        if type(field.field.widget).__name__ == "AdminSplitDateTime":
            continue
        text = "on" if value is True else field.field.widget.format_value(value)
        values[field.html_name] = text[0] if isinstance(text, list | tuple) else str(text)
    return values
