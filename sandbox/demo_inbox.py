"""Use Intercom as people do: the inbox, its conversations and the app's panel.

All actions are requests to the Intercom stand-in, which sends each click to the bridge as a signed request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import requests

from .demo_processes import DemoError

Json = dict[str, Any]
SECONDS = 20.0


class Inbox:
    """The inbox of the workspace. `url` is the stand-in's address."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/sandbox"
        self._session = requests.Session()
        self._session.trust_env = False

    def ask(self, path: str, data: Json | None = None) -> Json:
        """Send a GET, or a POST if `data` is given. Return the response. Raise DemoError if it is not 200."""
        method = "GET" if data is None else "POST"
        answer = self._session.request(method, f"{self._url}/{path}", json=data, timeout=SECONDS)
        body: Json = answer.json()
        if answer.status_code != 200:
            raise DemoError(f"The Intercom stand-in refused {path}: {body.get('error', answer.status_code)}")
        return body

    def teammate(self, name: str) -> Json:
        return next(admin for admin in self.ask("state")["admins"] if admin["name"] == name)

    def begin(self, *, name: str, email: str, body: str) -> str:
        """Start a conversation as a customer and return its id.

        Create the contact if its e-mail address is unknown.
        """
        known = next(
            (contact for contact in self.ask("state")["contacts"] if contact["email"] == email), None
        )
        who = {"contact_id": known["id"]} if known else {"contact": {"name": name, "email": email}}
        return str(self.ask("conversations", {**who, "body": body})["id"])

    def write(self, conversation_id: str, **message: Any) -> Json:
        """Write a message and return its part.

        `author` is "contact" or "admin"; `message` can have `body`, `note`, `attachments` and `author_id`.
        """
        return self.ask(f"conversations/{conversation_id}/messages", message)

    def conversation(self, conversation_id: str) -> Json:
        return self.ask(f"conversations/{conversation_id}")

    def parts(self, conversation_id: str) -> list[Json]:
        parts: list[Json] = self.conversation(conversation_id)["conversation_parts"]["conversation_parts"]
        return parts

    def notifications(self) -> list[Json]:
        found: list[Json] = self.ask("notifications")["notifications"]
        return found

    def webhooks(self, **wanted: Any) -> Json:
        return self.ask("webhooks", wanted)


class Panel:
    """The app's panel next to one conversation, as one teammate sees it."""

    def __init__(self, inbox: Inbox, conversation_id: str, admin_id: str) -> None:
        self._inbox = inbox
        self._conversation_id = conversation_id
        self._admin_id = admin_id
        self._canvas: Json = {}
        self._values: Json = {}  # the values of the fields, by component id
        self.milliseconds = 0

    # --- What the panel shows ---

    @property
    def components(self) -> list[Json]:
        found: list[Json] = self._canvas["content"]["components"]
        return found

    @property
    def texts(self) -> list[str]:
        return [
            str(component["text"]).replace("\u200b", "")
            for component in self.components
            if component["type"] == "text"
        ]

    @property
    def headline(self) -> str:
        return self.texts[0] if self.texts else ""

    def __str__(self) -> str:
        """Return all text on the panel, one line per component or item."""
        lines = []
        for component in self.components:
            if component["type"] == "list":
                lines += [
                    "› " + " / ".join(filter(None, (item["title"], item.get("subtitle"))))
                    for item in component["items"]
                ]
            elif component["type"] == "data-table":
                lines += [f"{row['field']}: {row['value']}" for row in component["items"]]
            elif component["type"] == "button":
                lines.append(f"[{component['label']}]")
            else:
                lines.append(str(component.get("text") or component.get("label") or ""))
        return "\n".join(line for line in lines if line)

    def has(self, text: str) -> bool:
        return text.casefold() in str(self).casefold()

    # --- What a teammate does ---

    def open(self) -> Panel:
        """Open the conversation as the teammate."""
        return self._ask({})

    def press(self, text: str) -> Panel:
        """Click the button or list item with this text."""
        for component in self._pressable():
            if text.casefold() in self._label_of(component).casefold():
                return self._press(component)
        raise DemoError(f"The panel has no button or item “{text}”. It shows:\n{self}")

    def can_press(self, text: str) -> bool:
        return any(text.casefold() in self._label_of(component).casefold() for component in self._pressable())

    def has_item(self, label: str) -> bool:
        """Return whether a list has an item whose title begins with this label."""
        return any(item["title"].startswith(label) for item in self._items())

    def press_item(self, label: str) -> Panel:
        """Click the list item whose title begins with this label."""
        return self._press(next(item for item in self._items() if item["title"].startswith(label)))

    @property
    def first_item(self) -> str:
        """Return the title of the first item of the first list."""
        return str(next(iter(self._items()))["title"])

    def fill_in(self, label: str, value: str) -> None:
        """Replace the text of the field with this label."""
        self._values[self._field(label)["id"]] = value

    def choose(self, label: str, *preferred: str) -> str:
        """Choose an option in the field with this label and return its text.

        It is the first option that contains one of the `preferred` texts, or else the first option of all. If the field
        has an action, choosing is also a click.
        """
        field = self._field(label)
        options = field["options"]
        named = (
            option for text in preferred for option in options if text.casefold() in option["text"].casefold()
        )
        option = next(named, options[0])
        self._values[field["id"]] = option["id"]
        if "action" in field:
            self._press(field)
        return str(option["text"])

    def value(self, label: str) -> str:
        """Return the value of the field with this label, "" if the field is empty."""
        return str(self._values.get(self._field(label)["id"], ""))

    def has_field(self, label: str) -> bool:
        return any(self._is_field(component, label) for component in self.components)

    def _items(self) -> Iterable[Json]:
        return [
            item
            for component in self.components
            if component["type"] == "list"
            for item in component["items"]
        ]

    def _pressable(self) -> Iterable[Json]:
        for component in self.components:
            candidates = component["items"] if component["type"] == "list" else [component]
            for element in candidates:
                if element.get("action", {}).get("type") == "submit" and not element.get("disabled"):
                    yield element

    def _label_of(self, component: Json) -> str:
        return " ".join(str(component.get(name, "")) for name in ("label", "title", "subtitle")).replace(
            "\u200b", ""
        )

    def _is_field(self, component: Json, label: str) -> bool:
        return (
            component["type"] in ("input", "textarea", "dropdown", "single-select")
            and str(component.get("label", "")).removesuffix(" *").casefold() == label.casefold()
        )

    def _field(self, label: str) -> Json:
        for component in self.components:
            if self._is_field(component, label):
                return component
        raise DemoError(f"The panel has no field “{label}”. It shows:\n{self}")

    def _press(self, component: Json) -> Panel:
        return self._ask(
            {"component_id": component["id"], "input_values": self._values, "current_canvas": self._canvas}
        )

    def _ask(self, click: Json) -> Panel:
        answer = self._inbox.ask(
            "canvas", {"conversation_id": self._conversation_id, "admin_id": self._admin_id, **click}
        )
        body = answer["body"]
        if answer["status"] != 200 or not isinstance(body, dict) or "canvas" not in body:
            raise DemoError(
                f"The bridge answered {answer['status'] or answer['trouble']} instead of a canvas:\n"
                f"{answer['text'] or body}"
            )
        self._canvas = body["canvas"]
        self.milliseconds = answer["milliseconds"]
        self._values = {
            component["id"]: component.get("value", "")
            for component in self.components
            if component["type"] in ("input", "textarea") or component.get("value")
        }
        return self
