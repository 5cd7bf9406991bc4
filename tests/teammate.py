"""A teammate at the panel, for tests: reads texts, fills in fields and clicks, all by their labels."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

from django.test import Client

from intercom_bridge.intercom.signature import canvas_signature, webhook_signature
from tests.panel.schema import check_canvas

SECRET = "client-secret-of-the-tests"
WORKSPACE = "abcd1234"

ALICE: dict[str, Any] = {
    "type": "contact",
    "id": "696205460674dbb9050aa7fd",
    "external_id": "user-40",
    "role": "user",
    "email": "alice.martin@acme.example",
    "name": "Alice Martin",
    "custom_attributes": {},
}
CLICKABLE = ("button", "input", "item", "single-select")
ADA = {"type": "admin", "id": "9608799", "name": "Ada Reyes", "email": "ada@acme.example"}


def author_of(person: dict[str, Any], kind: str = "") -> dict[str, Any]:
    kind = kind or ("user" if person["type"] == "contact" else person["type"])
    return {"type": kind, "id": person["id"], "name": person["name"], "email": person["email"]}


def part(part_id: int, body: str | None, author: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a conversation part as Intercom sends it, created ten seconds after the part with the previous id."""
    return {
        "type": "conversation_part",
        "id": str(part_id),
        "part_type": "comment",
        "body": body,
        "created_at": 1_768_031_789 + 10 * (part_id % 100_000),
        "author": author or author_of(ALICE),
        "attachments": [],
        "redacted": False,
        "app_package_code": None,
    } | more


def conversation(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "conversation",
        "id": "215472621202693",
        "title": None,
        "created_at": 1_768_031_789,
        "source": {
            "type": "conversation",
            "id": "3381828792",
            "delivered_as": "customer_initiated",
            "subject": "",
            "body": "<p>The export button does nothing</p>",
            "author": author_of(ALICE),
            "attachments": [],
        },
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": ALICE["id"]}]},
        "conversation_parts": {
            "type": "conversation_part.list",
            "conversation_parts": list(parts),
            "total_count": len(parts),
        },
    } | more


class Teammate:
    """The state of one panel. Each canvas is checked against the documented schema of Canvas Kit."""

    def __init__(self, client: Client, contact: dict[str, Any] = ALICE, **fields: Any) -> None:
        self.client = client
        self.contact = contact
        self.admin = ADA
        self.conversation = fields or conversation(part(37358198341, "<p>It is urgent</p>"))
        self.workspace_id = WORKSPACE
        self.secret = SECRET
        self.canvas: dict[str, Any] = {}
        self.last_request: dict[str, Any] = {}
        self.last_path, self.last_body = "", b""

    def open(self) -> Teammate:
        return self.send("/canvas-kit/initialize", self.base_request())

    def click(self, label: str, **typed: Any) -> Teammate:
        """Click the first component whose label contains `label`. `typed` maps labels of fields to values."""
        return self.send_click(self.find(label)["id"], typed)

    def link(self, ref: str, *, copy: bool = False) -> Teammate:
        """Link a ticket that a recording contains, optionally with a copy of the conversation.

        This is the last click of the way over the customer's open tickets and the ticket.
        """
        answer = "copy" if copy else "from-now-on"
        return self.submit(f"link:UserRequest:{int(ref.removeprefix('R-'))}:{answer}", {})

    def choose(self, label: str, text: str, **typed: Any) -> Teammate:
        """Choose an option by its text. Of a field with an action, this is a click."""
        field = self.field(label)
        assert "action" in field, f"{label} is not sent when it changes"
        return self.send_click(field["id"], {**typed, label: self.option(label, text)})

    def send_click(self, component_id: str, typed: dict[str, Any] | None = None) -> Teammate:
        """Click a component by its id. `typed` maps the labels of fields, or their beginnings, to values."""
        values = {component["id"]: component.get("value", "") for component in self.fields()}
        for label, value in (typed or {}).items():
            values[self.field(label)["id"]] = value
        return self.submit(component_id, values)

    def submit(self, component_id: str, values: dict[str, Any]) -> Teammate:
        """Send the submit request for a click. `values` maps the ids of fields to values."""
        click = {"component_id": component_id, "input_values": values, "current_canvas": self.canvas}
        return self.send("/canvas-kit/submit", self.base_request() | click)

    def again(self) -> Teammate:
        """Send the same request again, like a second click."""
        return self.send(self.last_path, self.last_request)

    def send(self, path: str, body: dict[str, Any]) -> Teammate:
        self.last_request = copy.deepcopy(body)
        return self.send_bytes(path, json.dumps(body).replace("<", "\\u003c").encode())

    def send_bytes(self, path: str, raw: bytes) -> Teammate:
        """Send a signed body, for example one that was sent before."""
        self.last_path, self.last_body = path, raw
        response = self.client.post(
            path,
            raw,
            content_type="application/json",
            headers={"X-Body-Signature": canvas_signature(raw, self.secret)},
        )
        assert response.status_code == 200, response.content
        answer = response.json()
        check_canvas(answer)
        self.canvas = answer["canvas"]
        return self

    def base_request(self) -> dict[str, Any]:
        return {
            "workspace_id": self.workspace_id,
            "workspace_region": "US",
            "admin": self.admin,
            "conversation": self.conversation,
            "contact": self.contact,
        }

    # The content of the panel

    @property
    def components(self) -> list[dict[str, Any]]:
        components: list[dict[str, Any]] = self.canvas["content"]["components"]
        return components

    def clickable(self) -> Iterator[dict[str, Any]]:
        for component in self.components:
            entries = component["items"] if component["type"] == "list" else [component]
            for entry in entries:
                if "action" in entry and not entry.get("disabled") and entry["type"] in CLICKABLE:
                    yield entry

    def find(self, label: str) -> dict[str, Any]:
        for component in self.clickable():
            text = " ".join(str(component.get(key, "")) for key in ("label", "title", "subtitle"))
            if label.casefold() in text.casefold():
                return component
        raise AssertionError(f"no clickable component has the label “{label}”; the panel has:\n{self.text}")

    def offers(self, label: str) -> bool:
        """Return whether a clickable component has this text in its label or title."""
        return any(
            label.casefold() in str(component.get("label", component.get("title"))).casefold()
            for component in self.clickable()
        )

    def fields(self) -> list[dict[str, Any]]:
        kinds = ("input", "textarea", "dropdown", "checkbox", "single-select")
        return [component for component in self.components if component["type"] in kinds]

    def field(self, label: str) -> dict[str, Any]:
        for field in self.fields():
            if field.get("label", "").casefold().startswith(label.casefold()):
                return field
        raise AssertionError(f"no field has the label “{label}”; the panel has:\n{self.text}")

    def option(self, label: str, text: str) -> str:
        """Return the id of an option of a dropdown, by its text."""
        return next(str(option["id"]) for option in self.field(label)["options"] if text in option["text"])

    @property
    def text(self) -> str:
        """Return all texts of the panel, one per line."""
        lines: list[str] = []
        for component in self.components:
            rows = component.get("items", [component])
            for row in rows:
                keys = ("text", "label", "value", "title", "subtitle", "tertiary_text", "field")
                lines += [str(row[key]) for key in keys if isinstance(row.get(key), str)]
            lines += [option["text"] for option in component.get("options", [])]
        return "\n".join(lines)


def half_a_minute_passes(time_machine: Any) -> None:
    """Expire the cached answers of iTop."""
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30))


def notify(
    client: Client,
    *parts: dict[str, Any],
    topic: str = "conversation.user.replied",
    notification_id: str = "",
    secret: str = SECRET,
    **item: Any,
) -> Any:
    """Send a signed notification with these parts and return the response."""
    payload = notification(*parts, topic=topic, notification_id=notification_id, **item)
    return post_webhook(client, json.dumps(payload).encode(), secret=secret)


def notification(
    *parts: dict[str, Any], topic: str = "conversation.user.replied", notification_id: str = "", **item: Any
) -> dict[str, Any]:
    return {
        "type": "notification_event",
        "app_id": WORKSPACE,
        "topic": topic,
        "id": notification_id or "notif_" + "_".join(part["id"] for part in parts),
        "created_at": 1_768_032_001,
        "delivery_attempts": 1,
        "data": {"type": "notification_event_data", "item": conversation(*parts, **item)},
    }


def post_webhook(
    client: Client, raw: bytes, *, path: str = "/webhooks/intercom", secret: str = SECRET
) -> Any:
    return client.post(
        path,
        raw,
        content_type="application/json",
        headers={"X-Hub-Signature": webhook_signature(raw, secret)},
    )
