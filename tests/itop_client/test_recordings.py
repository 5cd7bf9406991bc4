"""Replay every recorded exchange of the client's operations: each returns the result or raises the exact error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from itop_client import (
    Client,
    Found,
    InvalidQueryError,
    InvalidStimulusError,
    InvalidValueError,
    ItopError,
    ItopLoginError,
    ItopNotAdministratorError,
    ItopObject,
    ItopPermissionError,
    ItopRejectedError,
    ItopUnavailableError,
    LoginProblem,
    MalformedRequestError,
    MultipleMatchesError,
    NoMatchError,
    ObjectNotFoundError,
    ProblemKind,
    RequestTooLargeError,
    UnclassifiedError,
    UnknownAttributeError,
    UnknownClassError,
    ValueProblem,
    read_log,
)

from .recordings import OPERATIONS, TOKEN, Recording, all_recordings, recording, repeat, sent

NO_REST_PROFILE = (
    "This user is not authorized to use the web services."
    " (The profile REST Services User is required to access the REST web services)"
)
LOGIN_PROBLEMS = {
    "Invalid login": LoginProblem.CREDENTIALS,
    NO_REST_PROFILE: LoginProblem.NO_REST_PROFILE,
    "Portal user is not allowed": LoginProblem.PORTAL_USER,
    "Bad user": LoginProblem.DISABLED,
}
NOT_ENOUGH = "The current user does not have enough permissions for"
NO_SOLUTION = "Missing mandatory attribute(s) for applying the stimulus: solution."
TITLE_NULL = ValueProblem("title", "Title", "Null not allowed", ProblemKind.MISSING)
DESCRIPTION_NULL = ValueProblem("description", "Description", "Null not allowed", ProblemKind.MISSING)


def unexpected(*problems: ValueProblem) -> tuple[type[ItopError], str, str, tuple[ValueProblem, ...]]:
    detail = ", ".join(
        f"Unexpected value for attribute '{problem.label}' ({problem.attribute}) : {problem.detail}"
        for problem in problems
    )
    return InvalidValueError, detail, problems[0].attribute, problems


def invalid(prefix: str, problem: ValueProblem) -> tuple[type[ItopError], str, str, tuple[ValueProblem, ...]]:
    return InvalidValueError, prefix + problem.detail, problem.attribute, (problem,)


# By number: the class, the detail, the attribute and, for invalid values, the problems.
FAILURES: dict[str, tuple[Any, ...]] = {
    "008": (ItopLoginError, "Invalid login"),
    "009": (ItopLoginError, "Invalid login"),
    "010": (ItopLoginError, "Invalid login"),
    "011": (ItopLoginError, "Invalid login"),
    "012": (ItopLoginError, NO_REST_PROFILE),
    "013": (ItopLoginError, NO_REST_PROFILE),
    "014": (ItopLoginError, "Portal user is not allowed"),
    "016": (ItopLoginError, "Portal user is not allowed"),
    "017": (ItopLoginError, NO_REST_PROFILE),
    "018": (ItopLoginError, "Bad user"),
    "019": (ItopLoginError, "Invalid login"),
    "021": (ItopLoginError, "Invalid login"),
    "022": (RequestTooLargeError, "Missing parameter 'version' (e.g. '1.0')"),
    "023": (MalformedRequestError, "There is no service available for version '9.9'"),
    "024": (MalformedRequestError, "Missing parameter 'json_data'"),
    "025": (MalformedRequestError, "Parameter json_data is not a valid JSON structure"),
    "026": (MalformedRequestError, "Missing parameter 'operation'"),
    "027": (MalformedRequestError, "Unknown verb 'core/nope' in version '1.3'"),
    "040": (
        MalformedRequestError,
        "The request page number is not valid. It must be an integer greater than 0",
    ),
    "043": (
        InvalidQueryError,
        "Unexpected token End of Input - found '0' at 0 in 'SELECT UserRequest WHERE'",
    ),
    "044": (
        UnknownAttributeError,
        "Unknown filter code - found 'nope' at 25 in 'SELECT UserRequest WHERE nope = 1'",
        "nope",
    ),
    "045": (UnknownClassError, "Unknown class - found 'Nope' at 7 in 'SELECT Nope'"),
    "046": (UnknownClassError, "class: 'Nope' is not a valid class'"),
    "047": (UnknownAttributeError, "output_fields: invalid attribute code 'nope'", "nope"),
    "048": (UnknownAttributeError, "nope: Unknown attribute", "nope"),
    "049": (MalformedRequestError, "Missing parameter 'key'"),
    "050": (MalformedRequestError, "Wrong format for key"),
    "059": (ItopPermissionError, f"{NOT_ENOUGH} reading data of class User"),
    "063": unexpected(TITLE_NULL),
    "064": unexpected(TITLE_NULL, DESCRIPTION_NULL),
    "065": (MalformedRequestError, "Missing parameter 'comment'"),
    "066": (MalformedRequestError, "Missing parameter 'fields'"),
    "067": unexpected(ValueProblem("urgency", "Urgency", "Value not allowed [9]", ProblemKind.NOT_ALLOWED)),
    "068": invalid(
        "caller_id: ",
        ValueProblem("caller_id", "", "Invalid object Person::999999", ProblemKind.NO_SUCH_OBJECT),
    ),
    "069": (
        NoMatchError,
        "caller_id: No item found with criteria: email: nobody@acme.example (nobody@acme.example)",
        "caller_id",
    ),
    "070": (
        MultipleMatchesError,
        "caller_id: Several items found (3) with criteria: org_id: 4 (4)",
        "caller_id",
    ),
    "074": (UnknownAttributeError, "nope: Unknown attribute", "nope"),
    "075": (UnknownClassError, "class: 'Nope' is not a valid class'"),
    "076": (UnclassifiedError, "HTTP 500: not a response of iTop's REST interface (text/html)"),
    "077": (ItopPermissionError, f"{NOT_ENOUGH} creating data of class UserRequest"),
    "078": unexpected(
        ValueProblem(
            "title", "Title", "String too long (found 300, limited to 255)", ProblemKind.TOO_LONG, 300, 255
        )
    ),
    "080": unexpected(
        ValueProblem(
            "title", "Title", "String too long (found 256, limited to 255)", ProblemKind.TOO_LONG, 256, 255
        )
    ),
    "086": invalid(
        "start_date: ",
        ValueProblem(
            "start_date",
            "",
            'Wrong format for date attribute start_date, expecting "Y-m-d H:i:s" and got "not a date"',
            ProblemKind.INVALID_DATE,
        ),
    ),
    "088": unexpected(
        ValueProblem(
            "intercom_url",
            "Intercom conversation URL",
            "Wrong format [not a url]",
            ProblemKind.INVALID_FORMAT,
        )
    ),
    "095": invalid(
        "public_log: user_id: ",
        ValueProblem("user_id", "", "Invalid object User::99999", ProblemKind.NO_SUCH_OBJECT),
    ),
    "096": (ItopNotAdministratorError, "public_log: Only administrators can set the user id"),
    "098": invalid(
        "public_log: ",
        ValueProblem(
            "public_log",
            "",
            "Failed to parse time string (garbage) at position 0 (g):"
            " The timezone could not be found in the database",
            ProblemKind.INVALID_DATE,
        ),
    ),
    "103": invalid("public_log: ", ValueProblem("public_log", "", "Missing 'items' elements")),
    "106": (ObjectNotFoundError, "Invalid object UserRequest::999999"),
    "107": (MultipleMatchesError, "Several items found (21) for query: SELECT UserRequest WHERE org_id=4"),
    "108": unexpected(ValueProblem("urgency", "Urgency", "Value not allowed [x]", ProblemKind.NOT_ALLOWED)),
    "109": unexpected(TITLE_NULL),
    "110": (ItopPermissionError, f"{NOT_ENOUGH} modifying data of class UserRequest"),
    "112": (InvalidStimulusError, "Invalid stimulus: 'ev_assign' on the object R-000029 in state 'assigned'"),
    "113": (InvalidStimulusError, "Invalid stimulus: 'ev_close' on the object R-000029 in state 'assigned'"),
    "114": (InvalidStimulusError, "Invalid stimulus: 'ev_nope' on the object R-000029 in state 'assigned'"),
    "115": (InvalidStimulusError, NO_SOLUTION, "solution"),
    "119": (ItopPermissionError, f"{NOT_ENOUGH} modifying data of class UserRequest"),
    "125": (
        InvalidQueryError,
        "Unexpected token NAME - found 'ORDER' at 19 in 'SELECT UserRequest ORDER BY id'",
    ),
    "138": unexpected(ValueProblem("item_class", "Item class", "Null not allowed", ProblemKind.MISSING)),
    "140": (
        ItopUnavailableError,
        "HTTP 200: not a response of iTop's REST interface (application/javascript)",
    ),
    "141": (RequestTooLargeError, "Missing parameter 'version' (e.g. '1.0')"),
}

# Requests that the client cannot send: it always names a version, an operation, a comment ...
NOT_SENT_BY_CLIENT = frozenset({"022", "023", "024", "025", "026", "027", "049", "050", "065", "066", "141"})

OUTCOMES: dict[type[ItopError], tuple[bool, bool]] = {
    ItopLoginError: (True, False),
    ItopPermissionError: (True, False),
    ItopNotAdministratorError: (True, False),
    ItopUnavailableError: (True, True),
    UnclassifiedError: (True, True),
}


def number(recorded: Recording) -> str:
    return recorded.name[:3]


def name(recorded: Recording) -> str:
    return recorded.name


def succeeded(recorded: Recording) -> bool:
    return number(recorded) not in FAILURES


def failures() -> Iterator[Recording]:
    return (recorded for recorded in all_recordings() if not succeeded(recorded))


def successes() -> Iterator[Recording]:
    return (recorded for recorded in all_recordings() if succeeded(recorded))


@pytest.mark.parametrize(
    "recorded", [recorded for recorded in all_recordings() if not succeeded(recorded)], ids=name
)
def test_each_recorded_failure_raises_the_right_error(
    recorded: Recording, client: Client, edge: responses.RequestsMock
) -> None:
    expected, detail, *more = FAILURES[number(recorded)]
    attribute = more[0] if more else ""
    recorded.play(edge)
    with pytest.raises(ItopError) as caught:
        if number(recorded) in NOT_SENT_BY_CLIENT:
            client.list_operations()
        else:
            repeat(client, recorded.request)
    error = caught.value
    assert type(error) is expected
    assert error.detail == detail
    assert (error.retry, error.may_have_run) == OUTCOMES.get(expected, (False, False))
    assert isinstance(error, ItopRejectedError) is (not error.retry)
    assert getattr(error, "attribute", "") == attribute
    if isinstance(error, InvalidValueError):
        assert error.problems == more[1]
    if isinstance(error, ItopLoginError):
        assert error.problem is LOGIN_PROBLEMS[detail]
    assert len(edge.calls) == 1
    assert TOKEN not in f"{error!r} {error} {error.args}"


@pytest.mark.parametrize("recorded", list(successes()), ids=name)
def test_each_recorded_success_returns_the_recorded_objects(
    recorded: Recording, client: Client, edge: responses.RequestsMock
) -> None:
    recorded.play(edge)
    result = repeat(client, recorded.request)
    expected = list((recorded.envelope.get("objects") or {}).values())
    if isinstance(result, Found):
        assert f"Found: {result.total}" == recorded.envelope["message"]
        objects = list(result)
    elif isinstance(result, ItopObject):
        objects = [result]
    else:
        assert result == tuple(operation["verb"] for operation in recorded.envelope["operations"])
        return
    assert len(objects) == len(expected)
    for actual, recorded_object in zip(objects, expected, strict=True):
        assert (actual.class_name, str(actual.id)) == (recorded_object["class"], recorded_object["key"])
        assert actual.fields == recorded_object["fields"]


@pytest.mark.parametrize(
    "recorded",
    [
        recorded
        for recorded in all_recordings()
        if number(recorded) not in NOT_SENT_BY_CLIENT and recorded.operation
    ],
    ids=name,
)
def test_requests_equal_the_recorded_ones(
    recorded: Recording, client: Client, edge: responses.RequestsMock
) -> None:
    recorded.play(edge)
    try:
        repeat(client, recorded.request)
    except ItopError:
        pass
    defaults: dict[str, Any] = {"output_fields": "friendlyname"} if "class" in recorded.request else {}
    if "limit" in recorded.request:
        defaults["page"] = "1"
    expected = {**defaults, **recorded.request}
    if "limit" in expected:
        expected["limit"] = str(expected["limit"])
    assert sent(edge.calls[0]) == expected


def test_each_operation_has_a_recorded_success_and_failure() -> None:
    outcomes = {(recorded.operation, succeeded(recorded)) for recorded in all_recordings()}
    for operation in filter(None, OPERATIONS):
        assert {(operation, True), (operation, False)} <= outcomes


def test_an_unknown_attribute_lists_the_known_ones(client: Client, edge: responses.RequestsMock) -> None:
    recorded = recording("044")
    recorded.play(edge)
    with pytest.raises(UnknownAttributeError) as caught:
        repeat(client, recorded.request)
    assert caught.value.known[:2] == ("finalclass", "friendlyname")
    assert caught.value.known[-1] == "id"
    assert "intercom_ref" in caught.value.known


def test_a_recorded_log_is_read_in_order(client: Client, edge: responses.RequestsMock) -> None:
    recorded = recording("028")
    recorded.play(edge)
    found = repeat(client, recorded.request)
    assert isinstance(found, Found)
    (ticket,) = found
    first, second, third = read_log(ticket.fields["public_log"])
    assert (first.user_login, first.user_id, first.message) == ("Alice Martin", 8, "My screen flickers")
    assert first.message_html == "<p>My screen <b>flickers</b></p>"
    assert first.date == "2024-10-01 09:00:00"
    assert (second.user_login, third.user_id) == ("Jules Verne", 2)
    assert ticket.text("sla_tto_over") == ""
    assert ticket.text("nothing_of_the_kind") == ""
    assert ticket.text("public_log") == ""
    assert (ticket.integer("caller_id"), ticket.integer("tto"), ticket.integer("title")) == (40, 1, 0)
