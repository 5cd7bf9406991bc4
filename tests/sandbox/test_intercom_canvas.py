"""The signed requests that the stand-in makes when a teammate looks at the panel or presses something."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest
import requests

from intercom_bridge.intercom.payloads import CanvasRequest
from sandbox.intercom import SECRET, Intercom, running_intercom

from .bridge import Bridge, running_bridge

CANVAS = {"content": {"components": [{"type": "text", "text": "hello"}]}, "stored_data": {"page": 2}}


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with running_bridge() as running:
        running.answer = lambda request: (200, {"canvas": CANVAS})
        yield running


@pytest.fixture
def intercom(bridge: Bridge) -> Iterator[Intercom]:
    with running_intercom(bridge_url=bridge.url, long_conversation=True) as running:
        yield running


def test_opening_a_conversation_is_a_signed_initialize_request(intercom: Intercom, bridge: Bridge) -> None:
    conversation = intercom.conversation_of("Bob Durand")
    answer = intercom.canvas(conversation.id)
    assert answer.canvas == CANVAS
    (request,) = bridge.of("/canvas-kit/initialize")
    expected = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-Body-Signature"] == expected
    assert b"<" not in request.body
    assert b"\\u003cp class" in request.body
    read = CanvasRequest.parse(request.data)
    assert (read.contact.email, read.admin.name) == ("bob.durand@acme.example", "Ada Reyes")
    assert len(read.conversation.parts) == read.conversation.total_count == 320
    assert not {"component_id", "input_values", "current_canvas"} & set(request.data)


def test_a_click_sends_values_and_the_canvas_with_its_stored_data(intercom: Intercom, bridge: Bridge) -> None:
    asked = {
        "conversation_id": intercom.conversation_of("Alice Martin").id,
        "admin_id": "9608800",
        "component_id": "save",
        "input_values": {"title": "x", "flags": ["a"]},
        "current_canvas": CANVAS,
    }
    answer = requests.post(f"{intercom.url}/sandbox/canvas", json=asked, timeout=5).json()
    assert (answer["status"], answer["body"]) == (200, {"canvas": CANVAS})
    assert isinstance(answer["milliseconds"], int)
    (request,) = bridge.of("/canvas-kit/submit")
    read = CanvasRequest.parse(request.data)
    assert (read.component_id, read.admin.name) == ("save", "Sam Field")
    assert read.input_values == {"title": "x", "flags": ("a",)}
    assert read.stored_data == {"page": 2}


def test_the_number_of_parts_in_a_canvas_request_can_be_limited(intercom: Intercom, bridge: Bridge) -> None:
    intercom.workspace.parts_in_canvas = 20
    intercom.canvas(intercom.conversation_of("Bob Durand").id)
    read = CanvasRequest.parse(bridge.received[0].data)
    assert (len(read.conversation.parts), read.conversation.is_complete) == (20, False)


def test_a_response_without_a_canvas_is_passed_on_unchanged(intercom: Intercom, bridge: Bridge) -> None:
    bridge.answer = lambda request: (502, b"<h1>Bad gateway</h1>")
    answer = intercom.canvas(intercom.conversation_of("Alice Martin").id)
    assert (answer.status, answer.canvas) == (502, None)
    assert answer.to_json()["text"] == "<h1>Bad gateway</h1>"


def test_a_bridge_that_does_not_respond_is_reported() -> None:
    with running_bridge() as gone:
        url = gone.url
    with running_intercom(bridge_url=url) as intercom:
        answer = intercom.canvas(intercom.conversation_of("Alice Martin").id)
    assert answer.status == 0
    assert "ConnectionRefusedError" in answer.trouble


def test_an_unknown_conversation_is_refused(intercom: Intercom, bridge: Bridge) -> None:
    answer = requests.post(f"{intercom.url}/sandbox/canvas", json={"conversation_id": "1"}, timeout=5)
    assert answer.status_code == 404
    assert bridge.received == []
