"""Notifications: their shape, their signature, and how often they are sent."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest
import requests

from sandbox.intercom import SECRET, WORKSPACE_ID, Intercom, running_intercom

from .bridge import Bridge, Received, running_bridge

PATH = "/webhooks/intercom"


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with running_bridge() as running:
        yield running


@pytest.fixture
def intercom(bridge: Bridge) -> Iterator[Intercom]:
    with running_intercom(bridge_url=bridge.url, retry_seconds=0.2) as running:
        yield running


def sent(intercom: Intercom, bridge: Bridge) -> list[Received]:
    assert intercom.webhooks.wait_until_sent()
    return bridge.of(PATH)


@pytest.mark.parametrize(
    ("author", "note", "topic", "author_type"),
    [
        ("contact", False, "conversation.user.replied", "user"),
        ("admin", False, "conversation.admin.replied", "admin"),
        ("admin", True, "conversation.admin.noted", "admin"),
        ("bot", False, "conversation.operator.replied", "bot"),
    ],
)
def test_each_message_is_notified_with_only_the_new_part(
    intercom: Intercom, bridge: Bridge, author: str, note: bool, topic: str, author_type: str
) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    part = intercom.write(conversation.id, author=author, note=note, body="hello")
    (request,) = sent(intercom, bridge)
    said = request.data
    assert (said["topic"], said["app_id"], said["type"]) == (topic, WORKSPACE_ID, "notification_event")
    assert said["id"].startswith("notif_")
    item = said["data"]["item"]
    assert item["id"] == conversation.id
    assert item["conversation_parts"]["total_count"] == 1
    (told,) = item["conversation_parts"]["conversation_parts"]
    assert (told["id"], told["author"]["type"]) == (part.id, author_type)
    assert isinstance(item["statistics"]["last_contact_reply_at"], str)
    # No address of the contact: who needs it has to ask.
    assert set(item["contacts"]["contacts"][0]) == {"type", "id", "external_id"}


def test_a_notification_is_signed_over_its_bytes(intercom: Intercom, bridge: Bridge) -> None:
    intercom.write(intercom.conversation_of("Alice Martin").id, body="a < b & c, é, 🚀")
    (request,) = sent(intercom, bridge)
    expected = hmac.new(SECRET.encode(), request.body, hashlib.sha1).hexdigest()
    assert request.headers["X-Hub-Signature"] == f"sha1={expected}"
    assert b"<" not in request.body
    assert "🚀".encode() in request.body


def test_a_new_conversation_has_its_message_in_the_source(intercom: Intercom, bridge: Bridge) -> None:
    intercom.workspace.begin(intercom.contact("Alice Martin"), body="Good morning")
    (request,) = sent(intercom, bridge)
    item = request.data["data"]["item"]
    assert request.data["topic"] == "conversation.user.created"
    assert item["conversation_parts"]["conversation_parts"] == []
    assert "Good morning" in item["source"]["body"]


def test_from_api_2_15_on_bodies_are_plain_text(intercom: Intercom, bridge: Bridge) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    intercom.write(conversation.id, author="admin", html="<p>a <b>b</b></p>")
    assert sent(intercom, bridge)[0].data["data"]["item"]["conversation_parts"]["conversation_parts"][0][
        "body"
    ] == ('<p class="no-margin">a <b>b</b></p>')
    wanted = {"api_version": "2.15"}
    assert requests.post(f"{intercom.url}/sandbox/webhooks", json=wanted, timeout=5).status_code == 200
    intercom.write(conversation.id, author="admin", html="<p>a <b>b</b></p>")
    item = sent(intercom, bridge)[1].data["data"]["item"]
    assert item["conversation_parts"]["conversation_parts"][0]["body"] == "a b"
    assert not item["source"]["body"].startswith("<")


def test_a_failed_notification_is_repeated_once_and_then_lost(intercom: Intercom, bridge: Bridge) -> None:
    bridge.answer = lambda request: (500, {})
    intercom.write(intercom.conversation_of("Alice Martin").id, body="hello")
    requests_sent = sent(intercom, bridge)
    assert [request.data["delivery_attempts"] for request in requests_sent] == [1, 2]
    assert len({request.data["id"] for request in requests_sent}) == 1
    assert intercom.webhooks.log[0].state == "lost"


def test_a_successful_second_attempt_is_a_success(intercom: Intercom, bridge: Bridge) -> None:
    bridge.answer = lambda request: (500 if len(bridge.received) == 1 else 200, {})
    intercom.write(intercom.conversation_of("Alice Martin").id, body="hello")
    assert len(sent(intercom, bridge)) == 2
    assert intercom.webhooks.log[0].state == "delivered"


def test_410_ends_the_subscription(intercom: Intercom, bridge: Bridge) -> None:
    bridge.answer = lambda request: (410, {})
    conversation = intercom.conversation_of("Alice Martin")
    intercom.write(conversation.id, body="hello")
    sent(intercom, bridge)
    intercom.write(conversation.id, body="anybody there?")
    assert len(sent(intercom, bridge)) == 1
    assert intercom.webhooks.log[1].state == "unsent"


def test_duplicates_and_other_orders_can_be_requested(intercom: Intercom, bridge: Bridge) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    intercom.webhooks.copies = 2
    intercom.webhooks.hold()
    parts = [intercom.write(conversation.id, body=f"number {number}").id for number in range(3)]
    assert sent(intercom, bridge) == []
    intercom.webhooks.release("reversed")
    told = [
        request.data["data"]["item"]["conversation_parts"]["conversation_parts"][0]["id"]
        for request in sent(intercom, bridge)
    ]
    assert sorted(told) == sorted(parts * 2)
    assert told.index(parts[2]) < told.index(parts[0])
    notification = intercom.webhooks.log[0]
    intercom.webhooks.redeliver(notification.id or "")
    assert sent(intercom, bridge)[-1].data["id"] == notification.id


def test_the_address_is_validated_and_pinged(intercom: Intercom, bridge: Bridge) -> None:
    assert intercom.webhooks.validate() == 200
    assert (bridge.received[0].method, "X-Hub-Signature" in bridge.received[0].headers) == ("HEAD", False)
    intercom.webhooks.ping()
    said = sent(intercom, bridge)[0].data
    assert (said["topic"], said["id"], said["data"]["item"]["type"]) == ("ping", None, "ping")


def test_what_the_app_posts_comes_back_as_a_notification_with_its_code(
    intercom: Intercom, bridge: Bridge
) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    requests.post(
        f"{intercom.url}/conversations/{conversation.id}/reply",
        json={"message_type": "comment", "type": "admin", "admin_id": "9608800", "body": "<p>x</p>"},
        headers={"Authorization": f"Bearer {intercom.token}"},
        timeout=5,
    )
    (request,) = sent(intercom, bridge)
    (part,) = request.data["data"]["item"]["conversation_parts"]["conversation_parts"]
    assert part["app_package_code"]
