"""Read settings from environment variables. Instead of NAME, NAME_FILE may be set to the path of a file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

T = TypeVar("T")

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
# Relative directories are relative to this one: the checkout, or the current directory of an installed
# `intercom-bridge`.
WORKING_DIR = BASE_DIR if (BASE_DIR / "manage.py").is_file() else Path.cwd()
MAX_NUMBER: Final = 99_999
# Two years: the value that hstspreload.org recommends.
MAX_HSTS_SECONDS: Final = 63_072_000

ENVIRONMENT_VARIABLES: Final = (
    "VAR_DIR",
    "STATIC_ROOT",
    "WRITE_SECONDS",
    "UNKNOWN_OUTCOME_SECONDS",
    "VERIFY_AFTER_SECONDS",
    "ITOP_POLL_SECONDS",
    "ITOP_POLL_IDLE_SECONDS",
    "FILES_SECONDS",
    "MAX_FILE_TO_INTERCOM_MB",
    "KEEP_PAYLOADS_DAYS",
    "KEEP_FAILED_PAYLOADS_DAYS",
    "SECRET_KEY",
    "FIELD_ENCRYPTION_KEYS",
    "ALLOWED_HOSTS",
    "PUBLIC_URL",
    "DATABASE_URL",
    "REDIS_URL",
    "INTERCOM_API_URL",
    "FILES_DIR",
    "FILE_DOWNLOADS",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "EMAIL_URL",
    "EMAIL_FROM",
    "ALERT_EMAILS",
    "METRICS_TOKEN",
    "METRICS_DIR",
    "TRUSTED_PROXIES",
    "HSTS_SECONDS",
    "HSTS_INCLUDE_SUBDOMAINS",
    "HSTS_PRELOAD",
    "CANVAS_REQUESTS_PER_SECOND",
    "MESSENGER_REQUESTS_PER_SECOND",
    "NOTIFICATIONS_PER_SECOND",
)


def read_secret_files() -> None:
    """For each NAME_FILE that is set, set NAME to the file's content. Docker and systemd provide secrets as files.

    Raise ImproperlyConfigured if the file cannot be read, or if both variables are set.
    """
    for name in ENVIRONMENT_VARIABLES:
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
    """Return a secret. Raise ImproperlyConfigured if it is not set: secrets have no default."""
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {hint} (It may also be given as {name}_FILE.)")
    return value


def directory(name: str, default: Path) -> Path:
    """Return a directory, which need not exist. A relative path starts at WORKING_DIR."""
    text = _text(name, f"Write a directory's path, like {default}")
    return default if text is None else WORKING_DIR / Path(text).expanduser()


def shared_directory(name: str, default: Path) -> Path | None:
    """Return a directory, and create it if it does not exist. Return None if it cannot be created or written."""
    path = directory(name, default)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None


def database(name: str, default: Path) -> dict[str, Any]:
    """Return Django's settings for a database URL. If it is not set, return those for the SQLite file `default`."""
    hint = "Write postgres://user:password@host/name, or sqlite:////path/of/a/file"
    if _text(name, hint) is None:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(default)}
    # The URL may contain a password, so the message does not repeat it.
    refusal = ImproperlyConfigured(f"{name} is not the URL of a supported database. {hint}.")
    try:
        scheme = urlsplit(os.environ[name]).scheme
        if scheme not in ("sqlite", *environ.Env.POSTGRES_FAMILY):
            raise refusal
        config: dict[str, Any] = env.db_url(name)
    except ValueError:
        raise refusal from None
    if not config["NAME"]:
        raise refusal
    return config


def mail_server(name: str) -> dict[str, Any]:
    """Return Django's e-mail settings for the URL of a mail server. Return {} if the variable is not set."""
    hint = "Write smtp://host:25, smtp+tls://user:password@host:587 or smtp+ssl://user:password@host:465"
    if _text(name, hint) is None:
        return {}
    # The URL may contain a password, so the message does not repeat it.
    refusal = ImproperlyConfigured(f"{name} is not the URL of a mail server. {hint}.")
    try:
        # Only these of django-environ's schemes are allowed. Its "smtps" would be misleading: it means STARTTLS.
        port = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}[urlsplit(os.environ[name]).scheme]
        config: dict[str, Any] = env.email_url(name)
    except (KeyError, ValueError):
        raise refusal from None
    if not config["EMAIL_HOST"]:
        raise refusal
    return config | {"EMAIL_PORT": config["EMAIL_PORT"] or port}


def addresses(name: str) -> list[str]:
    """Return the e-mail addresses of a comma-separated list. Return [] if the variable is not set."""

    def parse(text: str) -> list[str]:
        emails = [email.strip() for email in text.split(",")]
        for email in emails:
            try:
                validate_email(email)
            except ValidationError:
                raise ValueError from None
        return emails

    return _parsed(name, [], parse, "Write e-mail addresses, separated by commas, like ops@example.com")


def seconds(name: str, default: float) -> float:
    """Return a number of seconds greater than 0."""

    def parse(text: str) -> float:
        number = float(text)
        if not (math.isfinite(number) and number > 0):
            raise ValueError
        return number

    return _parsed(name, default, parse, f"Write a number of seconds above 0, like {default:g}")


def days(name: str, default: int) -> int:
    """Return a whole number of days, 1 or more."""
    return _parsed(
        name, default, _parse_whole_number, f"Write a whole number of days, 1 or more, like {default}"
    )


def whole_number(name: str, default: int) -> int:
    """Return a whole number, 1 or more."""
    return _parsed(name, default, _parse_whole_number, f"Write a whole number, 1 or more, like {default}")


def hsts_seconds(name: str, default: int) -> int:
    """Return a whole number of seconds, 0 to two years."""

    def parse(text: str) -> int:
        # The length is limited because int() is slow for very long numbers.
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_HSTS_SECONDS))):
            raise ValueError
        if int(text) > MAX_HSTS_SECONDS:
            raise ValueError
        return int(text)

    hint = f"Write a whole number of seconds, 0 to {MAX_HSTS_SECONDS}, like {default}"
    return _parsed(name, default, parse, hint)


def switch(name: str) -> bool:
    """Return whether the variable is `true`. Return False if it is not set."""
    return one_of(name, "false", "true") == "true"


def networks(name: str, *default: str) -> list[IPv4Network | IPv6Network]:
    """Return the IP addresses and networks of a comma-separated list."""

    def parse(text: str) -> list[IPv4Network | IPv6Network]:
        return [ip_network(network.strip()) for network in text.split(",")]

    hint = f"Write addresses or networks, separated by commas, like {','.join(default)} or 10.0.0.0/24"
    return _parsed(name, parse(",".join(default)), parse, hint)


def one_of(name: str, *choices: str) -> str:
    """Return one of the choices, or the first choice if the variable is not set. The variable's case is ignored."""

    def parse(text: str) -> str:
        for choice in choices:
            if choice.casefold() == text.casefold():
                return choice
        raise ValueError

    return _parsed(name, choices[0], parse, f"Write one of {', '.join(choices)}")


def _parse_whole_number(text: str) -> int:
    # Only the first digits are compared, because int() is slow for very long numbers.
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= MAX_NUMBER):
        raise ValueError
    return int(text)


def _parsed(name: str, default: T, parse: Callable[[str], T], hint: str) -> T:
    """Return the variable's value, parsed, or `default` if it is not set.

    `parse` raises ValueError for an invalid text, which becomes ImproperlyConfigured with `hint`: what to write
    instead.
    """
    text = _text(name, hint)
    if text is None:
        return default
    try:
        return parse(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is “{text}”. {hint}.") from None


def _text(name: str, hint: str) -> str | None:
    """Return the variable's text, or None if it is not set. Raise ImproperlyConfigured if it is empty."""
    text: str | None = env.str(name, default=None)
    if text is None:
        return None
    if not text.strip():
        raise ImproperlyConfigured(f"{name} is set, but empty. {hint}, or leave it unset.")
    return text.strip()
