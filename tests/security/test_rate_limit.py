"""A workspace that sends too much: it is told so, loses nothing, and takes nothing from the others."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from intercom_bridge.models import WebhookEvent, Workspace
from tests.teammate import Teammate, notify, part, post_webhook

OTHER, OTHERS_SECRET = "other123", "s3cr3t-of-another-workspace"


@pytest.fixture(autouse=True)
def one_a_second(settings: Settings, time_machine: Any) -> Any:
    settings.CANVAS_REQUESTS_PER_SECOND = settings.NOTIFICATIONS_PER_SECOND = 1
    time_machine.move_to("2026-11-24T10:00:00+00:00", tick=False)
    return time_machine


@pytest.fixture
def other(workspace: Workspace) -> Workspace:
    return Workspace.objects.create(
        workspace_id=OTHER, client_secret=OTHERS_SECRET, itop=workspace.itop, profile=workspace.profile
    )


def notifications(client: Client, count: int, **how: Any) -> list[int]:
    return [
        notify(client, part(number, "<p>x</p>"), notification_id=f"n{number}", **how).status_code
        for number in range(count)
    ]


def test_a_notification_over_the_limit_is_answered_so_that_intercom_repeats_it(
    workspace: Workspace, client: Client, one_a_second: Any
) -> None:
    assert notifications(client, 12) == [200] * 10 + [503] * 2
    assert WebhookEvent.objects.count() == 10
    one_a_second.shift(60)
    assert notifications(client, 12) == [200] * 10 + [503] * 2


def test_the_answer_says_what_to_do_and_never_429(workspace: Workspace, client: Client) -> None:
    notifications(client, 10)
    answer = notify(client, part(11, "<p>x</p>"))
    assert answer.json() == {
        "detail": "The workspace's rate limit was reached. Send the notification again in a minute."
    }


def test_a_click_over_the_limit_gets_a_canvas_without_a_call_to_itop(
    teammate: Teammate, itop: Any, one_a_second: Any
) -> None:
    for _ in range(10):
        teammate.open()
    itop.calls.clear()
    teammate.click("Create a ticket")
    assert "Too many clicks" in teammate.text and "Nothing is lost" in teammate.text
    assert itop.calls == []
    one_a_second.shift(10)
    assert teammate.click("Retry").field("Title")


def test_the_input_is_kept_after_a_retry(teammate: Teammate, one_a_second: Any) -> None:
    teammate.open().click("Create a ticket")
    for _ in range(8):
        teammate.again()
    teammate.click("Create ticket", Title="Typed with care")
    assert "Too many clicks" in teammate.text
    one_a_second.shift(10)
    teammate.click("Back to the form") if teammate.offers("Back to the form") else teammate.click("Retry")
    assert "Typed with care" in teammate.text


def test_a_flood_of_one_workspace_does_not_limit_another(
    other: Workspace, teammate: Teammate, client: Client
) -> None:
    notifications(client, 20)
    for _ in range(20):
        teammate.open()
    assert "Too many clicks" in teammate.text
    colleague = Teammate(client)
    colleague.workspace_id, colleague.secret = OTHER, OTHERS_SECRET
    assert "Too many clicks" not in colleague.open().text
    raw = b'{"type": "notification_event", "app_id": "%s", "topic": "ping"}' % OTHER.encode()
    assert post_webhook(client, raw, secret=OTHERS_SECRET).status_code == 200


def test_clicks_and_notifications_have_separate_limits(teammate: Teammate, client: Client) -> None:
    notifications(client, 20)
    assert "Too many clicks" not in teammate.open().text


def test_unsigned_requests_do_not_count(workspace: Workspace, client: Client) -> None:
    refused = notifications(client, 30, secret="s3cr3t-of-nobody")
    assert refused == [401] * 30
    assert notifications(client, 10) == [200] * 10


def test_head_requests_do_not_count(workspace: Workspace, client: Client) -> None:
    assert {client.head("/webhooks/intercom").status_code for _ in range(30)} == {200}
    assert notifications(client, 10) == [200] * 10


@pytest.mark.parametrize(
    "error", [redis.ConnectionError("away"), redis.TimeoutError("slow"), ValueError("gone")]
)
def test_without_a_cache_every_request_is_accepted(
    workspace: Workspace, client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(cache._connections[cache._alias]), "incr", away)  # type: ignore[attr-defined]
    assert notifications(client, 12) == [200] * 12
    assert WebhookEvent.objects.count() == 12
