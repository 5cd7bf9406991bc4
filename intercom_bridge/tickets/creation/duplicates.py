"""Find tickets that a new one may duplicate."""

import re
import unicodedata
from collections.abc import Iterable

from intercom_bridge.intercom.text import normalize
from intercom_bridge.tickets.rows import TicketRow

# "Export is broken" and "Export button broken" have a similarity of two thirds.
MIN_SIMILARITY = 0.6
MAX_DUPLICATES = 5
MAX_COMPARED_LENGTH = 1000

_WORD = re.compile(r"\w+")
# Scripts from this code point on are written without spaces, so pairs of characters are compared instead of words.
_FIRST_UNSPACED = "\u2e80"


def possible_duplicates(title: str, rows: Iterable[TicketRow]) -> list[TicketRow]:
    """Return the open tickets that are linked to this conversation or have a similar title.

    Linked tickets come first, then the most similar, MAX_DUPLICATES at most.
    """
    candidates = []
    for row in rows:
        score = similarity(title, row.title)
        if row.status and (row.is_linked or (row.is_ongoing and score >= MIN_SIMILARITY)):
            candidates.append((row.is_linked, score, row))
    candidates.sort(key=lambda candidate: candidate[:2], reverse=True)
    return [row for _is_linked, _score, row in candidates[:MAX_DUPLICATES]]


def similarity(title: str, other: str) -> float:
    """Return 1 if both titles have the same words in any order, 0 if they have none in common."""
    words, others = _words(title), _words(other)
    if not words or not others:
        return 0.0
    return 2 * len(words & others) / (len(words) + len(others))


def _words(title: str) -> frozenset[str]:
    """Return the words of a title without regard to case, accents and width."""
    plain = normalize("NFKD", title[:MAX_COMPARED_LENGTH].casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    words: set[str] = set()
    for word in _WORD.findall(plain):
        if word >= _FIRST_UNSPACED and len(word) > 1:
            words.update(word[start : start + 2] for start in range(len(word) - 1))
        else:
            words.add(word)
    return frozenset(words)
