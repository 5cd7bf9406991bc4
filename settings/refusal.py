"""Explain in one sentence why the settings cannot be loaded. The commands and the web server use this."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured


def refusal(error: Exception) -> str | None:
    """Return a sentence about an error in the settings. Return None if the error has another cause."""
    if isinstance(error, ImproperlyConfigured):
        return str(error)
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    # `error.name` is the module that does not exist: the settings module itself, or a package that contains it.
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"DJANGO_SETTINGS_MODULE is “{module}”, which does not exist. Set it to settings.production."
    return None
