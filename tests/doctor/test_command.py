"""`manage.py doctor`: what it prints, how it ends, and that no secret is ever in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from intercom_bridge.models import WorkerPulse, Workspace
from sandbox.intercom import Intercom
from sandbox.itop import Itop, accounts
from sandbox.itop import server as itop_server
from tests.sandbox.bridge import Bridge, running_bridge
from tests.teammate import SECRET, Teammate, notify, part

SECRETS = {
    "client_secret": "s3cr3t-of-the-client",
    "previous_client_secret": "s3cr3t-of-last-year",
    "access_token": "s3cr3t-access-token",
    "token": "s3cr3t-token-of-itop",
    "password": "s3cr3t-password-of-itop",
}


@pytest.fixture
def address(settings: Any) -> Iterator[Bridge]:
    with running_bridge() as bridge:
        settings.PUBLIC_URL = bridge.url
        bridge.answer = lambda request: (401 if len(request.body) > 1_000_000 else 200, {})
        yield bridge


def run(*arguments: str) -> tuple[str, int]:
    """What it prints, and its exit status."""
    out = StringIO()
    try:
        call_command("doctor", *arguments, stdout=out, no_color=True)
    except SystemExit as end:
        return out.getvalue(), int(str(end.code))
    return out.getvalue(), 0


def test_one_line_each_and_what_to_do_below_it(talking: Teammate, address: Bridge) -> None:
    printed, status = run("--workspace", "abcd1234")
    lines = printed.splitlines()
    assert any(line.startswith("ok       iTop “Sandbox”: answers in ") for line in lines)
    warning = next(number for number, line in enumerate(lines) if line.startswith("warning  Workspace Tests"))
    assert lines[warning + 1].startswith("         In Intercom's Developer Hub")
    assert lines[-1].endswith("1 warning, 0 failures")
    assert status == 1


def test_status_0_is_for_all_well_and_2_for_failures(
    talking: Teammate, address: Bridge, client: Any, itop: Itop
) -> None:
    notify(client, part(37358198350, "<p>Any news?</p>"))
    assert run("--workspace", "abcd1234")[1] == 0
    itop.faults.add("maintenance")
    assert run("--workspace", "abcd1234")[1] == 2


def test_everything_is_the_service_each_itop_once_and_each_workspace(
    talking: Teammate, workspace: Workspace, address: Bridge, itop: Itop
) -> None:
    Workspace.objects.create(
        workspace_id="other123", itop=workspace.itop, profile=workspace.profile, client_secret=SECRET
    )
    WorkerPulse.objects.beat("here:1", anew=True)
    printed, status = run("--json")
    found = json.loads(printed)
    subjects = {one["subject"] for one in found["findings"]}
    assert {"This service", "iTop “Sandbox”", "Workspace Tests (abcd1234)", "Workspace other123"} <= subjects
    assert itop.calls.count(("list_operations", "")) == 1
    assert (found["overall"], status) == ("failure", 2)
    assert set(found["findings"][0]) == {"level", "about", "subject", "found", "to_do"}


def test_a_workspace_that_there_is_not_is_refused_with_those_there_are(workspace: Workspace) -> None:
    with pytest.raises(CommandError, match="There are: abcd1234"):
        run("--workspace", "nope")


@pytest.mark.parametrize("arguments", [[], ["--workspace", "abcd1234"]])
def test_a_database_that_fails_half_way_is_told_once_and_is_a_failure(
    arguments: list[str], talking: Teammate, address: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    WorkerPulse.objects.beat("here:1", anew=True)
    monkeypatch.setattr("intercom_bridge.doctor.intercom.Conversation.objects.filter", away)
    printed, status = run(*arguments, "--json")
    found = [one for one in json.loads(printed)["findings"] if one["about"] == "service.database"]
    assert [one["level"] for one in found if one["level"] != "ok"] == ["failure"]
    assert status == 2


@pytest.mark.parametrize("password_in_address", [False, True])
def test_no_secret_is_ever_printed_whoever_repeats_it(
    password_in_address: bool,
    talking: Teammate,
    workspace: Workspace,
    address: Bridge,
    itop: Itop,
    intercom: Intercom,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("client_secret", "previous_client_secret", "access_token"):
        setattr(workspace, name, SECRETS[name])
    workspace.save()
    workspace.itop.token, workspace.itop.password = SECRETS["token"], SECRETS["password"]
    if password_in_address:
        workspace.itop.url = itop.url.replace("http://", f"http://admin:{SECRETS['password']}@")
    workspace.itop.save()
    every = " ".join(SECRETS.values())

    # An iTop, an Intercom and a proxy that repeat whatever they were sent.
    def refuse(*_: Any) -> None:
        raise accounts.LoginRefused(f"Error: Invalid login {every}")

    monkeypatch.setattr(accounts, "authenticate", refuse)
    monkeypatch.setattr(itop_server, "MAINTENANCE", {"code": 100, "message": f"Error: {every}"})
    monkeypatch.setattr("sandbox.intercom.server._errors", lambda *_: error_list(every))
    address.answer = lambda request: (500, every.encode())
    for fault in ("", "maintenance"):
        if fault:
            itop.faults.add(fault)
        for arguments in ([], ["--json"]):
            printed, status = run(*arguments)
            assert status == 2
            assert "••••" in printed
            assert "s3cr3t" not in printed


def error_list(words: str) -> dict[str, Any]:
    return {"type": "error.list", "request_id": None, "errors": [{"code": "unauthorized", "message": words}]}
