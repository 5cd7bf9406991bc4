"""The client: what it sends, what it makes of strange answers, and what it never shows."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
import responses

from itop_client import (
    Client,
    InvalidValue,
    ItopError,
    ItopNoAnswer,
    ItopObject,
    ItopTrouble,
    ItopUnreachable,
)
from tests.itop_client.recordings import BASE, REST, TOKEN, found, ok, refused, sent
from tests.itop_client.socket_server import SocketServer, serving

PASSWORD = "hunter2-but-longer"
TICKET = ("UserRequest", 8, {"friendlyname": "R-000008"})


def test_a_token_goes_in_the_header_and_nowhere_else(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(TICKET))
    client.get("UserRequest", 8)
    request = edge.calls[0].request
    assert request.headers["Auth-Token"] == TOKEN
    assert TOKEN not in f"{request.url}{request.body}"


def test_a_token_pasted_with_its_line_break_works(edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found())
    Client(f"{BASE}/", token=f" {TOKEN}\r\n").get("UserRequest", 8)
    assert edge.calls[0].request.headers["Auth-Token"] == TOKEN


def test_a_user_and_password_go_in_the_form(edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found())
    Client(BASE, user="bridge", password=PASSWORD).get("UserRequest", 8)
    request = edge.calls[0].request
    assert "Auth-Token" not in request.headers
    form = parse_qs(str(request.body))
    assert (form["auth_user"], form["auth_pwd"]) == (["bridge"], [PASSWORD])
    assert PASSWORD not in str(request.url)


@pytest.mark.parametrize(
    "url", [BASE, f"{BASE}/", f" {BASE}// ", REST, BASE.replace("https", "HTTPS"), f"{REST}/"]
)
def test_the_address_may_be_written_in_several_ways(url: str, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found())
    Client(url, token=TOKEN).get("UserRequest", 8)


@pytest.mark.parametrize(
    "url", ["", "itop.example", "ftp://itop.example", "https://", f"{BASE}?a=b", f"{BASE}#x", "http://[::1"]
)
def test_what_is_no_address_is_unreachable_when_it_is_called(url: str) -> None:
    with pytest.raises(ItopUnreachable, match="must look like"):
        Client(url, token=TOKEN).list_operations()


def test_a_password_in_the_address_is_neither_used_nor_shown() -> None:
    client = Client(f"https://admin:{PASSWORD}@itop.example/itop", token=TOKEN)
    with pytest.raises(ItopUnreachable, match="must not hold") as caught:
        client.list_operations()
    assert client.url == "https://itop.example/itop"
    assert PASSWORD not in f"{client!r}{caught.value!r}"


def test_its_repr_shows_where_and_no_secret() -> None:
    client = Client(BASE, token=TOKEN, user="bridge", password=PASSWORD)
    assert repr(client) == f"Client('{BASE}')"


def test_a_secret_that_itop_repeats_is_in_no_error(edge: responses.RequestsMock) -> None:
    edge.post(REST, json=refused(f"Error: title: Wrong format for {TOKEN} and {PASSWORD}"))
    with pytest.raises(InvalidValue) as caught:
        Client(BASE, token=TOKEN, user="u", password=PASSWORD).list_operations()
    shown = f"{caught.value!r}{caught.value}{caught.value.problems}{caught.value.args}"
    assert TOKEN not in shown
    assert PASSWORD not in shown


def test_nothing_secret_is_logged(
    client: Client, edge: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    edge.post(REST, json=found(TICKET))
    edge.post(REST, body=requests.ConnectionError("refused"))
    client.get("UserRequest", 8)
    with pytest.raises(ItopUnreachable):
        client.get("UserRequest", 8)
    assert TOKEN not in caplog.text


def test_found_says_how_many_there_are_and_holds_one_page(
    client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=found(TICKET, ("UserRequest", 7, {}), total=23))
    page = client.get("UserRequest", "SELECT UserRequest", limit=2, page=3)
    assert (page.total, len(page), [one.id for one in page]) == (23, 2, [8, 7])
    assert (sent(edge.calls[0])["limit"], sent(edge.calls[0])["page"]) == ("2", "3")


def test_an_object_of_a_subclass_bears_its_own_class(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(("UserLocal", 8, {"login": "alice"})))
    (user,) = client.get("User", 8, fields=["login"])
    assert (user.class_name, user.text("login")) == ("UserLocal", "alice")


def test_fields_that_php_writes_as_an_empty_list_are_no_fields(
    client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=found(("UserRequest", 8, [])))  # type: ignore[arg-type]
    (ticket,) = client.get("UserRequest", 8)
    assert ticket == ItopObject("UserRequest", 8, {})


def with_object(**changes: Any) -> dict[str, Any]:
    envelope = found(TICKET)
    envelope["objects"]["UserRequest::8"].update(changes)
    return envelope


STRANGE: list[Any] = [
    with_object(key="eight"),
    with_object(key=None),
    with_object(key=""),
    with_object(key="8.5"),
    with_object(key=8.0),
    with_object(key=True),
    with_object(key=[8]),
    with_object(key="-1"),
    with_object(key="9" * 5000),
    with_object(fields="text"),
    with_object(fields=[1]),
    with_object(code=100),
    with_object(code=None),
    {**found(TICKET), "objects": []},
    {**found(TICKET), "objects": "text"},
    {**found(TICKET), "objects": 7},
    {**found(TICKET), "objects": {"UserRequest::8": None}},
    {**found(TICKET), "objects": {"UserRequest::8": []}},
    {**found(TICKET), "objects": {"UserRequest::8": {"key": "8", "fields": {}}}},
    {**found(TICKET), "objects": {"UserRequest::8": {"class": 7, "key": "8", "fields": {}}}},
]


@pytest.mark.parametrize("envelope", STRANGE)
def test_objects_that_make_no_sense_are_the_instances_trouble(
    envelope: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=envelope)
    with pytest.raises(ItopTrouble):
        client.get("UserRequest", 8)
    with pytest.raises(ItopTrouble):
        client.update("UserRequest", 8, {"title": "x"}, comment="me")


@pytest.mark.parametrize(
    "envelope",
    [
        {"code": 0},
        {"code": 0, "message": None, "objects": None},
        {"code": 0, "message": "Found: many", "objects": None},
        {"code": 0, "message": 0, "objects": None},
        found(total=3),
    ],
)
def test_nothing_is_taken_for_found_nothing_unless_itop_says_so(
    envelope: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=envelope)
    with pytest.raises(ItopTrouble):
        client.get("UserRequest", 8)


@pytest.mark.parametrize("envelope", [ok(), ok(TICKET, ("UserRequest", 9, {}))])
def test_a_write_that_names_no_object_or_several_is_the_instances_trouble(
    envelope: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=envelope)
    with pytest.raises(ItopTrouble) as caught:
        client.create("UserRequest", {}, comment="me")
    assert caught.value.may_have_run


@pytest.mark.parametrize("operations", [None, {}, "core/get"])
def test_operations_that_are_no_list_are_the_instances_trouble(
    operations: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json={"code": 0, "operations": operations})
    with pytest.raises(ItopTrouble):
        client.list_operations()


def test_operations_that_are_no_operations_are_passed_over(
    client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json={"code": 0, "operations": [None, {}, {"verb": "core/get"}]})
    assert client.list_operations() == ("core/get",)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (requests.ConnectionError("refused"), ItopUnreachable),
        (requests.ConnectTimeout("slow"), ItopUnreachable),
        (requests.exceptions.SSLError("bad"), ItopUnreachable),
        (requests.ReadTimeout("late"), ItopNoAnswer),
    ],
)
def test_a_connection_that_fails_is_an_error_of_ours(
    failure: Exception, expected: type[ItopError], client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, body=failure)
    with pytest.raises(expected):
        client.create("UserRequest", {}, comment="me")
    assert len(edge.calls) == 1


def test_a_write_whose_answer_never_comes_is_sent_once(caplog: pytest.LogCaptureFixture) -> None:
    def wait(server: SocketServer, connection: object) -> None:
        server.stopping.wait(10)

    with serving(wait) as server:
        client = Client(server.url, token=TOKEN, deadline=10)
        with pytest.raises(ItopNoAnswer):
            client.update("UserRequest", 8, {"title": "x"}, comment="me", deadline=0.3)
        assert len(server.requests) == 1
    assert TOKEN not in caplog.text


def test_its_own_deadline_holds_where_a_call_brings_none() -> None:
    def wait(server: SocketServer, connection: object) -> None:
        server.stopping.wait(10)

    with serving(wait) as server, pytest.raises(ItopNoAnswer, match=r"0\.2 s"):
        Client(server.url, token=TOKEN, deadline=0.2).list_operations()


def test_it_counts_its_exchanges_across_threads(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(TICKET))
    threads = [threading.Thread(target=client.get, args=("UserRequest", 8)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.calls == 8


def test_a_listener_hears_of_each_call_and_how_it_ended(edge: responses.RequestsMock) -> None:
    heard: list[tuple[str, str, float, str]] = []
    client = Client(BASE, token=TOKEN, on_call=lambda *call: heard.append(call))
    edge.post(REST, json=found(TICKET))
    edge.post(REST, json=refused("Error: Invalid login", 1))
    client.get("UserRequest", 8)
    with pytest.raises(ItopTrouble):
        client.list_operations()
    assert [(operation, name, outcome) for operation, name, _, outcome in heard] == [
        ("core/get", "UserRequest", "ok"),
        ("list_operations", "", "ItopLoginRefused"),
    ]
    assert all(seconds >= 0 for *_, seconds, _ in heard)


def test_every_script_goes_over_the_wire_as_it_was(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=ok(TICKET))
    title = 'Zażółć 漢字 🙂 & = + % " \\ </p>\n'
    client.create("UserRequest", {"title": title}, comment="me & you")
    assert sent(edge.calls[0])["fields"] == {"title": title}
    assert sent(edge.calls[0])["comment"] == "me & you"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [(["ref", "id"], "ref,id"), (("ref",), "ref"), ("ref,id", "ref,id"), ("*", "*")],
)
def test_fields_may_be_names_or_one_text(
    fields: Any, expected: str, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=found(TICKET))
    client.get("UserRequest", 8, fields=fields)
    assert sent(edge.calls[0])["output_fields"] == expected


@pytest.mark.parametrize(
    ("value", "text", "integer"),
    [
        ("8", "8", 8),
        (8, "8", 8),
        (None, "", 0),
        ("", "", 0),
        ("x", "x", 0),
        ({"entries": []}, "", 0),
        ([], "", 0),
    ],
)
def test_a_field_reads_as_text_and_as_a_number(value: Any, text: str, integer: int) -> None:
    one = ItopObject("UserRequest", 8, {"it": value})
    assert (one.text("it"), one.integer("it")) == (text, integer)


def test_deep_json_is_trouble_and_not_a_crash(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, body='{"code": 0, "objects": ' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(ItopTrouble):
        client.get("UserRequest", 8)


def test_a_mapping_as_key_is_sent_as_criteria(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(TICKET))
    client.get("UserRequest", {"ref": "R-000008"})
    assert json.loads(json.dumps(sent(edge.calls[0])["key"])) == {"ref": "R-000008"}
