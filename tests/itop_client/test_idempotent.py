"""Writes that happen once: the requests, and what a rejection turns out to mean."""

from __future__ import annotations

from typing import Any

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from itop_client import (
    Client,
    Found,
    InvalidStimulusError,
    InvalidValueError,
    ItopNoResponseError,
    ItopNotAdministratorError,
    ItopObject,
    LogItem,
    NoMatchError,
    ObjectNotFoundError,
    append,
    apply_once,
    create,
    find_created,
    idempotency_key,
    parse,
    written_keys,
)

from .recordings import REST, found, ok, refused, sent

KEY = "Intercom message 37358198341, Alice O'Brien"
QUOTED = "'Intercom message 37358198341, Alice O\\'Brien'"
ITEM = LogItem("<p>Hello</p>", 1727773200).to_json()
TICKET = ("UserRequest", 23, {"friendlyname": "R-000029"})
ALREADY_WRITTEN = refused("Error: No item found for query: SELECT UserRequest AS t WHERE ...")
NO_CALLER = refused("Error: caller_id: No item found for query: SELECT Person AS p WHERE ...")


class FakeItop:
    """Queues iTop's responses and shows the requests."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self._mock = mock

    def respond(self, *envelopes: dict[str, Any]) -> None:
        for envelope in envelopes:
            self._mock.post(REST, json=envelope)

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [sent(call) for call in self._mock.calls]


@pytest.fixture
def itop(edge: responses.RequestsMock) -> FakeItop:
    return FakeItop(edge)


def append_item(client: Client, **more: Any) -> ItopObject | None:
    return append(client, "UserRequest", 23, "public_log", ITEM, idempotency_key=KEY, **more)


def create_ticket(client: Client, caller_id: int = 40, **more: Any) -> Any:
    return create(client, "UserRequest", {"title": "x"}, idempotency_key=KEY, caller_id=caller_id, **more)


def test_an_entrys_query_matches_nothing_once_its_key_exists(client: Client, itop: FakeItop) -> None:
    itop.respond(ok(TICKET))
    assert append_item(client) is not None
    (request,) = itop.requests
    assert request["operation"] == "core/update"
    assert request["class"] == "UserRequest"
    assert request["comment"] == KEY
    assert request["fields"] == {"public_log": {"add_item": ITEM}}
    assert request["key"] == (
        "SELECT UserRequest AS t WHERE t.id = 23 AND t.id NOT IN (SELECT UserRequest AS u"
        " JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = u.id"
        f" WHERE u.id = 23 AND o.objclass = 'UserRequest' AND o.userinfo = {QUOTED})"
    )
    assert parse(request["key"]).class_name == "UserRequest"


def test_an_entry_from_an_earlier_attempt_is_not_written_again(client: Client, itop: FakeItop) -> None:
    itop.respond(ALREADY_WRITTEN, found(TICKET))
    assert append_item(client) is None
    assert itop.requests[1]["key"] == (
        "SELECT UserRequest AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
        f" WHERE t.id = 23 AND o.objclass = 'UserRequest' AND o.userinfo IN ({QUOTED})"
    )


def test_requested_attributes_of_the_ticket_are_returned(client: Client, itop: FakeItop) -> None:
    itop.respond(ok(TICKET))
    append_item(client, output_fields=("status",))
    assert itop.requests[0]["output_fields"] == "friendlyname,status"


def test_an_unknown_requested_attribute_does_not_prevent_the_write(client: Client, itop: FakeItop) -> None:
    itop.respond(refused("Error: output_fields: invalid attribute code 'no_such_attribute'"), ok(TICKET))
    assert append_item(client, output_fields=("no_such_attribute",)) is not None
    assert [request["output_fields"] for request in itop.requests] == [
        "friendlyname,no_such_attribute",
        "friendlyname",
    ]


def test_an_entry_for_a_missing_ticket_raises_object_not_found(client: Client, itop: FakeItop) -> None:
    itop.respond(ALREADY_WRITTEN, found(), found())
    with pytest.raises(ObjectNotFoundError, match="UserRequest::23"):
        append_item(client)


def test_a_rejected_entry_without_a_valid_reason_can_be_retried(client: Client, itop: FakeItop) -> None:
    itop.respond(ALREADY_WRITTEN, found(), found(TICKET))
    with pytest.raises(ItopNoResponseError) as caught:
        append_item(client)
    assert caught.value.retry
    assert [request["operation"] for request in itop.requests] == ["core/update", "core/get", "core/get"]


def test_other_rejections_of_an_entry_are_raised_at_once(client: Client, itop: FakeItop) -> None:
    itop.respond(refused("Error: public_log: Only administrators can set the user id", 1))
    with pytest.raises(ItopNotAdministratorError):
        append_item(client)
    assert len(itop.requests) == 1


def test_the_deadline_covers_the_reads_after_a_rejection(
    client: Client, edge: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 0.0])
    monkeypatch.setattr("itop_client.http.time.monotonic", lambda: next(now, 11.0))
    edge.post(REST, json=ALREADY_WRITTEN)
    edge.post(REST, json=found(TICKET))
    assert append_item(client, deadline=10) is None
    timeouts = [call.request.req_kwargs["timeout"] for call in edge.calls]  # type: ignore[attr-defined]
    assert timeouts == [10, 0.1]


def test_a_long_key_is_shortened_consistently(client: Client, itop: FakeItop) -> None:
    long = "Intercom\nmessage " + "7" * 400
    itop.respond(ok(TICKET))
    append(client, "UserRequest", 23, "public_log", ITEM, idempotency_key=long)
    (request,) = itop.requests
    assert request["comment"] == idempotency_key(long)
    assert f"'{idempotency_key(long)}'" in request["key"]


@pytest.mark.parametrize("idempotency_keys", [[], ["a"], ["a", "b", "c"]])
def test_checking_unwritten_keys_takes_at_most_one_call(
    idempotency_keys: list[str], client: Client, edge: responses.RequestsMock
) -> None:
    if idempotency_keys:
        edge.post(REST, json=found())
    assert written_keys(client, "UserRequest", 23, idempotency_keys) == frozenset()
    assert len(edge.calls) == (1 if idempotency_keys else 0)


@given(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))
def test_written_keys_are_identified_exactly(idempotency_keys: set[str], written: set[str]) -> None:
    class FakeClient(Client):
        def get(self, class_name: str, key: Any, **more: Any) -> Any:
            keys = {letter for letter in "abcdefgh" if f"'{letter}'" in key}
            return Found(len(keys & written))

    client = FakeClient("https://itop.example")
    assert written_keys(client, "UserRequest", 23, idempotency_keys) == idempotency_keys & written


def test_the_callers_query_matches_nothing_once_the_key_exists(client: Client, itop: FakeItop) -> None:
    itop.respond(ok(TICKET))
    ticket, existed = create_ticket(client, output_fields=["ref"])
    assert (ticket.id, existed) == (23, False)
    (request,) = itop.requests
    assert request["comment"] == KEY
    assert request["output_fields"] == "ref"
    assert request["fields"] == {
        "title": "x",
        "caller_id": "SELECT Person AS p WHERE p.id = 40 AND p.id NOT IN (SELECT Person AS q"
        " JOIN UserRequest AS t ON t.caller_id = q.id JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
        f" WHERE q.id = 40 AND o.objclass = 'UserRequest' AND o.userinfo = {QUOTED})",
    }
    parse(request["fields"]["caller_id"])


def test_a_ticket_from_an_earlier_attempt_is_not_created_again(client: Client, itop: FakeItop) -> None:
    itop.respond(NO_CALLER, found(("UserRequest", 25, {}), TICKET))
    ticket, existed = create_ticket(client, output_fields=["ref"])
    assert (ticket.id, existed) == (23, True)
    assert itop.requests[1]["output_fields"] == "ref"
    assert itop.requests[1]["key"] == (
        "SELECT UserRequest AS t JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
        f" WHERE o.objclass = 'UserRequest' AND o.userinfo = {QUOTED}"
    )


def test_a_missing_caller_is_an_invalid_value(client: Client, itop: FakeItop) -> None:
    itop.respond(NO_CALLER, found(), found())
    with pytest.raises(InvalidValueError, match="caller_id: Invalid object Person::40") as caught:
        create_ticket(client)
    assert caught.value.attribute == "caller_id"


def test_a_rejected_creation_without_a_valid_reason_can_be_retried(client: Client, itop: FakeItop) -> None:
    itop.respond(NO_CALLER, found(), found(("Person", 40, {})))
    with pytest.raises(ItopNoResponseError):
        create_ticket(client)


def test_another_attribute_without_a_match_is_raised(client: Client, itop: FakeItop) -> None:
    itop.respond(refused("Error: service_id: No item found with criteria: name: x (x)"))
    with pytest.raises(NoMatchError) as caught:
        create_ticket(client)
    assert caught.value.attribute == "service_id"
    assert len(itop.requests) == 1


def test_other_rejections_of_a_creation_are_raised(client: Client, itop: FakeItop) -> None:
    itop.respond(refused("Error: Unexpected value for attribute 'Title' (title) : Null not allowed"))
    with pytest.raises(InvalidValueError):
        create_ticket(client)


def test_the_callers_attribute_can_be_chosen(client: Client, itop: FakeItop) -> None:
    itop.respond(ok(TICKET))
    create_ticket(client, caller_attribute="requestor_id")
    fields = itop.requests[0]["fields"]
    assert "caller_id" not in fields
    assert "t.requestor_id = q.id" in fields["requestor_id"]


def test_without_a_caller_the_key_is_checked_first(client: Client, itop: FakeItop) -> None:
    itop.respond(found(), ok(TICKET))
    _, existed = create_ticket(client, caller_id=0)
    assert existed is False
    assert [request["operation"] for request in itop.requests] == ["core/get", "core/create"]
    assert itop.requests[1]["fields"] == {"title": "x"}


def test_without_a_caller_an_earlier_ticket_is_returned(client: Client, itop: FakeItop) -> None:
    itop.respond(found(TICKET))
    assert create_ticket(client, caller_id=0)[1] is True
    assert len(itop.requests) == 1


def test_find_created_returns_none_without_a_ticket(client: Client, itop: FakeItop) -> None:
    itop.respond(found())
    assert find_created(client, "UserRequest", KEY, fields=["ref"]) is None


def test_a_key_is_readable() -> None:
    assert idempotency_key("Intercom message 37358", "Alice Martin") == "Intercom message 37358, Alice Martin"
    assert idempotency_key("Intercom message 37358198341") == "Intercom message 37358198341"
    assert (
        idempotency_key(" A\r\n\tmessage\0 1 ", "Alice\u2028\x85Martin\ud800 ") == "A message 1, Alice Martin"
    )


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_key_is_one_short_line_and_keeps_its_identifying_part(text: str, author: str) -> None:
    key = idempotency_key(text, author)
    assert len(key) <= 255
    assert key == key.strip()
    assert len(key.splitlines()) <= 1
    assert "\0" not in key
    key.encode()
    without_author = idempotency_key(text)
    assert key.startswith(without_author)
    assert idempotency_key(key) == key


def test_long_keys_that_differ_at_their_end_stay_different() -> None:
    first, second = idempotency_key("x" * 300 + "1", "Alice"), idempotency_key("x" * 300 + "2", "Alice")
    assert first != second
    assert len(first) == len(second) == 255


def test_a_long_author_is_cut() -> None:
    key = idempotency_key("Intercom message 37358198341", "A" * 400)
    assert key.startswith("Intercom message 37358198341, AAA")
    assert key.endswith("A…")
    assert len(key) == 255


# apply_once


def reopen(client: Client) -> ItopObject | None:
    return apply_once(
        client, "UserRequest", 23, "ev_reopen", status="status", states=("resolved",), idempotency_key=KEY
    )


def test_a_stimulus_changes_nothing_in_another_state_or_once_its_key_exists(
    client: Client, itop: FakeItop
) -> None:
    itop.respond(ok(TICKET))
    assert reopen(client) is not None
    (request,) = itop.requests
    assert (request["operation"], request["stimulus"]) == ("core/apply_stimulus", "ev_reopen")
    assert (request["comment"], request["fields"]) == (KEY, {})
    assert request["key"] == (
        "SELECT UserRequest AS t WHERE t.id = 23 AND t.status IN ('resolved') AND t.id NOT IN"
        " (SELECT UserRequest AS u JOIN CMDBChangeOpSetAttributeScalar AS o ON o.objkey = u.id"
        f" WHERE u.id = 23 AND o.objclass = 'UserRequest' AND o.userinfo = {QUOTED})"
    )


def test_a_stimulus_that_is_not_to_be_applied_returns_none(client: Client, itop: FakeItop) -> None:
    itop.respond(ALREADY_WRITTEN)
    assert reopen(client) is None


def test_a_stimulus_that_the_life_cycle_does_not_allow_is_raised(client: Client, itop: FakeItop) -> None:
    itop.respond(refused("Invalid stimulus: 'ev_reopen' on the object R-000029 in state 'resolved'"))
    with pytest.raises(InvalidStimulusError):
        reopen(client)
