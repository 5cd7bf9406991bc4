"""Log lines identify the objects they concern and contain no texts of people."""

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
from settings.logging import logging_config
from tests.teammate import Teammate, notify, part

MESSAGE = "my-canary-words"
TITLE = "my-canary-title"
NAMES = ("Alice", "Martin", "alice.martin")


@pytest.fixture(params=["json", "plain"])
def lines(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[str]]]:
    """Capture the log as it is written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    formatter = logging_config(request.param, "INFO")["formatters"]["structured"]
    handler.setFormatter(formatter["()"](formatter["inner"]))
    logging.getLogger().addHandler(handler)
    yield lambda: [line for line in written.getvalue().splitlines() if "sandbox." not in line]
    logging.getLogger().removeHandler(handler)


def run_scenario(client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]) -> None:
    """Run a creation, a refused one, and messages that are written, fail and wait."""
    teammate.open().click("Create a ticket").click("Create ticket", Title=TITLE)
    work()
    notify(client, part(37358198350, f"<p>{MESSAGE}</p>"))
    work()
    teammate.open().click("Create a ticket").send_click("form:pick:service_id:1", {"Title": TITLE * 9})
    itop.faults.away = True
    notify(client, part(37358198351, f"<p>{MESSAGE} too</p>"))
    work()
    teammate.open()
    itop.faults.away = False
    ItopInstance.objects.update(paused_until=None)


@pytest.mark.django_db
def test_the_log_contains_no_message_texts_or_names(
    lines: Callable[[], list[str]], client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]
) -> None:
    run_scenario(client, teammate, itop, work)
    logged = "\n".join(lines())
    assert "delivery.written" in logged and "itop.paused" in logged
    for text in (MESSAGE, TITLE, *NAMES):
        assert text not in logged


@pytest.mark.django_db
@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_a_message_can_be_followed_from_the_webhook_to_the_log(
    lines: Callable[[], list[str]], client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]
) -> None:
    run_scenario(client, teammate, itop, work)
    found: dict[str, dict[str, Any]] = {}
    for line in lines():
        entry = json.loads(line)
        found.setdefault(entry["event"], entry)
    identifiers = {"workspace": "abcd1234", "conversation": "215472621202693"}
    received = found["notification.received"]
    assert {name: received.get(name) for name in identifiers} == identifiers
    assert len(received["request"]) == 16
    written = found["delivery.written"]
    assert {name: written.get(name) for name in identifiers} == identifiers
    assert written["ticket"].startswith("R-") and written["itop"] == "Sandbox"
    assert found["ticket.created"]["ticket"] == written["ticket"]
    assert found["itop.paused"]["itop"] == "Sandbox"


@pytest.mark.parametrize("given", ["from-the-proxy.1", "a" * 64])
def test_the_request_id_of_a_proxy_is_used(client: Client, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "two words", "a\nb", "<script>", "é"])
def test_an_invalid_request_id_is_replaced(client: Client, given: str) -> None:
    request_id = client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"]
    assert request_id != given and len(request_id) == 16


def test_each_request_has_its_own_request_id(client: Client) -> None:
    assert client.get("/healthz")["X-Request-ID"] != client.get("/healthz")["X-Request-ID"]
