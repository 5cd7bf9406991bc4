"""Text as people type it: cleaned of what no database takes, and cut where a reader would cut it."""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "…"
ZERO_WIDTH_JOINER = "\u200d"

# All of Unicode's category Cc but tab and line feed, lone surrogates, and the two noncharacters XML refuses.
UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
LINE_ENDS = re.compile("\r\n?")


def clean_text(value: object) -> str:
    """The text without NUL, control characters (line feed and tab stay) and lone surrogates.

    PostgreSQL refuses NUL, UTF-8 refuses lone surrogates and iTop answers code 4 to them
    (facts/itop-rest: "Clean before sending"). Carriage returns become line feeds. What is no string is "".
    """
    if not isinstance(value, str):
        return ""
    return UNWANTED.sub("", LINE_ENDS.sub("\n", value))


def cut(text: str, limit: int) -> str:
    """The text in at most `limit` characters: cut at a word, with `…`, and never inside a visible character.

    A word longer than half of the limit is cut where the room ends. Accents, emoji sequences and flags are
    kept whole or left out whole, so the answer may be a little shorter than the limit.
    """
    if len(text) <= limit:
        return text
    if limit <= 0:
        return ""
    end = limit - 1
    while end > 0 and _continues(text, end):
        end -= 1
    head = text[:end]
    if not text[end].isspace():
        space = max(head.rfind(" "), head.rfind("\n"), head.rfind("\t"))
        if space > limit // 2:
            head = head[:space]
    return head.rstrip() + ELLIPSIS


def _continues(text: str, at: int) -> bool:
    """Whether the character at `at` belongs to the same visible character as the one before it."""
    here, before = text[at], text[at - 1]
    if before == ZERO_WIDTH_JOINER or here == ZERO_WIDTH_JOINER:
        return True
    if unicodedata.category(here).startswith("M"):
        return True
    if "\U0001f3fb" <= here <= "\U0001f3ff":  # skin tones
        return True
    if _is_regional(here):  # flags are pairs: only the second of a pair continues
        run = 0
        while run < at and _is_regional(text[at - 1 - run]):
            run += 1
        return run % 2 == 1
    return False


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
