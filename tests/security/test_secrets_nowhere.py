"""No secret gets out: tests/lookout.py looks at each test of the whole run. Here, that it sees what it must."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from typing import Any

import pytest
import structlog
from django.http import HttpResponse
from django.test import Client
from django.urls import clear_url_caches, path

from intercom_bridge.intercom.api import IntercomClient
from intercom_bridge.models import Workspace
from itop_client import Client as ItopClient
from settings import urls as settings_urls
from tests.lookout import Lookout, lookout
from tests.teammate import SECRET

UNMARKED = "correct-horse-battery"


@pytest.fixture
def seen() -> Lookout:
    """What the lookout finds in a test that lets a secret out on purpose."""
    assert lookout.found == []
    lookout.on_purpose = True
    return lookout


def test_nothing_is_found_where_nothing_got_out(workspace: Workspace, client: Client, seen: Lookout) -> None:
    before = seen.looked
    client.get("/healthz")
    structlog.get_logger("tests").warning(
        "something", workspace=workspace.workspace_id, secret=workspace.client_secret
    )
    assert seen.looked > before and seen.found == []


@pytest.mark.parametrize("secret", ["s3cr3t-of-somebody", SECRET])
def test_a_secret_in_the_log_is_found(workspace: Workspace, seen: Lookout, secret: str) -> None:
    structlog.get_logger("tests").warning("something", token=secret)
    logging.getLogger("tests").error("in words: %s", secret)
    try:
        raise ValueError(secret)
    except ValueError:
        logging.getLogger("tests").exception("in a traceback")
    thread = threading.Thread(target=logging.getLogger("tests").warning, args=(secret,))
    thread.start()
    thread.join()
    assert len(seen.found) >= 4


def test_a_token_that_the_log_hides_has_not_got_out(seen: Lookout) -> None:
    logging.getLogger("tests").error("GET /pages/exec.php?auth_token=s3cr3t-of-the-extension")
    assert seen.found == []


@pytest.mark.parametrize("where", ["body", "header"])
def test_a_secret_in_an_answer_is_found(
    workspace: Workspace, client: Client, seen: Lookout, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def leaking(_request: Any) -> HttpResponse:
        return HttpResponse(SECRET) if where == "body" else HttpResponse(headers={"X-Debug": SECRET})

    monkeypatch.setattr(settings_urls, "urlpatterns", [path("healthz", leaking)])
    clear_url_caches()
    client.get("/healthz")
    monkeypatch.undo()
    clear_url_caches()
    assert [place for place, _ in seen.found] == ["the answer to GET /healthz"]


def test_a_secret_in_what_a_command_prints_is_found(seen: Lookout) -> None:
    subprocess.run(
        [sys.executable, "-c", "print('s3cr3t-' + 'printed')", "manage.py"], capture_output=True, check=True
    )
    assert len(seen.found) == 1


def test_whatever_is_kept_or_logs_in_counts_as_a_secret(workspace: Workspace, seen: Lookout) -> None:
    for number, use in enumerate(
        (
            lambda secret: Workspace.objects.filter(pk=workspace.pk).update(client_secret=secret),
            lambda secret: ItopClient("https://itop.example.com", token=secret),
            lambda secret: ItopClient("https://itop.example.com", user="a", password=secret),
            lambda secret: IntercomClient(secret),
        )
    ):
        secret = f"{UNMARKED}-{number}"
        use(secret)
        seen.look("here", json.dumps({"a": secret}))
    assert len(seen.found) == 4
