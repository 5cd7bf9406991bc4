"""What of a payload is not for those who may not read messages: its texts. Secrets are for nobody (redaction.py)."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

READ_MESSAGES = "intercom_bridge.read_messages"

# Keys whose values say what a thing is, and nothing that anybody wrote. Also whatever ends like an id or a time.
_STRUCTURE = frozenset(
    [
        "app_package_code",
        "attcode",
        "class",
        "content_type",
        "date",
        "delivery_attempts",
        "delivery_status",
        "format",
    ]
    + [
        "id",
        "kind",
        "open",
        "org_id",
        "part_type",
        "priority",
        "read",
        "size",
        "state",
        "total_count",
        "topic",
    ]
    + ["type", "filesize", "redacted", "add_item"]
)
_STRUCTURE_ENDS = ("_at", "_id")
# Given by the customer's own software: often an e-mail address, or a name.
_NOT_STRUCTURE = frozenset(["external_id", "user_login", "custom_attributes"])
_CODE = re.compile(r"@?[\w.:/-]{0,64}", re.ASCII)
# To the end: a reason that was too long for its column lacks the closing one.
_QUOTED = re.compile(r"[\[\"].*", re.DOTALL)


def may_read_messages(viewer: AbstractBaseUser | AnonymousUser | None) -> bool:
    has_perm = getattr(viewer, "has_perm", None)
    return bool(has_perm and has_perm(READ_MESSAGES))


def without_texts(value: Any, key: str = "") -> Any:
    """The same structure: its keys, what says of what type and when, and how long each text is."""
    if key in _NOT_STRUCTURE:
        return {} if value in ({}, []) else hidden(value)
    if isinstance(value, dict):
        return {name: without_texts(one, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [without_texts(one, key) for one in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    is_structure = key in _STRUCTURE or key.endswith(_STRUCTURE_ENDS)
    return value if is_structure and _CODE.fullmatch(str(value)) else hidden(value)


def without_quotes(reason: str) -> str:
    """What iTop said, up to what it quotes: that may be what somebody typed."""
    return _QUOTED.sub(lambda found: f"{found[0][0]}…", reason)


def hidden(value: Any) -> str:
    """What stands in a text's place."""
    if isinstance(value, str):
        return f"(hidden: {len(value)} character{'' if len(value) == 1 else 's'})"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"(hidden: {len(bytes(value))} bytes)"
    return "(hidden)"
