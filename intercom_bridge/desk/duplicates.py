"""Tickets that a new one may be a double of."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .desk import TicketRow

# What two titles have in common, of all they say: "Export is broken" and "Export button broken" have two thirds.
ALIKE = 0.6
MOST_SHOWN = 5

_WORD = re.compile(r"\w+")
# From here on scripts are written without spaces, so that pairs of letters stand for words.
_FIRST_UNSPACED = "\u2e80"


def possible_duplicates(title: str, rows: Iterable[TicketRow]) -> list[TicketRow]:
    """Of the person's tickets those that are open and linked to this conversation, or bear a similar title; the most
    similar first, at most five."""
    found = []
    for row in rows:
        alike = similarity(title, row.title)
        if row.status and (row.is_linked or (row.is_ongoing and alike >= ALIKE)):
            found.append((row.is_linked, alike, row))
    found.sort(key=lambda one: one[:2], reverse=True)
    return [row for _is_linked, _alike, row in found[:MOST_SHOWN]]


def similarity(one: str, other: str) -> float:
    """How much of what two titles say they have in common: 1 for the same words in any order, 0 for none."""
    words, others = _words(one), _words(other)
    if not words or not others:
        return 0.0
    return 2 * len(words & others) / (len(words) + len(others))


def _words(title: str) -> frozenset[str]:
    """The words of a title, whatever their case, accents and width."""
    plain = unicodedata.normalize("NFKD", title.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    found: set[str] = set()
    for word in _WORD.findall(plain):
        if word >= _FIRST_UNSPACED and len(word) > 1:
            found.update(word[at : at + 2] for at in range(len(word) - 1))
        else:
            found.add(word)
    return frozenset(found)
