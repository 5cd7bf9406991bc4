"""Every recorded exchange of the operations the client offers, played back: the answer or the exact error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from itop_client import (
    BadQuery,
    BadStimulus,
    Client,
    Found,
    InvalidValue,
    ItopError,
    ItopLoginRefused,
    ItopNotAdministrator,
    ItopNotAllowed,
    ItopObject,
    ItopRefused,
    ItopTrouble,
    MalformedRequest,
    NoMatch,
    ObjectGone,
    SeveralMatch,
    UnknownAttribute,
    UnknownClass,
    read_log,
)
from tests.itop_client.recordings import OPERATIONS, TOKEN, Recording, all_recordings, recording, repeat, sent

NO_REST_PROFILE = (
    "This user is not authorized to use the web services."
    " (The profile REST Services User is required to access the REST web services)"
)
NOT_ENOUGH = "The current user does not have enough permissions for"
NO_SOLUTION = "Missing mandatory attribute(s) for applying the stimulus: solution."
TITLE_NULL = ("title", "Title", "Null not allowed")
DESCRIPTION_NULL = ("description", "Description", "Null not allowed")


def unexpected(*problems: tuple[str, str, str]) -> str:
    return ", ".join(f"Unexpected value for attribute '{b}' ({a}) : {c}" for a, b, c in problems)


def invalid(*problems: tuple[str, str, str]) -> tuple[type[ItopError], str, str, tuple[Any, ...]]:
    return InvalidValue, unexpected(*problems), problems[0][0], problems


def invalid_text(attribute: str, text: str) -> tuple[type[ItopError], str, str, tuple[Any, ...]]:
    return InvalidValue, f"{attribute}: {text}", attribute, ((attribute, "", text),)


# By number: the class, the reason, the attribute, and the problems where there are several things to name.
FAILURES: dict[str, tuple[Any, ...]] = {
    "008": (ItopLoginRefused, "Invalid login"),
    "009": (ItopLoginRefused, "Invalid login"),
    "010": (ItopLoginRefused, "Invalid login"),
    "011": (ItopLoginRefused, "Invalid login"),
    "012": (ItopLoginRefused, NO_REST_PROFILE),
    "013": (ItopLoginRefused, NO_REST_PROFILE),
    "014": (ItopLoginRefused, "Portal user is not allowed"),
    "016": (ItopLoginRefused, "Portal user is not allowed"),
    "017": (ItopLoginRefused, NO_REST_PROFILE),
    "018": (ItopLoginRefused, "Bad user"),
    "019": (ItopLoginRefused, "Invalid login"),
    "021": (ItopLoginRefused, "Invalid login"),
    "022": (MalformedRequest, "Missing parameter 'version' (e.g. '1.0')"),
    "023": (MalformedRequest, "There is no service available for version '9.9'"),
    "024": (MalformedRequest, "Missing parameter 'json_data'"),
    "025": (MalformedRequest, "Parameter json_data is not a valid JSON structure"),
    "026": (MalformedRequest, "Missing parameter 'operation'"),
    "027": (MalformedRequest, "Unknown verb 'core/nope' in version '1.3'"),
    "040": (MalformedRequest, "The request page number is not valid. It must be an integer greater than 0"),
    "043": (BadQuery, "Unexpected token End of Input - found '0' at 0 in 'SELECT UserRequest WHERE'"),
    "044": (
        UnknownAttribute,
        "Unknown filter code - found 'nope' at 25 in 'SELECT UserRequest WHERE nope = 1'",
        "nope",
    ),
    "045": (UnknownClass, "Unknown class - found 'Nope' at 7 in 'SELECT Nope'"),
    "046": (UnknownClass, "class: 'Nope' is not a valid class'"),
    "047": (UnknownAttribute, "output_fields: invalid attribute code 'nope'", "nope"),
    "048": (UnknownAttribute, "nope: Unknown attribute", "nope"),
    "049": (MalformedRequest, "Missing parameter 'key'"),
    "050": (MalformedRequest, "Wrong format for key"),
    "059": (ItopNotAllowed, f"{NOT_ENOUGH} reading data of class User"),
    "063": invalid(TITLE_NULL),
    "064": invalid(TITLE_NULL, DESCRIPTION_NULL),
    "065": (MalformedRequest, "Missing parameter 'comment'"),
    "066": (MalformedRequest, "Missing parameter 'fields'"),
    "067": invalid(("urgency", "Urgency", "Value not allowed [9]")),
    "068": invalid_text("caller_id", "Invalid object Person::999999"),
    "069": (
        NoMatch,
        "caller_id: No item found with criteria: email: nobody@acme.example (nobody@acme.example)",
        "caller_id",
    ),
    "070": (SeveralMatch, "caller_id: Several items found (3) with criteria: org_id: 4 (4)", "caller_id"),
    "074": (UnknownAttribute, "nope: Unknown attribute", "nope"),
    "075": (UnknownClass, "class: 'Nope' is not a valid class'"),
    "076": (ItopTrouble, "HTTP 500: not an answer of iTop's REST (text/html)"),
    "077": (ItopNotAllowed, f"{NOT_ENOUGH} creating data of class UserRequest"),
    "078": invalid(("title", "Title", "String too long (found 300, limited to 255)")),
    "080": invalid(("title", "Title", "String too long (found 256, limited to 255)")),
    "086": invalid_text(
        "start_date",
        'Wrong format for date attribute start_date, expecting "Y-m-d H:i:s" and got "not a date"',
    ),
    "088": invalid(("intercom_url", "Intercom conversation URL", "Wrong format [not a url]")),
    "095": invalid_text("public_log", "user_id: Invalid object User::99999"),
    "096": (ItopNotAdministrator, "public_log: Only administrators can set the user id"),
    "098": invalid_text(
        "public_log",
        "Failed to parse time string (garbage) at position 0 (g):"
        " The timezone could not be found in the database",
    ),
    "103": invalid_text("public_log", "Missing 'items' elements"),
    "106": (ObjectGone, "Invalid object UserRequest::999999"),
    "107": (SeveralMatch, "Several items found (21) for query: SELECT UserRequest WHERE org_id=4"),
    "108": invalid(("urgency", "Urgency", "Value not allowed [x]")),
    "109": invalid(TITLE_NULL),
    "110": (ItopNotAllowed, f"{NOT_ENOUGH} modifying data of class UserRequest"),
    "112": (BadStimulus, "Invalid stimulus: 'ev_assign' on the object R-000029 in state 'assigned'"),
    "113": (BadStimulus, "Invalid stimulus: 'ev_close' on the object R-000029 in state 'assigned'"),
    "114": (BadStimulus, "Invalid stimulus: 'ev_nope' on the object R-000029 in state 'assigned'"),
    "115": (BadStimulus, NO_SOLUTION, "solution"),
    "119": (ItopNotAllowed, f"{NOT_ENOUGH} modifying data of class UserRequest"),
    "125": (
        BadQuery,
        "Unexpected token NAME - found 'ORDER' at 19 in 'SELECT UserRequest ORDER BY id'",
    ),
    "138": invalid(("item_class", "Item class", "Null not allowed")),
    "140": (ItopTrouble, "HTTP 200: not an answer of iTop's REST (application/javascript)"),
    "141": (MalformedRequest, "Missing parameter 'version' (e.g. '1.0')"),
}

# What the client cannot be made to send: it always names a version, an operation, a comment ...
NOT_OURS = frozenset({"022", "023", "024", "025", "026", "027", "049", "050", "065", "066", "141"})

OUTCOMES: dict[type[ItopError], tuple[bool, bool]] = {
    ItopLoginRefused: (True, False),
    ItopNotAllowed: (True, False),
    ItopNotAdministrator: (True, False),
    ItopTrouble: (True, True),
}


def number(one: Recording) -> str:
    return one.name[:3]


def name(one: Recording) -> str:
    return one.name


def succeeded(one: Recording) -> bool:
    return number(one) not in FAILURES


def failures() -> Iterator[Recording]:
    return (one for one in all_recordings() if not succeeded(one))


def successes() -> Iterator[Recording]:
    return (one for one in all_recordings() if succeeded(one))


@pytest.mark.parametrize(
    "one", [one for one in all_recordings() if not succeeded(one)], ids=lambda one: one.name
)
def test_a_recorded_failure_is_the_right_error(
    one: Recording, client: Client, edge: responses.RequestsMock
) -> None:
    expected, reason, *more = FAILURES[number(one)]
    attribute = more[0] if more else ""
    one.play(edge)
    with pytest.raises(ItopError) as caught:
        if number(one) in NOT_OURS:
            client.list_operations()
        else:
            repeat(client, one.request)
    error = caught.value
    assert type(error) is expected
    assert (error.reason, str(error)) == (reason, reason)
    assert (error.retry, error.may_have_run) == OUTCOMES.get(expected, (False, False))
    assert isinstance(error, ItopRefused) is (not error.retry)
    assert getattr(error, "attribute", "") == attribute
    if isinstance(error, InvalidValue):
        assert error.problems == more[1]
    assert len(edge.calls) == 1
    assert TOKEN not in f"{error!r} {error} {error.args}"


@pytest.mark.parametrize("one", list(successes()), ids=name)
def test_a_recorded_success_is_what_itop_answered(
    one: Recording, client: Client, edge: responses.RequestsMock
) -> None:
    one.play(edge)
    given = repeat(client, one.request)
    expected = list((one.envelope.get("objects") or {}).values())
    if isinstance(given, Found):
        assert f"Found: {given.total}" == one.envelope["message"]
        objects = list(given)
    elif isinstance(given, ItopObject):
        objects = [given]
    else:
        assert given == tuple(operation["verb"] for operation in one.envelope["operations"])
        return
    assert len(objects) == len(expected)
    for mine, theirs in zip(objects, expected, strict=True):
        assert (mine.class_name, str(mine.id)) == (theirs["class"], theirs["key"])
        assert mine.fields == theirs["fields"]


@pytest.mark.parametrize(
    "one",
    [one for one in all_recordings() if number(one) not in NOT_OURS and one.operation],
    ids=name,
)
def test_what_is_sent_is_what_was_recorded(
    one: Recording, client: Client, edge: responses.RequestsMock
) -> None:
    one.play(edge)
    try:
        repeat(client, one.request)
    except ItopError:
        pass
    defaults: dict[str, Any] = {"output_fields": "friendlyname"} if "class" in one.request else {}
    if "limit" in one.request:
        defaults["page"] = "1"
    expected = {**defaults, **one.request}
    if "limit" in expected:
        expected["limit"] = str(expected["limit"])
    assert sent(edge.calls[0]) == expected


def test_every_operation_that_the_client_offers_was_recorded_both_ways() -> None:
    outcomes = {(one.operation, succeeded(one)) for one in all_recordings()}
    for operation in filter(None, OPERATIONS):
        assert {(operation, True), (operation, False)} <= outcomes


def test_an_unknown_attribute_in_a_query_comes_with_the_known_ones(
    client: Client, edge: responses.RequestsMock
) -> None:
    one = recording("044")
    one.play(edge)
    with pytest.raises(UnknownAttribute) as caught:
        repeat(client, one.request)
    assert caught.value.known[:2] == ("finalclass", "friendlyname")
    assert caught.value.known[-1] == "id"
    assert "intercom_ref" in caught.value.known


def test_a_recorded_log_reads_back_in_order(client: Client, edge: responses.RequestsMock) -> None:
    one = recording("028")
    one.play(edge)
    found = repeat(client, one.request)
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
