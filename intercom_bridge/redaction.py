"""Secrets in what came in: shown to nobody, and handed over to nobody."""

from __future__ import annotations

import re
from typing import Any

_SECRET = re.compile(
    r"token|secret|passw|authori[sz]ation|signature|api_?key|user_hash|credential", re.IGNORECASE
)


def without_secrets(value: Any, key: str = "") -> Any:
    """The same value, where a key says that it is a secret without it."""
    if isinstance(value, dict):
        return {name: without_secrets(one, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [without_secrets(one, key) for one in value]
    if value not in (None, "", False, True) and _SECRET.search(key):
        return "(a secret)"
    return value
