"""The lists of files, their actions, and the workspace's fields about files."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from intercom_bridge.admin import row_actions
from intercom_bridge.admin.workspaces import WorkspaceForm
from intercom_bridge.models import (
    Conversation,
    FileToIntercom,
    FileToItop,
    ItopInstance,
    Ticket,
    TicketEvent,
    TicketProfile,
    Workspace,
)

pytestmark = pytest.mark.django_db
LIST = "admin:intercom_bridge_filetoitop_changelist"
PAGE = "admin:intercom_bridge_filetoitop_change"


@pytest.fixture
def failed() -> FileToItop:
    itop = ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="t")
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        client_secret="zyxwvuts-987654",
        itop=itop,
        profile=TicketProfile.objects.create(name="Requests"),
    )
    return FileToItop.objects.create(
        ticket=Ticket.objects.create(itop=itop, ticket_class="UserRequest", object_id=8, ref="R-000008"),
        conversation=Conversation.objects.create(workspace=workspace, conversation_id="1"),
        part_kind="part",
        part_id="2",
        position=0,
        part_created_at=1_768_999_000,
        name="salaries.pdf",
        state="failed",
        reason_code="file_too_large",
        attempts=3,
    )


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize(("action", "state"), [("retry", "waiting"), ("skip", "skipped")])
def test_failed_files_can_be_retried_and_skipped(
    admin: Client, failed: FileToItop, action: str, state: str
) -> None:
    admin.post(reverse(LIST), {"action": action, "_selected_action": [failed.pk]})
    failed.refresh_from_db()
    assert failed.state == state


def test_the_list_and_the_page_display_the_name_until_it_is_erased(admin: Client, failed: FileToItop) -> None:
    for address in (reverse(LIST) + "?q=R-000008", reverse(PAGE, args=[failed.pk])):
        assert "salaries.pdf" in admin.get(address).content.decode()
    FileToItop.objects.erase_content()
    assert FileToItop.objects.get().cleaned_at < timezone.now()  # type: ignore[operator]
    assert "(erased)" in admin.get(reverse(PAGE, args=[failed.pk])).content.decode()


def test_an_action_changes_those_of_many_files_that_it_is_meant_for(
    admin: Client, failed: FileToItop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_actions, "BATCH_SIZE", 2)
    now = timezone.now()
    values: list[dict[str, Any]] = [
        {},
        {},
        {},
        {"cleaned_at": now},
        # The copy of a redacted message's file, which could not be deleted.
        {"cleaned_at": now, "is_redacted": True},
        {"state": "copied"},
        {"state": "removed"},
        {"state": "skipped"},
        {"state": "waiting"},
    ]
    rows = [failed]
    for number, changes in enumerate(values, start=1):
        copy = FileToItop.objects.get(pk=failed.pk)
        copy.pk, copy.position = None, number
        for name, value in changes.items():
            setattr(copy, name, value)
        copy.save(force_insert=True)
        rows.append(copy)
    pks = [row.pk for row in rows]

    def act(action: str) -> tuple[str, list[str]]:
        response = admin.post(reverse(LIST), {"action": action, "_selected_action": pks}, follow=True)
        states = dict(FileToItop.objects.values_list("pk", "state"))
        return " ".join(map(str, response.context["messages"])), [states[pk] for pk in pks]

    text, states = act("retry")
    assert text.startswith("5 files for iTop ") and "5 files for iTop unchanged" in text
    others = ["copied", "removed", "skipped", "waiting"]
    assert states == ["waiting"] * 4 + ["failed", "waiting", *others]
    assert LogEntry.objects.count() == 5 and "salaries" not in str(list(LogEntry.objects.values()))
    text, states = act("skip")
    # What is to be deleted stays so.
    assert text.startswith("6 files for iTop skipped.")
    assert states == ["skipped"] * 5 + ["waiting", *others[:3], "skipped"]


def test_erasing_a_file_from_itop_erases_a_reason_that_quotes_its_name(failed: FileToItop) -> None:
    event = TicketEvent.objects.create(
        ticket=failed.ticket, conversation=failed.conversation, kind="file", key="file:7"
    )
    row = FileToIntercom.objects.create(
        event=event,
        source="attachment",
        object_id=7,
        name="salaries.exe",
        state="linked",
        reason_code="file_type_forbidden",
        reason_detail="salaries.exe",
    )
    FileToIntercom.objects.erase_content()
    row.refresh_from_db()
    assert (row.name, row.reason_detail) == ("", "")


def test_the_list_of_files_for_intercom_opens(admin: Client) -> None:
    address = reverse("admin:intercom_bridge_filetointercom_changelist")
    assert admin.get(address, {"q": "R-000008"}).status_code == 200


@pytest.mark.parametrize(
    ("entered", "stored"),
    [
        ("Files.Example.com\n *.example.org ", "files.example.com\n*.example.org"),
        ("127.0.0.1", None),
        ("https://example.com/", None),
        ("*.*.example.com", None),
    ],
)
def test_hosts_of_files_are_checked(failed: FileToItop, entered: str, stored: str | None) -> None:
    form = WorkspaceForm.__new__(WorkspaceForm)
    form.cleaned_data = {"file_hosts": entered}
    if stored is None:
        with pytest.raises(Exception, match="is not a host name"):
            form.clean_file_hosts()
    else:
        assert form.clean_file_hosts() == stored
