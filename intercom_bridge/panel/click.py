"""A teammate's click. Intercom sends only the component's id, so the id contains the verb and its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intercom_bridge.intercom.text import clean_text

MAX_ID_LENGTH = 300


@dataclass(frozen=True)
class Click:
    """`ticket:UserRequest:12` is the verb "ticket" with two arguments."""

    verb: str
    arguments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, component_id: str) -> Click:
        """Parse untrusted text. It may result in a verb that does not exist."""
        verb, *arguments = component_id[:MAX_ID_LENGTH].split(":")
        return cls(verb, tuple(arguments))

    def __str__(self) -> str:
        return ":".join((self.verb, *self.arguments))

    def argument(self, position: int) -> str:
        return self.arguments[position] if position < len(self.arguments) else ""

    def number(self, position: int, default: int = 0) -> int:
        """Return an argument as a number that is not negative."""
        text = self.argument(position)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def click_id(verb: str, *arguments: object) -> str:
    """Return the id of a component that leads somewhere: the inverse of `Click.parse`."""
    return str(Click(verb, tuple(str(argument) for argument in arguments)))


HOME = click_id("home")
FORM = click_id("form", "show")
DISCARD_FORM = click_id("form", "discard")
SYNC = click_id("sync")
FIND = click_id("find")
LINKED = click_id("linked", 1)
NEWS = click_id("news")

MAX_QUERY_LENGTH = 100
# The lists that a ticket is opened from.
LISTS = ("linked", "ongoing", "find", "sync", "news")


@dataclass(frozen=True, kw_only=True)
class BackLink:
    """Where Back leads to. It is kept in the stored data that the panel returns with each click.

    `target` is the click that leads back; `query` is the text of the search that it leads to.
    """

    target: str = HOME
    query: str = ""

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> BackLink:
        """Parse untrusted stored data. An unknown target leads home."""
        target = Click.parse(clean_text(stored.get("back")))
        query = clean_text(stored.get("query"))[:MAX_QUERY_LENGTH]
        is_known = target.verb in LISTS or str(target) == FORM
        return cls(target=str(target) if is_known else HOME, query=query)

    def to_stored(self) -> dict[str, Any]:
        return {"back": self.target} | ({"query": self.query} if self.query else {})
