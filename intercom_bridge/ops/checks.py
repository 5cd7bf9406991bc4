"""Django system checks of this service. docs/operate.md lists their ids.

Settings (ids up to 099) are checked without network and database. Rows (ids from 101) are checked only with the option
`--database default`. They are never checked by `migrate`, because an error would stop it.
"""

import functools
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import ERROR, CheckMessage, Error, Info, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError
from django.http.request import validate_host
from django.utils.connection import ConnectionDoesNotExist

from intercom_bridge.datamodel.class_names import describe_unknown_classes
from intercom_bridge.datamodel.lookup import decode
from intercom_bridge.datamodel.profile_check import ProfileCheck, missing_from_form
from intercom_bridge.models import ImportedClass, ItopInstance, Secret, TicketProfile, Workspace
from intercom_bridge.models.itop_instance import validate_time_zone
from intercom_bridge.models.ticket_profile import validate_codes, validate_defaults, validate_mapping
from intercom_bridge.models.workspace import PLACEHOLDER, validate_scope

from .key_rotation import stored_secrets
from .readiness import migrations_missing, stalled_message, stalled_since

_CheckFunction = Callable[..., Iterator[CheckMessage]]

TAG = "intercom_bridge"
# The values in settings/development.py, which is public.
PUBLIC_ENCRYPTION_KEYS = {"ZGV2ZWxvcG1lbnQtb25seS1ub3QtYS1zZWNyZXQtMDE="}
PUBLIC_SECRET_KEY = re.compile("development-only-")
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104 - compared with, not listened on
# Enough for the files that one process copies at the same time, if each has the largest usual size.
MIN_FREE_BYTES = 500_000_000
# Reserved by RFC 2606, so no one can reach a service there.
EXAMPLE_HOSTS = (".example.com", ".example.net", ".example.org", ".example", ".invalid")
# The values in deploy/bridge.env.example.
EXAMPLE_PASSWORD = "password"  # noqa: S105
EXAMPLE_METRICS_TOKEN = "something-long"  # noqa: S105
GENERATE_KEY_HINT = (
    "Generate a key: "
    "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)


def _system_check(
    *tags: str, deploy: bool = False
) -> Callable[[_CheckFunction], Callable[..., list[CheckMessage]]]:
    """Return a decorator that registers a function as a system check. The function may yield its messages."""

    def decorate(function: _CheckFunction) -> Callable[..., list[CheckMessage]]:
        @functools.wraps(function)
        def check(**options: Any) -> list[CheckMessage]:
            return list(function(**options))

        return register(check, TAG, *tags, deploy=deploy)

    return decorate


def _error(number: str, text: str, hint: str, row: Any = None) -> CheckMessage:
    return Error(text, hint=hint, obj=row, id=f"intercom_bridge.{number}")


def _warning(number: str, text: str, hint: str, row: Any = None) -> CheckMessage:
    return Warning(text, hint=hint, obj=row, id=f"intercom_bridge.{number}")


def _info(number: str, text: str, hint: str) -> CheckMessage:
    return Info(text, hint=hint, id=f"intercom_bridge.{number}")


def _in_production() -> bool:
    """Return whether real conversations are expected: DEBUG is off, and the test settings are not used."""
    return not settings.DEBUG and settings.SETTINGS_MODULE != "settings.testing"


# Settings


@_system_check()
def check_encryption_keys(**_: Any) -> Iterator[CheckMessage]:
    keys: Sequence[str] = settings.FIELD_ENCRYPTION_KEYS
    invalid = [str(number) for number, key in enumerate(keys, 1) if not _is_key(key)]
    if invalid:
        yield _error(
            "E002",
            f"FIELD_ENCRYPTION_KEYS contains an invalid key: number {', '.join(invalid)} of {len(keys)}.",
            f"A key is 32 bytes in URL-safe base64. Separate keys by commas, newest first. {GENERATE_KEY_HINT}",
        )
    if not keys:
        text = "FIELD_ENCRYPTION_KEYS is not set: secrets can be neither stored nor read."
        if settings.DEBUG:
            yield _warning("W001", text, GENERATE_KEY_HINT)
        else:
            yield _error("E001", text, f"{GENERATE_KEY_HINT}. Keep a copy of the key.")


def _is_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


@_system_check()
def check_public_keys(**_: Any) -> Iterator[CheckMessage]:
    for name, is_public in (
        ("FIELD_ENCRYPTION_KEYS", PUBLIC_ENCRYPTION_KEYS & set(settings.FIELD_ENCRYPTION_KEYS)),
        ("SECRET_KEY", PUBLIC_SECRET_KEY.match(str(settings.SECRET_KEY))),
    ):
        if is_public and not settings.DEBUG:
            yield _error(
                "E003",
                f"{name} contains the public value from settings/development.py, and DEBUG is off.",
                "Generate a value of your own. Use settings.production for real conversations.",
            )


@_system_check()
def check_public_url(**_: Any) -> Iterator[CheckMessage]:
    parts = _split(settings.PUBLIC_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield _error(
            "E004",
            "PUBLIC_URL is not set, or is not a URL.",
            "Set it to the URL at which Intercom reaches this service, for example https://bridge.example.com",
        )
        return
    if _in_production() and parts.hostname in LOCAL_HOSTS:
        yield _error(
            "E006",
            f"PUBLIC_URL is {settings.PUBLIC_URL}, which is this machine: Intercom cannot reach it.",
            "Set it to the https URL at which Intercom reaches this service.",
        )
    elif _in_production() and parts.scheme != "https":
        yield _error(
            "E005",
            f"PUBLIC_URL is not https (it is {settings.PUBLIC_URL}).",
            "Intercom calls https addresses only. Run a proxy with a certificate in front of this service.",
        )
    if not _is_allowed_host(parts.hostname):
        yield _error(
            "E009",
            f"ALLOWED_HOSTS does not contain {parts.hostname}, the host of PUBLIC_URL: all requests from Intercom "
            "would get the status 400.",
            f"Add {parts.hostname} to ALLOWED_HOSTS, or unset ALLOWED_HOSTS: its default is PUBLIC_URL's host.",
        )


def _is_allowed_host(host: str) -> bool:
    # With DEBUG and without ALLOWED_HOSTS, Django allows this machine only.
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return host in LOCAL_HOSTS
    is_ipv6 = ":" in host
    return validate_host(f"[{host}]" if is_ipv6 else host, settings.ALLOWED_HOSTS)


@_system_check(deploy=True)
def check_placeholders(**_: Any) -> Iterator[CheckMessage]:
    """Check, with `--deploy` only, for the values of bridge.env.example and of the documentation."""
    host = _split(settings.PUBLIC_URL).hostname or ""
    for name, is_placeholder, hint in (
        (
            "PUBLIC_URL",
            f".{host}".endswith(EXAMPLE_HOSTS),  # with a dot, so that example.com itself matches
            f"{host} is reserved for examples. Set the URL at which Intercom reaches this service.",
        ),
        (
            "DATABASE_URL",
            settings.DATABASES["default"].get("PASSWORD") == EXAMPLE_PASSWORD,
            "The password in it is that of the example. Set the password of the database's user.",
        ),
        (
            "METRICS_TOKEN",
            settings.METRICS_TOKEN == EXAMPLE_METRICS_TOKEN,
            "Set a long random value, or unset METRICS_TOKEN: /metrics then returns 404.",
        ),
    ):
        if is_placeholder:
            yield _error("E010", f"{name} is still a placeholder from the documentation.", hint)


@_system_check()
def check_debug(**_: Any) -> Iterator[CheckMessage]:
    if not settings.DEBUG:
        return
    hint = "Remove DEBUG from the environment, and set DJANGO_SETTINGS_MODULE=settings.production."
    host = _split(settings.PUBLIC_URL).hostname
    if str(settings.SETTINGS_MODULE).endswith("production"):
        yield _error("E007", "DEBUG is on in production: error pages show settings to everyone.", hint)
    elif host and host not in LOCAL_HOSTS:
        text = f"DEBUG is on, and PUBLIC_URL is public ({host}): error pages show settings to everyone."
        yield _warning("W002", text, f"Acceptable for a trial with made-up data. Otherwise: {hint}")


@_system_check()
def check_intercom_api_url(**_: Any) -> Iterator[CheckMessage]:
    if settings.INTERCOM_API_URL and _in_production():
        yield _warning(
            "W003",
            "INTERCOM_API_URL is set: the access tokens of all workspaces, and the files that people send, go to that "
            "host, not to Intercom.",
            "The setting is for test servers. Unset it to use Intercom's host for each workspace's region.",
        )


@_system_check()
def check_redis_url(**_: Any) -> Iterator[CheckMessage]:
    parts = _split(settings.REDIS_URL)
    is_host = parts.scheme in ("redis", "rediss") and parts.hostname
    is_socket = parts.scheme == "unix" and parts.path
    if settings.REDIS_URL and not (is_host or is_socket):
        yield _error(
            "E008",
            "REDIS_URL is not the address of a Redis server.",
            "Examples: redis://redis.example.com:6379/0, rediss://… with TLS, unix:///run/redis.sock. Without "
            "REDIS_URL, a file is used instead of Redis.",
        )


@_system_check()
def check_queue_and_database(**_: Any) -> Iterator[CheckMessage]:
    if settings.REDIS_URL and "sqlite" in settings.DATABASES["default"]["ENGINE"]:
        yield _warning(
            "W004",
            "Redis is used together with an SQLite file, which several machines cannot share.",
            "For several machines, set DATABASE_URL to a PostgreSQL database. For one machine, Redis is not needed.",
        )


@_system_check()
def check_metrics(**_: Any) -> Iterator[CheckMessage]:
    # The settings set METRICS_DIR to None if the directory cannot be created or written to.
    if settings.METRICS_TOKEN and not settings.METRICS_DIR:
        yield _warning(
            "W006",
            "METRICS_TOKEN is set, but METRICS_DIR cannot be created or written to: /metrics returns no counters.",
            "Set METRICS_DIR to a directory that the service may write to.",
        )


@_system_check()
def check_files_dir(**_: Any) -> Iterator[CheckMessage]:
    directory = settings.FILES_DIR
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
        yield _error(
            "E011",
            f"FILES_DIR ({directory}) is not a directory that this process may write to: no file is copied.",
            "Create the directory and make the service's user its owner, or set FILES_DIR to another directory.",
        )
    elif (free := shutil.disk_usage(directory).free) < MIN_FREE_BYTES:
        yield _warning(
            "W007",
            f"FILES_DIR ({directory}) has only {free // 1_000_000} MB of free space: large files cannot be copied.",
            f"Free at least {MIN_FREE_BYTES // 1_000_000} MB, or set FILES_DIR to a directory on a larger disk.",
        )


def _split(url: str) -> SplitResult:
    """Return the parts of a URL. If it is invalid, all parts are empty."""
    try:
        parts = urlsplit(str(url))
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError:
        return urlsplit("")
    return parts


# Rows


@_system_check(Tags.database)
def check_rows(*, databases: Sequence[str] | None = None, **_: Any) -> Iterator[CheckMessage]:
    is_migrating = sys.argv[1:2] == ["migrate"]
    if not databases or "default" not in databases or is_migrating:
        return
    messages = _messages_about_rows()
    if messages is None:
        yield _info(
            "I101",
            "The database cannot be reached or is not migrated: its rows were not checked.",
            "Run: python manage.py migrate",
        )
    else:
        yield from messages


def _messages_about_rows() -> list[CheckMessage] | None:
    """Return the messages about all rows; None if the database cannot be reached or is not migrated."""
    try:
        return None if migrations_missing() else list(_check_all_rows())
    except (DatabaseError, ImproperlyConfigured, ConnectionDoesNotExist):
        return None


def _check_all_rows() -> Iterator[CheckMessage]:
    yield from _check_workspaces(list(Workspace.objects.select_related("itop", "profile")))
    for itop in ItopInstance.objects.all():
        yield from _check_itop(itop)
    for profile in TicketProfile.objects.all():
        yield from _check_profile(profile)
    yield from _check_age_of_keys()
    yield from _check_workers()


def _check_workers() -> Iterator[CheckMessage]:
    if since := stalled_since():
        yield _warning(
            "W116",
            stalled_message(since),
            "Start a worker (python manage.py worker), and read the log of the worker that ended.",
        )


def _check_workspaces(workspaces: Sequence[Workspace]) -> Iterator[CheckMessage]:
    if not workspaces:
        yield _warning(
            "W101",
            "There is no workspace, so all requests from Intercom are refused.",
            "Add one in the admin, or run: python manage.py import_config FILE",
        )
    workspaces_by_secret: dict[str, list[Workspace]] = defaultdict(list)
    for workspace in workspaces:
        yield from _check_workspace(workspace)
        if secret := _reveal(workspace.client_secret):
            workspaces_by_secret[secret].append(workspace)
    for sharing_workspaces in workspaces_by_secret.values():
        if len(sharing_workspaces) > 1:
            names = ", ".join(workspace.workspace_id for workspace in sharing_workspaces)
            yield _warning(
                "W115",
                f"These workspaces have the same client secret: {names}.",
                "This is correct if one Intercom app is installed in all of them. Otherwise one secret is wrong.",
                sharing_workspaces[1],  # the first that repeats the secret
            )


def _check_workspace(workspace: Workspace) -> Iterator[CheckMessage]:
    if workspace.enabled and not workspace.client_secret:
        yield _error(
            "E102",
            "An enabled workspace has no client secret: its requests are refused.",
            "Copy it from Intercom's Developer Hub (Basic information) into the admin, or disable the workspace.",
            workspace,
        )
    if workspace.enabled and not workspace.access_token:
        yield _error(
            "E103",
            "An enabled workspace has no access token: the bridge cannot write into its conversations.",
            "Copy it from Intercom's Developer Hub (Authentication) into the admin, or disable the workspace.",
            workspace,
        )
    yield from _check_secrets(workspace, "client_secret", "previous_client_secret", "access_token")
    yield from _check_value(
        validate_scope,
        workspace.scope,
        _error("E106", "Its scope is invalid", "Example: SELECT Organization WHERE name = 'Demo'", workspace),
    )
    for sentence in describe_unknown_classes(workspace.itop, workspace.scope):
        yield _warning(
            "W125",
            f"Its scope cannot be evaluated: {sentence}",
            "Correct the scope in the admin. If the class was added to iTop later, import the data model again.",
            workspace,
        )
    yield from _check_time_zone(workspace)


def _check_itop(itop: ItopInstance) -> Iterator[CheckMessage]:
    parts = _split(itop.url)
    if _in_production() and parts.scheme != "https":
        yield _error(
            "E107",
            "Its address is not https: the account's token would be sent unencrypted.",
            "Enter the https address of this iTop.",
            itop,
        )
    is_page = parts.path.rstrip("/").lower().endswith((".php", "/webservices", "/pages"))
    if is_page or parts.query or parts.fragment:
        yield _error(
            "E108",
            f"Its address is a page of iTop, not the base URL: {parts.scheme}://{parts.hostname}{parts.path}",
            "Remove the part after the base URL. Example: https://itop.example.com/itop",
            itop,
        )
    if not itop.token and not (itop.user and itop.password):
        yield _error(
            "E109",
            "It has no account: neither a token, nor a user name and a password.",
            "Create a token-based account in iTop and enter its token in the admin.",
            itop,
        )
    yield from _check_secrets(itop, "token", "password")
    yield from _check_time_zone(itop)


def _check_profile(profile: TicketProfile) -> Iterator[CheckMessage]:
    messages = [*_check_values(profile), *_check_form(profile), *_check_empty_lists(profile)]
    yield from messages
    # An invalid list cannot be compared with the data model.
    if all(message.level < ERROR for message in messages):
        yield from _check_data_model(profile)


def _check_values(profile: TicketProfile) -> Iterator[CheckMessage]:
    for name, validate in (
        ("form_attributes", validate_codes),
        ("excluded_states", validate_codes),
        ("details_attributes", validate_codes),
        ("attributes_mapping", validate_mapping),
        ("defaults", validate_defaults),
    ):
        text = f"Its field “{_label(profile, name)}” is invalid"
        message = _error("E110", text, "Correct it in the admin.", profile)
        yield from _check_value(validate, getattr(profile, name), message)


def _check_form(profile: TicketProfile) -> Iterator[CheckMessage]:
    form = profile.form_attributes
    if not form:
        yield _error("E111", "Its create form has no field.", "Add at least title and description.", profile)
    elif (
        isinstance(form, list)
        and isinstance(profile.attributes_mapping, dict)
        and profile.code("title") not in form
    ):
        yield _error(
            "E112",
            f"Its create form has no field {profile.code('title')}, which iTop requires.",
            "Add it to the form attributes.",
            profile,
        )
    if automatic := profile.not_for_the_form():
        yield _error(
            "E117",
            f"Its create form contains attributes that the bridge fills in: {', '.join(automatic)}.",
            "Remove them from the form attributes in the admin.",
            profile,
        )


def _check_empty_lists(profile: TicketProfile) -> Iterator[CheckMessage]:
    for name, consequence in (
        ("excluded_states", "closed tickets count as ongoing"),
        ("details_attributes", "tickets are displayed without attributes"),
    ):
        if not getattr(profile, name):
            text = f"Its field “{_label(profile, name)}” is empty: {consequence}."
            yield _warning("W113", text, "Add codes in the admin.", profile)


def _check_data_model(profile: TicketProfile) -> Iterator[CheckMessage]:
    imported = ImportedClass.objects.for_profile(profile).filter(name=profile.ticket_class)
    for row in imported.select_related("itop"):
        check = ProfileCheck(profile, decode(row))
        sentences = [sentence for group in check.mistakes().values() for sentence in group]
        if missing := check.missing():
            sentences.append(missing_from_form(missing, row.name))
        if sentences:
            yield _warning(
                "W118",
                f"It does not fit the data model of {row.itop}: {' '.join(sentences)}",
                "Correct it in the admin. The checkbox “Correct automatically” corrects most of it.",
                profile,
            )


def _check_age_of_keys() -> Iterator[CheckMessage]:
    keys: Sequence[str] = settings.FIELD_ENCRYPTION_KEYS
    if len(keys) < 2 or not all(map(_is_key, keys)):  # E002 reports invalid keys
        return
    outdated = [
        stored for stored in stored_secrets() if stored.secret.is_readable and not stored.secret.is_current
    ]
    if outdated:
        yield _info(
            "I119",
            f"{len(outdated)} stored secrets are encrypted with an older key of FIELD_ENCRYPTION_KEYS, "
            f"for example: {outdated[0]}.",
            "Run: python manage.py rotate_keys. Then remove the older keys.",
        )


def _check_secrets(row: Workspace | ItopInstance, *names: str) -> Iterator[CheckMessage]:
    for name in names:
        secret: Secret = getattr(row, name)
        if secret and not secret.is_readable:
            yield _error(
                "E104",
                f"Its {_label(row, name)} cannot be decrypted with FIELD_ENCRYPTION_KEYS.",
                "Append the key that it was encrypted with to this setting, or enter the secret again in the admin.",
                row,
            )
        elif _reveal(secret).startswith(PLACEHOLDER):
            yield _error(
                "E105",
                f"Its {_label(row, name)} is a placeholder from the documentation ({PLACEHOLDER}…).",
                "Enter the real value in the admin.",
                row,
            )


def _check_time_zone(row: Workspace | ItopInstance) -> Iterator[CheckMessage]:
    message = _error("E114", "Its time zone is invalid", "Example: Europe/Paris", row)
    yield from _check_value(validate_time_zone, row.time_zone, message)


def _check_value(
    validate: Callable[[Any], None], value: Any, message: CheckMessage
) -> Iterator[CheckMessage]:
    """If the value is invalid, yield the message with the validator's message appended."""
    try:
        validate(value)
    except ValidationError as error:
        message.msg = f"{message.msg}: {' '.join(error.messages)}"
        yield message


def _label(row: Workspace | ItopInstance | TicketProfile, field: str) -> str:
    return str(row._meta.get_field(field).verbose_name)  # type: ignore[union-attr]


def _reveal(secret: Secret) -> str:
    """Return the plain text; "" if the secret is empty or cannot be decrypted."""
    return secret.reveal() if secret.is_readable else ""
