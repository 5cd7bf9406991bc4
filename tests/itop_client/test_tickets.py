"""Writes that happen once: what is asked of iTop, and what its refusal turns out to mean."""

from __future__ import annotations

from typing import Any

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from itop_client import (
    Client,
    InvalidValue,
    ItopNoAnswer,
    ItopNotAdministrator,
    ItopObject,
    ItopUnreachable,
    LogItem,
    NoMatch,
    ObjectGone,
    append,
    create,
    find_created,
    marker,
    parse,
    tickets,
    written_markers,
)
from tests.itop_client.recordings import REST, found, ok, refused, sent

MARKER = "Intercom message 37358198341, Alice O'Brien"
QUOTED = "'Intercom message 37358198341, Alice O\\'Brien'"
ITEM = LogItem("<p>Hello</p>", 1727773200).to_json()
TICKET = ("UserRequest", 23, {"friendlyname": "R-000029"})
ALREADY = refused("Error: No item found for query: SELECT UserRequest AS t WHERE ...")
NOBODY = refused("Error: caller_id: No item found for query: SELECT Person AS p WHERE ...")


class Edge:
    """iTop's answers in turn, and what it was asked."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self._mock = mock

    def answers(self, *envelopes: dict[str, Any]) -> None:
        for envelope in envelopes:
            self._mock.post(REST, json=envelope)

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [sent(call) for call in self._mock.calls]


@pytest.fixture
def itop(edge: responses.RequestsMock) -> Edge:
    return Edge(edge)


def add(client: Client, **more: Any) -> ItopObject | None:
    return append(client, "UserRequest", 23, "public_log", ITEM, marker=MARKER, **more)


def make(client: Client, caller_id: int = 40, **more: Any) -> Any:
    return create(client, "UserRequest", {"title": "x"}, marker=MARKER, caller_id=caller_id, **more)


def test_an_entry_is_written_under_a_query_that_its_marker_makes_empty(client: Client, itop: Edge) -> None:
    itop.answers(ok(TICKET))
    assert add(client) is not None
    (asked,) = itop.asked
    assert asked["operation"] == "core/update"
    assert asked["class"] == "UserRequest"
    assert asked["comment"] == MARKER
    assert asked["fields"] == {"public_log": {"add_item": ITEM}}
    assert asked["key"] == (
        "SELECT UserRequest AS t WHERE t.id = 23 AND t.id NOT IN (SELECT UserRequest AS u"
        " JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = u.id"
        f" WHERE u.id = 23 AND o.objclass = 'UserRequest' AND o.userinfo = {QUOTED})"
    )
    assert parse(asked["key"]).class_name == "UserRequest"


def test_an_entry_written_by_an_earlier_try_is_not_written_again(client: Client, itop: Edge) -> None:
    itop.answers(ALREADY, found(TICKET))
    assert add(client) is None
    assert itop.asked[1]["key"] == (
        "SELECT UserRequest AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
        f" WHERE t.id = 23 AND o.objclass = 'UserRequest' AND o.userinfo IN ({QUOTED})"
    )


def test_what_is_to_be_read_of_the_ticket_comes_with_the_answer(client: Client, itop: Edge) -> None:
    itop.answers(ok(TICKET))
    add(client, read=("status",))
    assert itop.asked[0]["output_fields"] == "friendlyname,status"


def test_an_entry_is_written_though_the_ticket_lacks_what_was_to_be_read(client: Client, itop: Edge) -> None:
    itop.answers(refused("Error: output_fields: invalid attribute code 'no_such_attribute'"), ok(TICKET))
    assert add(client, read=("no_such_attribute",)) is not None
    assert [asked["output_fields"] for asked in itop.asked] == [
        "friendlyname,no_such_attribute",
        "friendlyname",
    ]


def test_an_entry_for_a_ticket_that_is_gone_is_refused_as_gone(client: Client, itop: Edge) -> None:
    itop.answers(ALREADY, found(), found())
    with pytest.raises(ObjectGone, match="UserRequest::23"):
        add(client)


def test_a_refusal_for_no_reason_that_holds_is_to_be_tried_again(client: Client, itop: Edge) -> None:
    itop.answers(ALREADY, found(), found(TICKET))
    with pytest.raises(ItopNoAnswer) as caught:
        add(client)
    assert caught.value.retry
    assert [asked["operation"] for asked in itop.asked] == ["core/update", "core/get", "core/get"]


def test_another_refusal_of_an_entry_passes_through_and_nothing_more_is_asked(
    client: Client, itop: Edge
) -> None:
    itop.answers(refused("Error: public_log: Only administrators can set the user id", 1))
    with pytest.raises(ItopNotAdministrator):
        add(client)
    assert len(itop.asked) == 1


def test_the_deadline_covers_the_questions_after_a_refusal(
    client: Client, itop: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 0.0, 11.0])
    monkeypatch.setattr(tickets.time, "monotonic", lambda: next(times, 11.0))
    itop.answers(ALREADY)
    with pytest.raises(ItopUnreachable):
        add(client, deadline=10)
    assert len(itop.asked) == 1


def test_a_marker_that_does_not_fit_is_made_to_fit_everywhere_alike(client: Client, itop: Edge) -> None:
    long = "Intercom\nmessage " + "7" * 400
    itop.answers(ok(TICKET))
    append(client, "UserRequest", 23, "public_log", ITEM, marker=long)
    (asked,) = itop.asked
    assert asked["comment"] == marker(long)
    assert f"'{marker(long)}'" in asked["key"]


@pytest.mark.parametrize("markers", [[], ["a"], ["a", "b", "c"]])
def test_markers_of_which_none_was_written_cost_one_call_at_most(
    markers: list[str], client: Client, edge: responses.RequestsMock
) -> None:
    if markers:
        edge.post(REST, json=found())
    assert written_markers(client, "UserRequest", 23, markers) == frozenset()
    assert client.calls == (1 if markers else 0)


@given(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))
def test_markers_are_told_apart(markers: set[str], written: set[str]) -> None:
    class Answering(Client):
        def get(self, class_name: str, key: Any, **more: Any) -> Any:
            asked = {one for one in "abcdefgh" if f"'{one}'" in key}
            return type("Answer", (), {"total": len(asked & written)})

    client = Answering("https://itop.example")
    assert written_markers(client, "UserRequest", 23, markers) == markers & written


def test_a_ticket_is_created_for_a_caller_whom_the_marker_makes_disappear(client: Client, itop: Edge) -> None:
    itop.answers(ok(TICKET))
    ticket, earlier = make(client, output_fields=["ref"])
    assert (ticket.id, earlier) == (23, False)
    (asked,) = itop.asked
    assert asked["comment"] == MARKER
    assert asked["output_fields"] == "ref"
    assert asked["fields"] == {
        "title": "x",
        "caller_id": "SELECT Person AS p WHERE p.id = 40 AND p.id NOT IN (SELECT Person AS q"
        " JOIN UserRequest AS t ON t.caller_id = q.id JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
        f" WHERE q.id = 40 AND o.objclass = 'UserRequest' AND o.userinfo = {QUOTED})",
    }
    parse(asked["fields"]["caller_id"])


def test_a_ticket_of_an_earlier_try_is_found_and_not_created_again(client: Client, itop: Edge) -> None:
    itop.answers(NOBODY, found(("UserRequest", 25, {}), TICKET))
    ticket, earlier = make(client, output_fields=["ref"])
    assert (ticket.id, earlier) == (23, True)
    assert itop.asked[1]["output_fields"] == "ref"
    assert itop.asked[1]["key"] == (
        "SELECT UserRequest AS t JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
        f" WHERE o.objclass = 'UserRequest' AND o.userinfo = {QUOTED}"
    )


def test_a_caller_who_does_not_exist_is_named(client: Client, itop: Edge) -> None:
    itop.answers(NOBODY, found(), found())
    with pytest.raises(InvalidValue, match="caller_id: Invalid object Person::40") as caught:
        make(client)
    assert caught.value.attribute == "caller_id"


def test_a_creation_refused_for_no_reason_that_holds_is_to_be_tried_again(client: Client, itop: Edge) -> None:
    itop.answers(NOBODY, found(), found(("Person", 40, {})))
    with pytest.raises(ItopNoAnswer):
        make(client)


def test_another_attribute_that_matches_nothing_passes_through(client: Client, itop: Edge) -> None:
    itop.answers(refused("Error: service_id: No item found with criteria: name: x (x)"))
    with pytest.raises(NoMatch) as caught:
        make(client)
    assert caught.value.attribute == "service_id"
    assert len(itop.asked) == 1


def test_another_refusal_to_create_passes_through(client: Client, itop: Edge) -> None:
    itop.answers(refused("Error: Unexpected value for attribute 'Title' (title) : Null not allowed"))
    with pytest.raises(InvalidValue):
        make(client)


def test_the_caller_may_be_another_attribute(client: Client, itop: Edge) -> None:
    itop.answers(ok(TICKET))
    make(client, caller_attribute="requestor_id")
    fields = itop.asked[0]["fields"]
    assert "caller_id" not in fields
    assert "t.requestor_id = q.id" in fields["requestor_id"]


def test_without_a_caller_the_marker_is_looked_for_first(client: Client, itop: Edge) -> None:
    itop.answers(found(), ok(TICKET))
    _, earlier = make(client, caller_id=0)
    assert earlier is False
    assert [asked["operation"] for asked in itop.asked] == ["core/get", "core/create"]
    assert itop.asked[1]["fields"] == {"title": "x"}


def test_without_a_caller_a_ticket_of_an_earlier_try_is_found(client: Client, itop: Edge) -> None:
    itop.answers(found(TICKET))
    assert make(client, caller_id=0)[1] is True
    assert len(itop.asked) == 1


def test_no_ticket_of_a_marker_is_none(client: Client, itop: Edge) -> None:
    itop.answers(found())
    assert find_created(client, "UserRequest", MARKER, fields=["ref"]) is None


def test_a_marker_reads_well() -> None:
    assert marker("Intercom message 37358", "Alice Martin") == "Intercom message 37358, Alice Martin"
    assert marker("Intercom message 37358198341") == "Intercom message 37358198341"
    assert marker(" A\r\n\tmessage\0 1 ", "Alice\u2028\x85Martin\ud800 ") == "A message 1, Alice Martin"


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_marker_is_one_short_line_and_keeps_what_identifies(text: str, author: str) -> None:
    made = marker(text, author)
    assert len(made) <= 255
    assert made == made.strip()
    assert len(made.splitlines()) <= 1
    assert "\0" not in made
    made.encode()
    whole = marker(text)
    assert made.startswith(whole)
    assert marker(made) == made


def test_long_markers_that_differ_at_their_end_stay_apart() -> None:
    one, other = marker("x" * 300 + "1", "Alice"), marker("x" * 300 + "2", "Alice")
    assert one != other
    assert len(one) == len(other) == 255


def test_a_long_author_is_cut_and_what_identifies_is_not() -> None:
    made = marker("Intercom message 37358198341", "A" * 400)
    assert made.startswith("Intercom message 37358198341, AAA")
    assert made.endswith("A…")
    assert len(made) == 255
