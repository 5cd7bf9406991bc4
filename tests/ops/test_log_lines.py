"""Each line of the log says what it is about; none says what anybody wrote."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import ItopInstance
from sandbox.itop import Itop
from settings.logs import logging_config
from tests.teammate import Teammate, notify, part

SAID = "my-canary-words"
TYPED = "my-canary-title"
NAMES = ("Alice", "Martin", "alice.martin")


@pytest.fixture(params=["json", "plain"])
def lines(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[str]]]:
    """What is logged meanwhile, as it is written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    formatter = logging_config(request.param, "INFO")["formatters"]["structured"]
    handler.setFormatter(formatter["()"](formatter["inner"]))
    logging.getLogger().addHandler(handler)
    yield lambda: [line for line in written.getvalue().splitlines() if "sandbox." not in line]
    logging.getLogger().removeHandler(handler)


def story(client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]) -> None:
    """A creation, a refused one, messages that are written, fail and wait."""
    teammate.open().click("Create a ticket").click("Create the ticket", Title=TYPED)
    work()
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    work()
    teammate.open().click("Create a ticket").send_click("form:pick:service_id:1", {"Title": TYPED * 9})
    itop.faults.away = True
    notify(client, part(37358198351, f"<p>{SAID} too</p>"))
    work()
    teammate.open()
    itop.faults.away = False
    ItopInstance.objects.update(paused_until=None)


@pytest.mark.django_db
def test_nobody_s_words_and_names_are_in_the_log(
    lines: Callable[[], list[str]], client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]
) -> None:
    story(client, teammate, itop, work)
    logged = "\n".join(lines())
    assert "delivery.written" in logged and "itop.paused" in logged
    for words in (SAID, TYPED, *NAMES):
        assert words not in logged


@pytest.mark.django_db
@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_a_message_can_be_followed_from_the_webhook_to_the_log(
    lines: Callable[[], list[str]], client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]
) -> None:
    story(client, teammate, itop, work)
    found: dict[str, dict[str, Any]] = {}
    for line in lines():
        entry = json.loads(line)
        found.setdefault(entry["event"], entry)
    everywhere = {"workspace": "abcd1234", "conversation": "215472621202693"}
    received = found["notification.received"]
    assert {name: received.get(name) for name in everywhere} == everywhere
    assert len(received["request"]) == 16
    written = found["delivery.written"]
    assert {name: written.get(name) for name in everywhere} == everywhere
    assert written["ticket"].startswith("R-") and written["itop"] == "Sandbox"
    assert found["ticket.created"]["ticket"] == written["ticket"]
    assert found["itop.paused"]["itop"] == "Sandbox"


@pytest.mark.parametrize("given", ["from-the-proxy.1", "a" * 64])
def test_a_proxy_s_request_id_is_taken_over(client: Client, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "two words", "a\nb", "<script>", "é"])
def test_any_other_is_replaced(client: Client, given: str) -> None:
    answered = client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"]
    assert answered != given and len(answered) == 16


def test_each_request_has_its_own(client: Client) -> None:
    assert client.get("/healthz")["X-Request-ID"] != client.get("/healthz")["X-Request-ID"]
