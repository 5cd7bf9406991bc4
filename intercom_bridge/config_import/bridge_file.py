"""The bridge's own configuration as one JSON file: everything that an admin sets, but no secret.

`export_config` writes it, `import_config` reads it: for review, and to carry a configuration from one environment to
the next. A secret's place is the environment: `"token_env": "ITOP_TOKEN"` in the file says which variable holds it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import models, transaction

from intercom_bridge.models import Conversation, ItopInstance, PersonMatch, TicketProfile, Workspace
from intercom_bridge.models.encryption import SecretField
from intercom_bridge.models.itop_instance import base_address

from .applying import Row, apply
from .parameters import Given
from .report import Report
from .source import ConfigError
from .variable import secret_in

FORMAT: Final = "intercom-itop-bridge"
VERSION: Final = 1
# What each list holds, and by what a row of it is known again.
LISTS: Final[dict[str, tuple[type[Row], str]]] = {
    "itops": (ItopInstance, "name"),
    "profiles": (TicketProfile, "name"),
    "workspaces": (Workspace, "workspace_id"),
}
_ENV: Final = "_env"
# A secret for some days, and until when: nothing to review, or to carry elsewhere.
_LEFT_OUT: Final = {"previous_client_secret", "previous_client_secret_until"}


def export() -> str:
    """The whole configuration, in an order that makes two exports comparable line by line."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    for name, (model, known_by) in LISTS.items():
        rows = model._default_manager.order_by(known_by)
        document[name] = [{column.name: _written(row, column) for column in _columns(model)} for row in rows]
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _columns(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    """What an admin sets, secrets aside."""
    return [
        column
        for column in model._meta.concrete_fields
        if column.editable
        and not column.primary_key
        and not isinstance(column, SecretField)
        and column.name not in _LEFT_OUT
    ]


def _written(row: Row, column: models.Field[Any, Any]) -> Any:
    value = getattr(row, column.name)
    return value.name if isinstance(value, models.Model) else value  # type: ignore[attr-defined]


@dataclass(frozen=True)
class BridgeFile:
    """The text of such a file, not yet looked at."""

    text: str


@dataclass(frozen=True)
class BridgeImport:
    """One run over such a file; `overwrite` gives the file the last word."""

    file: BridgeFile
    overwrite: bool = False

    def run(self, *, dry_run: bool = False) -> Report:
        """Writes the rows, in one transaction. With `dry_run` the same is done and then undone.

        Raises ConfigError when anything at all is refused; nothing is written then.
        """
        document = _read(self.file.text)
        report = Report()
        with transaction.atomic():
            for name, (model, known_by) in LISTS.items():
                entries = [
                    _Entry(f"entry {place} of {name}", entry, model, known_by, report)
                    for place, entry in enumerate(document[name], 1)
                ]
                _refuse_doubles(entries, known_by)
                for entry in entries:
                    self._row(model, known_by, entry, report)
                self._name_the_missing(model, known_by, document[name], report)
            if dry_run:
                transaction.set_rollback(True)
        return report

    def _row(self, model: type[Row], known_by: str, entry: _Entry, report: Report) -> None:
        found = model._default_manager.filter(**{known_by: entry.name}).first()
        row: Row = found or model(**{known_by: entry.name})
        if found is None:
            entry.refuse_if_incomplete()
        was, was_off = _identity(row), isinstance(row, Workspace) and not row.enabled
        title = f"{str(model._meta.verbose_name).capitalize()} {entry.name}".replace("\u2060itop", "iTop")
        report.sections.append(apply(row, entry.fields(), title, overwrite=self.overwrite))
        if isinstance(row, ItopInstance) and found is not None and _identity(row) != was:
            # Another address or account is another iTop: what was learned of the old one does not hold.
            row.save(update_fields=row.forget())
            row.answers.all().delete()
            if row.url != was[0]:
                PersonMatch.objects.filter(itop=row).delete()
        if isinstance(row, Workspace) and found is not None and was_off and row.enabled:
            # The worker comes by itself.
            Conversation.objects.look_for_missed(row)
        if isinstance(row, Workspace) and not (row.client_secret and row.access_token):
            report.notes.append(
                f"Workspace {row} has no client secret, or no access token: enter them in the admin, or name "
                f"environment variables in the file (client_secret{_ENV}, access_token{_ENV})."
            )

    def _name_the_missing(self, model: type[Row], known_by: str, entries: list[Any], report: Report) -> None:
        named = [entry.get(known_by) for entry in entries if isinstance(entry, dict)]
        for row in model._default_manager.exclude(**{f"{known_by}__in": named}):
            kind = str(model._meta.verbose_name).replace("\u2060", "")
            report.notes.append(f"The {kind} {row} is not in the file. It is left as it is.")


def _identity(row: Row) -> tuple[Any, ...]:
    return (row.url, row.token, row.user, row.password) if isinstance(row, ItopInstance) else ()


def _read(text: str) -> dict[str, Any]:
    try:
        document: Any = json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise ConfigError(f"this is not JSON: {error.msg}.", error.lineno) from error
    except RecursionError as error:
        raise ConfigError("the values are nested too deep.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f'this is not a configuration of the bridge: it lacks "format": "{FORMAT}".')
    if document.get("version") != VERSION:
        raise ConfigError(
            f"the file is of version {_shown(document.get('version'))}, and this bridge reads version {VERSION}. "
            "Export it with the version of the bridge that imports it."
        )
    for name in LISTS:
        if not isinstance(document.setdefault(name, []), list):
            raise ConfigError(f"the value of {name} is not a list.")
    if strange := sorted(set(document) - set(LISTS) - {"format", "version"}):
        raise ConfigError(f"there is no list called {strange[0]}.{_question(strange[0], LISTS)}")
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a name stand twice, and the first be lost."""
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"one object holds {twice} twice.")
    return document


class _Entry:
    """One row as the file has it, in our rows' words."""

    def __init__(self, where: str, entry: Any, model: type[Row], known_by: str, report: Report) -> None:
        if not isinstance(entry, dict):
            raise ConfigError(f"{where} is not an object.")
        name = entry.get(known_by)
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"{where} has no {known_by}.")
        if not _can_be_stored(name):
            raise ConfigError(f"{where}: {known_by} holds a character that no database takes.")
        self.where, self.entry, self.model, self.name = f"{where} ({name})", entry, model, name
        self._report = report

    def refuse_if_incomplete(self) -> None:
        """A new row that would serve everybody, or that is nothing without what the file does not give."""
        needed = {
            ItopInstance: (
                ("url", 'Give its "url".'),
                (
                    f"token{_ENV}",
                    "Put the token of its account into an environment variable and name that as "
                    f'"token{_ENV}", or make the iTop in the admin first.',
                ),
            ),
            Workspace: (
                ("scope", 'Without one it would serve everybody. Give its "scope".'),
                ("itop", 'Give its "itop", by name.'),
                ("profile", 'Give its "profile", by name.'),
            ),
        }.get(self.model, ())
        for name, hint in needed:
            has_password = name == f"token{_ENV}" and f"password{_ENV}" in self.entry
            if not self.entry.get(name) and not has_password:
                raise ConfigError(f"{self.where} is new here, and has no {name}. {hint}")

    def fields(self) -> Mapping[str, Given]:
        return dict(self._fields())

    def _fields(self) -> Iterator[tuple[str, Given]]:
        columns = {column.name: column for column in _columns(self.model)}
        secrets = {
            f"{column.name}{_ENV}": column.name
            for column in self.model._meta.concrete_fields
            if isinstance(column, SecretField) and column.name not in _LEFT_OUT
        }
        for name, value in self.entry.items():
            if name in columns:
                yield name, Given(self._value(columns[name], value))
            elif name in secrets:
                yield secrets[name], Given(self._secret(name, value))
            elif name.removesuffix(_ENV) in _LEFT_OUT:
                raise ConfigError(
                    f"{self.where}: {name} is not taken from a file. Enter the previous client secret in the admin, "
                    "with the date until which it is accepted."
                )
            elif f"{name}{_ENV}" in secrets:
                raise ConfigError(
                    f"{self.where}: {name} is a secret, and a file is no place for it. Put it into an environment "
                    f'variable and name that as "{name}{_ENV}".'
                )
            else:
                question = _question(name, [*columns, *secrets])
                self._report.notes.append(
                    f"{name} in {self.where} is not known here, and left out.{question}"
                )

    def _value(self, column: models.Field[Any, Any], value: Any) -> Any:
        if isinstance(column, models.ForeignKey):
            related: type[models.Model] = column.related_model
            found = related._default_manager.filter(name=value).first() if isinstance(value, str) else None
            if found is None:
                raise ConfigError(f"{self.where}: there is no {column.name} called {_shown(value)}.")
            return found
        expected, words = _KINDS.get(column.get_internal_type(), (object, ""))
        if not _can_be_stored(value):
            raise ConfigError(f"{self.where}: {column.name} holds a character that no database takes.")
        if value is None and column.null:
            return None
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
            raise ConfigError(f"{self.where}: {column.name} must be {words}, not {_shown(value)}.")
        return base_address(str(value)) if column.name == "url" else value

    def _secret(self, name: str, variable: Any) -> str:
        if not isinstance(variable, str) or not variable:
            raise ConfigError(f"{self.where}: {name} must name an environment variable.")
        return secret_in(variable, self.where)


def _refuse_doubles(entries: list[_Entry], known_by: str) -> None:
    """Of two the last would win, whatever the first one says."""
    first: dict[str, _Entry] = {}
    for entry in entries:
        if (other := first.setdefault(entry.name, entry)) is not entry:
            raise ConfigError(
                f"{other.where} and {entry.where} have the same {known_by}. Leave one of them out."
            )


_KINDS: Final[dict[str, tuple[type, str]]] = {
    "CharField": (str, "text"),
    "TextField": (str, "text"),
    "BooleanField": (bool, "true or false"),
    "PositiveIntegerField": (int, "a whole number"),
    "PositiveSmallIntegerField": (int, "a whole number"),
}


def _can_be_stored(value: Any) -> bool:
    """JSON may hold NUL and halves of characters."""
    text = json.dumps(value, ensure_ascii=False)
    return "\\u0000" not in text and text == text.encode("utf-8", "replace").decode()


def _question(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.8)
    return f" Did you mean {near[0]}?" if near else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
