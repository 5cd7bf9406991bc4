"""The sandbox's inbox page in a real browser: real HTTP to both stand-ins, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from sandbox.intercom import SECRET, WORKSPACE_ID, Intercom, running_intercom
from sandbox.itop import Itop
from sandbox.itop.seed import TOKEN
from tests.browser import new_page, running_chromium

from .inbox import Inbox


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
    """Return the inbox of Ada Reyes."""
    with new_page(browser, f"{live_server.url}/sandbox/") as page:
        yield Inbox(page, intercom, work)


@pytest.fixture
def colleagues_inbox(browser: Any, inbox: Inbox, live_server: Any) -> Iterator[Inbox]:
    """Return the inbox of Sam Field, a colleague."""
    with new_page(browser, f"{live_server.url}/sandbox/") as page:
        colleagues = Inbox(page, inbox.intercom, inbox.work)
        colleagues.load().become("Sam Field")
        yield colleagues
