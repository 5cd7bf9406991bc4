"""A secret that the file or the command line names by its environment variable."""

from __future__ import annotations

import os

from intercom_bridge.models.workspace import PLACEHOLDER

from .source import ConfigError


def secret_in(variable: str, where: str = "") -> str:
    """The secret that the variable holds, alone. Raises ConfigError, which says `where` the variable was named."""
    named = f"{where}: " if where else ""
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise ConfigError(f"{named}the environment variable {variable} is not set, or empty.")
    if secret.startswith(PLACEHOLDER):
        raise ConfigError(
            f"{named}the environment variable {variable} holds a placeholder of the documentation."
        )
    if "auth_token=" in secret:
        raise ConfigError(
            f"{named}the environment variable {variable} does not hold a token alone. Copy only what stands after "
            "auth_token=."
        )
    if any(char.isspace() or not char.isprintable() for char in secret):
        raise ConfigError(
            f"{named}there is white space in the environment variable {variable}: something else was copied along."
        )
    return secret
