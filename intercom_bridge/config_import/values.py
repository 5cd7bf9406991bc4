"""What the readers of configuration files share: a value with its line, the error, and secrets from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intercom_bridge.datamodel.safe_xml import FileError
from intercom_bridge.models.workspace import PLACEHOLDER

# The name of Combodo's PHP extension. iTop's configuration contains the extension's parameters under this name.
MODULE = "combodo-intercom-integration"
# How deep arrays may be nested.
MAX_DEPTH = 50


class ConfigError(FileError):
    """The file cannot be imported. The message never contains a secret."""


@dataclass(frozen=True)
class SourceValue:
    """A value from a file, and its line. The line is 0 if it is unknown.

    The value of a PHP or XML array is a mapping from keys to SourceValues. The keys of a list are 0, 1, 2 ...
    """

    value: Any
    line: int = 0

    @property
    def members(self) -> Mapping[str | int, SourceValue] | None:
        """Return the members of an array; None for any other value."""
        return self.value if isinstance(self.value, Mapping) else None

    @property
    def is_empty(self) -> bool:
        """Return whether this is null or blank text. Such a value changes nothing."""
        return self.value is None or (isinstance(self.value, str) and not self.value.strip())

    @property
    def position(self) -> str:
        """Return the line for use in a message, like " (line 7)"; "" if it is unknown."""
        return f" (line {self.line})" if self.line else ""


@dataclass(frozen=True)
class Source:
    """The extension's parameters, and the members of $MySettings in a config-itop.php that the import uses."""

    parameters: Mapping[str | int, SourceValue]
    settings: Mapping[str, SourceValue] = field(default_factory=dict)


def parse_boolean(text: str) -> bool | None:
    """Return the value of a word such as "yes" or "off"; False for "", and None for any other text."""
    word = text.strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off", ""):
        return False
    return None


def read_secret_variable(variable: str, where: str = "") -> str:
    """Return the secret in an environment variable. Raise ConfigError if it holds none.

    `where` is the place in the file that names the variable. The error's message begins with it.
    """
    secret = os.environ.get(variable, "").strip()
    if not secret:
        problem = "is not set, or empty."
    elif secret.startswith(PLACEHOLDER):
        problem = "holds a placeholder from the documentation."
    elif "auth_token=" in secret:
        problem = "holds more than the token. Copy only what follows auth_token=."
    elif any(char.isspace() or not char.isprintable() for char in secret):
        problem = "contains white space."
    else:
        return secret
    text = f"the environment variable {variable} {problem}"
    raise ConfigError(f"{where}: {text}" if where else text)
