"""What the doctor says of this service itself and of a workspace's Intercom; and how it is asked."""

from __future__ import annotations

import datetime as dt
import io
import json
import socket

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding, service
from intercom_bridge.models import (
    ItopInstance,
    Notification,
    Secret,
    WorkerPulse,
    Workspace,
)
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.doctor.findings import about, levels
from tests.itop_client.socket_server import SocketServer, answer, serving
from tests.teammate import SECRET

TOKEN = "dG9rOnRoZS1hY2Nlc3MtdG9rZW4="


@pytest.fixture
def public(live_server: LiveServer, settings: Settings) -> str:
    """This service as it is reached through the network."""
    settings.PUBLIC_URL = live_server.url
    return str(live_server.url)


@pytest.fixture
def ready(workspace: Workspace, intercom: Intercom, public: str) -> Workspace:
    """A workspace whose every part is there; Intercom has called once, and a worker lives."""
    workspace.access_token = intercom.token
    workspace.workspace_id = intercom.workspace.workspace_id
    workspace.save()
    Notification.objects.create(workspace=workspace, notification_id="n", topic="ping", body=b"{}")
    WorkerPulse.objects.beat("here:1", anew=True)
    return workspace


def of_service() -> list[Finding]:
    return list(doctor.examine_service())


def of_workspace(workspace: Workspace) -> list[Finding]:
    return list(doctor.examine(workspace))


def run(*options: str) -> tuple[str, int]:
    """What was printed, and the exit status."""
    out, status = io.StringIO(), 0
    try:
        call_command("doctor", *options, stdout=out, no_color=True)
    except SystemExit as end:
        status = int(str(end.code))
    return out.getvalue(), status


# This service


def test_a_service_that_is_well(ready: Workspace) -> None:
    found = levels(of_service())
    assert found.pop("service.certificate") == "warning"  # plain http, on this machine
    assert set(found.values()) == {"ok"}
    assert {"service.database", "service.keys", "service.worker", "service.address", "service.size"} <= set(
        found
    )


def test_without_a_worker_it_says_so(ready: Workspace) -> None:
    WorkerPulse.objects.all().delete()
    finding = about(of_service(), "service.worker")
    assert finding.level.value == "failure" and "python manage.py worker" in finding.to_do


def test_work_that_is_overdue_though_a_worker_lives(ready: Workspace) -> None:
    Notification.objects.update(due_at=timezone.now() - dt.timedelta(minutes=20))
    finding = about(of_service(), "service.work")
    assert finding.level.value == "warning" and "20 minutes" in finding.found


def test_secrets_that_no_key_reads_are_counted(ready: Workspace, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    finding = about(of_service(), "service.keys")
    assert finding.level.value == "failure" and "3 of 3 stored secrets" in finding.found


def test_little_room_on_the_disk(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LITTLE_BYTES", 10**18)
    found = [one for one in of_service() if one.about == "service.disk"]
    assert found and all(one.level.value == "warning" for one in found)


@pytest.mark.parametrize(
    ("status", "headers", "to_do"),
    [
        (
            "301 Moved",
            ["Location: https://elsewhere.example.com/webhooks/intercom"],
            "Set PUBLIC_URL to the address",
        ),
        ("404 Not Found", [], "sends this path somewhere else"),
        ("502 Bad Gateway", [], "gunicorn runs"),
        ("403 Forbidden", [], "let /webhooks/ and /canvas-kit/ through"),
    ],
)
def test_a_proxy_that_answers_otherwise_is_told_what_it_lacks(
    ready: Workspace, settings: Settings, status: str, headers: list[str], to_do: str
) -> None:
    def refuse(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(answer(b"", *headers, status=status))

    with serving(refuse) as proxy:
        settings.PUBLIC_URL = proxy.url
        finding = about(of_service(), "service.address")
    assert finding.level.value == "failure"
    assert to_do in finding.to_do


# A workspace


def test_a_workspace_that_is_well(ready: Workspace) -> None:
    found = levels(of_workspace(ready))
    assert {name: level for name, level in found.items() if level != "ok"} == {}
    assert {"workspace.access_token", "workspace.id", "workspace.ping", "itop.answer"} <= set(found)


def test_the_signed_ping_leaves_one_row_and_is_no_call_of_intercoms(ready: Workspace) -> None:
    Notification.objects.all().delete()
    found = levels(of_workspace(ready))
    assert found["workspace.ping"] == "ok"
    assert found["workspace.webhook"] == "warning"
    assert [row.topic for row in Notification.objects.all()] == ["ping"]


def test_a_web_server_with_another_secret_is_found_by_the_ping(
    ready: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.client_secret = Secret.seal("another-secret-than-in-the-database")
    finding = about(of_workspace(ready), "workspace.ping")
    assert finding.level.value == "failure" and "401" in finding.found


def test_a_token_that_intercom_refuses(ready: Workspace) -> None:
    Workspace.objects.update(access_token="dG9rOm5vbnNlbnNl")
    ready.refresh_from_db()
    finding = about(of_workspace(ready), "workspace.access_token")
    assert finding.level.value == "failure" and "Developer Hub" in finding.to_do


def test_a_token_of_another_workspace(ready: Workspace) -> None:
    ready.workspace_id = "another1"
    assert about(of_workspace(ready), "workspace.id").level.value == "failure"


@pytest.mark.parametrize("secret", ["client_secret", "access_token"])
@pytest.mark.parametrize("value", ["", "PUT_YOUR_SECRET_HERE"])
def test_a_secret_that_is_not_there_or_is_a_placeholder(ready: Workspace, secret: str, value: str) -> None:
    Workspace.objects.update(**{secret: value})
    ready.refresh_from_db()
    found = [one for one in of_workspace(ready) if one.about == f"workspace.{secret}"]
    assert "failure" in [one.level.value for one in found]


def test_unverified_identities_where_external_ids_count(ready: Workspace) -> None:
    """The stand-in's workspace does not verify them."""
    assert "workspace.identity" not in levels(of_workspace(ready))
    ready.external_id_attribute = "id"
    finding = about(of_workspace(ready), "workspace.identity")
    assert finding.level.value == "failure" and "identity verification" in finding.to_do


def test_a_workspace_that_is_turned_off(ready: Workspace) -> None:
    ready.enabled = False
    assert about(of_workspace(ready), "workspace.enabled").level.value == "warning"


# The command


def test_the_exit_status_says_how_it_is(ready: Workspace) -> None:
    printed, status = run("--workspace", ready.workspace_id)
    assert (status, printed.splitlines()[-1].split(",")[1:]) == (0, [" 0 warnings", " 0 failures"])
    Notification.objects.all().delete()
    printed, status = run("--workspace", ready.workspace_id)
    assert status == 1
    assert "\nwarning  Workspace" in printed
    ItopInstance.objects.update(token="wrong-token")
    printed, status = run("--workspace", ready.workspace_id)
    assert status == 2
    assert "\nfailure  iTop" in printed


def test_each_finding_is_one_line_and_what_to_do_another(ready: Workspace) -> None:
    Notification.objects.all().delete()
    printed, _status = run("--workspace", ready.workspace_id)
    lines = printed.splitlines()[:-1]
    assert all(line.startswith(("ok       ", "warning  ", "failure  ", "         ")) for line in lines)


def test_for_programs_it_is_one_object(ready: Workspace) -> None:
    printed, _status = run("--json")
    document = json.loads(printed)
    assert document["overall"] in ("ok", "warning", "failure")
    assert {"level", "about", "subject", "found", "to_do"} == set(document["findings"][0])


def test_an_unknown_workspace_is_said(ready: Workspace) -> None:
    with pytest.raises(CommandError, match="There is no workspace nobody99. There are: "):
        call_command("doctor", "--workspace", "nobody99")


def test_no_secret_is_ever_printed(ready: Workspace, intercom: Intercom, itop: Itop) -> None:
    ItopInstance.objects.update(password="the-password-of-the-account", user="bridge")
    everything = run()[0] + run("--json")[0]
    ItopInstance.objects.update(token="", url=f"{itop.url}?auth_token={itop.token}")
    everything += run()[0]
    Workspace.objects.update(access_token=TOKEN)
    everything += run("--workspace", ready.workspace_id)[0]
    for secret in (SECRET, intercom.token, itop.token, TOKEN, "the-password-of-the-account"):
        assert secret not in everything


# In the admin


def test_an_admin_tests_the_connection_of_a_workspace(ready: Workspace, admin_client: Client) -> None:
    page = f"/admin/intercom_bridge/workspace/{ready.pk}/test/"
    assert "Test now" in admin_client.get(page).content.decode()
    assert Notification.objects.count() == 1
    shown = admin_client.post(page).content.decode()
    assert "Intercom accepts its access token" in shown
    assert "0 failures" in shown
    assert page in admin_client.get(f"/admin/intercom_bridge/workspace/{ready.pk}/change/").content.decode()


def test_an_admin_tests_the_connection_of_an_itop(ready: Workspace, admin_client: Client) -> None:
    shown = admin_client.post(f"/admin/intercom_bridge/itopinstance/{ready.itop.pk}/test/").content.decode()
    assert "(REST 1.3)" in shown
