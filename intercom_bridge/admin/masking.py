"""Hide the texts of messages from users who do not have the permission to read them.

Secrets are hidden from all users (see privacy/redaction.py).
"""

import re
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

READ_MESSAGES = "intercom_bridge.read_messages"

Viewer = AbstractBaseUser | AnonymousUser | None

# Keys of a payload whose values contain nothing that a person wrote.
_STRUCTURE = frozenset(
    ("add_item", "app_package_code", "attcode", "class", "content_type", "date", "delivery_attempts")
    + ("delivery_status", "filesize", "format", "id", "kind", "open", "org_id", "part_type", "priority")
    + ("read", "redacted", "size", "state", "total_count", "topic", "type")
)
_STRUCTURE_SUFFIXES = ("_at", "_id")
# Keys whose values often are an e-mail address or a name. The Intercom customer's own software sets most of them.
_PERSONAL = frozenset(["external_id", "user_login", "custom_attributes"])
# An id, a code or a time, but not a sentence: it has no spaces.
_CODE = re.compile(r"@?[\w.:/-]{0,64}", re.ASCII)


def may_read_messages(viewer: Viewer) -> bool:
    """Return whether the user may read the texts of messages. Return False if there is no user (None)."""
    has_perm = getattr(viewer, "has_perm", None)
    return bool(has_perm and has_perm(READ_MESSAGES))


def mask_texts(value: Any, key: str = "") -> Any:
    """Return the JSON value with its texts and numbers replaced by placeholders. Keys, types, ids and times are kept.

    `key` is the key under which the value is stored; for the elements of a list, it is the key of the list.
    """
    if key in _PERSONAL:
        return {} if value in ({}, []) else mask(value)
    if isinstance(value, dict):
        return {name: mask_texts(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [mask_texts(item, key) for item in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    is_structure = key in _STRUCTURE or key.endswith(_STRUCTURE_SUFFIXES)
    if is_structure and _CODE.fullmatch(str(value)):
        return value
    return mask(value)


def mask(value: Any) -> str:
    """Return a placeholder for a hidden value, with the length of a text or of bytes."""
    if isinstance(value, str):
        return f"(hidden: {len(value)} character{'' if len(value) == 1 else 's'})"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"(hidden: {len(bytes(value))} bytes)"
    return "(hidden)"
