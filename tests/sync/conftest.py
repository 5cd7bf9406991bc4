from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import Ticket
from sandbox.intercom import Intercom
from sandbox.intercom.files import File
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, notify

Write = Callable[..., dict[str, Any]]


@pytest.fixture
def ticket(teammate: Teammate, itop: Itop) -> Ticket:
    """Return a ticket that the teammate has linked, after the worker has finished."""
    return store_link(teammate, itop, "R-000006").ticket


@pytest.fixture
def write(intercom: Intercom, client: Client, talking: Teammate) -> Write:
    """Return a function with which somebody writes in Alice's conversation, and Intercom notifies the bridge."""
    conversation = intercom.conversation_of("Alice Martin")
    numbers = iter(range(1, 100))

    def send(
        *attachments: File, pictures: tuple[File, ...] = (), plain: bool = False, **more: Any
    ) -> dict[str, Any]:
        more.setdefault("created_at", int(time.time()) + 60 + next(numbers))
        more.setdefault("body", "Please look")
        written = intercom.write(conversation.id, attachments=attachments, pictures=pictures, **more)
        found = intercom.workspace.conversation_json(
            intercom.store.conversation(conversation.id), plain=plain
        )
        part: dict[str, Any] = next(
            part for part in found["conversation_parts"]["conversation_parts"] if part["id"] == written.id
        )
        by_admin = "conversation.admin.replied"
        topic = by_admin if more.get("author") == "admin" else "conversation.user.replied"
        assert notify(client, part, topic=topic, id=conversation.id).status_code == 200
        return part

    return send
