"""Intercom as its users see it: an inbox, conversations, and the app's panel, used by the words on it.

Talks to the Intercom stand-in over HTTP; what is pressed reaches the bridge as a really signed request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import requests

from .demo_processes import DemoTrouble

Json = dict[str, Any]
SECONDS = 20.0


class Inbox:
    """The workspace. `url` is the stand-in's address."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/sandbox"
        self._session = requests.Session()
        self._session.trust_env = False

    def ask(self, path: str, data: Json | None = None) -> Json:
        """GET, or POST where there is something to say. Raises DemoTrouble when it is refused."""
        method = "GET" if data is None else "POST"
        answer = self._session.request(method, f"{self._url}/{path}", json=data, timeout=SECONDS)
        said: Json = answer.json()
        if answer.status_code != 200:
            raise DemoTrouble(
                f"The Intercom stand-in refused {path}: {said.get('error', answer.status_code)}"
            )
        return said

    def teammate(self, name: str) -> Json:
        return next(one for one in self.ask("state")["admins"] if one["name"] == name)

    def begin(self, *, name: str, email: str, body: str) -> str:
        """A customer starts a conversation, and is made known if nobody has this address; answers its id."""
        known = next((one for one in self.ask("state")["contacts"] if one["email"] == email), None)
        who = {"contact_id": known["id"]} if known else {"contact": {"name": name, "email": email}}
        return str(self.ask("conversations", {**who, "body": body})["id"])

    def write(self, conversation_id: str, **message: Any) -> Json:
        """`author` is "contact" or "admin"; `body`, `note`, `attachments`, `author_id`. Answers the part."""
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
    """The app's panel beside one conversation, as one teammate sees it."""

    def __init__(self, inbox: Inbox, conversation_id: str, admin_id: str) -> None:
        self._inbox = inbox
        self._conversation_id = conversation_id
        self._admin_id = admin_id
        self._canvas: Json = {}
        self._values: Json = {}
        self.milliseconds = 0

    # --- What is on it ---

    @property
    def components(self) -> list[Json]:
        found: list[Json] = self._canvas["content"]["components"]
        return found

    @property
    def texts(self) -> list[str]:
        return [str(one["text"]).replace("\u200b", "") for one in self.components if one["type"] == "text"]

    @property
    def headline(self) -> str:
        return self.texts[0] if self.texts else ""

    def __str__(self) -> str:
        """All that can be read on it, a line each."""
        lines = []
        for one in self.components:
            if one["type"] == "list":
                lines += [
                    "› " + " / ".join(filter(None, (item["title"], item.get("subtitle"))))
                    for item in one["items"]
                ]
            elif one["type"] == "data-table":
                lines += [f"{row['field']}: {row['value']}" for row in one["items"]]
            elif one["type"] == "button":
                lines.append(f"[{one['label']}]")
            else:
                lines.append(str(one.get("text") or one.get("label") or ""))
        return "\n".join(line for line in lines if line)

    def has(self, words: str) -> bool:
        return words.casefold() in str(self).casefold()

    # --- What a person does with it ---

    def open(self) -> Panel:
        """The teammate comes to the conversation."""
        return self._ask({})

    def press(self, words: str) -> Panel:
        """The button or the item of a list on which these words stand."""
        for one in self._pressable():
            if words.casefold() in self._words_of(one).casefold():
                return self._press(one)
        raise DemoTrouble(f"There is nothing to press with “{words}” on the panel. It reads:\n{self}")

    def can_press(self, words: str) -> bool:
        return any(words.casefold() in self._words_of(one).casefold() for one in self._pressable())

    def has_item(self, label: str) -> bool:
        """Whether a list has an item whose title begins with this label."""
        return any(item["title"].startswith(label) for item in self._items())

    def press_item(self, label: str) -> Panel:
        """The item whose title begins with this label."""
        return self._press(next(item for item in self._items() if item["title"].startswith(label)))

    @property
    def first_item(self) -> str:
        """The title of the first item of the first list."""
        return str(next(iter(self._items()))["title"])

    def fill_in(self, label: str, value: str) -> None:
        """Types into the field with this label, in place of what stands there."""
        self._values[self._field(label)["id"]] = value

    def choose(self, label: str, *preferred: str) -> str:
        """Picks an option in the field with this label: the first preferred one there is, or the first of all.

        Answers what was picked.
        """
        options = self._field(label)["options"]
        named = (one for words in preferred for one in options if words.casefold() in one["text"].casefold())
        option = next(named, options[0])
        self._values[self._field(label)["id"]] = option["id"]
        return str(option["text"])

    def value(self, label: str) -> str:
        """What stands in the field with this label; "" when nothing does."""
        return str(self._values.get(self._field(label)["id"], ""))

    def has_field(self, label: str) -> bool:
        return any(self._is_field(one, label) for one in self.components)

    # --- How ---

    def _items(self) -> Iterable[Json]:
        return [item for one in self.components if one["type"] == "list" for item in one["items"]]

    def _pressable(self) -> Iterable[Json]:
        for one in self.components:
            candidates = one["items"] if one["type"] == "list" else [one]
            for each in candidates:
                if each.get("action", {}).get("type") == "submit" and not each.get("disabled"):
                    yield each

    def _words_of(self, one: Json) -> str:
        return " ".join(str(one.get(name, "")) for name in ("label", "title", "subtitle")).replace(
            "\u200b", ""
        )

    def _is_field(self, one: Json, label: str) -> bool:
        return (
            one["type"] in ("input", "textarea", "dropdown", "single-select")
            and str(one.get("label", "")).removesuffix(" *").casefold() == label.casefold()
        )

    def _field(self, label: str) -> Json:
        for one in self.components:
            if self._is_field(one, label):
                return one
        raise DemoTrouble(f"There is no field “{label}” on the panel. It reads:\n{self}")

    def _press(self, one: Json) -> Panel:
        return self._ask(
            {"component_id": one["id"], "input_values": self._values, "current_canvas": self._canvas}
        )

    def _ask(self, click: Json) -> Panel:
        answer = self._inbox.ask(
            "canvas", {"conversation_id": self._conversation_id, "admin_id": self._admin_id, **click}
        )
        body = answer["body"]
        if answer["status"] != 200 or not isinstance(body, dict) or "canvas" not in body:
            raise DemoTrouble(
                f"The bridge answered {answer['status'] or answer['trouble']} where a canvas was due:\n"
                f"{answer['text'] or body}"
            )
        self._canvas = body["canvas"]
        self.milliseconds = answer["milliseconds"]
        self._values = {
            one["id"]: one.get("value", "")
            for one in self.components
            if one["type"] in ("input", "textarea") or one.get("value")
        }
        return self
