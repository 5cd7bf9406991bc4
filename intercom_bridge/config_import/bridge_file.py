"""The bridge's own configuration as one JSON file: everything that an admin sets, except secrets.

The command `export_config` writes the file, and `import_config` reads it. It serves to review a configuration and to
copy it to another environment. The file contains no secret, but may name the environment variable that holds it:
`"token_env": "ITOP_TOKEN"`.
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
# Name of a list in the file -> model of its rows, and the attribute that identifies a row.
LISTS: Final[dict[str, tuple[type[Row], str]]] = {
    "itops": (ItopInstance, "name"),
    "profiles": (TicketProfile, "name"),
    "workspaces": (Workspace, "workspace_id"),
    "messengers": (Messenger, "workspace"),
    "event_rules": (EventRules, "workspace"),
}
# Model -> the attribute that identifies a row. In the file, a foreign key holds this attribute of the other row.
_IDENTIFIER_OF: Final[dict[type[models.Model], str]] = dict(LISTS.values())
# Ends the name of an attribute whose value names an environment variable with a secret.
_ENV: Final = "_env"
# Used only for some days, while a secret is rotated: neither worth a review nor of use in another environment.
_NOT_EXPORTED: Final = {
    "previous_client_secret",
    "previous_client_secret_until",
    "next_api_secret",
    "next_api_secret_from",
}
# Attributes that a new row needs, and what to do if the file lacks them.
_REQUIRED: Final[dict[type[Row], dict[str, str]]] = {
    ItopInstance: {
        "url": 'Add its "url".',
        f"token{_ENV}": (
            "Put the token of its account into an environment variable and name the variable as "
            f'"token{_ENV}", or add the iTop in the admin first.'
        ),
    },
    Workspace: {
        "scope": 'Without a scope it would serve everybody. Add its "scope".',
        "itop": 'Add the name of its iTop as "itop".',
        "profile": 'Add the name of its ticket profile as "profile".',
    },
}
# Type of a column -> type of its value in JSON, and the description of this type for messages.
_JSON_TYPES: Final[dict[str, tuple[type, str]]] = {
    "CharField": (str, "text"),
    "TextField": (str, "text"),
    "BooleanField": (bool, "true or false"),
    "PositiveBigIntegerField": (int, "a whole number"),
    "PositiveIntegerField": (int, "a whole number"),
    "PositiveSmallIntegerField": (int, "a whole number"),
}


def export() -> str:
    """Return the whole configuration as JSON. The order is stable, so two exports can be compared line by line."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    for name, (model, key) in LISTS.items():
        rows = model._default_manager.order_by(_lookup(model, key))
        document[name] = [_exported_row(row) for row in rows]
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _exported_row(row: Row) -> dict[str, Any]:
    return {column.name: _exported_value(row, column) for column in _columns(type(row))}


def _columns(model: type[Row]) -> list[models.Field[Any, Any]]:
    """Return the columns that an admin sets, except secrets and the attributes in _NOT_EXPORTED."""
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
    return getattr(value, _IDENTIFIER_OF[type(value)]) if isinstance(value, models.Model) else value


def _lookup(model: type[Row], key: str) -> str:
    """Return the lookup that finds a row by its identifier in the file: "name", or "workspace__workspace_id"."""
    related = model._meta.get_field(key).related_model
    return f"{key}__{_IDENTIFIER_OF[related]}" if isinstance(related, type) else key


@dataclass(frozen=True)
class BridgeFile:
    """The unparsed text of a file in our own format."""

    text: str

    def apply(self, *, overwrite: bool = False, dry_run: bool = False) -> Report:
        """Write the rows in one transaction, and roll it back if `dry_run` is true.

        Values that an admin has set are kept, unless `overwrite` is true. Raise ConfigError if any part of the file is
        refused; then nothing is written.
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
    by_name = {_lookup(entry.model, entry.key): entry.name}
    existing: Row | None = entry.model._default_manager.filter(**by_name).first()
    row = existing or entry.model()
    if existing is None:
        entry.require_attributes()
    was_enabled = isinstance(row, Workspace) and row.enabled
    # `capitalize` also makes the T of iTop small.
    kind = _kind_of(entry.model).capitalize().replace("itop", "iTop")
    fields = dict(entry.fields(report))
    report.sections.append(apply(row, fields, f"{kind} {entry.name}", overwrite=overwrite))
    if isinstance(row, Workspace):
        if existing is not None and row.enabled and not was_enabled:
            # Messages that arrived while the workspace was disabled were skipped.
            Conversation.objects.compare_syncing_now(row)
        if not (row.client_secret and row.access_token):
            report.notes.append(
                f"Workspace {row} has no client secret or no access token: enter them in the admin, or name "
                f"environment variables in the file (client_secret{_ENV}, access_token{_ENV})."
            )


def _report_unlisted_rows(model: type[Row], key: str, names: list[str], report: Report) -> None:
    for row in model._default_manager.exclude(**{f"{_lookup(model, key)}__in": names}):
        report.notes.append(f"The {_kind_of(model)} {row} is not in the file. It is left as it is.")


def _kind_of(model: type[Row]) -> str:
    # The name may begin with a word joiner, which keeps the admin from writing iTop with a capital I.
    return str(model._meta.verbose_name).replace("\u2060", "")


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
            "Export the configuration with the same version of the bridge that imports it."
        )
    for name in LISTS:
        if not isinstance(document.setdefault(name, []), list):
            raise ConfigError(f"the value of {name} is not a list.")
    if unknown_names := sorted(set(document) - set(LISTS) - {"format", "version"}):
        raise ConfigError(
            f"there is no list called {unknown_names[0]}.{_suggestion(unknown_names[0], LISTS)}"
        )
    return document


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dictionary. Raise ConfigError if a name occurs twice."""
    document = dict(pairs)
    if len(document) < len(pairs):
        duplicate = Counter(name for name, _value in pairs).most_common(1)[0][0]
        raise ConfigError(f"an object contains {duplicate} twice.")
    return document


class _Entry:
    """One row as the file describes it.

    `where` is the entry's place in the file, for messages. `name` is the value of `key`, which identifies the row.
    """

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
        """Raise ConfigError if an attribute is missing that a new row needs."""
        for name, hint in _REQUIRED.get(self.model, {}).items():
            # An iTop's account may have a user name and a password instead of a token.
            has_password_instead = name == f"token{_ENV}" and f"password{_ENV}" in self.attributes
            if not self.attributes.get(name) and not has_password_instead:
                raise ConfigError(f"{self.where} is new here, and has no {name}. {hint}")

    def fields(self, report: Report) -> Iterator[tuple[str, SourceValue]]:
        """Yield the row's fields with their values. Add a note to the report for each unknown name."""
        columns = {column.name: column for column in _columns(self.model)}
        # Name in the file -> name of the column: {"token_env": "token"}.
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
                    f"{self.where}: {name} is not imported. To rotate a secret, enter the second secret and its date "
                    "in the admin."
                )
            elif f"{name}{_ENV}" in secrets:
                raise ConfigError(
                    f"{self.where}: {name} is a secret, and secrets do not belong in this file. Put it into an "
                    f'environment variable and name the variable as "{name}{_ENV}".'
                )
            else:
                suggestion = _suggestion(name, [*columns, *secrets])
                report.notes.append(f"{name} in {self.where} is unknown, and ignored.{suggestion}")

    def _value(self, column: models.Field[Any, Any], value: Any) -> Any:
        """Return the column's value for a JSON value. Raise ConfigError for a wrong type or an unknown row."""
        if isinstance(column, models.ForeignKey):
            return self._related_row(column, value)
        if not _can_be_stored(value):
            raise ConfigError(f"{self.where}: {column.name} contains a character that cannot be stored.")
        if value is None and column.null:
            return None
        # Other columns, such as lists, accept any type here. The model's own validation checks them in `apply`.
        expected, description = _JSON_TYPES.get(column.get_internal_type(), (object, ""))
        # For Python, true and false are also numbers.
        is_boolean_as_number = isinstance(value, bool) and expected is int
        if not isinstance(value, expected) or is_boolean_as_number:
            raise ConfigError(f"{self.where}: {column.name} must be {description}, not {_quote(value)}.")
        # An iTop's URL may be that of one of its pages.
        return base_address(str(value)) if column.name == "url" else value

    def _related_row(self, column: models.ForeignKey[Any, Any], identifier: Any) -> models.Model:
        related: type[models.Model] = column.related_model
        row = None
        if isinstance(identifier, str):
            row = related._default_manager.filter(**{_IDENTIFIER_OF[related]: identifier}).first()
        if row is None:
            raise ConfigError(f"{self.where}: there is no {column.name} called {_quote(identifier)}.")
        return row


def _reject_duplicates(entries: list[_Entry]) -> None:
    by_name: dict[str, _Entry] = {}
    for entry in entries:
        first = by_name.setdefault(entry.name, entry)
        if first is not entry:
            raise ConfigError(
                f"{first.where} and {entry.where} have the same {entry.key}. Remove one of them."
            )


def _can_be_stored(value: Any) -> bool:
    """Return whether databases accept a value from JSON. They refuse texts with NUL or unpaired surrogates."""
    # Without escaped backslashes, "\\u0000" only remains where the value contains NUL.
    text = json.dumps(value, ensure_ascii=False).replace("\\\\", "")
    return "\\u0000" not in text and text == text.encode("utf-8", "replace").decode()


def _suggestion(name: str, valid_names: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, list(valid_names), n=1, cutoff=0.8)
    return f" Did you mean {similar[0]}?" if similar else ""


def _quote(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
