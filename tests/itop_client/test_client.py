"""The client: its requests, how it reads unusual responses, and what it never reveals."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
import responses

from itop_client import (
    Client,
    InvalidValueError,
    ItopError,
    ItopNoResponseError,
    ItopObject,
    ItopUnavailableError,
    ItopUnreachableError,
)

from .recordings import BASE, REST, TOKEN, found, ok, refused, sent
from .socket_server import SocketServer, serving

PASSWORD = "hunter2-but-longer"
TICKET = ("UserRequest", 8, {"friendlyname": "R-000008"})


def test_a_token_is_sent_in_the_header_only(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(TICKET))
    client.get("UserRequest", 8)
    request = edge.calls[0].request
    assert request.headers["Auth-Token"] == TOKEN
    assert TOKEN not in f"{request.url}{request.body!r}"


def test_white_space_around_a_token_is_ignored(edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found())
    Client(f"{BASE}/", token=f" {TOKEN}\r\n").get("UserRequest", 8)
    assert edge.calls[0].request.headers["Auth-Token"] == TOKEN


def test_user_and_password_are_sent_in_the_form(edge: responses.RequestsMock) -> None:
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
def test_an_invalid_address_is_unreachable(url: str) -> None:
    with pytest.raises(ItopUnreachableError, match="must look like"):
        Client(url, token=TOKEN).list_operations()


def test_a_password_in_the_address_is_neither_used_nor_shown() -> None:
    client = Client(f"https://admin:{PASSWORD}@itop.example/itop", token=TOKEN)
    with pytest.raises(ItopUnreachableError, match="must not contain") as caught:
        client.list_operations()
    assert client.url == "https://itop.example/itop"
    assert PASSWORD not in f"{client!r}{caught.value!r}"


def test_the_representation_contains_no_secret() -> None:
    client = Client(BASE, token=TOKEN, user="bridge", password=PASSWORD)
    assert repr(client) == f"Client('{BASE}')"


def test_secrets_are_removed_from_errors(edge: responses.RequestsMock) -> None:
    edge.post(REST, json=refused(f"Error: title: Wrong format for {TOKEN} and {PASSWORD}"))
    with pytest.raises(InvalidValueError) as caught:
        Client(BASE, token=TOKEN, user="u", password=PASSWORD).list_operations()
    text = f"{caught.value!r}{caught.value}{caught.value.problems}{caught.value.args}"
    assert TOKEN not in text
    assert PASSWORD not in text


def test_nothing_secret_is_logged(
    client: Client, edge: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    edge.post(REST, json=found(TICKET))
    edge.post(REST, body=requests.ConnectionError("refused"))
    client.get("UserRequest", 8)
    with pytest.raises(ItopUnreachableError):
        client.get("UserRequest", 8)
    assert TOKEN not in caplog.text


def test_found_has_the_total_and_one_page(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(TICKET, ("UserRequest", 7, {}), total=23))
    page = client.get("UserRequest", "SELECT UserRequest", limit=2, page=3)
    assert (page.total, len(page), [ticket.id for ticket in page]) == (23, 2, [8, 7])
    assert (sent(edge.calls[0])["limit"], sent(edge.calls[0])["page"]) == ("2", "3")


def test_an_object_of_a_subclass_has_its_own_class(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(("UserLocal", 8, {"login": "alice"})))
    (user,) = client.get("User", 8, fields=["login"])
    assert (user.class_name, user.text("login")) == ("UserLocal", "alice")


def test_an_empty_list_of_fields_is_an_empty_map(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(("UserRequest", 8, [])))  # type: ignore[arg-type]
    (ticket,) = client.get("UserRequest", 8)
    assert ticket == ItopObject("UserRequest", 8, {})


def with_object(**changes: Any) -> dict[str, Any]:
    envelope = found(TICKET)
    envelope["objects"]["UserRequest::8"].update(changes)
    return envelope


INVALID: list[Any] = [
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


@pytest.mark.parametrize("envelope", INVALID, ids=range(len(INVALID)))
def test_invalid_objects_are_the_instances_fault(
    envelope: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=envelope)
    with pytest.raises(ItopUnavailableError):
        client.get("UserRequest", 8)
    with pytest.raises(ItopUnavailableError):
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
def test_nothing_found_must_be_stated_explicitly(
    envelope: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=envelope)
    with pytest.raises(ItopUnavailableError):
        client.get("UserRequest", 8)


@pytest.mark.parametrize("envelope", [ok(), ok(TICKET, ("UserRequest", 9, {}))])
def test_a_write_must_return_exactly_one_object(
    envelope: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json=envelope)
    with pytest.raises(ItopUnavailableError) as caught:
        client.create("UserRequest", {}, comment="me")
    assert caught.value.may_have_run


@pytest.mark.parametrize("operations", [None, {}, "core/get"])
def test_operations_that_are_not_a_list_are_the_instances_fault(
    operations: Any, client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, json={"code": 0, "operations": operations})
    with pytest.raises(ItopUnavailableError):
        client.list_operations()


def test_invalid_operations_are_skipped(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json={"code": 0, "operations": [None, {}, {"verb": "core/get"}]})
    assert client.list_operations() == ("core/get",)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (requests.ConnectionError("refused"), ItopUnreachableError),
        (requests.ConnectTimeout("slow"), ItopUnreachableError),
        (requests.exceptions.SSLError("bad"), ItopUnreachableError),
        (requests.ReadTimeout("late"), ItopNoResponseError),
    ],
)
def test_a_failed_connection_raises_an_itop_error(
    failure: Exception, expected: type[ItopError], client: Client, edge: responses.RequestsMock
) -> None:
    edge.post(REST, body=failure)
    with pytest.raises(expected):
        client.create("UserRequest", {}, comment="me")
    assert len(edge.calls) == 1


def test_a_write_without_a_response_is_sent_once(caplog: pytest.LogCaptureFixture) -> None:
    with serving(SocketServer.stall) as server:
        client = Client(server.url, token=TOKEN, deadline=10)
        with pytest.raises(ItopNoResponseError):
            client.update("UserRequest", 8, {"title": "x"}, comment="me", deadline=0.3)
        assert len(server.requests) == 1
    assert TOKEN not in caplog.text


def test_a_read_without_a_response_is_repeated_if_wanted() -> None:
    with responses.RequestsMock() as edge:
        for _ in range(2):
            edge.post(REST, body=requests.ReadTimeout("slow"))
        edge.post(REST, json={"code": 0, "message": "Found: 0", "objects": None})
        assert Client(BASE, token=TOKEN).repeating_reads().get("Person", 1).total == 0


@pytest.mark.parametrize(
    ("client", "attempts"),
    [(Client(BASE, token=TOKEN), 1), (Client(BASE, token=TOKEN).repeating_reads(), 3)],
    ids=["once", "repeated"],
)
def test_a_read_without_a_response_fails_after_its_attempts(client: Client, attempts: int) -> None:
    with responses.RequestsMock() as edge:
        for _ in range(attempts):
            edge.post(REST, body=requests.ReadTimeout("slow"))
        with pytest.raises(ItopNoResponseError):
            client.get("Person", 1)


def test_a_write_is_sent_once_even_if_reads_are_repeated() -> None:
    with responses.RequestsMock() as edge:
        edge.post(REST, body=requests.ReadTimeout("slow"))
        with pytest.raises(ItopNoResponseError):
            Client(BASE, token=TOKEN).repeating_reads().create("Person", {}, comment="x")


def test_the_clients_deadline_is_the_default() -> None:
    with serving(SocketServer.stall) as server, pytest.raises(ItopNoResponseError, match=r"0\.2 s"):
        Client(server.url, token=TOKEN, deadline=0.2).list_operations()


def test_on_call_receives_each_call_and_its_outcome(edge: responses.RequestsMock) -> None:
    calls: list[tuple[str, str, float, str]] = []
    client = Client(BASE, token=TOKEN, on_call=lambda *call: calls.append(call))
    edge.post(REST, json=found(TICKET))
    edge.post(REST, json=refused("Error: Invalid login", 1))
    client.get("UserRequest", 8)
    with pytest.raises(ItopUnavailableError):
        client.list_operations()
    assert [(operation, name, outcome) for operation, name, _, outcome in calls] == [
        ("core/get", "UserRequest", "ok"),
        ("list_operations", "", "ItopLoginError"),
    ]
    assert all(seconds >= 0 for *_, seconds, _ in calls)


def test_all_writing_systems_are_sent_unchanged(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=ok(TICKET))
    title = 'Zażółć 漢字 🙂 & = + % " \\ </p>\n'
    client.create("UserRequest", {"title": title}, comment="me & you")
    assert sent(edge.calls[0])["fields"] == {"title": title}
    assert sent(edge.calls[0])["comment"] == "me & you"


@pytest.mark.parametrize(
    ("fields", "expected"), [(["ref", "id"], "ref,id"), (("ref",), "ref"), ("ref,id", "ref,id"), ("*", "*")]
)
def test_fields_may_be_names_or_one_string(
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
def test_a_field_can_be_read_as_text_or_number(value: Any, text: str, integer: int) -> None:
    ticket = ItopObject("UserRequest", 8, {"code": value})
    assert (ticket.text("code"), ticket.integer("code")) == (text, integer)


def test_deeply_nested_json_is_the_instances_fault(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, body='{"code": 0, "objects": ' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(ItopUnavailableError):
        client.get("UserRequest", 8)


def test_a_mapping_as_key_is_sent_as_criteria(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json=found(TICKET))
    client.get("UserRequest", {"ref": "R-000008"})
    assert json.loads(json.dumps(sent(edge.calls[0])["key"])) == {"ref": "R-000008"}


def test_deleting_returns_how_many_objects_there_were(client: Client, edge: responses.RequestsMock) -> None:
    # Recordings 130 to 132.
    for message in ("Deleted: 1", "Deleted: 0", "Deleted: 2 plus (for DB integrity) 21"):
        edge.post(REST, json={"code": 0, "message": message, "objects": None})
    deleted = [client.delete("UserRequest", 25, comment="Test") for _ in range(3)]
    assert deleted == [1, 0, 2]
    assert sent(edge.calls[0])["operation"] == "core/delete"


def test_a_deletion_is_only_believed_if_itop_says_so(client: Client, edge: responses.RequestsMock) -> None:
    edge.post(REST, json={"code": 0, "message": None, "objects": None})
    with pytest.raises(ItopUnavailableError, match="does not say how many objects it deleted"):
        client.delete("UserRequest", 25, comment="Test")
