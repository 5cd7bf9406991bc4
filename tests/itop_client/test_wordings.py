"""iTop's answers mean the same in every language, in every version, and in the words of a site's own checks."""

from __future__ import annotations

import json

import pytest

from itop_client import (
    CheckFailedError,
    InvalidValueError,
    ItopError,
    ItopPermissionError,
    ItopRejectedError,
    ItopUnavailableError,
    LogFullError,
    ProblemKind,
    RequestTooLargeError,
    UnclassifiedError,
    UnsupportedCharacterError,
    classify,
)

ISSUES = ": issues = {0=>...}, class = UserRequest, id = -1"


def error_of(message: str, code: int = 100, status: int = 200) -> ItopError:
    body = json.dumps({"code": code, "message": message}).encode()
    with pytest.raises(ItopError) as caught:
        classify(status, "application/json", body)
    return caught.value


@pytest.mark.parametrize(
    "sentence",
    [
        "Unexpected value for attribute 'Title' (title) : {}",
        "Unexpected value for attribute 'title': {}",
        "Valeur de l'attribut incorrecte 'Titre' (title) : {}",
        "Ungültiger Attributwert 'Titel' (title) : {}",
        "Valore inatteso per l'attributo 'Titolo' (title): {}",
        "A Cím (title) attribútum nem várt értéke : {}",
        "Onverwachte waarde voor het attribuut Titel (title) : {}",
        "Nieoczekiwana wartość atrybutu 'Tytuł' (title) : {}",
        "对于属性 标题 (title) 非预期的值: {}",
    ],
    ids=["en", "2.7", "fr", "de", "it", "hu", "nl", "pl", "zh"],
)
@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Null not allowed", ProblemKind.MISSING),
        ("Value not allowed [99]", ProblemKind.NOT_ALLOWED),
        ("String too long (found 300, limited to 255)", ProblemKind.TOO_LONG),
    ],
    ids=["missing", "not-allowed", "too-long"],
)
def test_a_refused_value_is_recognised_in_every_language(
    sentence: str, reason: str, kind: ProblemKind
) -> None:
    error = error_of(f"Error: {sentence.format(reason)}{ISSUES}")
    assert isinstance(error, InvalidValueError)
    assert [(problem.attribute, problem.kind) for problem in error.problems] == [("title", kind)]
    assert not error.retry and not error.may_have_run


def test_several_refused_values_are_all_reported_in_another_language() -> None:
    error = error_of(
        "Error: Valeur de l'attribut incorrecte 'Titre' (title) : Null not allowed, Valeur de l'attribut incorrecte "
        f"'Urgence' (urgency) : Value not allowed [9]{ISSUES}"
    )
    assert isinstance(error, InvalidValueError)
    assert [problem.attribute for problem in error.problems] == ["title", "urgency"]
    assert [problem.label for problem in error.problems] == ["Titre", "Urgence"]


@pytest.mark.parametrize(
    "sentence",
    [
        "Cannot assign the Parent request to the request itself",
        "Bitte zuerst anrufen (intern) : Regel 7",
        "Un ticket du même titre existe déjà",
        "禁止",
    ],
)
def test_a_check_of_the_site_refuses_the_object_in_its_own_words(sentence: str) -> None:
    error = error_of(f"Error: {sentence}{ISSUES}")
    assert type(error) is CheckFailedError
    assert error.detail == sentence
    assert error.code == "rejected" and not error.retry


def database(number: int, text: str, code: int = 100) -> ItopError:
    return error_of(
        f"Error: Failed to issue SQL query: query = UPDATE x SET y = 'Bob', mysql_errno = {number}, "
        f"mysql_error = {text}",
        code,
    )


@pytest.mark.parametrize("code", [100, 1406], ids=["update", "create"])
def test_a_full_log_is_about_this_log_in_an_update_and_in_a_creation(code: int) -> None:
    error = database(1406, "Data too long for column 'private_log_index' at row 1", code)
    assert isinstance(error, LogFullError)
    assert error.attribute == "private_log"


def test_database_errors_about_one_value_concern_that_value() -> None:
    too_long = database(1406, "Data too long for column 'description' at row 1")
    assert isinstance(too_long, InvalidValueError) and too_long.attribute == "description"
    assert too_long.problems[0].kind is ProblemKind.TOO_LONG
    character = database(1366, r"Incorrect string value: '\xF0\x9F\x91\x8D' for column 'public_log' at row 1")
    assert isinstance(character, UnsupportedCharacterError) and character.attribute == "public_log"
    for number in (1264, 1265, 1292):
        assert isinstance(database(number, "Bad value for column 'x' at row 1"), InvalidValueError)
    assert isinstance(
        database(1153, "Got a packet bigger than 'max_allowed_packet' bytes"), RequestTooLargeError
    )
    for error in (too_long, character):
        assert "Bob" not in str(error)


def test_an_error_that_a_customer_has_quoted_is_not_the_databases() -> None:
    quoted = ", mysql_errno = 1406, mysql_error = Data too long for column 'public_log_index' at row 1"
    prefix = f"Error: Failed to issue SQL query: query = UPDATE x SET y = 'I see: {quoted}'"
    assert type(error_of(f"{prefix}, mysql_errno = 1213, mysql_error = Deadlock found")) is UnclassifiedError
    other = quoted.replace("1406", "1213")
    full = f"{prefix.replace(quoted, other)}{quoted}"
    assert isinstance(error_of(full), LogFullError)


def test_the_column_is_the_one_that_the_database_names_last() -> None:
    text = r"Incorrect string value: 'column 'title'' for column `itop`.`ticket`.`public_log` at row 1"
    error = database(1366, text)
    assert isinstance(error, UnsupportedCharacterError) and error.attribute == "public_log"


@pytest.mark.parametrize(
    "text", ["Lock wait timeout exceeded", "Deadlock found", "MySQL server has gone away", "Disk full"]
)
def test_other_database_errors_are_not_about_a_value(text: str) -> None:
    assert type(database(1205, text)) is UnclassifiedError


@pytest.mark.parametrize("status", [413, 414, 431])
def test_a_request_that_is_too_large_was_not_executed_and_is_not_repeated(status: int) -> None:
    with pytest.raises(RequestTooLargeError) as caught:
        classify(status, "text/html", b"<html>Request Entity Too Large</html>")
    assert not caught.value.may_have_run and not caught.value.retry


def test_a_key_given_by_name_is_an_invalid_value() -> None:
    error = error_of("Error: team_id: Expecting an OQL query - found 'FieldOqlExpression' at 0 in 'Helpdesk'")
    assert isinstance(error, InvalidValueError) and error.attribute == "team_id"


def test_read_only_mode_looks_like_a_missing_permission() -> None:
    error = error_of(
        "The current user does not have enough permissions for modifying data of class UserRequest", 1
    )
    assert type(error) is ItopPermissionError and error.retry


def test_maintenance_is_the_instances_trouble_in_its_own_words() -> None:
    body = (
        b'{"data":[{"code":100,"message":"This application is currently under maintenance."}],"scripts":[]}'
    )
    with pytest.raises(ItopUnavailableError) as caught:
        classify(503, "application/json", body)
    assert not isinstance(caught.value, UnclassifiedError)
    assert "under maintenance" in caught.value.detail


@pytest.mark.parametrize(
    "around",
    [
        "<br />\n<b>Notice</b>:  Undefined index: x in <b>a.php</b> on line <b>1</b><br />\n{}",
        "\ufeff\ufeff{}",
        "\n\ufeff{}",
        "{}\n<b>Warning</b>: {{}} late",
    ],
    ids=["before", "two-marks", "line-and-mark", "after"],
)
def test_notices_of_php_around_the_response_are_ignored(around: str) -> None:
    body = around.format('{"code":0,"message":"Found: 0","objects":null}')
    assert classify(200, "application/json", body.encode())["message"] == "Found: 0"


@pytest.mark.parametrize("status", [403, 400, 500])
def test_an_unknown_page_may_be_about_this_request(status: int) -> None:
    with pytest.raises(UnclassifiedError):
        classify(status, "text/html", b"<html>Blocked</html>")


@pytest.mark.parametrize("status", [200, 302, 502, 503, 504])
def test_a_page_of_a_proxy_is_about_the_instance(status: int) -> None:
    with pytest.raises(ItopUnavailableError) as caught:
        classify(status, "text/html", b"<html>Bad gateway</html>")
    assert type(caught.value) is ItopUnavailableError
    assert not isinstance(caught.value, ItopRejectedError)


def test_a_body_whose_fields_php_has_dropped_is_too_large() -> None:
    """The token was in a header. Without any field, iTop misses the version first."""
    error = error_of("Error: Missing parameter 'version' (e.g. '1.0')", 2)
    assert isinstance(error, RequestTooLargeError) and not error.may_have_run
