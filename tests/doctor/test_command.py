"""`manage.py doctor`: output, exit status, and that it never contains a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from intercom_bridge.models import WorkerHeartbeat, Workspace
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
    """Return the output and the exit status."""
    out = StringIO()
    try:
        call_command("doctor", *arguments, stdout=out, no_color=True)
    except SystemExit as end:
        return out.getvalue(), int(str(end.code))
    return out.getvalue(), 0


def test_a_finding_is_one_line_followed_by_what_to_do(talking: Teammate, address: Bridge) -> None:
    printed, status = run("--workspace", "abcd1234")
    lines = printed.splitlines()
    assert any(line.startswith("ok       iTop “Sandbox”: responds in ") for line in lines)
    warning = next(number for number, line in enumerate(lines) if line.startswith("warning  Workspace Tests"))
    assert lines[warning + 1].startswith("         In Intercom's Developer Hub")
    assert lines[-1].endswith("1 warning, 0 failures")
    assert status == 1


def test_the_exit_status_is_0_for_ok_and_2_for_failures(
    talking: Teammate, address: Bridge, client: Any, itop: Itop
) -> None:
    notify(client, part(37358198350, "<p>Any news?</p>"))
    assert run("--workspace", "abcd1234")[1] == 0
    itop.faults.add("maintenance")
    assert run("--workspace", "abcd1234")[1] == 2


def test_by_default_the_service_all_itops_and_all_workspaces_are_checked(
    talking: Teammate, workspace: Workspace, address: Bridge, itop: Itop
) -> None:
    Workspace.objects.create(
        workspace_id="other123",
        itop=workspace.itop,
        profile=workspace.profile,
        client_secret=SECRET,
        copies_files=False,
    )
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    printed, status = run("--json")
    found = json.loads(printed)
    subjects = {finding["subject"] for finding in found["findings"]}
    assert {"This service", "iTop “Sandbox”", "Workspace Tests (abcd1234)", "Workspace other123"} <= subjects
    assert itop.calls.count(("list_operations", "")) == 1
    assert (found["overall"], status) == ("failure", 2)
    assert set(found["findings"][0]) == {"level", "about", "subject", "found", "to_do"}


@pytest.mark.django_db
def test_a_service_without_an_enabled_workspace_is_a_failure(address: Bridge) -> None:
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    printed, status = run()
    assert status == 2
    assert "no workspace is connected: every request from Intercom is refused" in printed


def test_a_service_whose_workspaces_are_disabled_is_a_failure(
    talking: Teammate, workspace: Workspace, address: Bridge
) -> None:
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    assert "1 of 1 workspaces are enabled" in run()[0]
    Workspace.objects.update(enabled=False)
    printed, status = run()
    assert status == 2 and "no workspace is enabled" in printed


def test_an_unknown_workspace_is_rejected_with_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(CommandError, match="abcd1234"):
        run("--workspace", "nope")


@pytest.mark.parametrize("arguments", [[], ["--workspace", "abcd1234"]])
def test_a_database_failure_is_reported_once(
    arguments: list[str], talking: Teammate, address: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    monkeypatch.setattr("intercom_bridge.doctor.intercom.Conversation.objects.filter", away)
    printed, status = run(*arguments, "--json")
    found = [finding for finding in json.loads(printed)["findings"] if finding["about"] == "service.database"]
    assert [finding["level"] for finding in found if finding["level"] != "ok"] == ["failure"]
    assert status == 2


@pytest.mark.parametrize("password_in_address", [False, True])
def test_no_secret_is_printed_when_remote_systems_repeat_it(
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
    all_secrets = " ".join(SECRETS.values())

    # iTop, Intercom and the proxy repeat what they were sent.
    def refuse(*_: Any) -> None:
        raise accounts.LoginRefusedError(f"Error: Invalid login {all_secrets}")

    monkeypatch.setattr(accounts, "authenticate", refuse)
    monkeypatch.setattr(itop_server, "MAINTENANCE", {"code": 100, "message": f"Error: {all_secrets}"})
    monkeypatch.setattr("sandbox.intercom.server._errors", lambda *_: error_list(all_secrets))
    address.answer = lambda request: (500, all_secrets.encode())
    for fault in ("", "maintenance"):
        if fault:
            itop.faults.add(fault)
        for arguments in ([], ["--json"]):
            printed, status = run(*arguments)
            assert status == 2
            assert "••••" in printed
            assert "s3cr3t" not in printed


def error_list(message: str) -> dict[str, Any]:
    return {
        "type": "error.list",
        "request_id": None,
        "errors": [{"code": "unauthorized", "message": message}],
    }
