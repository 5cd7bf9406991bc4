"""How responses become errors, beyond what the recordings contain."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

import itop_client
from intercom_bridge.intercom import client as intercom
from intercom_bridge.models.reason import ReasonCode
from itop_client import (
    InvalidValueError,
    ItopError,
    ItopLoginError,
    ItopPermissionError,
    ItopRejectedError,
    ItopUnavailableError,
    ItopUnreachableError,
    LogFullError,
    NoMatchError,
    ProblemKind,
    RemoteError,
    UnclassifiedError,
    UnknownAttributeError,
    ValueProblem,
    classify,
)

NOTHING_EXECUTED = (ItopUnreachableError, ItopLoginError, ItopPermissionError, ItopRejectedError)


def error_of(envelope: Any, status: int = 200, content_type: str = "application/json") -> ItopError:
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    with pytest.raises(ItopError) as caught:
        classify(status, content_type, body)
    return caught.value


def rejection_of(message: str, code: int = 100) -> ItopError:
    return error_of({"code": code, "message": message, "objects": None})


def subclasses(base: type[RemoteError]) -> list[type[RemoteError]]:
    return [base, *(kind for direct in base.__subclasses__() for kind in subclasses(direct))]


ITOP_ERRORS = [kind for kind in subclasses(ItopError) if kind is not ItopError]
ALL_ERRORS = [kind for kind in subclasses(RemoteError) if kind is not RemoteError]


@pytest.mark.parametrize("kind", ITOP_ERRORS)
def test_each_error_says_whether_to_retry_and_whether_a_write_may_have_run(kind: type[ItopError]) -> None:
    assert kind.retry is not issubclass(kind, ItopRejectedError)
    assert kind.may_have_run is not issubclass(kind, NOTHING_EXECUTED)
    assert kind.__name__ in (itop_client.errors.__doc__ or "")


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_each_error_has_a_reason_code_and_a_readable_sentence(kind: type[RemoteError]) -> None:
    assert kind.code in ReasonCode.values
    assert kind.code.startswith("intercom_") is issubclass(kind, intercom.IntercomError)
    assert str(kind()) == f"{kind.summary}."
    assert str(kind("HTTP 503")) == f"{kind.summary}: HTTP 503"
    assert kind("HTTP 503").detail == "HTTP 503"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b'"text"',
        b"7",
        b"{}",
        b'{"code": null}',
        b'{"code": "0"}',
        b'{"code": true}',
        b'{"code": false}',
        b'{"code": 0.0}',
        b'{"code": NaN}',
        b'{"message": "Found: 0"}',
        b'{"code": 0',
        b"\xff\xfe\x00",
        b"<html>Maintenance</html>",
        b"[" * 100_000,
        b'{"code":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a":' * 100_000,
        b'{"code": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_a_body_that_is_not_an_envelope_is_the_instances_fault(body: bytes) -> None:
    error = error_of(body)
    assert type(error) is ItopUnavailableError
    assert (error.retry, error.may_have_run) == (True, True)


def test_html_is_never_repeated_in_an_error() -> None:
    error = error_of(b"<html><body>secret stack trace</body></html>", 502, "text/html; charset=UTF-8")
    assert isinstance(error, ItopUnavailableError)
    assert error.status == 502
    assert error.detail == "HTTP 502: not a response of iTop's REST interface (text/html)"


@pytest.mark.parametrize("status", [302, 400, 403, 404, 500, 502, 503, 504])
def test_an_envelope_with_an_error_status_is_the_instances_fault(status: int) -> None:
    for envelope in (
        {"code": 0, "message": "Found: 0", "objects": None},
        {"code": 100, "message": "Error: Invalid object UserRequest::1"},
    ):
        error = error_of(envelope, status)
        assert type(error) is ItopUnavailableError
        assert error.status == status


def test_maintenance_is_the_instances_fault() -> None:
    error = error_of({"code": 100, "message": "This application is currently under maintenance."}, 503)
    assert type(error) is ItopUnavailableError
    assert "maintenance" in error.detail


def test_a_redirect_is_named_as_such() -> None:
    assert "redirect" in error_of(b"", 302, "text/html").detail


def test_an_account_refused_by_the_web_server_is_a_login_error() -> None:
    assert type(error_of(b"<html>", 401, "text/html")) is ItopLoginError


@pytest.mark.parametrize("code", [5, 12, 14, 20, 99, 101, 1062, 1205, 2006, -1, 10**30])
def test_an_unknown_code_is_not_classified(code: int) -> None:
    assert type(rejection_of("Error: Invalid object UserRequest::1", code)) is UnclassifiedError


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Error: ",
        "Error: The application is read-only",
        "Error: public_log: MySQL server has gone away",
        "Error: caller_id: something new",
        "Error: Division by zero",
        "Error: I read that Invalid object UserRequest::5 is an error",
        "Query failed to execute: query = A, exception_class = MySQLException, exception_message = lost",
        "Error: Unexpected value for attribute",
        "Error: Unknown attribute",
    ],
    ids=lambda message: message[:60],
)
def test_code_100_with_an_unknown_text_is_not_classified(message: str) -> None:
    assert type(rejection_of(message)) is UnclassifiedError


def test_code_1_with_an_unknown_text_is_not_classified() -> None:
    error = rejection_of("Error: The planets are not aligned", 1)
    assert type(error) is UnclassifiedError
    assert error.may_have_run


@pytest.mark.parametrize("message", [None, 7, ["x"], {"a": 1}])
def test_a_message_that_is_not_text_is_tolerated(message: object) -> None:
    assert type(error_of({"code": 100, "message": message})) is UnclassifiedError


def test_a_full_log_is_named_and_the_sql_is_not_repeated() -> None:
    error = rejection_of(
        "Error: Failed to issue SQL query: query = UPDATE ticket SET log = '<p>Dear Bob, mysql_error = x</p>"
        + "x" * 3000
        + "', mysql_errno = 1406, mysql_error = Data too long for column 'public_log_index' at row 1",
        1406,
    )
    assert isinstance(error, LogFullError)
    assert error.attribute == "public_log"
    assert "Data too long for column" in error.detail
    assert "Bob" not in error.detail


def test_a_database_error_does_not_repeat_what_people_wrote() -> None:
    error = rejection_of(
        "Error: Failed to issue SQL query: query = X 'Bob', mysql_errno = 1205, mysql_error = Lock wait", 1205
    )
    assert "Bob" not in error.detail
    assert "Lock wait" in error.detail


def test_values_with_quotes_brackets_and_newlines_are_parsed() -> None:
    error = rejection_of(
        "Error: Unexpected value for attribute 'Service d'accueil' (team) : Value not allowed"
        " [a'), (b) : c\nd], Unexpected value for attribute 'Title' (title) : Null not allowed"
        ": issues = {0=>x}, class = C, id = -1"
    )
    assert isinstance(error, InvalidValueError)
    assert error.problems == (
        ValueProblem(
            "team", "Service d'accueil", "Value not allowed [a'), (b) : c\nd]", ProblemKind.NOT_ALLOWED
        ),
        ValueProblem("title", "Title", "Null not allowed", ProblemKind.MISSING),
    )
    assert error.attribute == "team"


def test_an_update_query_without_a_match_names_no_attribute() -> None:
    error = rejection_of("Error: No item found for query: SELECT UserRequest AS t WHERE t.id = 5")
    assert isinstance(error, NoMatchError)
    assert error.attribute == ""


def test_a_very_long_message_is_cut() -> None:
    assert len(str(rejection_of("Error: " + "x" * 100_000))) < 1100
    assert len(str(rejection_of("Error: title: Wrong format for " + "x" * 100_000))) < 1100


def test_redaction_removes_secrets_but_only_whole_words() -> None:
    error = InvalidValueError("Only admin and administrators", problems=(ValueProblem("a", "", "admin"),))
    error.redact(["admin", ""])
    assert error.detail == "Only *** and administrators"
    assert error.problems == (ValueProblem("a", "", "***"),)
    assert "admin and" not in repr(error)


@pytest.mark.parametrize(
    "error",
    [
        InvalidValueError("no", problems=(ValueProblem("a", "b", "c"),)),
        UnknownAttributeError("no", attribute="a", known=("b",)),
        NoMatchError("no", attribute="caller_id"),
        ItopUnavailableError("no", status=500),
        intercom.IntercomRateLimitedError("no", until=7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: RemoteError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_success_returns_the_envelope_even_after_a_byte_order_mark() -> None:
    assert classify(200, "application/json", b'\xef\xbb\xbf{"code": 0, "message": null}') == {
        "code": 0,
        "message": None,
    }
