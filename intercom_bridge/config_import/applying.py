"""One row takes what a file says: set, changed, unchanged, or kept as somebody set it in the admin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.utils.crypto import constant_time_compare, salted_hmac

from intercom_bridge.models import ItopInstance, Secret, TicketProfile, Workspace
from intercom_bridge.models.encryption import SecretField, SecretUnreadable

from .parameters import Given
from .report import CHANGED, KEPT, SET, UNCHANGED, Line, Section
from .source import ConfigError

IN_THE_ADMIN = "set in the admin"

Row = ItopInstance | TicketProfile | Workspace


def apply(row: Row, fields: Mapping[str, Given], title: str, *, overwrite: bool) -> Section:
    """Saves the row with what the file gives for these fields; `overwrite` gives the file the last word.

    Answers what became of each. Raises ConfigError for a value that the row's model refuses.
    """
    is_new = row.pk is None
    section = Section(f"{title} ({'new' if is_new else 'known'})")
    imported = dict(row.imported)
    changed = []
    for name, given in fields.items():
        line = _apply_field(row, is_new, name, given, overwrite=overwrite)
        section.lines.append(line)
        if line.outcome in (SET, CHANGED):
            changed.append(name)
        if line.outcome != KEPT:
            imported[name] = _remembered(row, name, given.value)
    for name in imported:
        if name not in fields and name not in ("name", "url", "token", "workspace_id"):
            label = str(row._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
            section.lines.append(Line(label, UNCHANGED, "no longer in the file"))
    if changed:
        _validate(row, fields, title)
    if changed or imported != row.imported:
        row.imported = imported
        if is_new:
            row.save()
        else:
            # Only what is new: meanwhile keys may be rotated, or a worker may have learned something.
            forgotten = row.forget_use(changed) if isinstance(row, Workspace) else []
            row.save(update_fields=[*changed, *forgotten, "imported"])
    return section


def _apply_field(row: Row, is_new: bool, name: str, given: Given, *, overwrite: bool) -> Line:
    column = row._meta.get_field(name)
    label = str(column.verbose_name)  # type: ignore[union-attr]
    current = getattr(row, f"{name}_id" if isinstance(column, models.ForeignKey) else name)
    if isinstance(column, SecretField):
        return _apply_secret(row, name, label, current, given, overwrite=overwrite)
    wanted = given.value.pk if isinstance(column, models.ForeignKey) else given.value
    shown = _shown(given.value)
    if is_new:
        setattr(row, name, given.value)
        return Line(label, SET, shown)
    if current == wanted:
        return Line(label, UNCHANGED, shown)
    is_default = current is None or current == column.get_default()  # type: ignore[union-attr]
    if name in row.imported:
        is_ours = row.imported[name] == current
    else:
        is_ours = is_default
    if not is_ours and not overwrite:
        return Line(label, KEPT, f"{IN_THE_ADMIN}. The file says{line_of(given)}: {shown}")
    was = _shown(getattr(row, name))
    setattr(row, name, given.value)
    if name not in row.imported and is_default:
        return Line(label, SET, shown)
    return Line(label, CHANGED, f"{shown} (was {was or 'empty'})")


def _apply_secret(row: Row, name: str, label: str, current: Secret, given: Given, *, overwrite: bool) -> Line:
    try:
        plain: str | None = current.reveal()
    except SecretUnreadable:
        plain = None
    if plain is not None and plain == given.value:
        return Line(label, UNCHANGED)
    if name in row.imported:
        is_ours = plain is not None and _is_digest_of(row.imported[name], name, plain)
    else:
        is_ours = plain == ""
    if not is_ours and not overwrite:
        why = IN_THE_ADMIN if plain is not None else "it cannot be read with FIELD_ENCRYPTION_KEYS"
        return Line(label, KEPT, why)
    setattr(row, name, Secret.seal(given.value))
    return Line(label, SET if plain == "" else CHANGED)


def _remembered(row: Row, name: str, value: Any) -> Any:
    """What `imported` keeps of a value: of a secret only a digest, under a key of ours."""
    column = row._meta.get_field(name)
    if isinstance(column, SecretField):
        return _digest(name, value, settings.SECRET_KEY)
    return value.pk if isinstance(value, models.Model) else value


def _digest(name: str, plain: str, key: str) -> str:
    return salted_hmac(
        f"intercom_bridge.config_import.{name}", plain, secret=key, algorithm="sha256"
    ).hexdigest()


def _is_digest_of(digest: object, name: str, plain: str) -> bool:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(str(digest), _digest(name, plain, key)) for key in keys)


def _validate(row: Row, fields: Mapping[str, Given], title: str) -> None:
    try:
        row.full_clean()
    except ValidationError as error:
        for name, messages in error.message_dict.items():
            text = " ".join(messages)
            if name == NON_FIELD_ERRORS:
                raise ConfigError(f"{title}: {text}") from error
            label = str(row._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
            raise ConfigError(
                f"{title}, {label}: {text}", fields[name].line if name in fields else 0
            ) from error


def _shown(value: Any) -> str:
    """A value as the report says it; in one line, and not longer than that."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        text = ", ".join(str(one) for one in value)
    elif isinstance(value, dict):
        text = ", ".join(f"{key} = {one}" for key, one in value.items())
    else:
        text = " ".join(str("" if value is None else value).split())
    return text if len(text) <= 100 else text[:99] + "…"


def line_of(given: Given) -> str:
    return f" (line {given.line})" if given.line else ""
