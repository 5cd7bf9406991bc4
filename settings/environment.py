"""What the surroundings say: environment variables, each also as `NAME_FILE` (a file that holds the value)."""

from __future__ import annotations

import math
import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

NAMES = (
    "VAR_DIR",
    "STATIC_ROOT",
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
    "METRICS_TOKEN",
    "METRICS_DIR",
    "TRUSTED_PROXIES",
    "CANVAS_REQUESTS_A_SECOND",
    "NOTIFICATIONS_A_SECOND",
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


def directory(name: str, default: Path) -> Path:
    """A directory, which need not be there; a relative one is taken from where this service lies."""
    text = _given(name, f"Write a directory's path, like {default}")
    return default if text is None else BASE_DIR / Path(text).expanduser()


def shared_directory(name: str, default: Path) -> Path | None:
    """A directory that is there and can be written to; None where it cannot be made."""
    path = directory(name, default)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None


def database(name: str, default: Path) -> dict[str, Any]:
    """Django's settings for the database at that address; for the SQLite file `default` when there is none."""
    hint = "Write postgres://user:password@host/name, or sqlite:////path/of/a/file"
    if _given(name, hint) is None:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(default)}
    # The address may hold a password: it is not repeated.
    refusal = ImproperlyConfigured(f"{name} is not the address of a database that can be used here. {hint}.")
    try:
        scheme = urlsplit(os.environ[name]).scheme
        if scheme not in ("sqlite", *environ.Env.POSTGRES_FAMILY):
            raise refusal
        found: dict[str, Any] = env.db_url(name)
    except ValueError:
        raise refusal from None
    if not found["NAME"]:
        raise refusal
    return found


def seconds(name: str, default: float) -> float:
    """A time in seconds, above 0."""
    hint = f"Write a number of seconds above 0, like {default:g}"
    text = _given(name, hint)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (math.isfinite(number) and number > 0):
        raise ImproperlyConfigured(f"{name} is “{text}”. {hint}.")
    return number


def days(name: str, default: int) -> int:
    """A whole number of days, 1 or more."""
    return _whole(name, default, "Write a whole number of days, 1 or more")


def whole_number(name: str, default: int) -> int:
    """A whole number, 1 or more."""
    return _whole(name, default, "Write a whole number, 1 or more")


def _whole(name: str, default: int, hint: str) -> int:
    hint = f"{hint}, like {default}"
    text = _given(name, hint)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 100_000):
        raise ImproperlyConfigured(f"{name} is “{text}”. {hint}.")
    return int(text)


def networks(name: str, *default: str) -> list[IPv4Network | IPv6Network]:
    """Addresses and networks, separated by commas."""
    hint = f"Write addresses or networks, separated by commas, like {','.join(default)} or 10.0.0.0/24"
    text = _given(name, hint)
    try:
        return [ip_network(one.strip()) for one in (text.split(",") if text else default)]
    except ValueError:
        raise ImproperlyConfigured(f"{name} is “{text}”. {hint}.") from None


def one_of(name: str, *choices: str) -> str:
    """One of these words, the first when none is given; in whatever case it was written."""
    hint = f"Write one of {', '.join(choices)}"
    text = _given(name, hint)
    if text is None:
        return choices[0]
    for choice in choices:
        if text.casefold() == choice.casefold():
            return choice
    raise ImproperlyConfigured(f"{name} is “{text}”. {hint}.")


def _given(name: str, hint: str) -> str | None:
    """What is set; None when nothing is. Set to nothing is a mistake: a template that was not filled in."""
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.strip():
        raise ImproperlyConfigured(f"{name} is set, but empty. {hint}, or leave it unset.")
    return text.strip()
