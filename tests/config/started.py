"""Run Python in a new process with other environment variables: settings are read only once per process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    return python_in(BASE_DIR, code, **variables)


def python_in(directory: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, in `directory`."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def value_of(name: str, module: str = "settings.base", **variables: str) -> str:
    """Return a setting as text, with these environment variables."""
    made = python(f"import {module} as s; print(s.{name})", **variables)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def refusal(module: str = "settings.base", **variables: str) -> str:
    """Return the message with which the settings refuse these environment variables."""
    made = python(f"import {module}", **variables)
    assert made.returncode == 1, made.stdout
    kind, _, sentence = made.stderr.strip().splitlines()[-1].partition(": ")
    assert kind == "django.core.exceptions.ImproperlyConfigured", made.stderr
    return sentence
