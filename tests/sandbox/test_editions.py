"""The bridge with other versions of iTop, other languages of its account, and stricter servers and databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, ItopInstance, Ticket, TicketCreation, TicketLink, Workspace
from sandbox.itop import Itop, running_itop
from tests.linked import store_link
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]
EDITIONS = (("2.7", "FR FR"), ("3.0", "HU HU"), ("3.1", "DE DE"), ("3.2", "IT IT"), ("3.3", "EN US"))
BODY = (
    "<h5>Step one</h5><ol start='3'><li>unplug</li></ol><p>a <mark>b</mark> <sub>c</sub> "
    "<a href='tel:+4930'>call</a></p><figure><img src='https://x.example/a.png' width='9'></figure>"
)


@pytest.fixture(params=[{}])
def itop(request: pytest.FixtureRequest) -> Iterator[Itop]:
    with running_itop(**request.param) as running:
        yield running


@pytest.fixture
def ticket(teammate: Teammate, itop: Itop) -> Ticket:
    return store_link(teammate, itop, "R-000006").ticket


def edition(version: str, language: str) -> object:
    return pytest.param({"version": version, "language": language}, id=f"{version}-{language[:2]}")


def create_ticket(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").click("Create ticket")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")


def entries(itop: Itop, ticket: Ticket, log: str = "public_log") -> list[str]:
    return [entry["message"] for entry in itop.store.log(ticket.object_id, log)]


def states() -> list[tuple[str, str]]:
    return list(Delivery.objects.in_order().values_list("state", "reason_code"))


every_edition = pytest.mark.parametrize("itop", [edition(*each) for each in EDITIONS], indirect=True)


@every_edition
def test_a_ticket_is_created_in_every_edition(teammate: Teammate, itop: Itop, work: Work) -> None:
    create_ticket(teammate)
    assert TicketCreation.objects.get().state == "created"
    made = max(itop.store.all("UserRequest"), key=lambda row: row["id"])
    assert made["origin"] == ("chat" if itop.store.model.version >= "3.1" else "phone")
    assert len(itop.store.log(made["id"])) == 2


@every_edition
def test_a_ticket_is_linked_in_every_edition(teammate: Teammate, itop: Itop, work: Work) -> None:
    teammate.link("R-000006")
    work()
    row = itop.store.load("UserRequest", 6)
    assert row is not None and row["intercom_ref"] == teammate.conversation["id"]
    assert TicketLink.objects.get().attributes_synced


@every_edition
def test_a_message_loses_no_word_and_is_verified_in_every_edition(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, BODY))
    work()
    for word in ("Step one", "unplug", "a ", "b", "c", "+4930"):
        assert word in entries(itop, ticket)[-1]
    Ticket.objects.update(check_at=timezone.now())
    work()
    assert states() == [("written", "")]


@every_edition
def test_a_full_log_and_a_check_fail_their_message_alone_in_every_edition(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    entry = {
        "date": "2026-01-01 00:00:00",
        "user_login": "x" * 7_000,
        "user_id": 0,
        "format": "html",
        "message": "x",
    }
    itop.store.update("UserRequest", ticket.object_id, public_log=[entry] * 10)
    itop.faults.add("check", operation="core/update", contains="refuse this")
    notify(client, part(37358198350, "<p>into the full log</p>"))
    notify(
        client, part(37358198351, "<p>refuse this</p>", part_type="note"), topic="conversation.admin.noted"
    )
    notify(client, part(37358198352, "<p>fine</p>", part_type="note"), topic="conversation.admin.noted")
    work()
    assert states() == [("failed", "log_full"), ("failed", "rejected"), ("written", "")]
    assert ItopInstance.objects.get().paused_until is None


@every_edition
def test_a_scope_that_itop_cannot_read_is_a_refusal_in_every_edition(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE nope = 1"
    workspace.save()
    teammate.open()
    assert "iTop rejected the request" in teammate.text


@pytest.mark.parametrize("itop", [{"character_set": "utf8mb3"}], indirect=True)
def test_an_emoji_that_the_database_does_not_accept_fails_its_message_alone(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>Thanks 👍</p>"))
    notify(client, part(37358198351, "<p>œuvre, 中文, ☎</p>"))
    work()
    assert states() == [("failed", "unsupported_character"), ("written", "")]
    assert entries(itop, ticket)[-1] == "<p>œuvre, 中文, ☎</p>"
    assert "Thanks" not in Delivery.objects.in_order()[0].reason_detail


@pytest.mark.parametrize("itop", [{"character_set": "utf8mb3"}], indirect=True)
def test_a_creation_with_an_emoji_ends_with_its_reason(teammate: Teammate, itop: Itop) -> None:
    teammate.conversation["source"]["body"] = "<p>Thanks 👍</p>"
    create_ticket(teammate)
    creation = TicketCreation.objects.get()
    assert (creation.state, creation.reason_code) == ("refused", "unsupported_character")


@pytest.mark.parametrize(
    "itop", [{"max_body": 20_000}, {"post_max_size": 20_000}], indirect=True, ids=["nginx", "PHP"]
)
def test_a_message_that_is_too_large_for_the_server_fails_alone(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, f"<p>{'large ' * 5_000}</p>"))
    notify(client, part(37358198351, "<p>small</p>"))
    work()
    assert states() == [("failed", "request_too_large"), ("written", "")]
    assert entries(itop, ticket)[-1] == "<p>small</p>"
