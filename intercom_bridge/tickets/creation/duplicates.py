"""Find tickets that a new one may duplicate."""

import re
import unicodedata
from collections.abc import Collection, Iterable

from intercom_bridge.intercom.text import normalize
from intercom_bridge.tickets.rows import TicketRow

from .stop_words import STOP_WORDS

# Of the words of the shorter title, the other one has this share.
MIN_SIMILARITY = 0.6
MAX_DUPLICATES = 5
MAX_COMPARED_LENGTH = 1000
# A title of one word is in nearly every long description.
MIN_WORDS_IN_DESCRIPTION = 2

_WORD = re.compile(r"\w+")
# Scripts from this code point on are written without spaces, so pairs of characters are compared instead of words.
_FIRST_UNSPACED = "\u2e80"


def possible_duplicates(
    title: str, description: str, rows: Iterable[TicketRow], closed_states: Collection[str]
) -> list[TicketRow]:
    """Return the open tickets that are linked to this conversation or about the same.

    A ticket is about the same if its title is similar, or if title and description of the new one have all the words of
    its title. Linked tickets come first, then those whose titles have most in common, MAX_DUPLICATES at most. It takes
    time in proportion to the length of all texts.
    """
    own, text = _words(title), _words(title) | _words(description)
    candidates = []
    for row in rows:
        if not row.status or row.status in closed_states:
            continue
        other = _words(row.title)
        is_described = len(other - STOP_WORDS) >= MIN_WORDS_IN_DESCRIPTION and other - STOP_WORDS <= text
        is_similar = is_described or _similarity(own, other) >= MIN_SIMILARITY
        if row.is_linked or (row.is_ongoing and is_similar):
            in_common = len(own & other) / max(len(own | other), 1)
            candidates.append((row.is_linked, in_common, row))
    candidates.sort(key=lambda candidate: candidate[:2], reverse=True)
    return [row for _is_linked, _in_common, row in candidates[:MAX_DUPLICATES]]


def _similarity(words: frozenset[str], others: frozenset[str]) -> float:
    """Return 1 if one title has all the words of the other in any order, 0 if they have none in common.

    Stop words are ignored: "my laptop does not start" and "Laptop does not boot" are both about a laptop.
    """
    words, others = words - STOP_WORDS or words, others - STOP_WORDS or others
    return len(words & others) / max(min(len(words), len(others)), 1)


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
