"""Why the settings cannot be loaded, in one sentence, for the commands and for the web server."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured


def refusal(error: Exception) -> str | None:
    """Return the sentence for an error of loading the settings; None if the error is another one."""
    if isinstance(error, ImproperlyConfigured):
        return str(error)
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    # The name is that of the module, or of a package of it.
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"DJANGO_SETTINGS_MODULE is “{module}”, which does not exist. Set it to settings.production."
    return None
