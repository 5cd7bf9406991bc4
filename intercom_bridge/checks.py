"""What `manage.py check` says of this service. Each has an id, a hint, and a test of a few lines.

Settings, without the network and the database:

    E001  FIELD_ENCRYPTION_KEYS is missing outside DEBUG      W001  ... within DEBUG
    E002  FIELD_ENCRYPTION_KEYS holds what is not a key
    E003  development's public keys while DEBUG is off
    E004  PUBLIC_URL is missing, or not an address
    E005  PUBLIC_URL is not https outside DEBUG
    E006  PUBLIC_URL is this very machine outside DEBUG
    E007  DEBUG is on in production                           W002  ... under a public address
    E008  REDIS_URL is not the address of a Redis
    E009  ALLOWED_HOSTS lacks PUBLIC_URL's host
    W003  INTERCOM_API_URL is set outside DEBUG
    W004  SQLite together with Redis
    W006  METRICS_TOKEN is set, and METRICS_DIR cannot be written to
    W005  words of the panel are not translated, or not compiled

Rows, with `--database default`:

    I101  the database is not there, or not migrated
    W101  there is no workspace
    E102  an enabled workspace without client secret          E103  ... without access token
    E104  a secret that the current keys cannot read
    E105  a secret that is a placeholder of the documentation
    E106  a scope that cannot be used
    E107  an iTop's address that is not https outside DEBUG
    E108  an iTop's address that is not its base address
    E109  an iTop without account
    E110  a profile's list with what is no code, or a bad mapping
    E111  a profile's create form without any field           E112  ... without title
    W113  a profile whose list of details or of states is empty
    E114  a time zone that is none
    W115  the same client secret in two workspaces
    W116  no worker has lived for two minutes while work is waiting
    E117  a profile's create form asks for what is filled in by itself
    W118  a profile that does not fit the imported data model
    I119  secrets are still stored under an older one of FIELD_ENCRYPTION_KEYS

`migrate` looks at the rows of the database it migrates, too. It must not be stopped by a workspace that lacks a
token, so the rows are not looked at then.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import ERROR, CheckMessage, Error, Info, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError
from django.http.request import validate_host
from django.utils.connection import ConnectionDoesNotExist

from .catalogues import LOCALE, catalogue, read
from .datamodel.fit import Fit
from .models import ItopInstance, LearnedClass, Secret, TicketProfile, Workspace
from .models.itop_instance import validate_time_zone
from .models.ticket_profile import validate_codes, validate_defaults, validate_mapping
from .models.workspace import LANGUAGES, PLACEHOLDER, validate_scope
from .readiness import is_behind, neglected_since, words_about_neglect
from .rotation import stored_secrets

TAG = "intercom_bridge"
# As settings/development.py has them, for everyone to read.
PUBLIC_ENCRYPTION_KEYS = {"ZGV2ZWxvcG1lbnQtb25seS1ub3QtYS1zZWNyZXQtMDE="}
PUBLIC_SECRET_KEY = re.compile("development-only-")
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104 - a name to look for, not to listen on
MAKE_A_KEY = (
    "Make one with: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)


def register_checks() -> None:
    """Called when Django is ready."""
    for check in (
        check_encryption_keys,
        check_public_keys,
        check_public_url,
        check_debug,
        check_intercom_api_url,
        check_redis_url,
        check_queue_and_database,
        check_metrics,
        check_languages,
    ):
        register(check, TAG)
    register(check_rows, TAG, Tags.database)


def _message(
    kind: type[Error] | type[Warning] | type[Info], number: str, text: str, hint: str, obj: Any = None
) -> CheckMessage:
    return kind(text, hint=hint, obj=obj, id=f"intercom_bridge.{number}")


def _in_production() -> bool:
    """Whether real conversations are to be expected: DEBUG is off, and these are not the settings of the tests."""
    return not settings.DEBUG and settings.SETTINGS_MODULE != "settings.testing"


# Settings


def check_encryption_keys(**_: Any) -> list[CheckMessage]:
    keys: Sequence[str] = settings.FIELD_ENCRYPTION_KEYS
    if not keys:
        text = "FIELD_ENCRYPTION_KEYS is not set: secrets can be neither stored nor read."
        if settings.DEBUG:
            return [_message(Warning, "W001", text, MAKE_A_KEY)]
        return [_message(Error, "E001", text, f"{MAKE_A_KEY} - and keep a copy of it.")]
    bad = [str(number) for number, key in enumerate(keys, 1) if not _is_key(key)]
    if not bad:
        return []
    return [
        _message(
            Error,
            "E002",
            f"FIELD_ENCRYPTION_KEYS holds something that is not a key, in place {', '.join(bad)} of {len(keys)}.",
            f"Each is 32 bytes in URL-safe base64, with commas between them, newest first. {MAKE_A_KEY}",
        )
    ]


def _is_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def check_public_keys(**_: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    names = []
    if PUBLIC_ENCRYPTION_KEYS & set(settings.FIELD_ENCRYPTION_KEYS):
        names.append("FIELD_ENCRYPTION_KEYS")
    if PUBLIC_SECRET_KEY.match(str(settings.SECRET_KEY)):
        names.append("SECRET_KEY")
    return [
        _message(
            Error,
            "E003",
            f"{name} is the one of settings/development.py, which everybody can read, and DEBUG is off.",
            "Set one of your own. Use settings.production for real conversations.",
        )
        for name in names
    ]


def check_public_url(**_: Any) -> list[CheckMessage]:
    parts = _split(settings.PUBLIC_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [
            _message(
                Error,
                "E004",
                "PUBLIC_URL is not set, or not an address.",
                "Set it to the address under which Intercom reaches this service, like https://bridge.example.com",
            )
        ]
    found = []
    if _in_production() and parts.hostname in LOCAL_HOSTS:
        found.append(
            _message(
                Error,
                "E006",
                f"PUBLIC_URL is {settings.PUBLIC_URL}, which is this machine: Intercom cannot reach it.",
                "Set it to the https address under which Intercom reaches this service.",
            )
        )
    elif _in_production() and parts.scheme != "https":
        found.append(
            _message(
                Error,
                "E005",
                f"PUBLIC_URL is not https (it is {settings.PUBLIC_URL}).",
                "Intercom calls https addresses only. Put a proxy with a certificate in front of this service.",
            )
        )
    if not _is_allowed(parts.hostname):
        found.append(
            _message(
                Error,
                "E009",
                f"ALLOWED_HOSTS does not hold {parts.hostname}, the host of PUBLIC_URL: each of Intercom's requests "
                "would be refused with 400.",
                f"Add {parts.hostname} to ALLOWED_HOSTS, or leave ALLOWED_HOSTS unset: then it is PUBLIC_URL's host.",
            )
        )
    return found


def _is_allowed(host: str) -> bool:
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return host in LOCAL_HOSTS
    return validate_host(f"[{host}]" if ":" in host else host, settings.ALLOWED_HOSTS)


def check_debug(**_: Any) -> list[CheckMessage]:
    if not settings.DEBUG:
        return []
    hint = "Take DEBUG out of the environment, and set DJANGO_SETTINGS_MODULE=settings.production."
    if str(settings.SETTINGS_MODULE).endswith("production"):
        return [
            _message(Error, "E007", "DEBUG is on in production: error pages show settings to anybody.", hint)
        ]
    host = _split(settings.PUBLIC_URL).hostname
    if host and host not in LOCAL_HOSTS:
        text = (
            f"DEBUG is on, and PUBLIC_URL is a public address ({host}): error pages show settings to anybody."
        )
        return [_message(Warning, "W002", text, f"Fine for a rehearsal with made-up data. Otherwise: {hint}")]
    return []


def check_intercom_api_url(**_: Any) -> list[CheckMessage]:
    if not settings.INTERCOM_API_URL or not _in_production():
        return []
    return [
        _message(
            Warning,
            "W003",
            "INTERCOM_API_URL is set: every workspace's access token goes to that host instead of Intercom's.",
            "It is for stand-ins. Unset it, and each region's own host is used.",
        )
    ]


def check_redis_url(**_: Any) -> list[CheckMessage]:
    if not settings.REDIS_URL:
        return []
    parts = _split(settings.REDIS_URL)
    good = (parts.scheme in ("redis", "rediss") and parts.hostname) or (parts.scheme == "unix" and parts.path)
    if good:
        return []
    return [
        _message(
            Error,
            "E008",
            "REDIS_URL is not the address of a Redis.",
            "Write it like redis://redis.example.com:6379/0, or rediss:// with TLS, or unix:///run/redis.sock. Unset, "
            "the queue is a file.",
        )
    ]


def check_queue_and_database(**_: Any) -> list[CheckMessage]:
    if not settings.REDIS_URL or "sqlite" not in settings.DATABASES["default"]["ENGINE"]:
        return []
    return [
        _message(
            Warning,
            "W004",
            "The queue is in Redis and the data in an SQLite file, which several machines cannot share.",
            "Set DATABASE_URL to a PostgreSQL if there is more than one machine. If there is one, Redis is not needed.",
        )
    ]


def check_metrics(**_: Any) -> list[CheckMessage]:
    if not settings.METRICS_TOKEN or settings.METRICS_DIR:
        return []
    return [
        _message(
            Warning,
            "W006",
            "METRICS_TOKEN is set, but METRICS_DIR cannot be made or written to: what the processes count is not told.",
            "Name a directory in METRICS_DIR that the service may write to. What waits is told all the same.",
        )
    ]


def check_languages(*, locale: Path = LOCALE, **_: Any) -> list[CheckMessage]:
    """A workspace whose language lacks a word gets it in English, next to others that it does not lack."""
    found = []
    for code, name in LANGUAGES:
        path = catalogue(code, locale)
        if code == "en":
            continue
        if not path.exists() or not path.with_suffix(".mo").exists():
            found.append(f"{name} has no catalogue in {path.parent}: its workspaces see English.")
        elif missing := [message.id for message in read(path) if not message.is_translated]:
            found.append(
                f"{name} lacks {len(missing)} of the panel's words, the first is “{missing[0][:80]}”."
            )
    hint = "Translate what is empty or fuzzy in django.po, and run: make messages"
    return [_message(Warning, "W005", text, hint) for text in found]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(str(url))
        _ = parts.port  # raises when it is not a number
    except ValueError:
        return urlsplit("")
    return parts


# Rows


def check_rows(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    if not databases or "default" not in databases or sys.argv[1:2] == ["migrate"]:
        return []
    not_there = [
        _message(
            Info,
            "I101",
            "The database cannot be asked, or is not migrated: its rows were not looked at.",
            "Run: python manage.py migrate",
        )
    ]
    try:
        if is_behind():
            return not_there
        workspaces = list(Workspace.objects.select_related("itop", "profile"))
        return [
            *_check_workspaces(workspaces),
            *(found for itop in ItopInstance.objects.all() for found in _check_itop(itop)),
            *(found for profile in TicketProfile.objects.all() for found in _check_profile(profile)),
            *_check_age_of_keys(),
            *_check_workers(),
        ]
    except (DatabaseError, ImproperlyConfigured, ConnectionDoesNotExist):
        return not_there


def _check_workers() -> Iterator[CheckMessage]:
    if since := neglected_since():
        yield _message(
            Warning,
            "W116",
            words_about_neglect(since),
            "Start one: python manage.py worker - and look into the log of the one that ended.",
        )


def _check_workspaces(workspaces: Iterable[Workspace]) -> Iterator[CheckMessage]:
    workspaces = list(workspaces)
    if not workspaces:
        yield _message(
            Warning,
            "W101",
            "There is no workspace: every request of Intercom's is refused.",
            "Make one in the admin, or run: python manage.py import_config FILE",
        )
    same: dict[str, list[Workspace]] = defaultdict(list)
    for workspace in workspaces:
        yield from _check_workspace(workspace)
        if secret := _read(workspace.client_secret):
            same[secret].append(workspace)
    for sharing in same.values():
        if len(sharing) > 1:
            yield _message(
                Warning,
                "W115",
                f"These workspaces have the same client secret: {', '.join(one.workspace_id for one in sharing)}.",
                "Right if one Intercom app is installed in all of them. Otherwise one was pasted into the wrong place.",
                sharing[1],
            )


def _check_workspace(workspace: Workspace) -> Iterator[CheckMessage]:
    if workspace.enabled:
        if not workspace.client_secret:
            yield _message(
                Error,
                "E102",
                "An enabled workspace has no client secret: its requests are refused.",
                "Copy it from Intercom's Developer Hub (Basic information) into the admin, or turn the workspace off.",
                workspace,
            )
        if not workspace.access_token:
            yield _message(
                Error,
                "E103",
                "An enabled workspace has no access token: nothing can be written into its conversations.",
                "Copy it from Intercom's Developer Hub (Authentication) into the admin, or turn the workspace off.",
                workspace,
            )
    yield from _check_secrets(workspace, "client_secret", "previous_client_secret", "access_token")
    yield from _check_value(
        validate_scope,
        workspace.scope,
        "E106",
        "Its scope cannot be used",
        "Write a query like: SELECT Organization WHERE name = 'Demo'",
        workspace,
    )
    yield from _check_time_zone(workspace)


def _check_itop(itop: ItopInstance) -> Iterator[CheckMessage]:
    parts = _split(itop.url)
    if _in_production() and parts.scheme != "https":
        yield _message(
            Error,
            "E107",
            "Its address is not https: the account's token would travel for everybody to read.",
            "Give the https address of this iTop.",
            itop,
        )
    path = parts.path.rstrip("/").lower()
    if path.endswith((".php", "/webservices", "/pages")) or parts.query or parts.fragment:
        yield _message(
            Error,
            "E108",
            f"Its address is a page of iTop's, not its base: {parts.scheme}://{parts.hostname}{parts.path}",
            "Leave out what comes after the base, for example https://itop.example.com/itop",
            itop,
        )
    if not itop.token and not (itop.user and itop.password):
        yield _message(
            Error,
            "E109",
            "It has no account: neither a token, nor a name and a password.",
            "Make a token-based account in iTop and enter its token in the admin.",
            itop,
        )
    yield from _check_secrets(itop, "token", "password")
    yield from _check_time_zone(itop)


def _check_profile(profile: TicketProfile) -> Iterator[CheckMessage]:
    found = list(_check_fields(profile))
    yield from found
    # Otherwise its lists may be none.
    if all(message.level < ERROR for message in found):
        yield from _check_fit(profile)


def _check_fields(profile: TicketProfile) -> Iterator[CheckMessage]:
    hint = "Correct it in the admin, one code a line."
    for name in ("form_attributes", "excluded_states", "details_attributes"):
        label = str(profile._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
        yield from _check_value(
            validate_codes, getattr(profile, name), "E110", f"Its {label} cannot be used", hint, profile
        )
    yield from _check_value(
        validate_mapping,
        profile.attributes_mapping,
        "E110",
        "Its attributes mapping cannot be used",
        hint,
        profile,
    )
    yield from _check_value(
        validate_defaults, profile.defaults, "E110", "Its defaults cannot be used", hint, profile
    )
    if not profile.form_attributes:
        yield _message(
            Error, "E111", "Its create form has no field.", "Add at least title and description.", profile
        )
    elif (
        isinstance(profile.attributes_mapping, dict) and profile.code("title") not in profile.form_attributes
    ):
        yield _message(
            Error,
            "E112",
            f"Its create form lacks {profile.code('title')}: iTop refuses a ticket without it.",
            "Add it to the form's attributes.",
            profile,
        )
    if wrong := profile.not_for_the_form():
        yield _message(
            Error,
            "E117",
            f"Its create form asks for what is filled in by itself: {', '.join(wrong)}.",
            "Take it out of the form's attributes in the admin.",
            profile,
        )
    for name, consequence in (
        ("excluded_states", "closed tickets count as ongoing"),
        ("details_attributes", "a ticket is shown without any attribute"),
    ):
        if not getattr(profile, name):
            label = str(profile._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
            yield _message(
                Warning, "W113", f"Its {label} is empty: {consequence}.", "Add codes in the admin.", profile
            )


def _check_fit(profile: TicketProfile) -> Iterator[CheckMessage]:
    learned = LearnedClass.objects.for_profile(profile).filter(name=profile.ticket_class)
    for one in learned.select_related("itop"):
        fit = Fit(profile, one.ticket_class())
        sentences = [sentence for found in fit.mistakes().values() for sentence in found]
        if lacking := fit.lacking():
            sentences.append(f"Its form does not ask for {', '.join(lacking)}, which a new {one} needs.")
        if sentences:
            yield _message(
                Warning,
                "W118",
                f"It does not fit the data model of {one.itop}: {' '.join(sentences)}",
                "Correct it in the admin; a tick at “Fill in what fits” does most of it.",
                profile,
            )


def _check_age_of_keys() -> Iterator[CheckMessage]:
    keys: Sequence[str] = settings.FIELD_ENCRYPTION_KEYS
    if len(keys) < 2 or not all(map(_is_key, keys)):
        return
    older = [one for one in stored_secrets() if one.secret.is_readable and not one.secret.is_current]
    if older:
        yield _message(
            Info,
            "I119",
            f"{len(older)} stored secrets need an older one of FIELD_ENCRYPTION_KEYS, among them: {older[0]}.",
            "Run: python manage.py rotate_keys. Then the older keys can be taken out.",
        )


def _check_secrets(row: Workspace | ItopInstance, *names: str) -> Iterator[CheckMessage]:
    for name in names:
        secret: Secret = getattr(row, name)
        label = str(row._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
        if secret and not secret.is_readable:
            yield _message(
                Error,
                "E104",
                f"Its {label} cannot be read with FIELD_ENCRYPTION_KEYS.",
                "Put the key it was stored under back at the end of the list, or enter the secret again in the admin.",
                row,
            )
        elif _read(secret).startswith(PLACEHOLDER):
            yield _message(
                Error,
                "E105",
                f"Its {label} is a placeholder of the documentation ({PLACEHOLDER}...).",
                "Enter the real one in the admin.",
                row,
            )


def _check_time_zone(row: Workspace | ItopInstance) -> Iterator[CheckMessage]:
    yield from _check_value(
        validate_time_zone,
        row.time_zone,
        "E114",
        "Its time zone cannot be used",
        "Write it like Europe/Paris.",
        row,
    )


def _check_value(
    validate: Callable[[Any], None], value: Any, number: str, text: str, hint: str, row: Any
) -> Iterator[CheckMessage]:
    try:
        validate(value)
    except ValidationError as error:
        yield _message(Error, number, f"{text}: {' '.join(error.messages)}", hint, row)


def _read(secret: Secret) -> str:
    return secret.reveal() if secret.is_readable else ""
