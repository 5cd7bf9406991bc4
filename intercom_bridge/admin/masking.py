"""Hide the texts of messages from users without the permission to read them.

Secrets are hidden from everyone (see privacy/redaction.py).
"""

import re
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

READ_MESSAGES = "intercom_bridge.read_messages"

Viewer = AbstractBaseUser | AnonymousUser | None

# Keys whose values describe an object and contain nothing that a person wrote.
_STRUCTURE = frozenset(
    ("add_item", "app_package_code", "attcode", "class", "content_type", "date", "delivery_attempts")
    + ("delivery_status", "filesize", "format", "id", "kind", "open", "org_id", "part_type", "priority")
    + ("read", "redacted", "size", "state", "total_count", "topic", "type")
)
_STRUCTURE_SUFFIXES = ("_at", "_id")
# Set by the customer's own software: often an e-mail address or a name.
_PERSONAL = frozenset(["external_id", "user_login", "custom_attributes"])
_CODE = re.compile(r"@?[\w.:/-]{0,64}", re.ASCII)


def may_read_messages(viewer: Viewer) -> bool:
    """Return whether the user may read the texts of messages; False for None."""
    has_perm = getattr(viewer, "has_perm", None)
    return bool(has_perm and has_perm(READ_MESSAGES))


def mask_texts(value: Any, key: str = "") -> Any:
    """Return the JSON value with its structure (keys, types, ids, times) and the length of each text only."""
    if key in _PERSONAL:
        return {} if value in ({}, []) else mask(value)
    if isinstance(value, dict):
        return {name: mask_texts(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [mask_texts(item, key) for item in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    is_structure = key in _STRUCTURE or key.endswith(_STRUCTURE_SUFFIXES)
    return value if is_structure and _CODE.fullmatch(str(value)) else mask(value)


def mask(value: Any) -> str:
    """Return the placeholder for a hidden value."""
    if isinstance(value, str):
        return f"(hidden: {len(value)} character{'' if len(value) == 1 else 's'})"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"(hidden: {len(bytes(value))} bytes)"
    return "(hidden)"
