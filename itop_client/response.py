"""Read iTop's responses: return the requested data, or raise the matching error.

The codes and texts are those of the recordings in tests/recordings/itop. An error's text never contains HTML, a token
or a password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import (
    CheckFailedError,
    InvalidQueryError,
    InvalidStimulusError,
    InvalidValueError,
    ItopError,
    ItopLoginError,
    ItopNotAdministratorError,
    ItopPermissionError,
    ItopRejectedError,
    ItopUnavailableError,
    LogFullError,
    LoginProblem,
    MalformedRequestError,
    MultipleMatchesError,
    NoMatchError,
    ObjectNotFoundError,
    OutOfResourcesError,
    ProblemKind,
    RequestTooLargeError,
    UnclassifiedError,
    UnknownAttributeError,
    UnknownClassError,
    UnsupportedCharacterError,
    ValueProblem,
)

MAX_DETAIL_LENGTH: Final = 1000
# Of a refusal, this many characters are searched for attributes.
_MAX_CHECKED: Final = 20_000


_LOGIN_PROBLEMS: Final = {
    "Invalid login": LoginProblem.CREDENTIALS,
    "not authorized to use the web services": LoginProblem.NO_REST_PROFILE,
    "Portal user is not allowed": LoginProblem.PORTAL_USER,
}
_MALFORMED_CODES: Final = frozenset({3, 4, 10, 11, 13})
# The version is missing. A client always sends it, but PHP drops all fields of a body over its post_max_size.
_NO_FIELDS_CODE: Final = 2
# Statuses of the web server, before iTop ran.
_TOO_LARGE_STATUSES: Final = frozenset({413, 414, 431})
# MySQL's error numbers that are about one value, not about the database.
_TOO_LONG_ERROR, _CHARACTER_ERROR, _PACKET_ERROR = 1406, 1366, 1153
# The database closed the connection: it restarted, or a statement was over its max_allowed_packet (recording 258).
_CONNECTION_ERROR: Final = 2006
# PHP's text, also within iTop's page about it.
_OUT_OF_MEMORY: Final = b"Allowed memory size"
_VALUE_ERRORS: Final = frozenset({_TOO_LONG_ERROR, _CHARACTER_ERROR, _PACKET_ERROR, 1264, 1265, 1292})
_DATABASE_ERROR = re.compile(r", mysql_errno = (\d+), mysql_error = ")
_COLUMN = re.compile(r"column (?:'(\w+)'|(?:`\w+`\.)*`(\w+)`)")

# Follows every refusal of an object by a check, in every language and version.
_ISSUES = re.compile(r": issues = \{.*\Z", re.DOTALL)
# iTop says what is wrong with a value in the language of the account; the reason behind it is always English. The
# attribute's code is in brackets after its label, or (iTop 2.7) in quotes.
_REASONS: Final = (
    "Null not allowed",
    "Value not allowed",
    "String too long",
    "Wrong format",
    "Invalid object ",
)
_UNEXPECTED = re.compile(
    r"(?:(?:(?<!\w)'(?P<label>.{0,200}?)' ?)?\((?P<attribute>\w+)\)|'(?P<quoted>\w+)')[^:()\n]{0,60}:\s*"
    rf"(?P<detail>(?:{'|'.join(_REASONS)}).*?)"
    r"(?=, [^,:]{0,200}(?:\(\w+\)|'\w+')[^:()\n]{0,60}:\s*"
    rf"(?:{'|'.join(_REASONS)})|\Z)",
    re.DOTALL,
)
_FAILED_QUERY = re.compile(
    r"Query failed to execute: query = .*?, exception_class = (?P<kind>\w+)"
    r", exception_message = (?P<message>.*)",
    re.DOTALL,
)
# The texts of OQL errors: bare before iTop 3.1.2 and in the value of an external key, else within the frame above.
_OQL_PROBLEM = re.compile(r"[A-Z][^':\n]{0,120} - found '.*?' at \d+ in '", re.DOTALL)
_EXPECTING = re.compile(r"expecting \{([^}]*)")
# A rejection that is about an attribute starts with its code, one about a part of a log with two codes.
_ATTRIBUTE = re.compile(r"(?:(?P<log>\w+): (?=user_id: ))?(?:(?P<attribute>\w+): )?(?P<text>.*)", re.DOTALL)
_TOO_LONG = re.compile(r"String too long \(found (\d+), limited to (\d+)\)")
_VALUE_PROBLEMS: Final = {
    "Wrong format for date": ProblemKind.INVALID_DATE,
    "Failed to parse time string": ProblemKind.INVALID_DATE,
    "Wrong format for ": ProblemKind.INVALID_FORMAT,
    "Missing 'items' elements": ProblemKind.OTHER,
    "Invalid object ": ProblemKind.NO_SUCH_OBJECT,
}
_UNEXPECTED_PROBLEMS: Final = {
    **_VALUE_PROBLEMS,
    "Null not allowed": ProblemKind.MISSING,
    "Value not allowed": ProblemKind.NOT_ALLOWED,
    "Wrong format": ProblemKind.INVALID_FORMAT,
    "String too long": ProblemKind.TOO_LONG,
}


_DECODER: Final = json.JSONDecoder()
_NOTICE = re.compile(r"\b(?:Notice|Warning|Deprecated)\b")
# How iTop's JSON begins.
_STARTS: Final = ('{"objects"', '{"code"', '{"version"', '{"operations"', '{"authorized"', '{"data"')


def classify(status: int, content_type: str, body: bytes) -> dict[str, Any]:
    """Return the parsed envelope if iTop did what it was asked (code 0), else raise the matching ItopError."""
    envelope = _read_envelope(body)
    if status == 401:
        raise ItopLoginError("HTTP 401", status=status)
    if envelope is None and body.strip() == b"Bad user":
        raise ItopLoginError("Bad user", status=status, problem=LoginProblem.DISABLED)
    if status in _TOO_LARGE_STATUSES:
        raise RequestTooLargeError(f"HTTP {status}")
    if envelope is None and status == 500 and _OUT_OF_MEMORY in body[:_MAX_CHECKED]:
        raise OutOfResourcesError("HTTP 500: PHP's memory_limit is exhausted", status=status)
    if envelope is None:
        kind = ItopUnavailableError if _is_instance_status(status) else UnclassifiedError
        raise kind(_describe(status, content_type, body), status=status)
    code = envelope.get("code")
    message = envelope.get("message")
    text = message if isinstance(message, str) else ""
    if isinstance(code, bool) or not isinstance(code, int):
        said = _maintenance_text(envelope) or "a response without a code"
        raise ItopUnavailableError(f"HTTP {status}: {said}", status=status)
    if not 200 <= status < 300:
        raise ItopUnavailableError(f"HTTP {status}, code {code}: {_shorten(text)}", status=status)
    if code == 0:
        return envelope
    raise _error(code, text)


def _is_instance_status(status: int) -> bool:
    """Return whether the status is that of an instance that is away, whatever it was asked."""
    return status < 400 or status in (404, 407, 429, 502, 503, 504)


def _read_envelope(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body. PHP may write notices or byte order marks around it (display_errors)."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    start = 0
    if not text.startswith("{"):
        start = min((found for mark in _STARTS if (found := text.find(mark)) >= 0), default=-1)
        if start < 0 or not _NOTICE.search(text[:start]):
            return None
    try:
        envelope, _end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return envelope if isinstance(envelope, dict) else None


def _maintenance_text(envelope: Mapping[str, Any]) -> str:
    """Return the text of an instance under maintenance: a response of iTop's pages, not of its REST interface."""
    data = envelope.get("data")
    first = data[0] if isinstance(data, list) and data else None
    return _shorten(str(first.get("message", ""))) if isinstance(first, dict) else ""


def _describe(status: int, content_type: str, body: bytes) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: the address redirects elsewhere; it must be iTop's own"
    if not body.strip():
        return f"HTTP {status}: an empty response"
    kind = content_type.partition(";")[0].strip() or "no content type"
    return f"HTTP {status}: not a response of iTop's REST interface ({_shorten(kind)})"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_DETAIL_LENGTH else text[: MAX_DETAIL_LENGTH - 1] + "…"


def _error(code: int, message: str) -> ItopError:
    text = message.removeprefix("Error: ")
    if code == 1:
        return _access_error(text, _shorten(_ISSUES.sub("", text)))
    if code == _NO_FIELDS_CODE:
        return RequestTooLargeError(_shorten(text))
    if code in _MALFORMED_CODES:
        return MalformedRequestError(_shorten(text))
    # The last one: the query before it contains what people wrote, perhaps another error.
    database = next(reversed([*_DATABASE_ERROR.finditer(text)]), None)
    number = int(database[1]) if database else code
    if number in _VALUE_ERRORS:
        said = text[database.end() :] if database else text
        return _value_error(number, said, _shorten(_remove_query(text)))
    if database is None and (
        _ISSUES.search(text) or (code == 100 and _UNEXPECTED.search(text[:_MAX_CHECKED]))
    ):
        return _check_error(_ISSUES.sub("", text))
    rejection = _rejection(text, _shorten(text)) if code == 100 else None
    kind = OutOfResourcesError if database and number == _CONNECTION_ERROR else UnclassifiedError
    return rejection or kind(f"code {code}: {_shorten(_remove_query(text))}")


def _value_error(number: int, said: str, detail: str) -> ItopRejectedError:
    """Return the error for a value that the database does not accept. `said` is the database's own text."""
    # The last one: a quoted value may look like it.
    column = next((name or quoted for name, quoted in reversed(_COLUMN.findall(said))), "")
    if number == _TOO_LONG_ERROR and (not column or column.endswith("_index")):
        return LogFullError(detail, attribute=column.removesuffix("_index"))
    if number == _PACKET_ERROR:
        return RequestTooLargeError(detail)
    if number == _CHARACTER_ERROR:
        return UnsupportedCharacterError(detail, attribute=column)
    kind = ProblemKind.TOO_LONG if number == _TOO_LONG_ERROR else ProblemKind.NOT_ALLOWED
    return InvalidValueError(detail, problems=(ValueProblem(column, "", detail, kind),))


def _check_error(text: str) -> ItopRejectedError:
    """Return the error for an object that a check of iTop refused, with the values that iTop names, if it names any."""
    problems = tuple(
        _problem(found["attribute"] or found["quoted"], found["detail"], found["label"] or "")
        for found in _UNEXPECTED.finditer(text[:_MAX_CHECKED])
    )
    detail = _shorten(text)
    return InvalidValueError(detail, problems=problems) if problems else CheckFailedError(detail)


def _remove_query(text: str) -> str:
    """Remove the SQL or OQL that a database error quotes: it contains what people wrote, at any length."""
    head, found, rest = text.partition(": query = ")
    if not found:
        return text
    error = max(rest.rfind(mark) for mark in (", mysql_errno = ", ", mysql_error = ", ", exception_class = "))
    return head + (rest[error:] if error >= 0 else "")


def _access_error(text: str, detail: str) -> ItopError:
    if "Only administrators can set the user id" in text:
        return ItopNotAdministratorError(detail)
    if "does not have enough permissions" in text:
        return ItopPermissionError(detail)
    for phrase, problem in _LOGIN_PROBLEMS.items():
        if phrase in text:
            return ItopLoginError(detail, problem=problem)
    return UnclassifiedError(f"code 1: {detail}")


def _rejection(text: str, detail: str) -> ItopRejectedError | None:  # noqa: PLR0911 - one per known text
    """Return the rejection that the text of a code 100 describes, or None if it is not known as a rejection."""
    if failed := _FAILED_QUERY.match(text):
        return _query_rejection(failed["kind"], failed["message"])
    if _OQL_PROBLEM.match(text):
        return _query_rejection("oql", text)
    if text.startswith("Missing mandatory attribute(s) for applying the stimulus: "):
        missing = re.findall(r"\w+", text.partition("stimulus: ")[2])
        return InvalidStimulusError(detail, attribute=missing[0] if missing else "")
    if text.startswith("Invalid stimulus: "):
        return InvalidStimulusError(detail)
    if text.startswith(("Missing parameter ", "Wrong format for key")):
        return MalformedRequestError(detail)
    if found := re.match(r"class: '(.*)' is not a valid class", text, re.DOTALL):
        return UnknownClassError(detail, class_name=found[1])
    if found := re.match(r"output_fields: invalid attribute code '(\w*)'", text):
        return UnknownAttributeError(detail, attribute=found[1])
    return _attribute_rejection(text, detail)


def _attribute_rejection(text: str, detail: str) -> ItopRejectedError | None:
    parts = _ATTRIBUTE.match(text)
    attribute, text = (parts["attribute"] or "", parts["text"]) if parts else ("", text)
    if text.startswith(("No item found for query", "No item found with criteria")):
        return NoMatchError(detail, attribute=attribute)
    if text.startswith("Several items found ("):
        return MultipleMatchesError(detail, attribute=attribute)
    if attribute and text.startswith("Unknown attribute"):
        return UnknownAttributeError(detail, attribute=attribute)
    if not attribute and text.startswith("Invalid object "):
        return ObjectNotFoundError(detail)
    if attribute and (_OQL_PROBLEM.match(text) or text.startswith(tuple(_VALUE_PROBLEMS))):
        return InvalidValueError(detail, problems=(_problem(attribute, text),))
    return None


def _problem(attribute: str, text: str, label: str = "") -> ValueProblem:
    other = ProblemKind.NO_SUCH_OBJECT if _OQL_PROBLEM.match(text) else ProblemKind.OTHER
    kind = next((kind for phrase, kind in _UNEXPECTED_PROBLEMS.items() if text.startswith(phrase)), other)
    lengths = _TOO_LONG.match(text)
    length, max_length = (int(lengths[1]), int(lengths[2])) if lengths else (0, 0)
    return ValueProblem(attribute, label, _shorten(text), kind, length, max_length)


def _query_rejection(kind: str, message: str) -> ItopRejectedError | None:
    detail = _shorten(message.partition(", expecting {")[0])
    listed = _EXPECTING.search(message)
    known = tuple(name.strip() for name in listed[1].split(",")) if listed else ()
    if found := re.match(r"Unknown filter code - found '(\w+)'", message):
        return UnknownAttributeError(detail, attribute=found[1], known=known)
    if message.startswith("Unknown class - "):
        found = re.match(r"Unknown class - found '(\w+)'", message)
        return UnknownClassError(detail, class_name=found[1] if found else "", known=known)
    # Any other exception, such as the database's, is not about the query's text.
    return InvalidQueryError(detail) if "oql" in kind.lower() else None


@dataclass(frozen=True)
class ItopObject:
    """An object in a response. `fields` holds only the attributes that were asked for; all scalars are text."""

    class_name: str
    id: int
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def text(self, code: str) -> str:
        """Return the attribute as text, "" if it is null, absent, or not a scalar (a log, a set of links)."""
        value = self.fields.get(code)
        return str(value) if isinstance(value, (str, int, float)) else ""

    def integer(self, code: str) -> int:
        """Return the attribute as a number, such as an external key; 0 (iTop's "none") if it is not a number."""
        try:
            return int(self.text(code))
        except ValueError:
            return 0


def read_objects(envelope: Mapping[str, Any]) -> tuple[ItopObject, ...]:
    """Return the objects of an envelope. Raise ItopUnavailableError if they cannot be read."""
    objects = envelope.get("objects")
    if objects is None:
        return ()
    if not isinstance(objects, dict):
        raise unexpected_response("its objects are not a map")
    return tuple(_read_object(value) for value in objects.values())


def _read_object(value: object) -> ItopObject:
    if not isinstance(value, dict) or not isinstance(value.get("class"), str):
        raise unexpected_response("one of its objects has no class")
    if value.get("code", 0) != 0:
        raise unexpected_response("one of its objects has an error code")
    key, fields = value.get("key"), value.get("fields")
    if not isinstance(key, (str, int)) or not re.fullmatch(r"\d{1,18}", str(key)):
        raise unexpected_response("one of its objects has no valid id")
    # PHP writes an empty map as an empty list.
    if not fields and not isinstance(fields, dict):
        fields = {}
    if not isinstance(fields, dict):
        raise unexpected_response("one of its objects has no fields")
    return ItopObject(value["class"], int(key), fields)


def read_total(envelope: Mapping[str, Any]) -> int:
    """Return how many objects a query matched. Raise ItopUnavailableError if the response does not say so."""
    total = re.fullmatch(r"Found: (\d{1,18})", str(envelope.get("message")))
    if total is None:
        raise unexpected_response("it does not say how many objects it found")
    return int(total[1])


def read_deleted(envelope: Mapping[str, Any]) -> int:
    """Return how many objects were deleted. Raise ItopUnavailableError if the response does not say so."""
    deleted = re.match(r"Deleted: (\d{1,18})\b", str(envelope.get("message")))
    if deleted is None:
        raise unexpected_response("it does not say how many objects it deleted")
    return int(deleted[1])


def read_operations(envelope: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the operations that iTop offers. Raise ItopUnavailableError if the response lists none."""
    operations = envelope.get("operations")
    if not isinstance(operations, list):
        raise unexpected_response("it lists no operations")
    return tuple(
        str(operation["verb"])
        for operation in operations
        if isinstance(operation, dict) and "verb" in operation
    )


def unexpected_response(problem: str) -> ItopUnavailableError:
    """Return the error for a response that iTop should never send."""
    return ItopUnavailableError(f"unexpected response: {problem}")
