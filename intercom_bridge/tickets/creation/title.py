"""Suggest a ticket's title from the first message of a conversation."""

import re

from intercom_bridge.intercom.html import first_line
from intercom_bridge.intercom.text import clean_text, cut

MAX_SOURCE_LENGTH = 2000
# A shorter sentence ("Please help!") says too little without the next one.
MIN_SENTENCE_LENGTH = 15
MAX_GREETINGS = 3

_HELLO = (
    r"hi|hiya|hello|hey|greetings|good (?:morning|afternoon|evening|day)"
    r"|bonjour|bonsoir|salut|coucou"
    r"|hallo|moin(?: moin)?|servus|guten (?:morgen|tag|abend)|gr(?:ü|ue)(?:ß|ss) gott|gr(?:ü|ue)ezi"
    r"|hola|buenos d[ií]as|buenas(?: tardes| noches)?"
)
_EVERYBODY = r"there|all|team|everyone|everybody|again|à tous|zusammen|alle|a todos|equipo"
_DEAR = r"dear|ch[eè]re?s?|madame|monsieur|sehr geehrte\w*|liebe[rs]?|estimad[oa]s?|querid[oa]s?"
_GREETING = re.compile(
    # "Hello, ", "Good morning team! ", "Hi Mr. Smith: "
    rf"(?i:{_HELLO})(?i:\ (?:{_EVERYBODY}))?(?:\ [A-ZÀ-Þ][\w'’.-]{{0,40}}){{0,3}}\ ?(?:[,!.:;…–-]+(?=\s|$)|\n|$)"
    # "Dear support team, "
    rf"|(?i:{_DEAR})\b[^\n,!:;]{{0,60}}[,!:;\n]"
    # "hello my laptop is broken"
    rf"|(?i:{_HELLO})(?i:\ (?:{_EVERYBODY}))?(?=[\s,!.:;]|$)"
)
# Not after a single letter ("e.g."), and not before a small letter or a digit ("No. 5").
_END = re.compile(r"(?<!\b[^\W\d_])[.!?…]+(?=\s+(?![a-zß-ÿ\d])|\s*$)|[。！？]|\n")
_SPACES = re.compile(r"[^\S\n]+")


def suggest_title(text: str, limit: int) -> str:
    """Return the first sentence of a plain text without its greeting, in at most `limit` characters."""
    rest = without_greeting(text)
    if not rest:
        return first_line(text, limit)
    end = 0
    for found in _END.finditer(rest):
        end = found.end()
        if len(rest[:end].strip()) >= MIN_SENTENCE_LENGTH:
            break
    else:
        end = len(rest)
    sentence = " ".join(rest[:end].split())
    if sentence.endswith(".") and not sentence.endswith(".."):
        sentence = sentence[:-1]
    return cut(sentence, limit)


def without_greeting(text: str) -> str:
    """Return the beginning of a plain text after its greetings, "" if it says nothing else."""
    rest = _SPACES.sub(" ", clean_text(text[:MAX_SOURCE_LENGTH])).strip()
    for _count in range(MAX_GREETINGS):
        found = _GREETING.match(rest)
        if not found:
            break
        rest = rest[found.end() :].lstrip(" \n,!.:;…–-")
        if rest.split(" ", 1)[0].islower():
            rest = rest[0].upper() + rest[1:]
    return rest
