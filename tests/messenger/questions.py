"""Ask the bridge which Messenger to show, as iTop's extension does."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from django.test import Client

from intercom_bridge.models import MessengerKey

ADDRESS = "/messenger/identity"
SECRET = "messenger-secret-of-the-tests-0123456789"


def question(person_id: int, **changes: Any) -> dict[str, Any]:
    """Return a question about a person who opened the standard portal."""
    return {
        "time": int(time.time()),
        "nonce": secrets.token_hex(16),
        "page": "itop-portal",
        "person": {"class": "Person", "id": person_id},
        "profiles": ["Portal user"],
        "language": "FR FR",
    } | changes


def sign(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def ask(key: MessengerKey, asked: Any, *, secret: str = "", key_id: str = "") -> Any:
    """Post a question signed with the key, or with another secret or key id."""
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    return Client().post(
        ADDRESS,
        data=body,
        content_type="application/json",
        headers={
            "X-Bridge-Key": key_id or key.key_id,
            "X-Bridge-Signature": sign(body, secret or key.secret.reveal()),
        },
    )


def settings_of(response: Any) -> dict[str, Any]:
    """Return the Messenger's settings of an answer that has some."""
    assert response.status_code == 200, response.content
    settings: dict[str, Any] = json.loads(response.content)["messenger"]["settings"]
    return settings
