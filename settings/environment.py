"""What the surroundings say: environment variables, each also as `NAME_FILE` (a file that holds the value)."""

from __future__ import annotations

import os
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

NAMES = (
    "WRITE_SECONDS",
    "UNKNOWN_OUTCOME_SECONDS",
    "CHECK_AFTER_SECONDS",
    "KEEP_PAYLOADS_DAYS",
    "KEEP_FAILED_PAYLOADS_DAYS",
    "SECRET_KEY",
    "FIELD_ENCRYPTION_KEYS",
    "ALLOWED_HOSTS",
    "PUBLIC_URL",
    "DATABASE_URL",
    "REDIS_URL",
    "INTERCOM_API_URL",
    "LOG_FORMAT",
    "LOG_LEVEL",
)


def read_secret_files() -> None:
    """Puts the content of the file named by `NAME_FILE` into `NAME`, as Docker and systemd hand secrets over.

    Raises ImproperlyConfigured when the file cannot be read, or when both are set.
    """
    for name in NAMES:
        path = os.environ.get(f"{name}_FILE")
        if not path:
            continue
        if os.environ.get(name):
            raise ImproperlyConfigured(f"{name} and {name}_FILE are both set. Keep one of them.")
        try:
            os.environ[name] = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE names {path}, which cannot be read: {error.strerror}."
            ) from error


def secret(name: str, hint: str) -> str:
    """The value of a secret that has no default; its absence is a clear refusal."""
    value = os.environ.get(name, "")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {hint} (It may also be given as {name}_FILE.)")
    return value
