"""The panel as a teammate sees it: a real browser, the inbox page, real HTTP to both stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from sandbox.intercom import SECRET, WORKSPACE_ID, Intercom, running_intercom
from sandbox.itop import Itop
from sandbox.itop.seed import TOKEN
from tests.browser import browser_test, new_page, running_chromium

from .inbox import Inbox

pytestmark = browser_test


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_chromium() as running:
        yield running


@pytest.fixture
def intercom(live_server: Any, settings: Any) -> Iterator[Intercom]:
    with running_intercom(bridge_url=live_server.url) as running:
        settings.INTERCOM_API_URL = settings.SANDBOX_INTERCOM_URL = running.url
        yield running


@pytest.fixture
def workspace(transactional_db: None, itop: Itop, intercom: Intercom) -> Workspace:
    return Workspace.objects.create(
        workspace_id=WORKSPACE_ID,
        name="Sandbox",
        client_secret=SECRET,
        access_token=intercom.token,
        scope="SELECT Organization WHERE name LIKE 'Acme%' OR name LIKE 'Globex%'",
        itop=ItopInstance.objects.create(name="Sandbox", url=itop.url, token=TOKEN, time_zone="Europe/Paris"),
        profile=TicketProfile.objects.create(name="Requests"),
    )


@pytest.fixture
def inbox(
    browser: Any, workspace: Workspace, intercom: Intercom, live_server: Any, work: Callable[[], None]
) -> Iterator[Inbox]:
    with new_page(browser, f"{live_server.url}/sandbox/") as page:
        inbox = Inbox(page, intercom, work)
        yield inbox
        # The page judges each canvas as Intercom's own would be drawn.
        assert inbox.problems == ""


def entries(itop: Itop, ticket_id: int) -> list[str]:
    return [one["message"] for one in itop.store.log(ticket_id)]


def test_a_ticket_is_created_and_what_is_said_next_stands_in_it(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").click("Create a ticket")
    inbox.fill("Title", "The export is dead").click("Create the ticket")
    inbox.sees("R-0000")
    created = max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"])
    assert created["title"] == "The export is dead"
    inbox.say("It began this morning")
    assert "It began this morning" in entries(itop, created["id"])[-1]
    inbox.reload().sees("1 linked ticket")
