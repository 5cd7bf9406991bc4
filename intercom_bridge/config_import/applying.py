"""Write values from a file to one row, and report the outcome for each field. Values that an admin has set are kept.

A row's column `imported` holds, by field, the value of the last import. It shows which values an admin has changed
since then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.utils.crypto import constant_time_compare, salted_hmac

from intercom_bridge.models import (
    EventRules,
    ItopInstance,
    Messenger,
    PersonMatch,
    Secret,
    TicketProfile,
    Workspace,
)
from intercom_bridge.models.encryption import SecretDecryptionError, SecretField

from .values import ConfigError, SourceValue

MAX_VALUE_LENGTH = 100
# These fields identify a row or come from the command line, so they may be absent from the file.
_OPTIONAL_FIELDS = ("name", "url", "token", "workspace_id", "workspace", "position")
# Outcomes for one field. SET: it was empty or had its default. KEPT: an admin has set another value, which stays.
SET, CHANGED, UNCHANGED, KEPT = "set", "changed", "unchanged", "kept"

Row = ItopInstance | TicketProfile | Workspace | Messenger | EventRules


@dataclass(frozen=True)
class Line:
    """The outcome for one field. `detail` never contains a secret."""

    field: str
    outcome: str
    detail: str = ""


@dataclass
class Section:
    """The outcome for one row of the database."""

    title: str
    lines: list[Line] = field(default_factory=list)


@dataclass
class Report:
    """The outcome of a whole import. `notes` are complete sentences."""

    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(line.outcome == outcome for section in self.sections for line in section.lines)


def apply(row: Row, fields: Mapping[str, SourceValue], title: str, *, overwrite: bool) -> Section:
    """Save the row with these fields and return the outcome for each field.

    A value that an admin has set is kept, unless `overwrite` is true. Raise ConfigError if the row's model refuses a
    value.
    """
    is_new = row.pk is None
    section = Section(f"{title} ({'new' if is_new else 'existing'})")
    imported = dict(row.imported)
    changed = []
    for name, source in fields.items():
        row_field = _Field(row, name)
        line = row_field.apply(source, overwrite=overwrite)
        section.lines.append(line)
        if line.outcome in (SET, CHANGED):
            changed.append(name)
        if line.outcome != KEPT:
            imported[name] = row_field.imported_value(source.value)
    for name in imported:
        if name not in fields and name not in _OPTIONAL_FIELDS:
            section.lines.append(Line(_Field(row, name).label, UNCHANGED, "no longer in the file"))
    if changed:
        _validate(row, fields, title)
    if changed or imported != row.imported:
        row.imported = imported
        if is_new:
            row.save()
        else:
            # Other processes may have changed other columns since the row was read: do not overwrite those.
            row.save(update_fields=[*changed, *_forget(row, changed), "imported"])
    return section


def _forget(row: Row, changed: Collection[str]) -> list[str]:
    """Discard what the bridge has learned with the previous values of the fields in `changed`.

    Return the columns that this resets, for the caller to save.
    """
    if isinstance(row, Workspace):
        return row.reset_outdated(changed)
    if isinstance(row, TicketProfile) and changed:
        row.reset_extension_attributes()
    connection = {"url", "token", "user", "password"}
    if not isinstance(row, ItopInstance) or connection.isdisjoint(changed):
        return []
    if "url" in changed:
        # At another address, the same id may be another person's.
        PersonMatch.objects.filter(itop=row).delete()
    return row.reset_capabilities()


@dataclass(frozen=True)
class _Field:
    """A field of a row that a file sets."""

    row: Row
    name: str

    @property
    def column(self) -> models.Field[Any, Any]:
        column = self.row._meta.get_field(self.name)
        assert isinstance(column, models.Field)  # noqa: S101 - for mypy: no relation from the other side
        return column

    @property
    def label(self) -> str:
        return str(self.column.verbose_name)

    def apply(self, source: SourceValue, *, overwrite: bool) -> Line:
        """Set the row's attribute, unless an admin's value must be kept, and return the outcome."""
        current = getattr(self.row, self.column.attname)
        if isinstance(self.column, SecretField):
            return self._apply_secret(current, source, overwrite=overwrite)
        wanted = source.value.pk if isinstance(source.value, models.Model) else source.value
        text = _format(source.value)
        if self.row.pk is None:
            setattr(self.row, self.name, source.value)
            return Line(self.label, SET, text)
        if current == wanted:
            return Line(self.label, UNCHANGED, text)
        is_default = current is None or current == self.column.get_default()
        was_imported = self.name in self.row.imported
        # Whether the value is still that of the last import or, before the first import, the default.
        is_untouched = current == self.row.imported[self.name] if was_imported else is_default
        if not is_untouched and not overwrite:
            return Line(self.label, KEPT, f"set in the admin. The file says{source.position}: {text}")
        previous = _format(getattr(self.row, self.name)) or "empty"
        setattr(self.row, self.name, source.value)
        if is_default and not was_imported:
            return Line(self.label, SET, text)
        return Line(self.label, CHANGED, f"{text} (was {previous})")

    def _apply_secret(self, current: Secret, source: SourceValue, *, overwrite: bool) -> Line:
        plain: str | None
        try:
            plain = current.reveal()
        except SecretDecryptionError:
            plain = None
        if plain is not None and plain == source.value:
            return Line(self.label, UNCHANGED)
        # As in `apply`, but the last import's secret is stored as a digest, and the default is an empty secret.
        if self.name in self.row.imported:
            is_untouched = plain is not None and self._is_digest_of(plain, self.row.imported[self.name])
        else:
            is_untouched = plain == ""
        if not is_untouched and not overwrite:
            why = "set in the admin" if plain is not None else "cannot be read with FIELD_ENCRYPTION_KEYS"
            return Line(self.label, KEPT, why)
        setattr(self.row, self.name, Secret.seal(source.value))
        return Line(self.label, SET if plain == "" else CHANGED)

    def imported_value(self, value: Any) -> Any:
        """Return the value for the row's `imported` column. Of a secret, this is a digest keyed with SECRET_KEY."""
        if isinstance(self.column, SecretField):
            return self._digest(value, settings.SECRET_KEY)
        return value.pk if isinstance(value, models.Model) else value

    def _digest(self, plain: str, key: str) -> str:
        salt = f"intercom_bridge.config_import.{self.name}"
        return salted_hmac(salt, plain, secret=key, algorithm="sha256").hexdigest()

    def _is_digest_of(self, plain: str, digest: object) -> bool:
        # SECRET_KEY may have been rotated since the import.
        keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return any(constant_time_compare(str(digest), self._digest(plain, key)) for key in keys)


def _validate(row: Row, fields: Mapping[str, SourceValue], title: str) -> None:
    """Raise ConfigError, with the line in the file, for the first value that the row's model refuses."""
    try:
        row.full_clean()
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        text = " ".join(messages)
        if name == NON_FIELD_ERRORS:
            raise ConfigError(f"{title}: {text}") from error
        line = fields[name].line if name in fields else 0
        raise ConfigError(f"{title}, {_Field(row, name).label}: {text}", line) from error


def _format(value: Any) -> str:
    """Return a value for the report, on one line and cut at MAX_VALUE_LENGTH characters."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        text = ", ".join(map(str, value))
    elif isinstance(value, dict):
        text = ", ".join(f"{key} = {member}" for key, member in value.items())
    else:
        text = " ".join(str("" if value is None else value).split())
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"
