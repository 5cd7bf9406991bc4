"""The bridge's own configuration as one JSON file: everything that an admin sets, except secrets.

`export_config` writes it and `import_config` reads it: for review, and to copy a configuration to another environment.
A secret belongs in the environment: `"token_env": "ITOP_TOKEN"` in the file names the variable that holds it.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db import models, transaction

from intercom_bridge.models import Conversation, EventRules, ItopInstance, Messenger, TicketProfile, Workspace
from intercom_bridge.models.encryption import SecretField
from intercom_bridge.models.itop_instance import base_address

from .applying import Report, Row, apply
from .values import ConfigError, SourceValue, read_secret_variable

FORMAT: Final = "intercom-itop-bridge"
VERSION: Final = 1
# The list in the file -> its model, and the attribute that identifies a row.
LISTS: Final[dict[str, tuple[type[Row], str]]] = {
    "itops": (ItopInstance, "name"),
    "profiles": (TicketProfile, "name"),
    "workspaces": (Workspace, "workspace_id"),
    "messengers": (Messenger, "workspace"),
    "event_rules": (EventRules, "workspace"),
}
# The attribute by which other rows refer to a row.
_NAME_OF: Final[dict[type[models.Model], str]] = dict(LISTS.values())
_ENV: Final = "_env"
# Valid for some days only: neither worth a review nor of use in another environment.
_NOT_EXPORTED: Final = {
    "previous_client_secret",
    "previous_client_secret_until",
    "next_api_secret",
    "next_api_secret_from",
}
# Attributes that a new row needs, and what to do where one is missing.
_REQUIRED: Final[dict[type[Row], dict[str, str]]] = {
    ItopInstance: {
        "url": 'Give its "url".',
        f"token{_ENV}": (
            "Put the token of its account into an environment variable and name that as "
            f'"token{_ENV}", or add the iTop in the admin first.'
        ),
    },
    Workspace: {
        "scope": 'Without a scope it would serve everybody. Give its "scope".',
        "itop": 'Give its "itop", by name.',
        "profile": 'Give its "profile", by name.',
    },
}
# Type of a column -> the type in JSON, and its description.
_JSON_TYPES: Final[dict[str, tuple[type, str]]] = {
    "CharField": (str, "text"),
    "TextField": (str, "text"),
    "BooleanField": (bool, "true or false"),
    "PositiveBigIntegerField": (int, "a whole number"),
    "PositiveIntegerField": (int, "a whole number"),
    "PositiveSmallIntegerField": (int, "a whole number"),
}


def export() -> str:
    """Return the whole configuration as JSON, in a stable order, so that two exports can be compared by line."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    for name, (model, key) in LISTS.items():
        rows = model._default_manager.order_by(_lookup(model, key))
        document[name] = [
            {column.name: _exported_value(row, column) for column in _columns(model)} for row in rows
        ]
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _columns(model: type[Row]) -> list[models.Field[Any, Any]]:
    """Return the columns that an admin sets, without secrets."""
    return [
        column
        for column in model._meta.concrete_fields
        if column.editable
        and not column.primary_key
        and not isinstance(column, SecretField)
        and column.name not in _NOT_EXPORTED
    ]


def _exported_value(row: Row, column: models.Field[Any, Any]) -> Any:
    value = getattr(row, column.name)
    return getattr(value, _NAME_OF[type(value)]) if isinstance(value, models.Model) else value


def _lookup(model: type[Row], key: str) -> str:
    """Return the lookup for the names in the file: "name", or "workspace__workspace_id" of a row's workspace."""
    related = model._meta.get_field(key).related_model
    return f"{key}__{_NAME_OF[related]}" if isinstance(related, type) else key


@dataclass(frozen=True)
class BridgeFile:
    """The unparsed text of a file in our own format."""

    text: str

    def apply(self, *, overwrite: bool = False, dry_run: bool = False) -> Report:
        """Write the rows in one transaction; `dry_run` rolls it back.

        `overwrite` also replaces what was set in the admin. Raise ConfigError, and write nothing, if any part of the
        file is refused.
        """
        document = _parse(self.text)
        report = Report()
        with transaction.atomic():
            for name, (model, key) in LISTS.items():
                entries = [
                    _Entry(f"entry {number} of {name}", entry, model, key)
                    for number, entry in enumerate(document[name], 1)
                ]
                _reject_duplicates(entries)
                for entry in entries:
                    _apply_entry(entry, report, overwrite=overwrite)
                _report_unlisted_rows(model, key, [entry.name for entry in entries], report)
            if dry_run:
                transaction.set_rollback(True)
        return report


def _apply_entry(entry: _Entry, report: Report, *, overwrite: bool) -> None:
    named = {_lookup(entry.model, entry.key): entry.name}
    existing: Row | None = entry.model._default_manager.filter(**named).first()
    row = existing or entry.model()
    if existing is None:
        entry.require_attributes()
    was_enabled = isinstance(row, Workspace) and row.enabled
    kind = str(entry.model._meta.verbose_name).capitalize().replace("\u2060", "").replace("itop", "iTop")
    fields = dict(entry.fields(report))
    report.sections.append(apply(row, fields, f"{kind} {entry.name}", overwrite=overwrite))
    if isinstance(row, Workspace):
        if existing is not None and row.enabled and not was_enabled:
            Conversation.objects.compare_syncing_now(row)
        if not (row.client_secret and row.access_token):
            report.notes.append(
                f"Workspace {row} has no client secret or no access token: enter them in the admin, or name "
                f"environment variables in the file (client_secret{_ENV}, access_token{_ENV})."
            )


def _report_unlisted_rows(model: type[Row], key: str, names: list[str], report: Report) -> None:
    kind = str(model._meta.verbose_name).replace("\u2060", "")
    for row in model._default_manager.exclude(**{f"{_lookup(model, key)}__in": names}):
        report.notes.append(f"The {kind} {row} is not in the file. It is left as it is.")


def _parse(text: str) -> dict[str, Any]:
    try:
        document: Any = json.loads(text, object_pairs_hook=_unique_names)
    except json.JSONDecodeError as error:
        raise ConfigError(f"this is not JSON: {error.msg}.", error.lineno) from error
    except RecursionError as error:
        raise ConfigError("the values are nested too deep.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f'this is not a configuration of the bridge: it lacks "format": "{FORMAT}".')
    if document.get("version") != VERSION:
        raise ConfigError(
            f"the file has version {_quote(document.get('version'))}, and this bridge reads version {VERSION}. "
            "Export it with the version of the bridge that imports it."
        )
    for name in LISTS:
        if not isinstance(document.setdefault(name, []), list):
            raise ConfigError(f"the value of {name} is not a list.")
    if unknown := sorted(set(document) - set(LISTS) - {"format", "version"}):
        raise ConfigError(f"there is no list called {unknown[0]}.{_suggestion(unknown[0], LISTS)}")
    return document


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that occurs twice in an object: JSON would silently drop the first value."""
    document = dict(pairs)
    if len(document) < len(pairs):
        ((duplicate, _count),) = Counter(name for name, _value in pairs).most_common(1)
        raise ConfigError(f"an object contains {duplicate} twice.")
    return document


class _Entry:
    """One row as the file describes it."""

    def __init__(self, where: str, attributes: Any, model: type[Row], key: str) -> None:
        self.model = model
        self.key = key
        if not isinstance(attributes, dict):
            raise ConfigError(f"{where} is not an object.")
        name = attributes.get(key)
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"{where} has no {key}.")
        if not _can_be_stored(name):
            raise ConfigError(f"{where}: {key} contains a character that cannot be stored.")
        self.name = name
        self.where = f"{where} ({name})"
        self.attributes = attributes

    def require_attributes(self) -> None:
        """Raise ConfigError for a new row that lacks an attribute it needs."""
        for name, hint in _REQUIRED.get(self.model, {}).items():
            has_password = name == f"token{_ENV}" and f"password{_ENV}" in self.attributes
            if not self.attributes.get(name) and not has_password:
                raise ConfigError(f"{self.where} is new here, and has no {name}. {hint}")

    def fields(self, report: Report) -> Iterator[tuple[str, SourceValue]]:
        """Yield the row's fields with their values; add a note for each unknown name."""
        columns = {column.name: column for column in _columns(self.model)}
        secrets = {
            f"{column.name}{_ENV}": column.name
            for column in self.model._meta.concrete_fields
            if isinstance(column, SecretField) and column.editable and column.name not in _NOT_EXPORTED
        }
        for name, value in self.attributes.items():
            if name in columns:
                yield name, SourceValue(self._value(columns[name], value))
            elif name in secrets:
                if not isinstance(value, str) or not value:
                    raise ConfigError(f"{self.where}: {name} must name an environment variable.")
                yield secrets[name], SourceValue(read_secret_variable(value, self.where))
            elif name.removesuffix(_ENV) in _NOT_EXPORTED:
                raise ConfigError(
                    f"{self.where}: {name} is not imported. Enter the second secret of a rotation in the admin, with "
                    "the date from or until which it is used."
                )
            elif f"{name}{_ENV}" in secrets:
                raise ConfigError(
                    f"{self.where}: {name} is a secret, and secrets do not belong in this file. Put it into an "
                    f'environment variable and name that as "{name}{_ENV}".'
                )
            else:
                suggestion = _suggestion(name, [*columns, *secrets])
                report.notes.append(f"{name} in {self.where} is unknown, and ignored.{suggestion}")

    def _value(self, column: models.Field[Any, Any], value: Any) -> Any:
        if isinstance(column, models.ForeignKey):
            related: type[models.Model] = column.related_model
            named = {_NAME_OF[related]: value}
            row = related._default_manager.filter(**named).first() if isinstance(value, str) else None
            if row is None:
                raise ConfigError(f"{self.where}: there is no {column.name} called {_quote(value)}.")
            return row
        if not _can_be_stored(value):
            raise ConfigError(f"{self.where}: {column.name} contains a character that cannot be stored.")
        if value is None and column.null:
            return None
        expected, description = _JSON_TYPES.get(column.get_internal_type(), (object, ""))
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
            raise ConfigError(f"{self.where}: {column.name} must be {description}, not {_quote(value)}.")
        return base_address(str(value)) if column.name == "url" else value


def _reject_duplicates(entries: list[_Entry]) -> None:
    first: dict[str, _Entry] = {}
    for entry in entries:
        if (other := first.setdefault(entry.name, entry)) is not entry:
            raise ConfigError(
                f"{other.where} and {entry.where} have the same {entry.key}. Remove one of them."
            )


def _can_be_stored(value: Any) -> bool:
    """Return whether databases accept the text: JSON may contain NUL and unpaired surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    return "\\u0000" not in text and text == text.encode("utf-8", "replace").decode()


def _suggestion(name: str, known: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, list(known), 1, 0.8)
    return f" Did you mean {similar[0]}?" if similar else ""


def _quote(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
