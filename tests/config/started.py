"""Python started anew with these variables in its environment, since settings are read once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from settings.environment import BASE_DIR, NAMES

OURS = {"DJANGO_SETTINGS_MODULE", *NAMES, *(f"{name}_FILE" for name in NAMES)}
PRODUCTION = {
    "SECRET_KEY": "a-key-of-our-own-0123456789-abcdefghijklmnopqrstuvwxyz",
    "FIELD_ENCRYPTION_KEYS": "dGVzdGluZy1vbmx5LW5vdC1hLXNlY3JldC1rZXktMDI=",
    "PUBLIC_URL": "https://bridge.example.com",
}


def surroundings(**variables: str) -> dict[str, str]:
    """This environment without any variable of the service but those given."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | variables


def python(code: str, *, cwd: Path = BASE_DIR, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def value_of(name: str, module: str = "settings.base", **variables: str) -> str:
    """What a setting is, as text, with these variables."""
    made = python(f"import {module} as s; print(s.{name})", **variables)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def refusal(module: str = "settings.base", **variables: str) -> str:
    """The sentence with which the settings refuse these variables."""
    made = python(f"import {module}", **variables)
    assert made.returncode == 1, made.stdout
    kind, _, sentence = made.stderr.strip().splitlines()[-1].partition(": ")
    assert kind == "django.core.exceptions.ImproperlyConfigured", made.stderr
    return sentence
