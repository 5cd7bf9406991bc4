"""What people and REST clients do with a ticket, and what the stand-in for iTop writes down about it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from sandbox.itop import Itop, RefusalError, running_itop, seed

TICKET = 8
AGENT, CUSTOMER = "jverne", "alice.martin"
AGENT_TOKEN = seed.TOKENS["agent_app"]


@pytest.fixture
def itop() -> Iterator[Itop]:
    with running_itop(demo=False, window=0) as itop:
        yield itop


def call(itop: Itop, operation: str, token: str = seed.TOKEN, /, **request: Any) -> dict[str, Any]:
    request = {
        "class": "UserRequest",
        "operation": operation,
        "output_fields": "id",
        "comment": "test",
    } | request
    form = {"version": "1.3", "json_data": json.dumps(request)}
    credentials = {"Auth-Token": token}
    if ":" in token:
        credentials = {}
        form["auth_user"], _, form["auth_pwd"] = token.partition(":")
    return requests.post(itop.rest_url, data=form, headers=credentials, timeout=10).json()  # type: ignore[no-any-return]


def found(itop: Itop, oql: str, token: str = AGENT_TOKEN, **request: Any) -> list[int]:
    answer = call(itop, "core/get", token, key=oql, **request)
    assert answer["code"] == 0, answer
    return [int(each["key"]) for each in (answer["objects"] or {}).values()]


def ticket(itop: Itop, number: int = TICKET) -> dict[str, Any]:
    row = itop.store.load("UserRequest", number)
    assert row is not None
    return row


def change_of(itop: Itop, number: int = TICKET) -> dict[str, Any]:
    """Return the only change of a ticket."""
    (change,) = {each["change"] for each in itop.store.changes(number)}
    row = itop.store.load("CMDBChange", change)
    assert row is not None
    return row


def child_of(itop: Itop, parent: int, **values: Any) -> int:
    """Return the number of a new child ticket without a history."""
    known = {"org_id": 4, "caller_id": 41, "title": "Child", "description": "<p>x</p>", "ref": "R-000099"}
    dates = {"start_date": itop.store.now(), "last_update": "2026-11-22 12:00:00"}
    row = itop.store.insert("UserRequest", **(known | dates | {"parent_request_id": parent} | values))
    return int(row["id"])


# --- people


def test_a_save_in_the_console_is_one_interactive_change_in_the_name_of_the_agent(itop: Itop) -> None:
    itop.act(
        TICKET,
        account=AGENT,
        entry="<p>Done.</p>",
        stimulus="ev_resolve",
        values={"solution": "<p>New cable</p>", "resolution_code": "other"},
    )
    codes = [each["attcode"] for each in itop.store.changes(TICKET)]
    assert codes[:2] == ["operational_status", "status"]
    assert codes[-2:] == ["solution", "public_log"]
    change = change_of(itop)
    assert (change["userinfo"], change["user_id"], change["origin"]) == ("Jules Verne", 11, "interactive")
    newest = itop.store.log(TICKET)[-1]
    assert (newest["user_login"], newest["user_id"], newest["message"]) == (
        "Jules Verne",
        "11",
        "<p>Done.</p>",
    )


def test_the_portal_lets_customers_answer_and_reopen_and_no_more(itop: Itop) -> None:
    itop.act(TICKET, account=CUSTOMER, entry="<p>Thanks</p>")
    assert itop.store.log(TICKET)[-1]["user_id"] == "8"
    itop.act(3, account=CUSTOMER, stimulus="ev_reopen", entry="<p>Still broken</p>")
    assert ticket(itop, 3)["status"] == "assigned"
    with pytest.raises(RefusalError, match="portal"):
        itop.act(TICKET, account=CUSTOMER, entry="<p>Psst</p>", log="private_log")
    with pytest.raises(RefusalError, match="portal"):
        itop.act(TICKET, account="layla.haddad", entry="<p>Not mine</p>")


def test_queries_tell_what_people_wrote_from_what_a_client_wrote(itop: Itop) -> None:
    call(itop, "core/update", key=TICKET, comment="Intercom message 7", fields={"public_log": "ours"})
    itop.act(TICKET, account=AGENT, entry="<p>theirs</p>")
    joined = (
        "SELECT t FROM UserRequest AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id "
        "WHERE o.objclass = 'UserRequest' AND ((t.id = 1 AND o.attcode = 'public_log' AND o.lastentry >= 0) "
        "OR (t.id = 8 AND o.attcode = 'public_log' AND o.lastentry >= {} AND o.userinfo {} LIKE 'Intercom%'))"
    )
    assert found(itop, joined.format(3, "NOT")) == [TICKET]
    assert found(itop, joined.format(5, "NOT")) == []
    assert found(itop, joined.format(3, "")) == [TICKET]
    assert found(itop, joined.format(4, "")) == []


def test_operations_of_one_change_come_in_no_order(itop: Itop) -> None:
    values = {"solution": "<p>New cable</p>", "resolution_code": "other"}
    itop.act(TICKET, account=AGENT, stimulus="ev_resolve", values=values)
    query = "SELECT CMDBChangeOp WHERE objclass = 'UserRequest' AND objkey = 8"
    numbers = found(itop, query, seed.TOKEN, **{"class": "CMDBChangeOp"})
    assert len(numbers) > 4
    assert numbers not in (sorted(numbers), sorted(numbers, reverse=True))


def test_a_person_waits_for_a_client_where_no_update_gets_lost(itop: Itop) -> None:
    itop.operations.lost_updates = False
    reading, go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor() as pool:

        def hold() -> None:
            itop.operations.before_commit = lambda: None
            reading.set()
            assert go_on.wait(5)

        itop.operations.before_commit = hold
        ours = pool.submit(call, itop, "core/update", key=TICKET, fields={"public_log": "ours"})
        assert reading.wait(5)
        theirs = pool.submit(itop.act, TICKET, account=AGENT, entry="<p>theirs</p>")
        go_on.set()
        assert ours.result(5)["code"] == 0
        theirs.result(5)
    assert [each["message"] for each in itop.store.log(TICKET)[3:]] == ["<p>ours</p>", "<p>theirs</p>"]


# --- the life cycle


@pytest.mark.parametrize(
    ("status", "stimulus"),
    [("new", "ev_assign"), ("assigned", "ev_pending"), ("resolved", "ev_reopen"), ("resolved", "ev_close")],
)
def test_no_transition_without_a_request_type(itop: Itop, status: str, stimulus: str) -> None:
    itop.store.update("UserRequest", TICKET, status=status, request_type=None, pending_reason="Waiting")
    answer = call(itop, "core/apply_stimulus", key=TICKET, stimulus=stimulus, fields={})
    message = "Missing mandatory attribute(s) for applying the stimulus: request_type."
    assert answer == {"code": 100, "message": message, "objects": None}
    assert ticket(itop)["status"] == status


@pytest.mark.parametrize(
    ("status", "stimulus"), [("pending", "ev_resolve"), ("escalated_tto", "ev_autoresolve")]
)
def test_only_the_transitions_of_the_stock_life_cycle_exist(itop: Itop, status: str, stimulus: str) -> None:
    """Measured on iTop 3.3 with simple ticket management."""
    itop.store.update("UserRequest", TICKET, status=status)
    fields = {"solution": "Done", "resolution_code": "other"}
    answer = call(itop, "core/apply_stimulus", key=TICKET, stimulus=stimulus, fields=fields)
    message = f"Invalid stimulus: '{stimulus}' on the object R-000008 in state '{status}'"
    assert answer == {"code": 100, "message": message, "objects": None}


def test_reopening_keeps_the_solution_and_a_closed_ticket_stays_closed(itop: Itop) -> None:
    itop.act(3, account=AGENT, stimulus="ev_reopen")
    assert (ticket(itop, 3)["status"], ticket(itop, 3)["solution"]) == ("assigned", "<p>Mailbox created</p>")
    with pytest.raises(
        RefusalError, match="Invalid stimulus: 'ev_reopen' on the object R-000004 in state 'closed'"
    ):
        itop.act(4, account=AGENT, stimulus="ev_reopen")


# --- parents and children


def test_entries_of_a_parent_are_copied_into_its_children_and_theirs(itop: Itop) -> None:
    child = child_of(itop, TICKET)
    grandchild = child_of(itop, child)
    itop.act(TICKET, account=AGENT, entry="<p>Both of you</p>")
    itop.act(TICKET, account=AGENT, entry="<p>Among us</p>", log="private_log")
    for number in (child, grandchild):
        (public,), (private,) = itop.store.log(number), itop.store.log(number, "private_log")
        assert (public["message"], public["user_id"]) == ("<p>Both of you</p>", "11")
        assert private["message"] == "<p>Among us</p>"
        assert [each["lastentry"] for each in itop.store.changes(number)] == [0, 0]
        assert ticket(itop, number)["last_update"] > "2026-11-22 12:00:00"
    parents, childrens = (
        {each["change"] for each in itop.store.changes(number)} for number in (TICKET, grandchild)
    )
    assert parents == childrens


def test_the_resolution_of_a_parent_resolves_its_children_and_reopening_does_not_reopen_them(
    itop: Itop,
) -> None:
    child, closed = child_of(itop, 2), child_of(itop, 2, status="closed")
    fields = {"solution": "Done", "resolution_code": "other"}
    answer = call(
        itop, "core/apply_stimulus", key=2, stimulus="ev_resolve", fields=fields, comment="submission 3"
    )
    assert answer["code"] == 0
    resolved = ticket(itop, child)
    assert (resolved["status"], resolved["operational_status"]) == ("resolved", "resolved")
    assert resolved["solution"] == "<p>Automatically resolved from [[UserRequest:2|R-000002]]</p>"
    assert (resolved["agent_id"], resolved["request_type"]) == (9, "incident")
    assert change_of(itop, child)["userinfo"] == "submission 3"
    assert ticket(itop, closed)["status"] == "closed"
    assert itop.store.changes(closed) == []
    itop.act(2, account=AGENT, stimulus="ev_reopen")
    assert ticket(itop, child)["status"] == "resolved"


# --- when a save is seen


def test_a_save_may_be_seen_after_a_later_one_that_has_higher_numbers(itop: Itop) -> None:
    with ThreadPoolExecutor() as pool:
        taken, commit = threading.Event(), threading.Event()

        def hold() -> None:
            itop.operations.before_commit = lambda: None
            taken.set()
            assert commit.wait(5)

        itop.operations.before_commit = hold
        late = pool.submit(itop.act, 1, account=AGENT, entry="<p>late</p>")
        assert taken.wait(5)
        itop.clock_offset = 10
        itop.act(TICKET, account=AGENT, entry="<p>early</p>")
        assert itop.store.log(1) == []
        assert itop.store.changes(1) == []
        commit.set()
        late.result(5)
    assert ticket(itop, 1)["last_update"] < ticket(itop)["last_update"]
    assert itop.store.changes(1)[0]["id"] < itop.store.changes(TICKET)[0]["id"]
    assert change_of(itop, 1)["id"] < change_of(itop)["id"]


def test_a_fault_shows_a_save_late(itop: Itop) -> None:
    itop.faults.add("late_commit", operation="core/update", seconds=1.1, count=1)
    assert call(itop, "core/update", key=1, fields={"title": "Late"})["code"] == 0
    assert ticket(itop, 1)["title"] == "Late"
    assert itop.store.now() > ticket(itop, 1)["last_update"]


def test_two_saves_of_one_log_leave_one_entry_and_two_operations_with_its_number(itop: Itop) -> None:
    together = threading.Barrier(2, timeout=5)
    itop.pause = together.wait  # type: ignore[assignment]
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(call, itop, "core/update", key=TICKET, fields={"public_log": "ours"})
        itop.act(TICKET, account=AGENT, entry="<p>theirs</p>")
        assert ours.result(5)["code"] == 0
    assert len(itop.store.log(TICKET)) == 4
    assert [each["lastentry"] for each in itop.store.changes(TICKET)] == [3, 3]


def test_the_clock_of_the_server_may_be_wrong(itop: Itop) -> None:
    itop.clock_offset = -7200
    behind = itop.store.now()
    itop.act(1, account=AGENT, entry="<p>x</p>")
    assert ticket(itop, 1)["last_update"] >= behind
    with running_itop(demo=False) as other:
        assert other.store.now() > ticket(itop, 1)["last_update"]


# --- permissions


def test_only_the_returned_class_must_be_readable(itop: Itop) -> None:
    query = "SELECT CMDBChangeOp AS o WHERE o.objkey = 8"
    denied = "The current user does not have enough permissions for reading data of class CMDBChangeOp"
    answer = call(itop, "core/get", AGENT_TOKEN, **{"class": "CMDBChangeOp"}, key=query)
    assert answer == {"code": 1, "message": denied, "objects": None}
    itop.act(TICKET, account=AGENT, entry="<p>x</p>")
    joined = "SELECT t FROM UserRequest AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
    assert found(itop, joined) == [TICKET]


def test_an_account_of_rest_alone_reads_no_ticket(itop: Itop) -> None:
    answer = call(itop, "core/get", "facts_rest_only:Passw0rd!facts", key=TICKET)
    assert answer["message"].endswith("permissions for reading data of class UserRequest")


def test_an_account_of_another_organization_finds_nothing_joined_or_not(itop: Itop) -> None:
    other, mine = "facts_other_org:Passw0rd!facts", child_of(itop, 0, org_id=3)
    itop.act(TICKET, account=AGENT, entry="<p>x</p>")
    joined = "SELECT t FROM UserRequest AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
    assert found(itop, joined) == [TICKET]
    assert found(itop, joined, other) == []
    assert found(itop, "SELECT UserRequest", other) == [mine]
    refused = call(itop, "core/update", other, key=TICKET, fields={"title": "Mine"})
    assert refused == {"code": 100, "message": "Error: Invalid object UserRequest::8"}


def test_an_account_may_lose_a_profile(itop: Itop) -> None:
    assert found(itop, "SELECT UserRequest WHERE id = 8") == [TICKET]
    itop.revoke("agent_app", "Support Agent")
    answer = call(itop, "core/get", AGENT_TOKEN, key=TICKET)
    assert answer["message"].endswith("permissions for reading data of class UserRequest")


def test_a_fault_refuses_reading(itop: Itop) -> None:
    itop.faults.add("unreadable", count=1)
    answer = call(itop, "core/get", key=TICKET)
    assert (answer["code"], answer["message"].split("for ")[1]) == (1, "reading data of class UserRequest")
    assert call(itop, "core/get", key=TICKET)["code"] == 0
