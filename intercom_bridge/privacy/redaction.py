"""Remove secrets from payloads before they are displayed or exported."""

import re
from typing import Any

_SECRET_KEY = re.compile(
    r"token|secret|passw|authori[sz]ation|signature|api_?key|user_hash|credential", re.IGNORECASE
)


def redact_secrets(value: Any, key: str = "") -> Any:
    """Return a copy of the JSON value in which "(a secret)" replaces secrets.

    A value is a secret if its key contains a word such as "token" or "password". `key` is the key of `value` itself.
    """
    if isinstance(value, dict):
        return {name: redact_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [redact_secrets(item, key) for item in value]
    if value not in (None, "", False, True) and _SECRET_KEY.search(key):
        return "(a secret)"
    return value


def redact_text(text: str) -> str:
    """Return a text that is not JSON, or "(hidden: may contain a secret)" if it contains a word such as "token".

    Without keys and values, the secret in it cannot be found, so all of the text is replaced.
    """
    return "(hidden: may contain a secret)" if _SECRET_KEY.search(text) else text
