"""Whose fault an answer is, beyond what the recordings hold."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

import itop_client
from itop_client import (
    InvalidValue,
    ItopError,
    ItopLoginRefused,
    ItopNotAllowed,
    ItopRefused,
    ItopTrouble,
    ItopUnreachable,
    LogFull,
    NoMatch,
    UnknownAttribute,
    classify,
)

NOTHING_EXECUTED = (ItopUnreachable, ItopLoginRefused, ItopNotAllowed, ItopRefused)


def error_of(envelope: Any, status: int = 200, content_type: str = "application/json") -> ItopError:
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    with pytest.raises(ItopError) as caught:
        classify(status, content_type, body)
    return caught.value


def refusal_of(message: str, code: int = 100) -> ItopError:
    return error_of({"code": code, "message": message, "objects": None})


def all_errors() -> list[type[ItopError]]:
    return [
        one
        for one in vars(itop_client).values()
        if isinstance(one, type) and issubclass(one, ItopError) and one is not ItopError
    ]


@pytest.mark.parametrize("kind", all_errors())
def test_the_tree_says_whether_a_repeat_helps_and_whether_a_write_may_have_run(kind: type[ItopError]) -> None:
    assert kind.retry is not issubclass(kind, ItopRefused)
    assert kind.may_have_run is not issubclass(kind, NOTHING_EXECUTED)


@pytest.mark.parametrize("kind", all_errors())
def test_the_tree_in_the_docstring_names_every_error(kind: type[ItopError]) -> None:
    assert kind.__name__ in (itop_client.errors.__doc__ or "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
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
        b'{"code": []}',
        b'{"message": "Found: 0"}',
        b'{"code": 0',
        b"\xff\xfe\x00",
        b"<html>Maintenance</html>",
        b'<br /><b>Warning</b>: it is late{"code": 0}',
        b"[" * 100_000,
        b'{"code":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a":' * 100_000,
        b'{"code": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_not_an_envelope_is_the_instances_trouble(body: bytes) -> None:
    error = error_of(body)
    assert type(error) is ItopTrouble
    assert (error.retry, error.may_have_run) == (True, True)


def test_html_never_stands_in_an_errors_text() -> None:
    error = error_of(b"<html><body>secret stack trace</body></html>", 502, "text/html; charset=UTF-8")
    assert str(error) == "HTTP 502: not an answer of iTop's REST (text/html)"


@pytest.mark.parametrize("status", [302, 400, 403, 404, 500, 502, 503, 504])
def test_an_envelope_under_a_bad_status_is_trouble_whatever_it_says(status: int) -> None:
    for envelope in (
        {"code": 0, "message": "Found: 0", "objects": None},
        {"code": 100, "message": "Error: Invalid object UserRequest::1"},
    ):
        assert type(error_of(envelope, status)) is ItopTrouble


def test_maintenance_is_trouble() -> None:
    error = error_of({"code": 100, "message": "This application is currently under maintenance."}, 503)
    assert type(error) is ItopTrouble
    assert "maintenance" in str(error)


def test_a_redirect_says_that_the_address_is_not_itops() -> None:
    assert "redirects" in str(error_of(b"", 302, "text/html"))


def test_an_account_refused_by_the_web_server_is_a_refused_login() -> None:
    assert type(error_of(b"<html>", 401, "text/html")) is ItopLoginRefused


@pytest.mark.parametrize("code", [5, 12, 14, 20, 99, 101, 1062, 1205, 2006, -1, 10**30])
def test_a_code_that_nobody_has_seen_is_trouble(code: int) -> None:
    assert type(refusal_of("Error: Invalid object UserRequest::1", code)) is ItopTrouble


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
)
def test_code_100_in_words_that_nobody_has_seen_is_trouble(message: str) -> None:
    assert type(refusal_of(message)) is ItopTrouble


def test_a_code_1_in_unknown_words_is_trouble() -> None:
    error = refusal_of("Error: The planets are not aligned", 1)
    assert type(error) is ItopTrouble
    assert error.may_have_run


@pytest.mark.parametrize("message", [None, 7, ["x"], {"a": 1}])
def test_a_message_that_is_no_text_is_survived(message: object) -> None:
    assert type(error_of({"code": 100, "message": message})) is ItopTrouble


def test_a_full_log_is_refused_by_name_and_the_sql_is_not_repeated() -> None:
    error = refusal_of(
        "Error: Failed to issue SQL query: query = UPDATE ticket SET log = '<p>Dear Bob, mysql_error = x</p>"
        + "x" * 3000
        + "', mysql_errno = 1406, mysql_error = Data too long for column 'public_log_index' at row 1",
        1406,
    )
    assert isinstance(error, LogFull)
    assert error.attribute == "public_log"
    assert "Data too long for column" in error.reason
    assert "Bob" not in error.reason


def test_what_people_wrote_does_not_stand_in_trouble_of_the_database() -> None:
    error = refusal_of(
        "Error: Failed to issue SQL query: query = X 'Bob', mysql_errno = 1205, mysql_error = Lock wait",
        1205,
    )
    assert "Bob" not in error.reason
    assert "Lock wait" in error.reason


def test_values_with_quotes_brackets_and_lines_do_not_confuse_the_reading() -> None:
    error = refusal_of(
        "Error: Unexpected value for attribute 'Service d'accueil' (team) : Value not allowed"
        " [a'), (b) : c\nd], Unexpected value for attribute 'Title' (title) : Null not allowed"
        ": issues = {0=>x}, class = C, id = -1"
    )
    assert isinstance(error, InvalidValue)
    assert error.problems == (
        ("team", "Service d'accueil", "Value not allowed [a'), (b) : c\nd]"),
        ("title", "Title", "Null not allowed"),
    )
    assert error.attribute == "team"


def test_a_query_that_found_nothing_to_update_is_no_match_without_an_attribute() -> None:
    error = refusal_of("Error: No item found for query: SELECT UserRequest AS t WHERE t.id = 5")
    assert isinstance(error, NoMatch)
    assert error.attribute == ""


def test_a_very_long_message_is_cut() -> None:
    assert len(str(refusal_of("Error: " + "x" * 100_000))) < 1100
    assert len(str(refusal_of("Error: title: Wrong format for " + "x" * 100_000))) < 1100


def test_hiding_takes_secrets_out_but_not_out_of_words() -> None:
    error = InvalidValue("Only admin and administrators", problems=(("a", "", "admin"),))
    error.hide(["admin", ""])
    assert str(error) == "Only *** and administrators"
    assert error.problems == (("a", "", "***"),)
    assert "admin and" not in repr(error)


@pytest.mark.parametrize(
    "error",
    [
        InvalidValue("no", problems=(("a", "b", "c"),)),
        UnknownAttribute("no", attribute="a", known=("b",)),
        NoMatch("no", attribute="caller_id"),
        ItopTrouble("no"),
    ],
)
def test_errors_survive_pickling(error: ItopError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == "no"


def test_success_is_the_whole_envelope_even_with_a_byte_order_mark() -> None:
    assert classify(200, "application/json", b'\xef\xbb\xbf{"code": 0, "message": null}') == {
        "code": 0,
        "message": None,
    }
