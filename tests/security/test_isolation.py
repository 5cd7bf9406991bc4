"""Two workspaces, two secrets, two iTops: with the other's addresses, clicks and stored values one can do nothing."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import (
    ItopInstance,
    ItopPoll,
    LinkRemoval,
    OutgoingMessage,
    PersonMatch,
    TicketCreation,
    TicketLink,
    TicketProfile,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.panel.click import Click
from sandbox.itop import Itop, running_itop
from tests.cases.signed_addresses import ADDRESSES
from tests.cases.walk import Walk
from tests.teammate import ALICE, SECRET, WORKSPACE, Teammate, notification, notify, part, post_webhook

THEIRS, THEIR_SECRET, THEIR_TOKEN = (
    "theirs99",
    "s3cr3t-of-the-other-workspace",
    "s3cr3t-token-of-the-other-itop",
)
# In all that only our iTop knows. Theirs has the same ids for other things.
OURS = re.compile(r"only-ours-\d+|R-0005\d\d")

Row = tuple[type[models.Model], Any]


@pytest.fixture
def their_itop() -> Iterator[Itop]:
    with running_itop(token=THEIR_TOKEN) as running:
        yield running


@pytest.fixture
def their_workspace(workspace: Workspace, their_itop: Itop) -> Workspace:
    return Workspace.objects.create(
        workspace_id=THEIRS,
        name="Theirs",
        client_secret=THEIR_SECRET,
        itop=ItopInstance.objects.create(
            name="Theirs", url=their_itop.url, token=THEIR_TOKEN, time_zone="Europe/Paris"
        ),
        profile=TicketProfile.objects.create(name="Theirs"),
    )


@pytest.fixture
def ours(teammate: Teammate, itop: Itop, work: Callable[[], None], client: Client) -> Teammate:
    """Create, link and unlink tickets, write a message, leave one out, and pick a person."""
    for number, ticket in enumerate(itop.store.all("UserRequest")):
        itop.store.update("UserRequest", ticket["id"], title=f"only-ours-{number}")
    for number, person in enumerate(itop.store.all("Person"), 100):
        itop.store.update("Person", person["id"], name=f"only-ours-{number}")
    for _ in range(500):
        itop.store.take_number("ref")
    teammate.open().click("Create a ticket")
    teammate.click("Create ticket", Title="only-ours-500").click("Create anyway")
    teammate.link("R-000008")
    teammate.open().click("R-000008").click("Unlink").click("Unlink")
    notify(client, part(37358198500, "<p>only-ours-600</p>"))
    work()
    created = TicketCreation.objects.get().ticket
    assert created is not None and created.ref.startswith("R-0005")
    assert LinkRemoval.objects.exists() and TicketLink.objects.exists() and TicketCreation.objects.exists()
    return teammate


@pytest.fixture
def them(their_workspace: Workspace, client: Client) -> Teammate:
    """Who sits in the same conversation of the same customer, as far as ids go."""
    them = Teammate(client)
    them.workspace_id, them.secret = THEIRS, THEIR_SECRET
    return them


def all_rows() -> dict[Row, dict[str, Any]]:
    return {
        (model, row["pk"]): {
            name: bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()
        }
        for model in apps.get_app_config("intercom_bridge").get_models()
        for row in model._default_manager.annotate(pk_=models.F("pk")).values(
            "pk", *[field.attname for field in model._meta.concrete_fields]
        )
    }


class Watch:
    """What is ours, before and after."""

    def __init__(self, itop: Itop, their_workspace: Workspace) -> None:
        self.itop = itop
        self.theirs: set[Row] = {
            (Workspace, their_workspace.pk),
            (ItopInstance, their_workspace.itop_id),
            (TicketProfile, their_workspace.profile_id),
        }
        # Our own worker must not retry or poll meanwhile: these changes would not be those of the other workspace.
        for model in (OutgoingMessage, ItopPoll):
            model.objects.update(due_at=timezone.now() + dt.timedelta(days=1))
        self.rows = all_rows()
        self.calls = len(itop.calls)
        self.tickets = self._tickets()

    def _tickets(self) -> str:
        return json.dumps(self.itop.state(), sort_keys=True).partition('"tickets"')[2]

    def nothing_of_ours_was_touched(self) -> None:
        now = all_rows()
        changed = {
            key: {name: (value, now.get(key, {}).get(name)) for name, value in row.items()}
            for key, row in self.rows.items()
            if now.get(key) != row and key not in self.theirs
        }
        differing = {
            key: {name: both for name, both in row.items() if both[0] != both[1]}
            for key, row in changed.items()
        }
        assert differing == {}
        for (model, pk), row in now.items():
            if (model, pk) in self.rows:
                continue
            for field in model._meta.concrete_fields:
                if field.is_relation and row[field.attname] is not None:
                    target = (field.related_model, row[field.attname])
                    assert target not in self.rows or target in self.theirs, (
                        f"a new {model.__name__} hangs on {target}"
                    )
        assert len(self.itop.calls) == self.calls, self.itop.calls[self.calls :]
        assert self._tickets() == self.tickets


@pytest.fixture
def watch(ours: Teammate, itop: Itop, their_workspace: Workspace) -> Watch:
    return Watch(itop, their_workspace)


def sees_nothing_of_ours(itop: Itop, request: dict[str, Any], answer: Any) -> None:
    """But what came with the request itself: a form shows what was typed into it."""
    known = set(OURS.findall(json.dumps(request)))
    assert set(OURS.findall(json.dumps(answer))) <= known
    assert itop.url not in json.dumps(answer), "it leads to a ticket in our iTop"


def named_by_hand() -> list[str]:
    """Return clicks that no screen offers now, with ids of this workspace."""
    links = TicketLink.objects.select_related("ticket")
    numbers = sorted({link.ticket.object_id for link in links} | {1, 2, 8})
    found = [
        f"{verb}:UserRequest:{number}{more}"
        for number in numbers
        for verb, more in (
            ("ticket", ""),
            ("link", ""),
            ("link", ":all"),
            ("link", ":now"),
            ("unlink", ":yes"),
        )
    ]
    found += [f"undo-unlink:{one.pk}" for one in LinkRemoval.objects.all()]
    found += [f"creation:{one.form_key}" for one in TicketCreation.objects.all()]
    found += [f"move-here:{link.conversation_id}" for link in links]
    found += [f"move-here:{link.conversation.conversation_id}" for link in links]
    found += [f"who:pick:{one.person_id}" for one in PersonMatch.objects.all()]
    return found


def test_a_click_of_another_workspace_shows_and_changes_nothing(
    ours: Teammate, them: Teammate, itop: Itop, their_workspace: Workspace, work: Callable[[], None]
) -> None:
    walk = Walk(ours).go()
    work()
    pressed = {
        # The version is that of a current screen, see below.
        (component_id, json.dumps(place.canvas.get("stored_data", {}) | {"version": 0}, sort_keys=True))
        for place in walk.places.values()
        for component_id in place.clicks
    }
    stored = sorted({data for _, data in pressed} | {"{}"})
    by_hand = named_by_hand()
    assert {"ticket", "link", "create", "form", "unlink", "pause", "sync"} <= walk.verbs
    assert len(pressed) > 40 and len(stored) > 5
    pressed |= {(component_id, data) for component_id in by_hand for data in ("{}", stored[-1])}
    watch = Watch(itop, their_workspace)
    for component_id, values in sorted(pressed):
        # The click is one on a current screen.
        version = them.canvas.get("stored_data", {}).get("version", 0)
        canvas = {"content": {"components": []}, "stored_data": json.loads(values) | {"version": version}}
        typed = {component_id: "only-ours", "title": "R-000008", "words": "R-000008"}
        request = them.base_request() | {
            "component_id": component_id,
            "input_values": typed,
            "current_canvas": canvas,
        }
        them.send("/canvas-kit/submit", request)
        assert "our mistake" not in them.text, (component_id, values)
        sees_nothing_of_ours(itop, request, them.canvas)
    assert {Click.parse(component_id).verb for component_id in by_hand} >= {
        "undo-unlink",
        "creation",
        "link",
        "unlink",
    }
    work()
    watch.nothing_of_ours_was_touched()


def test_another_workspace_sees_nothing_in_our_conversation(them: Teammate, itop: Itop, watch: Watch) -> None:
    for contact in (ALICE, {}, {"id": ALICE["id"]}, {"email": ALICE["email"]}):
        them.contact = contact
        sees_nothing_of_ours(itop, them.base_request(), them.open().canvas)
    watch.nothing_of_ours_was_touched()


def test_our_notifications_sent_by_another_workspace_change_nothing(
    them: Teammate, watch: Watch, client: Client, work: Callable[[], None]
) -> None:
    theirs = notification(part(37358198500, "<p>again</p>"), part(37358198501, "<p>more</p>")) | {
        "app_id": THEIRS
    }
    for topic in ("conversation.user.replied", "conversation.deleted", "conversation_part.redacted"):
        known = WebhookEvent.objects.filter(workspace__workspace_id=WORKSPACE).first()
        assert known
        for name in (f"notif_{topic}", known.notification_id):
            raw = json.dumps(theirs | {"topic": topic, "id": name}).encode()
            assert post_webhook(client, raw, secret=THEIR_SECRET).status_code == 200
    work()
    watch.nothing_of_ours_was_touched()


def test_the_signature_of_another_workspace_opens_no_address(
    ours: Teammate, itop: Itop, watch: Watch, client: Client
) -> None:
    for path, header, sign, body, name in ADDRESSES:

        def post(raw: bytes, path: str = path, header: str = header, sign: Any = sign) -> Any:
            headers = {header: sign(raw, THEIR_SECRET)}
            return client.post(path, raw, content_type="application/json", headers=headers)

        for text in (
            json.dumps(body()),
            # Two names in one body: whichever is read, it is the one whose secret has to match.
            f'{{"{name}": "{THEIRS}", {json.dumps(body())[1:]}',
            json.dumps({**body(), name: [WORKSPACE, THEIRS]}),
            json.dumps({**body(), name: {"id": WORKSPACE}}),
            json.dumps({**body(), name: f"{WORKSPACE}\x00"}),
            json.dumps({**body(), name: WORKSPACE.upper()}),
        ):
            assert post(text.encode()).status_code == 401, (path, text[:80])
        # Their own name with their own signature is let in: the rest is no accident.
        good = post(json.dumps({**body(), name: THEIRS}).encode())
        assert good.status_code == 200, path
        sees_nothing_of_ours(itop, body(), good.json())
    watch.nothing_of_ours_was_touched()


def test_our_secret_does_not_open_another_workspace(their_workspace: Workspace, client: Client) -> None:
    raw = json.dumps({"app_id": THEIRS, "topic": "ping"}).encode()
    assert post_webhook(client, raw, secret=SECRET).status_code == 401
