"""A teammate's click.

Intercom sends only the id of the clicked component. The id therefore says what to do: it is a verb with arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intercom_bridge.intercom.text import clean_text

MAX_ID_LENGTH = 300


@dataclass(frozen=True)
class Click:
    """A verb with arguments. The id `ticket:UserRequest:12` is the verb "ticket" with two arguments."""

    verb: str
    arguments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, component_id: str) -> Click:
        """Parse an untrusted id. The resulting verb may be unknown."""
        verb, *arguments = component_id[:MAX_ID_LENGTH].split(":")
        return cls(verb, tuple(arguments))

    def __str__(self) -> str:
        return ":".join((self.verb, *self.arguments))

    def argument(self, position: int) -> str:
        """Return the argument at a position, counted from 0; "" if there are fewer arguments."""
        return self.arguments[position] if position < len(self.arguments) else ""

    def number(self, position: int, default: int = 0) -> int:
        """Return an argument as an integer; `default` unless it is 1 to 18 digits, which always fit into 64 bits."""
        text = self.argument(position)
        is_number = text.isascii() and text.isdigit() and len(text) <= 18
        return int(text) if is_number else default


def click_id(verb: str, *arguments: object) -> str:
    """Return the id for a component whose click has this verb and these arguments. `Click.parse` reverses this."""
    return str(Click(verb, tuple(str(argument) for argument in arguments)))


HOME = click_id("home")
FORM = click_id("form", "show")
DISCARD_FORM = click_id("form", "discard")
SYNC = click_id("sync")
FIND = click_id("find")
LINKED = click_id("linked", 1)
NEWS = click_id("news")

MAX_QUERY_LENGTH = 100
# The verbs of the screens to which the button Back can lead, besides the first screen and the create form.
BACK_VERBS = ("linked", "ongoing", "find", "sync", "news")


@dataclass(frozen=True, kw_only=True)
class BackLink:
    """Where the button Back leads. Intercom sends it with each click, as a part of `stored_data`.

    target: the click that leads back. A screen to which Back can lead stores its own click. query: the search text.
    """

    target: str = HOME
    query: str = ""

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> BackLink:
        """Parse untrusted stored data. An unknown target leads home."""
        target = Click.parse(clean_text(stored.get("back")))
        query = clean_text(stored.get("query"))[:MAX_QUERY_LENGTH]
        is_allowed = target.verb in BACK_VERBS or str(target) == FORM
        return cls(target=str(target) if is_allowed else HOME, query=query)

    def to_stored(self) -> dict[str, Any]:
        """Return the entries for `stored_data`."""
        query = {"query": self.query} if self.query else {}
        return {"back": self.target} | query
