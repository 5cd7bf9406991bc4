"""The admin's lists in a real browser, 1280 pixels wide, with long values."""

from __future__ import annotations

import datetime as dt
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from intercom_bridge.models import (
    Broadcast,
    Conversation,
    Delivery,
    EventKind,
    ItopInstance,
    OutgoingMessage,
    Participant,
    PersonMatch,
    Ticket,
    TicketEvent,
    TicketProfile,
    WebhookEvent,
    Workspace,
)
from tests.browser import browser_test, running_chromium

LISTS = (
    "conversation",
    "personmatch",
    "workspace",
    "delivery",
    "outgoingmessage",
    "webhookevent",
    "itopinstance",
    "ticketevent",
    "broadcast",
)
REASON = "tried 12 times; iTop: HTTP 503 Service Unavailable, which is a page of the proxy in front of it "

pytestmark = browser_test


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start the browser before the database connection is opened: Playwright's event loop changes its thread state."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def rows(db: None) -> None:
    itop = ItopInstance.objects.create(
        name="Production of the service desk",
        url="https://servicedesk.production.example.com/itop",
        token="t",
        paused_since=timezone.now(),
        paused_until=timezone.now() + dt.timedelta(minutes=5),
        pause_code="itop_unavailable",
        pause_detail=REASON,
        failures_in_a_row=12,
    )
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        name="Acme customer support",
        client_secret="s",
        access_token="t",
        client_secret_used_at=timezone.now(),
        itop=itop,
        profile=TicketProfile.objects.create(name="Requests"),
    )
    conversation = Conversation.objects.create(workspace=workspace, conversation_id="215472621202693")
    ticket = Ticket.objects.create(
        itop=itop, ticket_class="UserRequest", object_id=7_654_321, ref="R-7654321"
    )
    for number, (state, _) in enumerate(Delivery.State.choices):
        Delivery.objects.create(
            ticket=ticket,
            conversation=conversation,
            kind="part",
            part_id=f"3735819835{number}",
            part_created_at=number,
            author="Alexandra Konstantinopoulou",
            part={"body": "<p>Donaudampfschifffahrtselektrizitätenhauptbetriebswerk and some more words</p>"},
            state=state,
            log="private_log",
            reason_code="rejected",
            reason_detail=REASON * 3,
            written_at=timezone.now(),
        )
    PersonMatch.objects.create(
        workspace=workspace,
        itop=itop,
        contact_id="696205460674dbb9050aa7fd",
        evidence="|||",
        how="chosen",
        person_id=1,
        name="Alexandra Konstantinopoulou",
        email="alexandra.konstantinopoulou@production.example.com",
        org_id=1,
        org_name="Production of the service desk",
        picked_by="Ada Reyes",
        picked_at=timezone.now(),
    )
    Participant.objects.create(conversation=conversation, contact_id="696205460674dbb9050aa7fd")
    Conversation.objects.update(
        reconcile_at=timezone.now(), reconcile_code="intercom_token_refused", reconcile_detail=REASON
    )
    WebhookEvent.objects.create(
        workspace=workspace,
        notification_id="notif_0a1b2c3d-4e5f-6789-abcd-ef0123456789",
        topic="conversation.user.replied",
        conversation_id="215472621202693",
        body=b"{}",
        state="failed",
        reason_code="rejected",
        reason_detail=REASON * 2,
    )
    broadcast = Broadcast.objects.create(
        ticket=ticket,
        form_key="f",
        admin_name="Alexandra Konstantinopoulou",
        is_note=False,
        left_out=[{"conversation": 1, "reason": "duplicate"}] * 120,
    )
    message = OutgoingMessage.objects.create(
        broadcast=broadcast,
        conversation=conversation,
        admin_id="1",
        body="x",
        state="failed",
        reason_code="rejected",
        reason_detail=REASON * 3,
    )
    for number, kind in enumerate(EventKind):
        TicketEvent.objects.create(
            ticket=ticket,
            conversation=conversation,
            kind=kind,
            key=f"{kind}:{number}",
            author_name="Alexandra Konstantinopoulou",
            before="Waiting for approval",
            after="Donaudampfschifffahrtselektrizitätenhauptbetriebswerk",
            content="<p>Donaudampfschifffahrtselektrizitätenhauptbetriebswerk and some more words</p>",
            message=message,
        )


def test_each_list_fits_the_window(browser: Any, admin_client: Client, rows: None, tmp_path: Path) -> None:
    pages = {}
    for name in LISTS:
        path = reverse(f"admin:intercom_bridge_{name}_changelist")
        pages[path] = admin_client.get(path).content
    assert hidden_widths(browser, pages, tmp_path) == dict.fromkeys(pages, 0)


def hidden_widths(browser: Any, pages: dict[str, bytes], pictures: Path) -> dict[str, int]:
    """Return the number of pixels by which each list exceeds the window. Save screenshots in `pictures`."""

    def answer(route: Any) -> None:
        path = urlsplit(route.request.url).path
        if path in pages:
            route.fulfill(body=pages[path], content_type="text/html; charset=utf-8")
        elif path.startswith("/static/") and (found := finders.find(path.removeprefix("/static/"))):
            route.fulfill(body=Path(found).read_bytes(), content_type=mimetypes.guess_type(found)[0])
        else:
            route.abort()

    measured = {}
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.route("**/*", answer)
    for path in pages:
        page.goto(f"http://admin.invalid{path}")
        page.screenshot(path=pictures / f"{path.strip('/').replace('/', '-')}.png")
        measured[path] = page.evaluate(
            """() => {
                const list = document.querySelector('.results')
                return list.scrollWidth - list.clientWidth
            }"""
        )
    return measured
