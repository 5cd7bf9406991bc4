"""Import the settings afresh with other environment variables, in this process or in a new one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from types import ModuleType
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured

from settings.env import BASE_DIR, ENVIRONMENT_VARIABLES

OWN_VARIABLES = {
    "DJANGO_SETTINGS_MODULE",
    *ENVIRONMENT_VARIABLES,
    *(f"{name}_FILE" for name in ENVIRONMENT_VARIABLES),
}
PRODUCTION = {
    "SECRET_KEY": "a-key-of-our-own-0123456789-abcdefghijklmnopqrstuvwxyz",
    "FIELD_ENCRYPTION_KEYS": "dGVzdGluZy1vbmx5LW5vdC1hLXNlY3JldC1rZXktMDI=",
    "PUBLIC_URL": "https://bridge.example.com",
}

# Set for Playwright (tests/browser.py).
BROWSER_VARIABLES = {"DJANGO_ALLOW_ASYNC_UNSAFE"}


def surroundings(**variables: str) -> dict[str, str]:
    """Return this environment without the service's variables, and with those given."""
    return {
        name: value for name, value in os.environ.items() if name not in OWN_VARIABLES | BROWSER_VARIABLES
    } | variables


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, in the project's directory."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fresh_settings(module: str = "settings.base", **variables: str) -> ModuleType:
    """Import a settings module as a new process does, with these environment variables. Django does not use it."""
    others = {name: loaded for name, loaded in sys.modules.items() if name.partition(".")[0] != "settings"}
    with (
        mock.patch.dict(sys.modules, others, clear=True),
        mock.patch.dict(os.environ, surroundings(**variables), clear=True),
    ):
        return importlib.import_module(module)


def value_of(name: str, module: str = "settings.base", **variables: str) -> object:
    """Return a setting, with these environment variables."""
    return getattr(fresh_settings(module, **variables), name)


def refusal(module: str = "settings.base", **variables: str) -> str:
    """Return the message with which the settings refuse these environment variables."""
    with pytest.raises(ImproperlyConfigured) as error:
        fresh_settings(module, **variables)
    return str(error.value)
