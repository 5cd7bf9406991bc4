"""tests/secret_detector.py watches every test. These tests show that it detects each kind of disclosure."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from django.http import HttpResponse
from django.test import Client
from django.urls import clear_url_caches, path

from intercom_bridge.intercom.client import IntercomClient
from intercom_bridge.models import Workspace
from itop_client import Client as ItopClient
from settings import urls as settings_urls
from tests.secret_detector import detector
from tests.teammate import SECRET


@pytest.fixture
def places() -> Callable[[], list[str]]:
    """Return a function that returns the places where a secret has been disclosed during this test."""
    return lambda: [disclosure.place for disclosure in detector.disclosures]


def test_it_scans_a_response_and_finds_nothing_in_it(
    workspace: Workspace, client: Client, places: Callable[[], list[str]]
) -> None:
    before = detector.scan_count
    client.get("/healthz")
    structlog.get_logger("tests").warning("something", secret=workspace.client_secret)
    assert detector.scan_count > before
    assert places() == []


@pytest.mark.allow_secret
@pytest.mark.parametrize("secret", ["s3cr3t-of-somebody", SECRET], ids=["marked", "client-secret"])
def test_it_detects_a_secret_in_the_log(
    workspace: Workspace, places: Callable[[], list[str]], secret: str
) -> None:
    logger = logging.getLogger("tests")
    structlog.get_logger("tests").warning("something", token=secret)
    assert len(places()) == 1
    logger.error("in words: %s", secret)
    assert len(places()) == 2
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("in a traceback")
    assert len(places()) >= 3
    before = len(places())
    thread = threading.Thread(target=logger.warning, args=(secret,))
    thread.start()
    thread.join()
    assert len(places()) == before + 1


def test_a_token_that_the_log_formatter_removes_is_not_disclosed(places: Callable[[], list[str]]) -> None:
    logging.getLogger("tests").error("GET /pages/exec.php?auth_token=s3cr3t-of-the-extension")
    assert places() == []


@pytest.mark.allow_secret
@pytest.mark.parametrize(
    "response", [HttpResponse(SECRET), HttpResponse(headers={"X-Debug": SECRET})], ids=["body", "header"]
)
def test_it_detects_a_secret_in_a_response(
    workspace: Workspace,
    client: Client,
    places: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    response: HttpResponse,
) -> None:
    def leaking_view(_request: Any) -> HttpResponse:
        return response

    monkeypatch.setattr(settings_urls, "urlpatterns", [path("healthz", leaking_view)])
    clear_url_caches()
    client.get("/healthz")
    monkeypatch.undo()
    clear_url_caches()
    assert places() == ["response to GET /healthz"]


@pytest.mark.allow_secret
def test_it_detects_a_secret_in_the_output_of_a_command(places: Callable[[], list[str]]) -> None:
    command = [sys.executable, "-c", "print('s3cr3t-' + 'printed')", "manage.py"]
    subprocess.run(command, capture_output=True, check=True)
    assert len(places()) == 1


@pytest.mark.allow_secret
@pytest.mark.parametrize(
    "use",
    [
        lambda secret: Workspace.objects.update(client_secret=secret),
        lambda secret: ItopClient("https://itop.example.com", token=secret),
        lambda secret: ItopClient("https://itop.example.com", user="a", password=secret),
        lambda secret: IntercomClient(secret),
    ],
    ids=["encrypted-value", "itop-token", "itop-password", "intercom-token"],
)
def test_a_value_becomes_a_secret_when_it_is_used_as_one(
    workspace: Workspace, places: Callable[[], list[str]], use: Callable[[str], object], request: Any
) -> None:
    secret = f"correct-horse-battery-{request.node.callspec.id}"
    detector.scan("before", secret)
    use(secret)
    detector.scan("after", json.dumps({"a": secret}))
    assert places() == ["after"]
