"""What the stand-in for iTop does beyond single exchanges: guarded and concurrent writes, faults, OQL, pages."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests

from sandbox.itop import Itop, running_itop, seed

TICKET = 1


@pytest.fixture
def itop() -> Iterator[Itop]:
    with running_itop(window=0.0) as running:
        yield running


def call(itop: Itop, operation: str, token: str = seed.TOKEN, /, **request: Any) -> dict[str, Any]:
    """Call iTop. `timeout` is for the connection, all other values are for the request."""
    timeout = request.pop("timeout", 10)
    answer = requests.post(
        itop.rest_url,
        data={"version": "1.3", "json_data": json.dumps({"operation": operation, **request})},
        headers={"Auth-Token": token},
        timeout=timeout,
    )
    return answer.json()  # type: ignore[no-any-return]


def find(itop: Itop, oql: str, fields: str = "id", **request: Any) -> dict[str, Any]:
    name = oql.split()[1]
    class_name = name if name[0].isupper() else "Person"  # "SELECT p FROM ..." names an alias first
    return call(itop, "core/get", **{"class": class_name}, key=oql, output_fields=fields, **request)


def ids(itop: Itop, oql: str) -> list[int]:
    answer = find(itop, oql)
    assert answer["code"] == 0, answer
    return [int(each["key"]) for each in (answer["objects"] or {}).values()]


def append(itop: Itop, message: str, *, token: str = seed.TOKEN, **options: Any) -> dict[str, Any]:
    fields = {"public_log": {"add_item": {"message": f"<p>{message}</p>"}}}
    request = {"class": "UserRequest", "key": TICKET, "comment": "test", "fields": fields}
    return call(itop, "core/update", token, **request | {"output_fields": "id,public_log"} | options)


def messages(itop: Itop, ticket: int = TICKET) -> list[str]:
    return [entry["message"].removeprefix("<p>").removesuffix("</p>") for entry in itop.store.log(ticket)]


def unless_written(idempotency_key: str, ticket: int = TICKET) -> str:
    """Return a write's key query, which matches nothing once a change of the logs has the idempotency key."""
    return (
        f"SELECT UserRequest AS t WHERE t.id = {ticket} AND t.id NOT IN (SELECT UserRequest AS u "
        f"JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = u.id "
        f"WHERE u.id = {ticket} AND o.objclass = 'UserRequest' AND o.userinfo = '{idempotency_key}')"
    )


def unless_created(idempotency_key: str, person: int = 40) -> str:
    return (
        f"SELECT Person AS p WHERE p.id = {person} AND p.id NOT IN (SELECT Person AS q "
        f"JOIN UserRequest AS r ON r.caller_id = q.id JOIN CMDBChangeOpCreate AS o ON o.objkey = r.id "
        f"WHERE q.id = {person} AND o.objclass = 'UserRequest' AND o.userinfo = '{idempotency_key}')"
    )


def create(itop: Itop, caller: int | str = 40, comment: str = "test", **fields: Any) -> dict[str, Any]:
    fields = {"org_id": 4, "caller_id": caller, "title": "A title", "description": "<p>x</p>"} | fields
    request = {"comment": comment, "fields": fields, "output_fields": "id,ref,caller_id"}
    return call(itop, "core/create", **{"class": "UserRequest"}, **request)


# --- conditional writes


def test_a_guarded_entry_is_written_once_and_refused_afterwards(itop: Itop) -> None:
    guard = unless_written("Intercom message 1")
    assert append(itop, "hello", comment="Intercom message 1", key=guard)["code"] == 0
    again = append(itop, "hello", comment="Intercom message 1", key=guard)
    assert again == {"code": 100, "message": f"Error: No item found for query: {guard}"}
    assert messages(itop) == ["hello"]
    assert (
        append(itop, "other", comment="Intercom message 2", key=unless_written("Intercom message 2"))["code"]
        == 0
    )
    assert messages(itop) == ["hello", "other"]


def test_one_query_returns_which_idempotency_keys_were_written(itop: Itop) -> None:
    append(itop, "hello", comment="m1")
    query = "SELECT CMDBChangeOpSetAttributeCaseLog WHERE objkey = 1 AND userinfo IN ('m1', 'm2')"
    found = find(itop, query, "userinfo,attcode,lastentry,objclass,objkey,date")["objects"]
    (operation,) = found.values()
    assert {name: operation["fields"][name] for name in ("userinfo", "attcode", "lastentry", "objkey")} == {
        "userinfo": "m1",
        "attcode": "public_log",
        "lastentry": "0",
        "objkey": "1",
    }


def test_a_guarded_creation_is_refused_the_second_time(itop: Itop) -> None:
    guard = unless_created("submission 7")
    first = create(itop, guard, "submission 7")
    assert first["code"] == 0
    (made,) = first["objects"].values()
    assert made["fields"]["caller_id"] == "40"
    assert create(itop, guard, "submission 7") == {
        "code": 100,
        "message": f"Error: caller_id: No item found for query: {guard}",
    }
    query = (
        "SELECT UserRequest AS r JOIN CMDBChangeOpCreate AS o ON o.objkey = r.id "
        "WHERE o.objclass = 'UserRequest' AND o.userinfo = 'submission 7'"
    )
    assert ids(itop, query) == [int(made["key"])]


def test_the_guard_works_for_accounts_that_are_not_administrators(itop: Itop) -> None:
    token = seed.TOKENS["agent_app"]
    assert append(itop, "a", comment="m", key=unless_written("m"), token=token)["code"] == 0
    assert append(itop, "a", comment="m", key=unless_written("m"), token=token)["code"] == 100


def test_a_write_is_executed_although_its_caller_has_disconnected(itop: Itop) -> None:
    itop.faults.add("late", operation="core/update", count=1, seconds=0.4)
    with pytest.raises(requests.Timeout):
        append(itop, "hello", comment="m", timeout=0.1)
    assert messages(itop) == []
    assert itop.wait_idle()
    assert messages(itop) == ["hello"]


def test_a_late_guarded_write_and_its_retry_make_one_entry(itop: Itop) -> None:
    itop.faults.add("late", operation="core/update", count=1, seconds=0.4)
    with pytest.raises(requests.Timeout):
        append(itop, "hello", comment="m", key=unless_written("m"), timeout=0.1)
    assert append(itop, "hello", comment="m", key=unless_written("m"))["code"] == 0
    assert itop.wait_idle()
    assert messages(itop) == ["hello"]


# --- the lost update


def test_two_simultaneous_writers_lose_an_entry_and_both_get_a_success(itop: Itop) -> None:
    meeting = threading.Barrier(2, timeout=5)

    def wait_for_the_other() -> None:
        meeting.wait()

    itop.pause = wait_for_the_other
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda text: append(itop, text), ("one", "two")))
    assert [answer["code"] for answer in answers] == [0, 0]
    assert len(messages(itop)) == 1
    written = [change for change in itop.store.changes(TICKET) if change["attcode"] == "public_log"]
    assert [change["lastentry"] for change in written] == [0, 0]


def test_one_writer_at_a_time_keeps_every_entry() -> None:
    with running_itop(lost_updates=False) as itop, ThreadPoolExecutor(4) as pool:
        assert all(answer["code"] == 0 for answer in pool.map(lambda n: append(itop, str(n)), range(20)))
        assert sorted(messages(itop), key=int) == [str(number) for number in range(20)]


def test_writers_of_different_tickets_lose_nothing(itop: Itop) -> None:
    itop.operations.window = 0.02
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda ticket: append(itop, "x", key=ticket), (1, 2, 3)))
    assert [messages(itop, ticket) for ticket in (1, 2, 3)] == [["x"]] * 3


# --- logs


def test_one_call_writes_both_logs_and_each_has_its_change(itop: Itop) -> None:
    fields = {"public_log": "seen by all", "private_log": {"add_item": {"message": "among us"}}}
    request = {"key": TICKET, "comment": "both", "fields": fields, "output_fields": "id"}
    assert call(itop, "core/update", **{"class": "UserRequest"}, **request)["code"] == 0
    assert [entry["message"] for entry in itop.store.log(TICKET, "private_log")] == ["<p>among us</p>"]
    assert [(c["attcode"], c["userinfo"]) for c in itop.store.changes(TICKET)] == [
        ("private_log", "both"),
        ("public_log", "both"),
    ]


def test_a_creation_carries_a_whole_transcript_with_authors_and_dates(itop: Itop) -> None:
    items = [
        {"message": "<p>help</p>", "user_id": 8, "date": "@1727773200"},
        {"message": "<p>sure</p>", "user_id": 0, "user_login": "Fin", "date": "@1727773260"},
    ]
    answer = create(itop, public_log={"items": items})
    (made,) = answer["objects"].values()
    entries = itop.store.log(int(made["key"]))
    assert [(each["date"], each["user_login"], each["user_id"]) for each in entries] == [
        ("2024-10-01 11:00:00", "Alice Martin", "8"),
        ("2024-10-01 11:01:00", "Fin", 0),
    ]
    assert [change["finalclass"] for change in itop.store.changes(int(made["key"]))] == ["CMDBChangeOpCreate"]


def test_a_log_holds_about_300_entries(itop: Itop) -> None:
    def with_entries(count: int) -> dict[str, Any]:
        return create(itop, public_log={"items": [{"message": "<p>x</p>"}] * count})

    assert with_entries(300)["code"] == 0
    full = with_entries(410)
    assert full["code"] == 1406


def test_a_full_log_refuses_an_update_with_code_100(itop: Itop) -> None:
    """As seen on a real iTop 3.3."""
    items = [{"message": "<p>x</p>", "user_id": 0, "user_login": "x"}] * 404
    request = {"class": "UserRequest", "key": 1, "comment": "x"}
    assert call(itop, "core/update", **request, fields={"public_log": {"items": items}})["code"] == 0
    answers = [append(itop, "x") for _ in range(3)]
    assert answers[-1]["code"] == 100
    assert answers[-1]["message"].endswith("Data too long for column 'public_log_index' at row 1}")


def test_a_key_given_by_name_is_refused(itop: Itop) -> None:
    request = {"class": "UserRequest", "key": 1, "comment": "x", "fields": {"team_id": "Helpdesk"}}
    answer = call(itop, "core/update", **request)
    assert answer["code"] == 100
    assert answer["message"].startswith("Error: team_id: Expecting an OQL query - found")


def test_whether_an_account_is_an_administrator_shows_without_a_write(itop: Itop) -> None:
    item = {"message": "<p>x</p>", "user_id": 0, "user_login": "x"}
    fields = {"org_id": 4, "description": "x", "public_log": {"add_item": item}}
    request = {"class": "UserRequest", "comment": "x", "fields": fields}
    assert call(itop, "core/create", seed.TOKENS["agent_app"], **request)["code"] == 1
    assert call(itop, "core/create", **request)["code"] == 100


def test_json_with_lone_surrogates_is_refused() -> None:
    with running_itop() as itop:
        data = {
            "version": "1.3",
            "auth_token": itop.token,
            "json_data": '{"operation": "core/get", "x": "\\ud800"}',
        }
        assert requests.post(itop.rest_url, data=data, timeout=5).json()["code"] == 4


# --- OQL


@pytest.mark.parametrize(
    ("oql", "expected"),
    [
        ("SELECT Person WHERE email = 'ALICE.MARTIN@acme.example'", [40]),
        ("SELECT Person WHERE name = \"D'Arcy\" OR name = 'D\\'Arcy'", [42]),
        ("SELECT Person WHERE first_name = 'chloe'", [42]),
        ("SELECT Person AS p WHERE p.org_name = 'Acme Corp' AND NOT (p.id = 40)", [41, 42]),
        ("SELECT Person WHERE email LIKE 'reception@%'", [54, 55]),
        ("SELECT Person WHERE status != 'active'", [57]),
        ("SELECT UserRequest WHERE caller_id_friendlyname = 'Bob Durand'", [7]),
        ("SELECT UserRequest WHERE caller_id->email = 'bob.durand@acme.example'", [7]),
        ("SELECT UserRequest WHERE id IN (1, 2, '3') AND status NOT IN ('new')", [3, 2]),
        ("select UserRequest where id < 3 and `ref` like 'R-%'", [2, 1]),
        ("SELECT UserRequest WHERE ISNULL(request_type)", []),
        ("SELECT UserRequest WHERE id = 1 UNION SELECT UserRequest WHERE id = 3", [3, 1]),
        (
            "SELECT p FROM UserRequest AS t JOIN Person AS p ON t.caller_id = p.id WHERE t.id IN (1, 7)",
            [40, 41],
        ),
        (
            "SELECT Organization AS o JOIN Organization AS top ON o.parent_id BELOW top.id WHERE top.id = 5",
            [5, 6],
        ),
        (
            "SELECT UserRequest AS t JOIN Person AS p ON t.caller_id = p.id WHERE (p.email = 'bob.durand@acme.example' "
            "AND t.status NOT IN ('closed')) OR t.intercom_ref = 'WHERE UNION :x'",
            [7],
        ),
        ("SELECT UserRequest AS t WHERE t.caller_id IN (SELECT Person AS p WHERE p.name = 'Durand')", [7]),
        ("SELECT Person WHERE id = :current_contact_id", []),
    ],
)
def test_queries_return_the_matching_objects(itop: Itop, oql: str, expected: list[int]) -> None:
    assert ids(itop, oql) == expected


@pytest.mark.parametrize(
    ("oql", "part"),
    [
        (
            "SELECT UserRequest AS t WHERE t.id IN (SELECT UserRequest WHERE ref = 'x')",
            "Ambiguous filter code",
        ),
        ("SELECT UserRequest WHERE title = 'never closed", "OQLLexerException"),
        ("SELECT UserRequest WHERE id = 1; DROP TABLE Ticket", "OQLLexerException"),
        ("SELECT UserRequest WHERE x.id = 1", "Unknown class alias"),
        ("SELECT UserRequest WHERE id = :this->id", "Missing query argument: expecting = this->id"),
        ("SELECT Service AS s JOIN Person AS p ON p.name = s.id", "external key"),
        ("SELECT", "Unexpected token End of Input"),
        ("", "Unexpected token End of Input"),
    ],
    ids=lambda text: str(text)[:70],
)
def test_queries_that_itop_refuses_are_refused(itop: Itop, oql: str, part: str) -> None:
    answer = call(itop, "core/get", **{"class": "UserRequest"}, key=oql)
    assert answer["code"] == 100
    assert part in answer["message"]


def test_like_compares_letter_by_letter(itop: Itop) -> None:
    itop.store.update("UserRequest", TICKET, title="Große Straße")
    assert ids(itop, "SELECT UserRequest WHERE title = 'grosse strasse '") == [TICKET]
    assert ids(itop, "SELECT UserRequest WHERE title LIKE '%GROßE stra%'") == [TICKET]
    assert ids(itop, "SELECT UserRequest WHERE title LIKE '%strasse%'") == []
    assert ids(itop, "SELECT UserRequest WHERE title LIKE '%straße '") == []


def test_the_current_contact_is_that_of_the_calling_account(itop: Itop) -> None:
    itop.store.update("UserToken", 2, contactid=9)
    assert ids(itop, "SELECT Person WHERE id = :current_contact_id") == [9]
    assert ids(itop, "SELECT Organization WHERE id = :current_contact->org_id") == [3]


def test_services_of_a_customer_are_those_of_its_contract(itop: Itop) -> None:
    query = (
        "SELECT Service AS s JOIN lnkCustomerContractToService AS l ON l.service_id = s.id JOIN CustomerContract AS cc "
        "ON l.customercontract_id = cc.id WHERE cc.org_id = {} AND s.status != 'obsolete'"
    )
    assert sorted(ids(itop, query.format(4))) == [4, 5, 6, 7, 9]
    assert len(ids(itop, query.format(5))) == 12


def test_without_the_extension_its_attributes_are_unknown() -> None:
    with running_itop(extension=False) as itop:
        answer = find(itop, "SELECT UserRequest WHERE intercom_ref = 'x'")
        assert "Unknown filter code - found 'intercom_ref'" in answer["message"]
        assert create(itop, intercom_ref="x")["message"] == "Error: intercom_ref: Unknown attribute"


def test_changes_come_in_the_order_of_their_number_as_text(itop: Itop) -> None:
    for number in range(11):
        append(itop, str(number))
    answer = find(itop, "SELECT CMDBChangeOpSetAttributeCaseLog", "change")
    changes = [each["fields"]["change"] for each in answer["objects"].values()]
    assert changes == sorted(changes)
    assert changes[-1] == "9"


def test_a_deleted_ticket_leaves_only_the_operation_of_its_deletion(itop: Itop) -> None:
    append(itop, "x")
    request = {"class": "UserRequest", "key": TICKET, "comment": "x"}
    assert call(itop, "core/delete", **request)["message"].startswith("Deleted: 1")
    query = f"SELECT CMDBChangeOp WHERE objkey = {TICKET}"
    (left,) = find(itop, query, "finalclass,objclass")["objects"].values()
    assert (left["fields"]["finalclass"], left["fields"]["objclass"]) == ("CMDBChangeOpDelete", "Ticket")


def test_changes_can_be_joined_but_not_read_without_the_administrator_profile(itop: Itop) -> None:
    append(itop, "x")
    token = seed.TOKENS["agent_app"]
    request = {"key": "SELECT CMDBChangeOpSetAttributeCaseLog", "class": "CMDBChangeOpSetAttributeCaseLog"}
    refused = call(itop, "core/get", token, **request)
    assert (refused["code"], refused["message"]) == (
        1,
        "The current user does not have enough permissions for reading data of class "
        "CMDBChangeOpSetAttributeCaseLog",
    )
    joined = "SELECT UserRequest AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
    answer = call(itop, "core/get", token, **{"class": "UserRequest"}, key=joined, output_fields="id")
    assert answer["message"] == "Found: 1"


# --- faults


@pytest.mark.parametrize(
    ("kind", "status", "start"),
    [
        ("error500", 500, "<p>iTop"),
        ("html", 200, "<!DOCTYPE"),
        ("maintenance", 503, '{"data": [{"code": 100'),
    ],
)
def test_a_fault_replaces_the_response(itop: Itop, kind: str, status: int, start: str) -> None:
    itop.faults.add(kind, count=1)
    data = {"version": "1.3", "auth_token": itop.token, "json_data": '{"operation": "list_operations"}'}
    answer = requests.post(itop.rest_url, data=data, timeout=5)
    assert (answer.status_code, answer.text[: len(start)]) == (status, start)
    assert requests.post(itop.rest_url, data=data, timeout=5).json()["code"] == 0


@pytest.mark.parametrize(("kind", "written"), [("drop_before", []), ("reset", []), ("drop_after", ["hello"])])
def test_a_connection_can_break_before_and_after_a_write(itop: Itop, kind: str, written: list[str]) -> None:
    itop.faults.add(kind, operation="core/update", count=1)
    with pytest.raises(requests.ConnectionError):
        append(itop, "hello")
    assert itop.wait_idle()
    assert messages(itop) == written


def test_a_fault_applies_only_to_the_operation_that_it_names(itop: Itop) -> None:
    itop.faults.add("error500", operation="core/create")
    assert append(itop, "fine")["code"] == 0
    with pytest.raises(requests.JSONDecodeError):
        create(itop)


def test_a_read_only_instance_refuses_writes_alone(itop: Itop) -> None:
    itop.faults.add("read_only")
    assert append(itop, "x")["code"] == 1
    assert ids(itop, "SELECT UserRequest WHERE id = 1") == [1]


def test_a_slow_response_comes_after_the_write(itop: Itop) -> None:
    itop.faults.add("slow", count=1, seconds=5)
    with pytest.raises(requests.Timeout):
        append(itop, "hello", timeout=0.3)
    assert messages(itop) == ["hello"]


def test_a_response_can_drip_without_a_read_timeout(itop: Itop) -> None:
    itop.faults.add("drip", count=1, seconds=0.002)
    started = time.monotonic()
    assert append(itop, "hello", timeout=0.2)["code"] == 0
    assert time.monotonic() - started > 0.4


def test_while_away_connections_are_refused_and_the_data_is_kept(itop: Itop) -> None:
    with requests.Session() as session:
        assert session.get(itop.url + "/sandbox/state", timeout=5).ok
        itop.faults.away = True
        with pytest.raises(requests.ConnectionError):
            session.get(itop.url + "/sandbox/state", timeout=5)
        address = urlsplit(itop.url)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=5)
        itop.faults.away = False
        assert append(itop, "back")["code"] == 0
    assert messages(itop) == ["back"]


def test_it_can_be_stopped_while_it_is_away() -> None:
    with running_itop() as itop:
        itop.faults.away = True
    with pytest.raises(requests.ConnectionError):
        requests.get(itop.url, timeout=5)


def test_faults_are_set_over_http(itop: Itop) -> None:
    wanted = {
        "faults": [{"kind": "error500", "operation": "core/get", "count": 1}],
        "latency": 0.01,
        "lost_updates": False,
    }
    assert requests.post(itop.url + "/sandbox/faults", json=wanted, timeout=5).json()["latency"] == 0.01
    assert itop.operations.lost_updates is False
    with pytest.raises(requests.JSONDecodeError):
        find(itop, "SELECT Person")
    assert find(itop, "SELECT Person")["code"] == 0
    assert (
        requests.post(itop.url + "/sandbox/faults", json={"faults": [{"kind": "x"}]}, timeout=5).status_code
        == 400
    )
    requests.post(itop.url + "/sandbox/faults", json={"away": 0.3}, timeout=5)
    wait_until(lambda: itop.faults.away)
    wait_until(lambda: not itop.faults.away)
    assert requests.delete(itop.url + "/sandbox/faults", timeout=5).json()["faults"] == []


def wait_until(true: Callable[[], bool], seconds: float = 5) -> None:
    ended = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ended
        time.sleep(0.01)


# --- looks from outside


def test_connections_stay_open_between_calls(itop: Itop) -> None:
    address = urlsplit(itop.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    body = urlencode(
        {"version": "1.3", "auth_token": itop.token, "json_data": '{"operation": "list_operations"}'}
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    sockets = set()
    for _ in range(3):
        connection.request("POST", "/webservices/rest.php", body, headers)
        assert json.loads(connection.getresponse().read())["code"] == 0
        sockets.add(connection.sock)
    assert len(sockets) == 1
    connection.close()


def test_calls_and_state_show_what_happened(itop: Itop) -> None:
    append(itop, "hello", comment="m")
    assert itop.calls == [("core/update", "UserRequest")]
    state = requests.get(itop.url + "/sandbox/state", timeout=5).json()
    ticket = next(each for each in state["tickets"] if each["id"] == TICKET)
    assert [entry["message"] for entry in ticket["public_log"]] == ["<p>hello</p>"]
    assert [change["userinfo"] for change in ticket["changes"]] == ["m"]


def test_the_page_of_a_ticket_runs_no_script(itop: Itop) -> None:
    append(itop, "<b>seen</b>")
    itop.store.update("UserRequest", TICKET, title="<script>alert(1)</script>")
    address = f"{itop.url}/pages/UI.php?operation=details&class=UserRequest&id={TICKET}"
    page = requests.get(address, timeout=5)
    assert page.status_code == 200
    assert "R-000001" in page.text
    assert "<b>seen</b>" in page.text
    assert "<script>" not in page.text
    assert "R-000001" in requests.get(itop.url + "/", timeout=5).text
    assert requests.get(f"{itop.url}/pages/UI.php?class=UserRequest&id=999", timeout=5).status_code == 404


def test_a_database_file_keeps_the_data(tmp_path: Any) -> None:
    with running_itop(tmp_path / "itop.sqlite3") as itop:
        append(itop, "kept")
    with running_itop(tmp_path / "itop.sqlite3", token="another") as itop:
        assert messages(itop) == ["kept"]
        assert call(itop, "list_operations")["message"] == "Error: Invalid login"
        assert call(itop, "list_operations", "another")["code"] == 0


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "sandbox.itop", "--port", "0", "--token", "T"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().split(" at ")[1].split("/ - ")[0]
        data = {"version": "1.3", "auth_token": "T", "json_data": '{"operation": "list_operations"}'}
        assert requests.post(url + "/webservices/rest.php", data=data, timeout=5).json()["code"] == 0
        program.terminate()
        assert program.wait(5) == 0
