"""Remove secrets from payloads before they are displayed or exported."""

import re
from typing import Any

_SECRET_KEY = re.compile(
    r"token|secret|passw|authori[sz]ation|signature|api_?key|user_hash|credential", re.IGNORECASE
)


def redact_secrets(value: Any, key: str = "") -> Any:
    """Return the JSON value with "(a secret)" in place of values whose key says that they are secret."""
    if isinstance(value, dict):
        return {name: redact_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [redact_secrets(item, key) for item in value]
    if value not in (None, "", False, True) and _SECRET_KEY.search(key):
        return "(a secret)"
    return value
