"""Clean text for databases, normalize it, and cut it at a word."""

import re
import unicodedata
from typing import Literal

ELLIPSIS = "…"
ZERO_WIDTH_JOINER = "\u200d"

# All of Unicode's category Cc except tab and line feed, lone surrogates, and the two noncharacters that XML forbids.
UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
LINE_ENDS = re.compile("\r\n?")
_PIECE_OF_WORD = re.compile(r"\S{1,256}")


def clean_text(value: object) -> str:
    """Return the text without control characters (except line feed and tab) and lone surrogates.

    Carriage returns become line feeds. For anything but a string, return "". Reasons: PostgreSQL rejects NUL, UTF-8
    cannot encode lone surrogates, and iTop rejects requests with lone surrogates (code 4).
    """
    if not isinstance(value, str):
        return ""
    return UNWANTED.sub("", LINE_ENDS.sub("\n", value))


def normalize(form: Literal["NFC", "NFKD"], text: str) -> str:
    """Return the text in a Unicode normalization form, in linear time.

    Python sorts the combining marks of one letter in quadratic time (80 000 marks take 6 s). Therefore the text is
    normalized word by word, and a sequence that is too long for a word is normalized in pieces.
    """
    if text.isascii():
        return text
    return _PIECE_OF_WORD.sub(lambda match: unicodedata.normalize(form, match.group()), text)


def cut(text: str, limit: int) -> str:
    """Return the text in at most `limit` characters. A longer text is cut after a word and ends with `…`.

    If that would remove more than half of the limit, cut inside the word. Never cut inside a visible character, such as
    a letter with an accent, an emoji sequence or a flag.
    """
    if len(text) <= limit:
        return text
    if limit <= 0:
        return ""
    end = limit - 1
    while end > 0 and _continues_character(text, end):
        end -= 1
    head = text[:end]
    if not text[end].isspace():
        space = max(head.rfind(" "), head.rfind("\n"), head.rfind("\t"))
        if space > limit // 2:
            head = head[:space]
    return head.rstrip() + ELLIPSIS


def _continues_character(text: str, index: int) -> bool:
    """Return whether the code point at `index` belongs to the same visible character as the one before it."""
    current, previous = text[index], text[index - 1]
    if ZERO_WIDTH_JOINER in (current, previous):
        return True
    if unicodedata.category(current).startswith("M"):
        return True
    if "\U0001f3fb" <= current <= "\U0001f3ff":  # skin tones
        return True
    if _is_regional_indicator(current):
        # A flag is a pair of indicators: this is the second one if an odd number of indicators precedes it.
        preceding = 0
        while preceding < index and _is_regional_indicator(text[index - 1 - preceding]):
            preceding += 1
        return preceding % 2 == 1
    return False


def _is_regional_indicator(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
