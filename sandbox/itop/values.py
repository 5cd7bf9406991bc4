"""Check and convert the values of attributes: from a request to the store, and from the store to a response."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from . import caselog, markup
from .datamodel import Attribute
from .store import DATE, Row, Store

STRING_LIMIT = 255  # characters, not bytes (recording 079)
TEXT_LIMIT = 65_535
WEB_ADDRESS = re.compile(r"^(https?|ftp)://[^\s/$.?#].\S*$", re.IGNORECASE)
EMAIL = re.compile(r"^[^@\s]+@[^@\s]+$")
HIDDEN_KINDS = frozenset({"id", "stopwatch_part"})  # never in "*"; the id only on request


class FieldError(Exception):
    """iTop refuses a value. In the response, "Error: " and the attribute's code precede this text."""


def shown(store: Store, row: Row, code: str, *, extended: bool = False) -> Any:
    """Return the value of an attribute for a response: scalars as strings, dates in local time."""
    attribute = store.model.attributes(row["finalclass"]).get(code)
    if attribute is None:
        return ""
    if attribute.kind == "external":
        value = store.value(row, code)
        return "" if value is None or (attribute.remote == "obsolescence_flag" and not value) else str(value)
    if attribute.kind == "links":
        return _links(store, row, attribute, extended)
    value = row.get(code)
    match attribute.kind:
        case "log":
            return caselog.shown(value)
        case "blob":
            found = store.file(row, code)
            return {each: found[each] for each in ("data", "mimetype", "filename")} | {"downloads_count": 0}
        case "secret":
            return "*****"
        case "flag":
            return bool(value)
        case "stopwatch":
            return int(value or 0)
        case "enum" | "nullable":
            return value
        case "key" | "objkey":
            return str(value or 0)
    return "" if value is None else str(value)


def names_of_nothing(store: Store, row: Row, codes: Iterable[str]) -> Row:
    """Return the names that iTop responds for external keys that refer to no object: for a Person, a space.

    iTop's database builds the name from empty parts ("{first_name} {name}"). If the key itself is also requested, the
    name is "" (recordings 142 and 143).
    """
    attributes = store.model.attributes(row["finalclass"])
    return {
        code: re.sub(r"\{\w+\}", "", store.model.naming(attributes[attribute.via].target))
        for code in codes
        if (attribute := attributes.get(code)) is not None
        and attribute.remote == "friendlyname"
        and attribute.via not in codes
        and not row[attribute.via]
    }


def shown_all(
    store: Store, row: Row, class_name: str, *, extended: bool = False, without: Iterable[str] = ()
) -> Row:
    """Return all attributes of a class, in iTop's order."""
    return {
        code: shown(store, row, code, extended=extended)
        for code, attribute in store.model.attributes(class_name).items()
        if attribute.kind not in HIDDEN_KINDS
        and code not in without
        and (extended or attribute.kind != "secret")
    }


def _links(store: Store, row: Row, attribute: Attribute, extended: bool) -> list[Row]:
    """Return the objects that refer to this row, without their key to it and without this key's external fields."""
    if not attribute.target:
        return []
    found = []
    for each in store.find(f"SELECT `{attribute.target}` WHERE `{attribute.via}` = {int(row['id'])}")[1]:
        class_name = each["finalclass"] if extended else attribute.target
        known = store.model.attributes(class_name)
        without = {attribute.via, *(code for code, other in known.items() if other.via == attribute.via)}
        found.append(shown_all(store, each, class_name, extended=extended, without=without))
    return found


def taken(attribute: Attribute, sent: Any, store: Store) -> Any:
    """Return the value to store for a value in a request. External keys and logs are converted elsewhere.

    Raise FieldError.
    """
    if isinstance(sent, bool):
        sent = "1" if sent else ""
    if attribute.kind == "blob":
        return _blob(sent)
    if sent is None or sent == "":
        if attribute.kind in ("enum", "date", "day", "html"):
            return None
        return 0 if attribute.is_number else sent
    if isinstance(sent, list | Mapping):
        raise FieldError("Wrong format for the value")  # guess
    if attribute.kind in ("date", "day"):
        form, name = (DATE, "Y-m-d H:i:s") if attribute.kind == "date" else ("%Y-%m-%d", "Y-m-d")
        try:
            # iTop's dates have no time zone, so this one needs none.
            return datetime.strptime(str(sent), form).strftime(form)  # noqa: DTZ007
        except ValueError:
            raise FieldError(
                f'Wrong format for date attribute {attribute.code}, expecting "{name}" and got "{sent}"'
            ) from None
    if attribute.is_number:
        return int(sent) if re.fullmatch(r"-?\d+", str(sent)) else 0
    if attribute.kind == "html":
        return markup.mark_pictures(markup.sanitise(str(sent), store.model.version), store.root_address)
    return str(sent)


def _blob(sent: Any) -> str:
    """Return the value to store for a file. iTop checks nothing about it (recordings 135 and 136)."""
    if not isinstance(sent, Mapping):
        raise FieldError("Wrong format for the file")  # guess
    data = re.sub(r"[^A-Za-z0-9+/]", "", str(sent.get("data") or ""))
    data = data[:-1] if len(data) % 4 == 1 else data
    raw = base64.b64decode(data + "=" * (-len(data) % 4))
    kept = {
        "data": base64.b64encode(raw).decode(),
        "mimetype": sent.get("mimetype"),
        "filename": sent.get("filename"),
    }
    return json.dumps(kept, ensure_ascii=False)


def issue(attribute: Attribute, value: Any) -> str:
    """Return iTop's reason for refusing the value, "" if it accepts the value."""
    if value in (None, "", 0) and attribute.mandatory:
        return "Null not allowed"
    if value in (None, ""):
        return ""
    if attribute.kind == "enum" and value not in attribute.values:
        return f"Value not allowed [{value}]"
    if attribute.kind in ("string", "email") and len(value) > STRING_LIMIT:
        return f"String too long (found {len(value)}, limited to {STRING_LIMIT})"
    if attribute.kind in ("text", "html") and len(value) > TEXT_LIMIT:
        return f"String too long (found {len(value)}, limited to {TEXT_LIMIT})"
    if (attribute.kind == "url" and not WEB_ADDRESS.match(value)) or (
        attribute.kind == "email" and not EMAIL.match(value)
    ):
        return f"Wrong format [{value}]"
    return ""
