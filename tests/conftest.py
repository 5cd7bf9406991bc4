from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from intercom_bridge.canvas import panel
from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from intercom_bridge.sync import tasks
from sandbox.intercom import Intercom, running_intercom
from sandbox.itop import Itop, running_itop
from sandbox.itop.seed import TOKEN
from tests.canvas.schema import check_canvas
from tests.teammate import SECRET, WORKSPACE, Teammate


@pytest.fixture(autouse=True)
def every_canvas_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer of the panel, in whichever test, has to be a canvas by Canvas Kit's documented shapes and limits."""
    original = panel.answer

    def judged(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
        canvas = original(workspace, data, submitted=submitted)
        check_canvas(json.loads(json.dumps(canvas)), first=not submitted)
        return canvas

    monkeypatch.setattr(panel, "answer", judged)


@pytest.fixture(autouse=True)
def nobody_has_used_up_a_share() -> None:
    """Rows of one test have the keys of the next one's."""
    cache.clear()


@pytest.fixture
def itop() -> Iterator[Itop]:
    """The sandbox's iTop, over real HTTP."""
    with running_itop() as running:
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
    """The sandbox's Intercom, over real HTTP. It notifies nobody: a test says which notification arrives."""
    with running_intercom() as running:
        settings.INTERCOM_API_URL = running.url
        yield running


@pytest.fixture
def talking(teammate: Teammate, intercom: Intercom, workspace: Workspace) -> Teammate:
    """A teammate in Alice's conversation of the sandbox's Intercom."""
    workspace.access_token = intercom.token
    workspace.save()
    teammate.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    return teammate


@pytest.fixture
def work() -> Callable[[], None]:
    """Does what a worker does, until the queue is empty: what is due is done, what is not has to wait."""

    def until_idle() -> None:
        tasks.sweep()
        while (task := tasks.huey.dequeue()) is not None:
            tasks.huey.execute(task)

    tasks.huey.flush()
    return until_idle
