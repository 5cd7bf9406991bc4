"""Notifications as Intercom sends them, for clients that post them without the stand-in for Intercom."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from sandbox.intercom import SECRET, WORKSPACE_ID

PATH = "/webhooks/intercom"
PERSON = "alice.martin@acme.example"
ALICE = {"type": "user", "id": "696205460674dbb9050aa7fd", "name": "Alice Martin", "email": PERSON}
BRUNO = {
    "type": "user",
    "id": "696205460674dbb9050aa7fe",
    "name": "Bruno Keller",
    "email": "bruno@acme.example",
}
FIRST_PART_ID = 38_000_000_000
FIRST_CREATED_AT = 1_768_031_789


def reply(
    conversation_id: str,
    number: int,
    text: str,
    *,
    workspace_id: str = WORKSPACE_ID,
    author: dict[str, str] = ALICE,
) -> bytes:
    """Return the notification of a customer's message. A higher `number` is a later message."""
    part = {
        "type": "conversation_part",
        "id": str(FIRST_PART_ID + number),
        "part_type": "comment",
        "body": f"<p>{text}</p>",
        "created_at": FIRST_CREATED_AT + number,
        "author": author,
        "attachments": [],
        "redacted": False,
        "app_package_code": None,
    }
    payload = {
        "type": "notification_event",
        "app_id": workspace_id,
        "topic": "conversation.user.replied",
        "id": f"notif_{number}",
        "created_at": 1_768_032_001,
        "data": {
            "type": "notification_event_data",
            "item": conversation(conversation_id, part, author=author),
        },
    }
    return json.dumps(payload).encode()


def conversation(
    conversation_id: str, *parts: dict[str, Any], author: dict[str, str] = ALICE
) -> dict[str, Any]:
    return {
        "type": "conversation",
        "id": conversation_id,
        "title": None,
        "created_at": 1_768_031_000,
        "source": {
            "type": "conversation",
            "id": "3381828792",
            "delivered_as": "customer_initiated",
            "subject": "",
            "body": "<p>The export button does nothing</p>",
            "author": author,
            "attachments": [],
        },
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": author["id"]}]},
        "conversation_parts": {
            "type": "conversation_part.list",
            "conversation_parts": list(parts),
            "total_count": len(parts),
        },
    }


def signed_headers(body: bytes) -> dict[str, str]:
    signature = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
    return {"Content-Type": "application/json", "X-Hub-Signature": f"sha1={signature}"}
