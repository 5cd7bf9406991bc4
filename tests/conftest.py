"""Fixtures for all tests: the stand-ins for iTop and Intercom, a workspace, a teammate and a worker."""

from __future__ import annotations

import gc
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from hypothesis import settings as hypothesis_settings

from intercom_bridge.models import Conversation, ItopInstance, Ticket, TicketLink, TicketProfile, Workspace
from intercom_bridge.panel import router
from sandbox.intercom import Intercom, running_intercom
from sandbox.itop import Itop, running_itop
from sandbox.itop.datamodel import VERSIONS
from sandbox.itop.seed import TOKEN
from sandbox.itop.wording import ENGLISH, LANGUAGES
from tests.panel.schema import check_canvas

from .browser import close_browser
from .linked import store_link
from .ops.processes import DATABASE, environment_of, run
from .teammate import SECRET, WORKSPACE, Teammate
from .worker import run_until_idle

# `pytest --hypothesis-profile thorough` searches for counterexamples; the default only repeats a fixed sample.
hypothesis_settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis_settings.register_profile("quick", max_examples=50, deadline=None, database=None, derandomize=True)
hypothesis_settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests run against another edition of iTop: `pytest --itop-version 2.7 --itop-language "FR FR"`."""
    parser.addoption("--itop-version", default=VERSIONS[-1], choices=VERSIONS)
    parser.addoption("--itop-language", default=ENGLISH, choices=LANGUAGES)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt what the imports created from garbage collection: scanning it takes a fifth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Close the browser before the test database is removed."""
    yield
    close_browser()


@pytest.fixture(scope="session")
def migrated_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("migrated")


@pytest.fixture
def migrated(db: None, migrated_directory: Path) -> Path:
    """Return an SQLite database with all tables and no rows, to be copied for the processes that a test starts.

    It is made once per session, of what is committed in the database of the tests.
    """
    file = migrated_directory / DATABASE
    if file.exists():
        return file
    if connection.vendor == "sqlite":
        name = connection.settings_dict["NAME"]
        with closing(sqlite3.connect(name)) as tests, closing(sqlite3.connect(file)) as copy:
            tests.backup(copy)
    else:
        run(environment_of(migrated_directory), "manage.py", "migrate", "--verbosity", "0")
    return file


@pytest.fixture(autouse=True)
def check_every_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check every response of the panel, in any test, against Canvas Kit's documented schema and limits."""
    original = router.respond

    def checked(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
        canvas = original(workspace, data, submitted=submitted)
        check_canvas(json.loads(json.dumps(canvas)), first=not submitted)
        return canvas

    monkeypatch.setattr(router, "respond", checked)


@pytest.fixture(autouse=True)
def clear_cache() -> None:
    """Empty the cache: it contains request counts, and a row of the next test may have the same key."""
    cache.clear()


@pytest.fixture
def itop(request: pytest.FixtureRequest) -> Iterator[Itop]:
    """Run the stand-in for iTop, over real HTTP."""
    option = request.config.getoption
    with running_itop(version=option("itop_version"), language=option("itop_language")) as running:
        yield running


@pytest.fixture
def workspace(db: None, itop: Itop) -> Workspace:
    return Workspace.objects.create(
        workspace_id=WORKSPACE,
        name="Tests",
        client_secret=SECRET,
        itop=ItopInstance.objects.create(name="Sandbox", url=itop.url, token=TOKEN, time_zone="Europe/Paris"),
        profile=TicketProfile.objects.create(name="Requests"),
    )


@pytest.fixture
def teammate(workspace: Workspace, client: Client) -> Teammate:
    return Teammate(client)


@pytest.fixture
def intercom(settings: Any) -> Iterator[Intercom]:
    """Run the stand-in for Intercom, over real HTTP. It sends no notifications: a test sends those it needs."""
    with running_intercom() as running:
        settings.INTERCOM_API_URL = running.url
        yield running


@pytest.fixture
def talking(teammate: Teammate, intercom: Intercom, workspace: Workspace) -> Teammate:
    """Return a teammate in Alice's conversation, which the stand-in for Intercom has too."""
    workspace.access_token = intercom.token
    workspace.save()
    teammate.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    return teammate


@pytest.fixture
def link(workspace: Workspace, intercom: Intercom) -> TicketLink:
    """Return the link of a ticket with Alice's conversation, which the stand-in for Intercom has too."""
    workspace.access_token = intercom.token
    workspace.save()
    conversation = Conversation.objects.find_or_create(workspace, intercom.conversation_of("Alice Martin").id)
    ticket = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=12, ref="R-000012"
    )
    return TicketLink.objects.create(conversation=conversation, ticket=ticket, linked_by="Ada Reyes")


@pytest.fixture
def work() -> Callable[[], None]:
    """Return a function that does what is due, as a worker does, until the queue is empty."""
    return run_until_idle


@pytest.fixture
def linked(talking: Teammate, itop: Itop) -> TicketLink:
    """Return the link of Alice's conversation to R-000006, after the worker has finished."""
    return store_link(talking, itop, "R-000006")
