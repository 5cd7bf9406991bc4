"""Find tickets that a new one may duplicate."""

import re
import unicodedata
from collections.abc import Collection, Iterable

from intercom_bridge.intercom.text import normalize
from intercom_bridge.tickets.rows import TicketRow

from .stop_words import STOP_WORDS

# Two titles are similar if this share of the shorter title's words also occurs in the other title.
MIN_SIMILARITY = 0.6
MAX_DUPLICATES = 5
MAX_COMPARED_LENGTH = 1000
# A shorter title is not searched for in the description, because a single word occurs in nearly every long text.
MIN_WORDS_IN_DESCRIPTION = 2

_WORD = re.compile(r"\w+")
# The scripts from this code point on, such as Chinese, have no spaces between words. Instead of their words, pairs of
# characters are compared.
_FIRST_UNSPACED = "\u2e80"


def possible_duplicates(
    title: str, description: str, rows: Iterable[TicketRow], closed_states: Collection[str]
) -> list[TicketRow]:
    """Return the open tickets that the new one may duplicate, MAX_DUPLICATES at most.

    These are all tickets linked to this conversation, and the contact's ongoing tickets about the same subject. A
    ticket is about the same subject if its title is similar to the new one's, or if all words of its title occur in
    the new one's title and description. Linked tickets come first, then those whose titles have most words in common.
    """
    title_words = _words(title)
    all_words = title_words | _words(description)
    candidates = []
    for row in rows:
        # Without a status, iTop no longer has the ticket.
        if not row.status or row.status in closed_states:
            continue
        row_words = _words(row.title)
        subject = row_words - STOP_WORDS
        is_described = len(subject) >= MIN_WORDS_IN_DESCRIPTION and subject <= all_words
        has_same_subject = is_described or _similarity(title_words, row_words) >= MIN_SIMILARITY
        if row.is_linked or (row.is_ongoing and has_same_subject):
            share_in_common = len(title_words & row_words) / max(len(title_words | row_words), 1)
            candidates.append((row.is_linked, share_in_common, row))
    candidates.sort(key=lambda candidate: candidate[:2], reverse=True)
    return [row for _is_linked, _share_in_common, row in candidates[:MAX_DUPLICATES]]


def _similarity(words: frozenset[str], other_words: frozenset[str]) -> float:
    """Return which share of the shorter title's words occurs in the other title, from 0 to 1.

    Stop words are ignored, unless a title has no other words. So "my laptop does not start" and "Laptop does not boot"
    are similar, because both are about a laptop.
    """
    subject = words - STOP_WORDS or words
    other_subject = other_words - STOP_WORDS or other_words
    shorter_length = min(len(subject), len(other_subject))
    return len(subject & other_subject) / max(shorter_length, 1)


def _words(text: str) -> frozenset[str]:
    """Return the words of a text in a form that ignores case, accents and the width of characters."""
    decomposed = normalize("NFKD", text[:MAX_COMPARED_LENGTH].casefold())
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    words: set[str] = set()
    for word in _WORD.findall(plain):
        is_unspaced = word >= _FIRST_UNSPACED
        if is_unspaced and len(word) > 1:
            words.update(word[start : start + 2] for start in range(len(word) - 1))
        else:
            words.add(word)
    return frozenset(words)
