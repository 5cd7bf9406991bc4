"""The "Test connection" page: offered on GET, run on POST, recorded, and only with the permission to change."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from intercom_bridge import doctor
from intercom_bridge.models import ItopInstance, Workspace
from sandbox.itop import Itop
from tests.teammate import Teammate


def page(row: Workspace | ItopInstance, name: str = "test") -> str:
    return reverse(f"admin:intercom_bridge_{row._meta.model_name}_{name}", args=[row.pk])


@pytest.fixture
def rows(workspace: Workspace, settings: Any) -> list[Workspace | ItopInstance]:
    # No service listens on this port.
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    # The test uploads take half of the doctor's time.
    workspace.copies_files = False
    workspace.save()
    return [workspace, workspace.itop]


def test_opening_the_page_sends_no_request(rows: list[Any], admin_client: Client, itop: Itop) -> None:
    for row in rows:
        assert f'href="{page(row)}"' in admin_client.get(page(row, "change")).content.decode()
        shown = admin_client.get(page(row)).content.decode()
        assert "Test now" in shown
        assert "bridge-findings" not in shown
    assert itop.calls == []
    assert not LogEntry.objects.exists()


def test_the_findings_are_displayed_with_failures_first_and_recorded(
    talking: Teammate, rows: list[Any], admin_client: Client
) -> None:
    shown = admin_client.post(page(rows[0])).content.decode()
    assert "responds in" in shown
    assert "Intercom accepts its access token" in shown
    assert re.search(
        r'<tr class="bridge-failure">.*?cannot be reached from this machine.*?Check PUBLIC_URL', shown, re.S
    )
    assert re.fullmatch(
        r"Tested the connection: \d+ ok, 1 warning, 1 failure\.", LogEntry.objects.get().change_message
    )


def test_an_itop_is_tested_for_all_its_workspaces(rows: list[Any], admin_client: Client) -> None:
    Workspace.objects.create(
        workspace_id="other123", itop=rows[1], profile=rows[0].profile, scope="SELECT Nope"
    )
    shown = admin_client.post(page(rows[1])).content.decode()
    assert "Workspace Tests (abcd1234)" in shown
    assert "Workspace other123" in shown
    assert LogEntry.objects.get().object_id == str(rows[1].pk)


def test_the_test_has_a_deadline(
    rows: list[Any], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PAGE_SECONDS", 0.0)
    for row in rows:
        assert "python manage.py doctor" in admin_client.post(page(row)).content.decode()


def test_viewers_may_not_run_the_test(rows: list[Any], client: Client, itop: Itop) -> None:
    reader = User.objects.create_user("reader", password="x", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(reader)
    for row in rows:
        assert ">Test connection</a>" not in client.get(page(row, "change")).content.decode()
        assert client.get(page(row)).status_code == 403
        assert client.post(page(row)).status_code == 403
    assert itop.calls == []


def test_unknown_rows_and_anonymous_users_are_refused(
    rows: list[Any], admin_client: Client, client: Client
) -> None:
    assert admin_client.post(page(rows[0]).replace(f"/{rows[0].pk}/", "/999/")).status_code == 404
    client.logout()
    assert client.post(page(rows[0])).status_code == 302


def test_findings_are_escaped_and_nothing_is_inline(rows: list[Any], admin_client: Client) -> None:
    Workspace.objects.update(scope="SELECT Organization WHERE name = '<script>alert(1)</script>'")
    shown = admin_client.post(page(rows[0])).content.decode()
    content = shown[shown.index('id="content-main"') :]
    content = content[: content.index("</form>")]
    assert "&lt;script&gt;" in content
    assert "<script" not in content
    assert "style=" not in content
