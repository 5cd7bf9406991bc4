"""Suggest a ticket's title from the first message of a conversation."""

import re

from intercom_bridge.intercom.html import first_line
from intercom_bridge.intercom.text import clean_text, cut

MAX_SOURCE_LENGTH = 2000
# A shorter sentence ("Please help!") says too little for a title, so the next sentence is added.
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
# The end of a sentence. A dot after a single letter ("e.g.") or before a small letter or a digit ("No. 5") is none.
_END = re.compile(r"(?<!\b[^\W\d_])[.!?…]+(?=\s+(?![a-zß-ÿ\d])|\s*$)|[。！？]|\n")
_SPACES = re.compile(r"[^\S\n]+")


def suggest_title(text: str, limit: int) -> str:
    """Return a title of at most `limit` characters: the first sentence of a plain text, without the greeting.

    If the text contains nothing but greetings, return its first line.
    """
    message = without_greeting(text)
    if not message:
        return first_line(text, limit)
    sentence = " ".join(_first_sentence(message).split())
    if sentence.endswith(".") and not sentence.endswith(".."):
        sentence = sentence[:-1]
    return cut(sentence, limit)


def _first_sentence(text: str) -> str:
    """Return the first sentence, with as many of the next ones as are needed for MIN_SENTENCE_LENGTH characters."""
    for end in _END.finditer(text):
        sentence = text[: end.end()]
        if len(sentence.strip()) >= MIN_SENTENCE_LENGTH:
            return sentence
    return text


def without_greeting(text: str) -> str:
    """Return the beginning of a plain text without its greetings, or "" if there is nothing else."""
    message = _SPACES.sub(" ", clean_text(text[:MAX_SOURCE_LENGTH])).strip()
    for _count in range(MAX_GREETINGS):
        greeting = _GREETING.match(message)
        if not greeting:
            break
        message = message[greeting.end() :].lstrip(" \n,!.:;…–-")
        # What follows a greeting may begin in lower case: "Hello, my laptop is broken".
        if message.split(" ", 1)[0].islower():
            message = message[0].upper() + message[1:]
    return message
