"""Where one came from: what Back leads to, kept in what the panel gets back with each click."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intercom_bridge.intercom.text import clean_text

from .click import Click, click

MOST_CHARACTERS = 100
# What a ticket is opened from.
LISTS = ("linked", "ongoing", "find", "sync")
# A form names tickets that may be the same.
FORM = click("form", "show")


@dataclass(frozen=True, kw_only=True)
class Trail:
    """`back` is the click that leads back; `words` are those of the search that it leads to, if it is one."""

    back: str = click("home")
    words: str = ""

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Trail:
        """Any stored data at all; what makes no sense leads home."""
        back = Click.read(clean_text(stored.get("back")))
        words = clean_text(stored.get("words"))[:MOST_CHARACTERS]
        is_known = back.verb in LISTS or str(back) == FORM
        return cls(back=str(back) if is_known else click("home"), words=words)

    def stored(self) -> dict[str, Any]:
        return {"back": self.back} | ({"words": self.words} if self.words else {})
