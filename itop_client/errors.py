"""What can go wrong with iTop, and whose fault it is.

    ItopError
    ├── ItopUnreachable               retry                   no connection: it was certainly never processed
    ├── ItopNoAnswer                  retry  may have run     sent, and no complete answer came in time
    ├── ItopTrouble                   retry  may have run     the instance's: HTTP 5xx, HTML, maintenance,
    │   │                                                     read-only, any answer nobody has seen
    │   ├── ItopLoginRefused          retry                   token, password or account refused
    │   └── ItopNotAllowed            retry                   the account lacks the rights
    │       └── ItopNotAdministrator  retry                   only Administrators set a log entry's author
    └── ItopRefused                                           the request's fault, in one of the known ways
        ├── InvalidValue                                      missing, too long, not allowed, no such object
        ├── UnknownAttribute
        ├── UnknownClass
        ├── BadQuery                                          OQL that does not parse
        ├── ObjectGone                                        the object itself does not exist
        ├── NoMatch                                           a query or criteria that found nothing
        ├── SeveralMatch                                      ... or more than the one object it was to find
        ├── LogFull                                           a case log holds about 300 entries
        ├── BadStimulus                                       wrong state, unknown, or something is missing
        └── MalformedRequest

`retry`: a repeat may succeed with nothing changed. `may_have_run`: a write may have been executed, or may yet
be. Only the known refusals are permanent; whatever else iTop says is the instance's trouble.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final

_TEXT_LIMIT = 1000


def without_words(text: str, words: Iterable[str], instead: str) -> str:
    """The text with these words taken out. Whole ones: a password "admin" must not make "Administrator" unreadable."""
    for word in filter(None, words):
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", instead, text)
    return text


class ItopError(Exception):
    """Whatever keeps a call from succeeding. `reason` is its text."""

    retry: ClassVar[bool] = True
    may_have_run: ClassVar[bool] = True

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason

    def hide(self, secrets: Iterable[str]) -> None:
        """Takes these words out of the error, should iTop have repeated them."""
        self.reason = without_words(self.reason, secrets, "***")
        self.args = (self.reason,)


class ItopUnreachable(ItopError):
    """No connection: the request was certainly never processed."""

    may_have_run = False


class ItopNoAnswer(ItopError):
    """Sending began and no complete answer came in time: a write may have run, or may yet."""


class ItopTrouble(ItopError):
    """The instance cannot serve us, or answers what nobody has seen. It is not the request's fault."""


class ItopLoginRefused(ItopTrouble):
    """The token or password is refused, or the account may not use REST. Nothing was executed."""

    may_have_run = False


class ItopNotAllowed(ItopTrouble):
    """The account lacks rights on the class. Nothing was executed."""

    may_have_run = False


class ItopNotAdministrator(ItopNotAllowed):
    """The account may not set the author of a log entry. Nothing was executed."""


class ItopRefused(ItopError):
    """iTop will not do this, now or later. `attribute` is the code it named, or ""."""

    retry = False
    may_have_run = False

    def __init__(self, reason: str = "", *, attribute: str = "") -> None:
        super().__init__(reason)
        self.attribute = attribute


class InvalidValue(ItopRefused):
    """A value is missing, too long, not allowed or names no object.

    `problems` are (attribute, label, reason) each: iTop may name several.
    """

    def __init__(
        self, reason: str = "", *, attribute: str = "", problems: tuple[tuple[str, str, str], ...] = ()
    ) -> None:
        super().__init__(reason, attribute=attribute or (problems[0][0] if problems else ""))
        self.problems = problems or ((self.attribute, "", reason),)

    def hide(self, secrets: Iterable[str]) -> None:
        secrets = tuple(secrets)
        super().hide(secrets)
        cleaned = []
        for attribute, label, reason in self.problems:
            one = ItopError(reason)
            one.hide(secrets)
            cleaned.append((attribute, label, one.reason))
        self.problems = tuple(cleaned)


class UnknownAttribute(ItopRefused):
    """There is no such attribute. `known`: the valid names, where iTop lists them."""

    def __init__(self, reason: str = "", *, attribute: str = "", known: tuple[str, ...] = ()) -> None:
        super().__init__(reason, attribute=attribute)
        self.known = known


class UnknownClass(ItopRefused):
    """There is no such class in this iTop's data model."""


class BadQuery(ItopRefused):
    """The OQL does not parse, or is ambiguous."""


class ObjectGone(ItopRefused):
    """The object to read or write does not exist."""


class NoMatch(ItopRefused):
    """The query or criteria found nothing. `attribute` is set when they stood for an external key."""


class SeveralMatch(ItopRefused):
    """The query or criteria found more than the one object they were to find."""


class LogFull(ItopRefused):
    """The log's index is full (about 300 entries): not one entry more goes in."""


class BadStimulus(ItopRefused):
    """Not in this state, not known, or something mandatory is missing (`attribute`: the first of that)."""


class MalformedRequest(ItopRefused):
    """iTop could not read the request itself."""


_LOGIN_REFUSED: Final = (
    "Invalid login",
    "not authorized to use the web services",
    "Portal user is not allowed",
)
_MALFORMED_CODES: Final = frozenset({2, 3, 4, 10, 11, 13})
_LOG_FULL_CODE: Final = 1406

_ISSUES = re.compile(r": issues = \{.*\Z", re.DOTALL)
_UNEXPECTED = re.compile(
    r"Unexpected value for attribute '(?P<label>.*?)' \((?P<attribute>\w+)\) : (?P<reason>.*?)"
    r"(?=, Unexpected value for attribute '|\Z)",
    re.DOTALL,
)
_FAILED_QUERY = re.compile(
    r"Query failed to execute: query = .*?, exception_class = (?P<kind>\w+)"
    r", exception_message = (?P<message>.*)",
    re.DOTALL,
)
_EXPECTING = re.compile(r"expecting \{([^}]*)")
# In front of a refusal stands the attribute it is about, if it is about one.
_ATTRIBUTE = re.compile(r"(?:(?P<attribute>\w+): )?(?P<reason>.*)", re.DOTALL)
_BAD_VALUES: Final = (
    "Wrong format for ",
    "Failed to parse time string",
    "Missing 'items' elements",
    "Invalid object ",
    "user_id: Invalid object ",
)


def classify(status: int, content_type: str, body: bytes) -> dict[str, Any]:
    """The parsed envelope when iTop did what it was asked (code 0); raises the right error otherwise.

    The codes and texts are those of the recordings. An error's text never holds HTML, a token or a password.
    """
    envelope = _read_envelope(body)
    if status == 401 or (envelope is None and body.strip() == b"Bad user"):
        raise ItopLoginRefused("iTop refused the account" if status == 401 else "Bad user")
    if envelope is None:
        raise ItopTrouble(_describe(status, content_type, body))
    code = envelope.get("code")
    message = envelope.get("message")
    text = _clip(message) if isinstance(message, str) else ""
    if isinstance(code, bool) or not isinstance(code, int):
        raise ItopTrouble(f"HTTP {status}: an answer without a code")
    if not 200 <= status < 300:
        raise ItopTrouble(f"HTTP {status}, code {code}: {text}")
    if code == 0:
        return envelope
    raise _error(code, message if isinstance(message, str) else "")


def _read_envelope(body: bytes) -> dict[str, Any] | None:
    try:
        envelope = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return envelope if isinstance(envelope, dict) else None


def _describe(status: int, content_type: str, body: bytes) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: the address redirects elsewhere; it must be iTop's own"
    if not body.strip():
        return f"HTTP {status}: an empty answer"
    kind = content_type.partition(";")[0].strip() or "nothing said about its type"
    return f"HTTP {status}: not an answer of iTop's REST ({_clip(kind)})"


def _clip(text: str) -> str:
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def _error(code: int, message: str) -> ItopError:
    text = _ISSUES.sub("", message.removeprefix("Error: "))
    reason = _clip(text)
    if code == 1:
        return _denied(text, reason)
    if code in _MALFORMED_CODES:
        return MalformedRequest(reason)
    if code == _LOG_FULL_CODE:
        reason = _clip(_without_query(text))
        column = re.search(r"for column '(\w+?)(?:_index)?'", reason)
        return LogFull(reason, attribute=column.group(1) if column else "")
    refusal = _refusal(text, reason) if code == 100 else None
    return refusal or ItopTrouble(f"code {code}: {_clip(_without_query(text))}")


def _without_query(text: str) -> str:
    """Without the SQL or OQL that a database's error quotes: what people wrote is in there, at any length."""
    head, found, rest = text.partition(": query = ")
    if not found:
        return text
    error = max(rest.rfind(mark) for mark in (", mysql_errno = ", ", mysql_error = ", ", exception_class = "))
    return head + (rest[error:] if error >= 0 else "")


def _denied(text: str, reason: str) -> ItopError:
    if "Only administrators can set the user id" in text:
        return ItopNotAdministrator(reason)
    if "does not have enough permissions" in text:
        return ItopNotAllowed(reason)
    if any(words in text for words in _LOGIN_REFUSED):
        return ItopLoginRefused(reason)
    return ItopTrouble(f"code 1: {reason}")


def _refusal(text: str, reason: str) -> ItopRefused | None:
    """Code 100 holds nearly everything: a refusal only when its words are known."""
    if problems := _UNEXPECTED.match(text) and tuple(
        (found["attribute"], found["label"], _clip(found["reason"])) for found in _UNEXPECTED.finditer(text)
    ):
        return InvalidValue(reason, problems=problems)
    if failed := _FAILED_QUERY.match(text):
        return _refused_query(failed["kind"], failed["message"])
    if text.startswith("Missing mandatory attribute(s) for applying the stimulus: "):
        missing = re.findall(r"\w+", text.partition("stimulus: ")[2])
        return BadStimulus(reason, attribute=missing[0] if missing else "")
    if text.startswith("Invalid stimulus: "):
        return BadStimulus(reason)
    if text.startswith(("Missing parameter ", "Wrong format for key")):
        return MalformedRequest(reason)
    if re.match(r"class: '.*' is not a valid class", text, re.DOTALL):
        return UnknownClass(reason)
    if found := re.match(r"output_fields: invalid attribute code '(\w*)'", text):
        return UnknownAttribute(reason, attribute=found[1])
    return _refused_attribute(text, reason)


def _refused_attribute(text: str, reason: str) -> ItopRefused | None:
    parts = _ATTRIBUTE.match(text)
    attribute, words = (parts["attribute"] or "", parts["reason"]) if parts else ("", text)
    if words.startswith(("No item found for query", "No item found with criteria")):
        return NoMatch(reason, attribute=attribute)
    if words.startswith("Several items found ("):
        return SeveralMatch(reason, attribute=attribute)
    if attribute and words.startswith("Unknown attribute"):
        return UnknownAttribute(reason, attribute=attribute)
    if not attribute and words.startswith("Invalid object "):
        return ObjectGone(reason)
    if attribute and words.startswith(_BAD_VALUES):
        return InvalidValue(reason, problems=((attribute, "", _clip(words)),))
    return None


def _refused_query(kind: str, message: str) -> ItopRefused | None:
    reason = _clip(message.partition(", expecting {")[0])
    listed = _EXPECTING.search(message)
    known = tuple(name.strip() for name in listed[1].split(",")) if listed else ()
    if found := re.match(r"Unknown filter code - found '(\w+)'", message):
        return UnknownAttribute(reason, attribute=found[1], known=known)
    if message.startswith("Unknown class - "):
        return UnknownClass(reason)
    # Any other exception in there, such as the database's, is not about the query's words.
    return BadQuery(reason) if "oql" in kind.lower() else None
