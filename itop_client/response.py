"""Read iTop's responses: return the requested data, or raise the matching error.

The codes and texts come from recorded responses of a real iTop. "Recording 254" means the file in tests/recordings with
a name that begins with 254. An error's text never contains HTML, a token or a password.
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
# A problem is searched for only at the beginning of a long response: in this many characters.
_MAX_SEARCHED: Final = 20_000

_LOGIN_PROBLEMS: Final = {
    "Invalid login": LoginProblem.CREDENTIALS,
    "not authorized to use the web services": LoginProblem.NO_REST_PROFILE,
    "Portal user is not allowed": LoginProblem.PORTAL_USER,
}
# Codes of iTop's class RestResult.
_UNAUTHORIZED_CODE: Final = 1
# A client always sends the version, so this code means that the request was too large: PHP drops all fields of a body
# that exceeds its post_max_size.
_MISSING_VERSION_CODE: Final = 2
_MALFORMED_CODES: Final = frozenset({3, 4, 10, 11, 13})
# Any exception within iTop, including all refusals of a value.
_INTERNAL_ERROR_CODE: Final = 100
# Statuses with which the web server refuses a request before iTop runs.
_TOO_LARGE_STATUSES: Final = frozenset({413, 414, 431})
# MySQL's error numbers that are about one value of the statement.
_TOO_LONG_ERROR, _CHARACTER_ERROR, _PACKET_ERROR = 1406, 1366, 1153
_VALUE_ERRORS: Final = frozenset({_TOO_LONG_ERROR, _CHARACTER_ERROR, _PACKET_ERROR, 1264, 1265, 1292})
# The database closed the connection: it restarted, or a statement exceeded its max_allowed_packet (recording 258).
_CONNECTION_ERROR: Final = 2006
# PHP's text. iTop's HTML page about the error contains it, too.
_OUT_OF_MEMORY: Final = b"Allowed memory size"
_DATABASE_ERROR = re.compile(r", mysql_errno = (\d+), mysql_error = ")
_COLUMN = re.compile(r"column (?:'(\w+)'|(?:`\w+`\.)*`(\w+)`)")

# The end of each text with which iTop's checks refuse an object, in every language and version.
_ISSUES = re.compile(r": issues = \{.*\Z", re.DOTALL)
# The text about a refused value begins in the language of the account, but the reason at its end is always English. The
# attribute's code is in parentheses after its label, or (iTop 2.7) in quotes.
_REASONS: Final = (
    "Null not allowed",
    "Value not allowed",
    "String too long",
    "Wrong format",
    "Invalid object ",
)
_REFUSED_VALUE = re.compile(
    r"(?:(?:(?<!\w)'(?P<label>.{0,200}?)' ?)?\((?P<attribute>\w+)\)|'(?P<quoted>\w+)')[^:()\n]{0,60}:\s*"
    rf"(?P<detail>(?:{'|'.join(_REASONS)}).*?)"
    r"(?=, [^,:]{0,200}(?:\(\w+\)|'\w+')[^:()\n]{0,60}:\s*"
    rf"(?:{'|'.join(_REASONS)})|\Z)",
    re.DOTALL,
)
_FAILED_QUERY = re.compile(
    r"Query failed to execute: query = .*?, exception_class = (?P<class>\w+)"
    r", exception_message = (?P<message>.*)",
    re.DOTALL,
)
# The text of an OQL error. Since iTop 3.1.2, it is part of a _FAILED_QUERY. In older versions it stands alone, and in
# every version if the query is the value of an external key.
_OQL_PROBLEM = re.compile(r"[A-Z][^':\n]{0,120} - found '.*?' at \d+ in '", re.DOTALL)
_EXPECTING = re.compile(r"expecting \{([^}]*)")
# A rejection about an attribute begins with its code ("title: ..."). A rejection about the author of a log entry begins
# with the log's code ("public_log: user_id: ...").
_ATTRIBUTE = re.compile(r"(?:(?P<log>\w+): (?=user_id: ))?(?:(?P<attribute>\w+): )?(?P<text>.*)", re.DOTALL)
_TOO_LONG = re.compile(r"String too long \(found (\d+), limited to (\d+)\)")
# The beginnings of texts about a value in a rejection with the code 100.
_ATTRIBUTE_TEXTS: Final = {
    "Wrong format for date": ProblemKind.INVALID_DATE,
    "Failed to parse time string": ProblemKind.INVALID_DATE,
    "Wrong format for ": ProblemKind.INVALID_FORMAT,
    "Missing 'items' elements": ProblemKind.OTHER,
    "Invalid object ": ProblemKind.NO_SUCH_OBJECT,
}
# The same texts, and the reasons with which a check refuses a value. The first one with which a text begins decides.
_PROBLEM_TEXTS: Final = {
    **_ATTRIBUTE_TEXTS,
    "Null not allowed": ProblemKind.MISSING,
    "Value not allowed": ProblemKind.NOT_ALLOWED,
    "Wrong format": ProblemKind.INVALID_FORMAT,
    "String too long": ProblemKind.TOO_LONG,
}

_DECODER: Final = json.JSONDecoder()
_NOTICE = re.compile(r"\b(?:Notice|Warning|Deprecated)\b")
_JSON_BEGINNINGS: Final = ('{"objects"', '{"code"', '{"version"', '{"operations"', '{"authorized"', '{"data"')


def classify(status: int, content_type: str, body: bytes) -> dict[str, Any]:
    """Return the response's JSON object (the envelope) if its code is 0. Otherwise raise the matching ItopError."""
    envelope = _read_envelope(body)
    if status == 401:
        raise ItopLoginError("HTTP 401", status=status)
    # iTop's response if the account of the token is disabled.
    if envelope is None and body.strip() == b"Bad user":
        raise ItopLoginError("Bad user", status=status, problem=LoginProblem.DISABLED)
    if status in _TOO_LARGE_STATUSES:
        raise RequestTooLargeError(f"HTTP {status}")
    if envelope is None and status == 500 and _OUT_OF_MEMORY in body[:_MAX_SEARCHED]:
        raise OutOfResourcesError("HTTP 500: PHP's memory_limit is exhausted", status=status)
    if envelope is None:
        error_class = ItopUnavailableError if _is_fault_of_instance(status) else UnclassifiedError
        raise error_class(_describe(status, content_type, body), status=status)
    code = envelope.get("code")
    message = envelope.get("message")
    text = message if isinstance(message, str) else ""
    if isinstance(code, bool) or not isinstance(code, int):
        reason = _maintenance_text(envelope) or "a response without a code"
        raise ItopUnavailableError(f"HTTP {status}: {reason}", status=status)
    if not 200 <= status < 300:
        raise ItopUnavailableError(f"HTTP {status}, code {code}: {_shorten(text)}", status=status)
    if code == 0:
        return envelope
    raise _error_for_code(code, text)


def _is_fault_of_instance(status: int) -> bool:
    """Return whether a response with this HTTP status and without JSON cannot be the fault of the single request."""
    # Below 400: a page or a redirect. 404: a wrong address. The others come from a proxy or the web server.
    return status < 400 or status in (404, 407, 429, 502, 503, 504)


def _read_envelope(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, or None. With display_errors, PHP may write notices around the object."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    start = 0
    if not text.startswith("{"):
        starts = [text.index(beginning) for beginning in _JSON_BEGINNINGS if beginning in text]
        if not starts or not _NOTICE.search(text[: min(starts)]):
            return None
        start = min(starts)
    try:
        envelope, _end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return envelope if isinstance(envelope, dict) else None


def _maintenance_text(envelope: Mapping[str, Any]) -> str:
    """Return iTop's message if it is under maintenance, else "".

    The response then comes from iTop's web pages, not from its REST interface: {"data": [{"message": "..."}]}.
    """
    data = envelope.get("data")
    first = data[0] if isinstance(data, list) and data else None
    return _shorten(str(first.get("message", ""))) if isinstance(first, dict) else ""


def _describe(status: int, content_type: str, body: bytes) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: the address redirects elsewhere; it must be iTop's own"
    if not body.strip():
        return f"HTTP {status}: an empty response"
    mime_type = content_type.partition(";")[0].strip() or "no content type"
    return f"HTTP {status}: not a response of iTop's REST interface ({_shorten(mime_type)})"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_DETAIL_LENGTH else text[: MAX_DETAIL_LENGTH - 1] + "…"


def _error_for_code(code: int, message: str) -> ItopError:  # noqa: PLR0911 - one per kind of error
    """Return the error for a response with a code other than 0."""
    text = message.removeprefix("Error: ")
    if code == _UNAUTHORIZED_CODE:
        return _access_error(text, _shorten(_ISSUES.sub("", text)))
    if code == _MISSING_VERSION_CODE:
        return RequestTooLargeError(_shorten(text))
    if code in _MALFORMED_CODES:
        return MalformedRequestError(_shorten(text))
    database_errors = list(_DATABASE_ERROR.finditer(text))
    if database_errors:
        # Only the last one is the database's. What precedes it quotes the query, and people's texts in the query may
        # look like an error.
        return _database_error(code, int(database_errors[-1][1]), text, text[database_errors[-1].end() :])
    if code in _VALUE_ERRORS:  # MySQL's number as iTop's code (recording 254)
        return _value_error(code, text, _shorten(_remove_query(text)))
    is_internal_error = code == _INTERNAL_ERROR_CODE
    if _ISSUES.search(text) or (is_internal_error and _REFUSED_VALUE.search(text[:_MAX_SEARCHED])):
        return _check_error(_ISSUES.sub("", text))
    rejection = _rejection(text, _shorten(text)) if is_internal_error else None
    return rejection or UnclassifiedError(f"code {code}: {_shorten(_remove_query(text))}")


def _database_error(code: int, number: int, text: str, database_text: str) -> ItopError:
    """Return the error for a text that contains an error of the database: MySQL's number, and MySQL's own text."""
    detail = _shorten(_remove_query(text))
    if number in _VALUE_ERRORS:
        return _value_error(number, database_text, detail)
    if code == _INTERNAL_ERROR_CODE and (rejection := _rejection(text, _shorten(text))):
        return rejection
    error_class = OutOfResourcesError if number == _CONNECTION_ERROR else UnclassifiedError
    return error_class(f"code {code}: {detail}")


def _value_error(number: int, database_text: str, detail: str) -> ItopRejectedError:
    """Return the error for a value that the database does not accept."""
    columns = [quoted or backquoted for quoted, backquoted in _COLUMN.findall(database_text)]
    column = columns[-1] if columns else ""  # the last one, because a quoted value may look like a column
    # iTop stores the index of the log public_log in the column public_log_index.
    if number == _TOO_LONG_ERROR and (not column or column.endswith("_index")):
        return LogFullError(detail, attribute=column.removesuffix("_index"))
    if number == _PACKET_ERROR:
        return RequestTooLargeError(detail)
    if number == _CHARACTER_ERROR:
        return UnsupportedCharacterError(detail, attribute=column)
    kind = ProblemKind.TOO_LONG if number == _TOO_LONG_ERROR else ProblemKind.NOT_ALLOWED
    return InvalidValueError(detail, problems=(ValueProblem(column, "", detail, kind),))


def _check_error(text: str) -> ItopRejectedError:
    """Return the error for an object that a check of iTop refused: InvalidValueError if iTop names the values."""
    problems = tuple(
        _problem(value["attribute"] or value["quoted"], value["detail"], value["label"] or "")
        for value in _REFUSED_VALUE.finditer(text[:_MAX_SEARCHED])
    )
    detail = _shorten(text)
    return InvalidValueError(detail, problems=problems) if problems else CheckFailedError(detail)


def _remove_query(text: str) -> str:
    """Remove the SQL or OQL that an error quotes, because a query contains people's texts, of any length."""
    head, separator, rest = text.partition(": query = ")
    if not separator:
        return text
    query_end = max(
        rest.rfind(following)
        for following in (", mysql_errno = ", ", mysql_error = ", ", exception_class = ")
    )
    return head + (rest[query_end:] if query_end >= 0 else "")


def _access_error(text: str, detail: str) -> ItopError:
    """Return the error for the code "unauthorized"."""
    if "Only administrators can set the user id" in text:
        return ItopNotAdministratorError(detail)
    if "does not have enough permissions" in text:
        return ItopPermissionError(detail)
    for phrase, problem in _LOGIN_PROBLEMS.items():
        if phrase in text:
            return ItopLoginError(detail, problem=problem)
    return UnclassifiedError(f"code 1: {detail}")


def _rejection(text: str, detail: str) -> ItopRejectedError | None:  # noqa: PLR0911 - one per known text
    """Return the rejection that this text of an internal error describes. Return None if the text is unknown."""
    if failed := _FAILED_QUERY.match(text):
        return _query_rejection(failed["class"], failed["message"])
    if _OQL_PROBLEM.match(text):
        return _query_rejection("oql", text)  # the text does not name the exception's class
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
    """Return the rejection that this text describes: of an attribute's value, or of the object that was asked for."""
    attribute = ""
    if parts := _ATTRIBUTE.match(text):
        attribute, text = parts["attribute"] or "", parts["text"]
    if text.startswith(("No item found for query", "No item found with criteria")):
        return NoMatchError(detail, attribute=attribute)
    if text.startswith("Several items found ("):
        return MultipleMatchesError(detail, attribute=attribute)
    if attribute and text.startswith("Unknown attribute"):
        return UnknownAttributeError(detail, attribute=attribute)
    if not attribute and text.startswith("Invalid object "):
        return ObjectNotFoundError(detail)
    if attribute and (_OQL_PROBLEM.match(text) or text.startswith(tuple(_ATTRIBUTE_TEXTS))):
        return InvalidValueError(detail, problems=(_problem(attribute, text),))
    return None


def _problem(attribute: str, text: str, label: str = "") -> ValueProblem:
    # iTop reads a text in an external key as OQL, so an OQL error there means that no such object exists.
    default = ProblemKind.NO_SUCH_OBJECT if _OQL_PROBLEM.match(text) else ProblemKind.OTHER
    kind = next((kind for start, kind in _PROBLEM_TEXTS.items() if text.startswith(start)), default)
    lengths = _TOO_LONG.match(text)
    length, max_length = (int(lengths[1]), int(lengths[2])) if lengths else (0, 0)
    return ValueProblem(attribute, label, _shorten(text), kind, length, max_length)


def _query_rejection(exception_class: str, message: str) -> ItopRejectedError | None:
    """Return the rejection of an OQL query. Return None for an exception that is not about the query's text."""
    detail = _shorten(message.partition(", expecting {")[0])
    listed = _EXPECTING.search(message)
    known = tuple(name.strip() for name in listed[1].split(",")) if listed else ()
    if found := re.match(r"Unknown filter code - found '(\w+)'", message):
        return UnknownAttributeError(detail, attribute=found[1], known=known)
    if message.startswith("Unknown class - "):
        found = re.match(r"Unknown class - found '(\w+)'", message)
        return UnknownClassError(detail, class_name=found[1] if found else "", known=known)
    # Other exceptions are, for example, those of the database.
    return InvalidQueryError(detail) if "oql" in exception_class.lower() else None


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
        """Return the attribute as a number, 0 if it is not a number. An external key without an object is 0, too."""
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
    """Return the error for a response that iTop should never send. `problem` says what is wrong with the response."""
    return ItopUnavailableError(f"unexpected response: {problem}")
