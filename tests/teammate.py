"""A teammate at the panel, for tests: sees words, fills in fields by their labels, clicks on words."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

from django.test import Client

from intercom_bridge.intercom.signature import canvas_signature, webhook_signature
from tests.canvas.schema import check_canvas

SECRET = "client-secret-of-the-tests"
WORKSPACE = "abcd1234"

ALICE = {
    "type": "contact",
    "id": "696205460674dbb9050aa7fd",
    "external_id": "user-40",
    "role": "user",
    "email": "alice.martin@acme.example",
    "name": "Alice Martin",
    "custom_attributes": {},
}
ADA = {"type": "admin", "id": "9608799", "name": "Ada Reyes", "email": "ada@acme.example"}


def author_of(person: dict[str, Any], kind: str = "") -> dict[str, Any]:
    kind = kind or ("user" if person["type"] == "contact" else person["type"])
    return {"type": kind, "id": person["id"], "name": person["name"], "email": person["email"]}


def part(part_id: int, body: str, author: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A conversation part as Intercom sends it; created ten seconds after the one with the id below."""
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
    """Holds what the panel shows now. Each canvas that comes is judged by Canvas Kit's documented shapes."""

    def __init__(self, client: Client, contact: dict[str, Any] = ALICE, **talk: Any) -> None:
        self.client = client
        self.contact = contact
        self.admin = ADA
        self.conversation = talk or conversation(part(37358198341, "<p>It is urgent</p>"))
        self.workspace_id = WORKSPACE
        self.secret = SECRET
        self.canvas: dict[str, Any] = {}
        self.last_request: dict[str, Any] = {}

    def open(self) -> Teammate:
        return self.send("/canvas-kit/initialize", self._base())

    def click(self, words: str, **typed: Any) -> Teammate:
        """Clicks the first thing whose label has these words; `typed` maps labels (or their beginning) to values."""
        return self.send_click(self.find(words)["id"], typed)

    def link(self, ref: str, *, copy: bool = False) -> Teammate:
        """Links one of the customer's ongoing tickets, and says whether to copy the conversation so far."""
        self.open().click("ongoing tickets").click(ref).click("Link to this conversation")
        words = "Link and copy" if copy else "Link from now on"
        return self.click(words) if self.offers(words) else self

    def send_click(self, component_id: str, typed: dict[str, Any] | None = None) -> Teammate:
        values = {one["id"]: one.get("value", "") for one in self.fields()}
        for label, value in (typed or {}).items():
            values[self.field(label)["id"]] = value
        return self.send(
            "/canvas-kit/submit",
            self._base()
            | {"component_id": component_id, "input_values": values, "current_canvas": self.canvas},
        )

    def again(self) -> Teammate:
        """The very same request once more: a second click."""
        return self.send(self.last_path, self.last_request)

    def send(self, path: str, body: dict[str, Any]) -> Teammate:
        self.last_path, self.last_request = path, copy.deepcopy(body)
        raw = json.dumps(body).replace("<", "\\u003c").encode()
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

    def _base(self) -> dict[str, Any]:
        return {
            "workspace_id": self.workspace_id,
            "workspace_region": "US",
            "admin": self.admin,
            "conversation": self.conversation,
            "contact": self.contact,
        }

    # What is there to see

    @property
    def components(self) -> list[dict[str, Any]]:
        return self.canvas["content"]["components"]

    def clickable(self) -> Iterator[dict[str, Any]]:
        for one in self.components:
            if one["type"] == "list":
                yield from (item for item in one["items"] if "action" in item and not item.get("disabled"))
            elif one["type"] in ("button", "input") and "action" in one and not one.get("disabled"):
                yield one

    def find(self, words: str) -> dict[str, Any]:
        for one in self.clickable():
            shown = " ".join(str(one.get(key, "")) for key in ("label", "title", "subtitle"))
            if words.casefold() in shown.casefold():
                return one
        raise AssertionError(f"nothing to click says “{words}”; the panel shows:\n{self.text}")

    def offers(self, words: str) -> bool:
        """Whether there is something to click that says so."""
        return any(
            words.casefold() in str(one.get("label", one.get("title"))).casefold() for one in self.clickable()
        )

    def fields(self) -> list[dict[str, Any]]:
        kinds = ("input", "textarea", "dropdown", "checkbox", "single-select")
        return [one for one in self.components if one["type"] in kinds]

    def field(self, label: str) -> dict[str, Any]:
        for one in self.fields():
            if one.get("label", "").casefold().startswith(label.casefold()):
                return one
        raise AssertionError(f"no field is called “{label}”; the panel shows:\n{self.text}")

    def option(self, label: str, words: str) -> str:
        """The id of a choice of a dropdown, by its text."""
        return next(one["id"] for one in self.field(label)["options"] if words in one["text"])

    @property
    def text(self) -> str:
        """All words on the panel, a line each."""
        lines: list[str] = []
        for one in self.components:
            rows = one.get("items", [one])
            for row in rows:
                keys = ("text", "label", "value", "title", "subtitle", "tertiary_text", "field")
                lines += [str(row[key]) for key in keys if isinstance(row.get(key), str)]
            lines += [option["text"] for option in one.get("options", [])]
        return "\n".join(lines)


def half_a_minute_passes(time_machine: Any) -> None:
    """What iTop said a moment ago is no longer the answer."""
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30))


def notify(
    client: Client,
    *parts: dict[str, Any],
    topic: str = "conversation.user.replied",
    notification_id: str = "",
    secret: str = SECRET,
    **item: Any,
) -> Any:
    """Sends a signed notification with these parts; answers the response."""
    made = notification(*parts, topic=topic, notification_id=notification_id, **item)
    return post_webhook(client, json.dumps(made).encode(), secret=secret)


def notification(
    *parts: dict[str, Any], topic: str = "conversation.user.replied", notification_id: str = "", **item: Any
) -> dict[str, Any]:
    return {
        "type": "notification_event",
        "app_id": WORKSPACE,
        "topic": topic,
        "id": notification_id or "notif_" + "_".join(one["id"] for one in parts),
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
