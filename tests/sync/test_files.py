"""A file of a message becomes an attachment of each linked ticket, once, whatever happens meanwhile."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.files import to_itop
from intercom_bridge.models import CachedAnswer, Delivery, FileToItop, ItopInstance, TicketLink, Workspace
from intercom_bridge.models.job import claim
from intercom_bridge.sync import files
from intercom_bridge.sync.authors import question_about
from intercom_bridge.sync.intake import process_batch
from intercom_bridge.sync.writer import write_due
from sandbox.intercom import Intercom
from sandbox.intercom.files import File, png
from sandbox.intercom.store import Admin
from sandbox.itop import Itop
from tests.sync.conftest import Write
from tests.sync.copies import SHOT, TEXT, attachments, entries, inline_images, kill, later, waiting_file
from tests.teammate import ADA, Teammate, notify

Work = Callable[[], None]


def test_a_file_is_attached_once_and_the_entry_links_to_it(
    linked: TicketLink, write: Write, itop: Itop, work: Work, client: Client
) -> None:
    part = write(TEXT)
    work()
    (attached,) = attachments(itop)
    assert (attached["name"], attached["data"]) == ("gateway.log", TEXT.content)
    assert (attached["item_class"], int(attached["item_id"])) == ("UserRequest", linked.ticket.object_id)
    assert int(attached["item_org_id"]) == 4
    assert int(attached["contact_id"]) == 40
    written_at = dt.datetime.fromtimestamp(part["created_at"], linked.ticket.itop.zone)
    assert attached["creation_date"] == f"{written_at:%Y-%m-%d %H:%M:%S}"
    row = FileToItop.objects.get()
    assert (row.state, row.attachment_id, row.size, row.url) == ("copied", int(attached["id"]), 14, "")
    link = f"operation=download_document&amp;class=Attachment&amp;field=contents&amp;id={row.attachment_id}"
    assert f'{link}">gateway.log</a>' in entries(itop, linked)[-1]
    # The notification comes again.
    notify(client, part, notification_id="again", id=linked.conversation.conversation_id)
    work()
    assert len(attachments(itop)) == 1


def test_a_picture_in_the_text_is_attached_and_shown(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(pictures=(SHOT,))
    work()
    (attached,) = attachments(itop)
    assert attached["data"] == SHOT.content
    (image,) = inline_images(itop)
    entry = entries(itop, linked)[-1]
    assert f'src="{linked.ticket.itop.url}/pages/ajax.document.php?operation=download_inlineimage' in entry
    assert f"id={image['id']}" in entry
    assert image["secret"] in entry and len(image["secret"]) == 32
    assert "expires=" not in entry


def test_pictures_are_copied_before_attached_files(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    """Only the writer can show them; a file that a worker copies later is among the ticket's files all the same."""
    write(TEXT, pictures=(SHOT,))
    work()
    assert [row["data"] for row in attachments(itop)] == [SHOT.content, TEXT.content]


def test_without_administrator_a_picture_is_linked(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    ItopInstance.objects.update(is_administrator=False)
    write(pictures=(SHOT,))
    work()
    assert not inline_images(itop)
    assert "download_document" in entries(itop, linked)[-1]
    assert "<img" not in entries(itop, linked)[-1]


def test_only_bitmaps_are_shown(linked: TicketLink, write: Write, itop: Itop, work: Work) -> None:
    """iTop sends an InlineImage as it is: the script in an SVG file would run with the rights of who opens it."""
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    write(pictures=(File("drawing.svg", drawing, "image/svg+xml"), File("shot.png", drawing, "image/png")))
    work()
    assert len(attachments(itop)) == 2
    assert not inline_images(itop)
    assert "<img" not in entries(itop, linked)[-1]
    assert entries(itop, linked)[-1].count("download_document") == 2


def test_names_do_not_change_how_an_entry_reads(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(File("bill\u202efdp.txt", b"bill"), pictures=(File("shot\u202egnp.png", png(4, 4)),))
    work()
    assert "\u202e" not in entries(itop, linked)[-1]
    assert ">billfdp.txt</a>" in entries(itop, linked)[-1]
    assert 'alt="shotgnp.png"' in entries(itop, linked)[-1]


def test_an_entry_links_to_a_file_that_a_worker_has_copied_first(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(body="The first")
    write(TEXT)
    process_batch()
    files.copy_file(FileToItop.objects.select_related("ticket__itop", "conversation__workspace").get())
    work()
    assert "class=Attachment" in entries(itop, linked)[-1]


def test_workers_leave_files_to_the_writer_until_it_has_had_its_turn(
    linked: TicketLink, write: Write, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    write(TEXT)
    process_batch()
    assert FileToItop.objects.get().due_at > timezone.now() + dt.timedelta(seconds=30)
    (delivery,) = Delivery.objects.waiting()
    files.copy_small_files(delivery)
    assert FileToItop.objects.get().due_at <= timezone.now()


def test_no_upload_is_begun_that_would_be_broken_off(
    linked: TicketLink, write: Write, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.9)
    write(TEXT)
    process_batch()
    files.copy_small_files(Delivery.objects.waiting().get())
    assert not FileToItop.objects.get().attempts
    work()
    assert len(attachments(itop)) == 1


def test_the_writer_does_not_hand_over_what_a_worker_has_claimed(
    linked: TicketLink, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    write(TEXT)
    process_batch()
    row = FileToItop.objects.get()
    assert claim(row, files.CLAIM_SECONDS)
    files.copy_small_files(Delivery.objects.waiting().get())
    assert FileToItop.objects.get().due_at == row.due_at


def test_a_copied_file_does_not_take_the_head_start_from_the_next(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(TEXT, File("second.log", b"second"))
    process_batch()
    files.copy_file(
        FileToItop.objects.select_related("ticket__itop", "conversation__workspace").get(position=0)
    )
    work()
    assert entries(itop, linked)[-1].count("class=Attachment") == 2


def test_a_message_does_not_wait_for_a_slow_download(
    linked: TicketLink,
    write: Write,
    intercom: Intercom,
    itop: Itop,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 1.2)
    intercom.faults.add("slow", path="/i/o/", seconds=2.0, count=1)
    write(TEXT)
    work()
    assert "gateway.log</a>" in entries(itop, linked)[-1]
    assert "operation=details" in entries(itop, linked)[-1]
    assert not attachments(itop)
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("waiting", "file_not_downloaded")
    later()
    work()
    assert len(attachments(itop)) == 1


def test_an_expired_address_is_asked_for_again(
    linked: TicketLink, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    write(TEXT)
    intercom.workspace.addresses.clock_offset += 3600
    work()
    assert len(attachments(itop)) == 1
    assert len(intercom.downloads) == 2


def test_an_address_that_is_known_to_have_expired_is_not_tried(
    linked: TicketLink,
    write: Write,
    intercom: Intercom,
    itop: Itop,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    write(TEXT)
    work()
    FileToItop.objects.update(url_expires_at=timezone.now() - dt.timedelta(minutes=1))
    later()
    work()
    assert len(attachments(itop)) == 1
    assert len(intercom.downloads) == 1


def test_a_file_in_quarantine_fails_with_its_reason(
    linked: TicketLink, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    intercom.faults.add("quarantined", path="/i/o/", status=403)
    write(TEXT)
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("failed", "file_quarantined")
    assert "gateway.log" in entries(itop, linked)[-1]


def test_files_that_a_notification_only_mentions_are_found_in_the_conversation(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    """From API 2.15 on, notifications have plain text."""
    write(pictures=(SHOT,), plain=True)
    work()
    (attached,) = attachments(itop)
    assert attached["data"] == SHOT.content
    assert "<img" in entries(itop, linked)[-1]
    assert not FileToItop.objects.filter(position=FileToItop.LOOKUP).exists()


def test_files_are_looked_up_later_if_intercom_does_not_answer(
    linked: TicketLink, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    write(pictures=(SHOT,), plain=True)
    intercom.faults.add("error", path="/conversations", status=503)
    work()
    assert "[Image" in entries(itop, linked)[-1]
    intercom.faults.clear()
    later()
    work()
    later()
    work()
    assert [row["data"] for row in attachments(itop)] == [SHOT.content]


@pytest.mark.parametrize("kind", ["drop_after", "drop_before", "reset", "html", "error500"])
def test_an_unknown_outcome_creates_nothing_twice(
    kind: str, linked: TicketLink, write: Write, itop: Itop, work: Work, settings: Any
) -> None:
    settings.UNKNOWN_OUTCOME_SECONDS = 0
    write(TEXT)
    itop.faults.add(kind, operation="core/create", class_name="Attachment", count=1)
    work()
    ItopInstance.objects.update(paused_until=None)
    later()
    work()
    assert [row["data"] for row in attachments(itop)] == [TEXT.content]
    assert FileToItop.objects.get().state == "copied"
    assert len(entries(itop, linked)) == len(set(entries(itop, linked)))


def test_a_file_that_itop_does_not_accept_fails_alone(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    itop.faults.add("too_large", operation="core/create", class_name="Attachment")
    write(TEXT)
    write(body="the next message")
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("failed", "file_too_large_for_itop")
    assert "the next message" in entries(itop, linked)[-1]
    assert ItopInstance.objects.get().paused_until is None


@pytest.mark.parametrize(
    ("file", "change", "code"),
    [
        (File("big.bin", b"x" * 1_000_001), {"max_file_mb": 1}, "file_too_large"),
        (File("setup.exe", b"MZ\x90\x00" + b"\0" * 200), {}, "file_type_forbidden"),
        (
            File("holiday.png", b"MZ\x90\x00" + b"\0" * 60 + b"\x80\0\0\0" + b"\0" * 200),
            {},
            "file_type_forbidden",
        ),
    ],
)
def test_what_the_workspace_does_not_want_is_named_with_its_reason(
    file: File, change: dict[str, Any], code: str, linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    Workspace.objects.update(**change)
    write(file)
    work()
    assert FileToItop.objects.get().reason_code == code
    assert not attachments(itop)
    assert file.name in entries(itop, linked)[-1]


def test_a_workspace_can_switch_copying_off(linked: TicketLink, write: Write, itop: Itop, work: Work) -> None:
    Workspace.objects.update(copies_files=False)
    write(TEXT)
    work()
    later()
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("skipped", "files_off")
    assert not attachments(itop)


def test_each_linked_ticket_gets_its_own_copy(
    linked: TicketLink, talking: Teammate, write: Write, itop: Itop, work: Work
) -> None:
    talking.link("R-000008")
    work()
    write(TEXT, SHOT)
    work()
    later()
    work()
    assert sorted((int(row["item_id"]), row["name"]) for row in attachments(itop)) == [
        (6, "gateway.log"),
        (6, "shot.png"),
        (8, "gateway.log"),
        (8, "shot.png"),
    ]


@pytest.fixture
def jules(intercom: Intercom) -> Admin:
    """Return a teammate who has an account in iTop."""
    return intercom.store.add_admin(Admin(id="9608801", name="Jules Verne", email="jules.verne@it.example"))


JULES_ACCOUNT, JULES_PERSON, AGENT_ACCOUNT = 11, 9, 5


def test_a_teammates_file_has_the_teammates_account_and_person(
    linked: TicketLink, jules: Admin, write: Write, itop: Itop, work: Work
) -> None:
    write(TEXT, author="admin", author_id=jules.id)
    work()
    (attached,) = attachments(itop)
    assert (int(attached["user_id"]), int(attached["contact_id"])) == (JULES_ACCOUNT, JULES_PERSON)


def test_a_teammate_without_an_account_is_named_by_the_entry_only(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(TEXT, author="admin")
    work()
    (attached,) = attachments(itop)
    own_account = itop.store.find("SELECT User WHERE login = 'intercom_sync_app'")[1][0]["id"]
    assert (attached["user_id"], int(attached["contact_id"])) == (own_account, 0)
    assert itop.store.log(linked.ticket.object_id)[-1]["user_login"] == "Ada Reyes (Intercom)"


def use_agents_token() -> ItopInstance:
    """Use the token of a Support Agent, who may not set `user_id`."""
    instance = ItopInstance.objects.get()
    instance.token = "token-of-agent-app"
    instance.is_administrator = None
    instance.save()
    return instance


def test_without_administrator_a_teammates_file_has_the_bridges_account(
    linked: TicketLink, jules: Admin, write: Write, itop: Itop, work: Work
) -> None:
    use_agents_token()
    write(TEXT, author="admin", author_id=jules.id)
    work()
    (attached,) = attachments(itop)
    assert (int(attached["user_id"]), int(attached["contact_id"])) == (AGENT_ACCOUNT, 0)
    assert "<b>Jules Verne (Intercom)</b>" in entries(itop, linked)[-1]


def test_without_administrator_itop_refuses_a_known_account_and_the_file_is_attached_without_it(
    linked: TicketLink, jules: Admin, write: Write, itop: Itop, work: Work
) -> None:
    """The bridge's account was an Administrator until a moment ago."""
    instance = use_agents_token()
    CachedAnswer.objects.store(instance, question_about(jules.email), JULES_ACCOUNT)
    CachedAnswer.objects.store(instance, f"contact of account {JULES_ACCOUNT}", JULES_PERSON)
    write(TEXT, author="admin", author_id=jules.id)
    work()
    (attached,) = attachments(itop)
    assert (int(attached["user_id"]), int(attached["contact_id"])) == (AGENT_ACCOUNT, JULES_PERSON)
    assert "<b>Jules Verne (Intercom)</b>" in entries(itop, linked)[-1]


def test_files_of_earlier_messages_are_copied_with_them(
    talking: Teammate, write: Write, itop: Itop, work: Work
) -> None:
    write(TEXT)
    talking.link("R-000006", copy=True)
    work()
    later()
    work()
    assert "gateway.log" in {row["name"] for row in attachments(itop)}


def test_the_files_of_a_paused_message_wait_for_it(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    linked.switch(on=False, at=time.time() - 5)
    write(TEXT)
    work()
    later()
    work()
    assert not attachments(itop)
    Delivery.objects.filter(state="skipped").write_after_all()
    work()
    assert len(attachments(itop)) == 1


def test_a_redacted_message_takes_its_files_with_it(
    linked: TicketLink, write: Write, intercom: Intercom, itop: Itop, work: Work, client: Client
) -> None:
    part = write(TEXT, pictures=(SHOT,))
    work()
    assert len(attachments(itop)) == 2
    redacted = {**part, "body": "", "attachments": [], "redacted": True}
    notify(
        client,
        redacted,
        topic="conversation_part.redacted",
        notification_id="redaction",
        id=linked.conversation.conversation_id,
    )
    work()
    assert not attachments(itop)
    assert not inline_images(itop)
    assert set(FileToItop.objects.values_list("state", "name", "url")) == {("removed", "", "")}


def test_a_workspace_can_keep_the_files_of_redacted_messages(
    linked: TicketLink, write: Write, itop: Itop, work: Work, client: Client
) -> None:
    Workspace.objects.update(deletes_redacted_files=False)
    part = write(TEXT)
    work()
    redacted = {**part, "body": "", "attachments": [], "redacted": True}
    notify(
        client,
        redacted,
        topic="conversation_part.redacted",
        notification_id="redaction",
        id=linked.conversation.conversation_id,
    )
    work()
    assert len(attachments(itop)) == 1
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code, row.name) == ("skipped", "file_kept", "")


def test_what_the_bridge_posted_itself_is_not_copied_back(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    Workspace.objects.update(app_package_code="bridge-x1")
    write(TEXT, author="admin", author_id=ADA["id"], app_package_code="bridge-x1")
    work()
    assert not attachments(itop)
    assert not FileToItop.objects.exists()


def test_without_a_token_an_expired_file_says_what_is_missing(
    linked: TicketLink, write: Write, intercom: Intercom, work: Work, itop: Itop
) -> None:
    write(TEXT)
    Workspace.objects.update(access_token="")
    intercom.workspace.addresses.clock_offset += 3600
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("waiting", "no_access_token")
    assert "gateway.log" in entries(itop, linked)[-1]


def test_files_of_notes_are_not_copied_because_customers_would_see_them(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    """iTop's portal shows customers all attachments of their tickets. A picture in a log is shown only there."""
    write(TEXT, pictures=(SHOT,), author="admin", note=True)
    work()
    later()
    work()
    assert not attachments(itop)
    assert set(FileToItop.objects.values_list("is_inline", "state", "reason_code")) == {
        (False, "skipped", "file_of_note"),
        (True, "copied", ""),
    }
    entry = entries(itop, linked, "private_log")[-1]
    assert "gateway.log" in entry and "download_inlineimage" in entry


def test_a_workspace_can_have_files_of_notes_copied(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    Workspace.objects.update(copies_files_of_notes=True)
    write(TEXT, author="admin", note=True)
    work()
    assert len(attachments(itop)) == 1


def test_a_file_that_cannot_be_downloaded_does_not_keep_itop_paused(
    linked: TicketLink, write: Write, intercom: Intercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attempt was the circuit breaker's probe, and iTop was not asked."""
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    intercom.faults.add("quarantined", path="/i/o/", status=403)
    monkeypatch.setattr(to_itop, "_read_owner", lambda *_: None)
    write(TEXT)
    process_batch()
    moment_ago = timezone.now() - dt.timedelta(seconds=1)
    ItopInstance.objects.update(paused_until=moment_ago, paused_since=moment_ago)
    row = FileToItop.objects.select_related("ticket__itop", "conversation__workspace__profile").get()
    files.copy_file(row)
    row.refresh_from_db()
    assert row.reason_code == "file_quarantined"
    paused_until = ItopInstance.objects.get().paused_until
    assert paused_until is not None and paused_until <= timezone.now()


def test_a_ticket_does_not_get_more_files_than_the_workspace_allows(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    """Whenever a ticket changes, iTop reads all its files."""
    Workspace.objects.update(max_ticket_files_mb=1)
    write(File("a.bin", b"x" * 600_000), File("b.bin", b"y" * 600_000))
    work()
    assert [row["name"] for row in attachments(itop)] == ["a.bin"]
    row = FileToItop.objects.get(name="b.bin")
    assert (row.state, row.reason_code, row.reason_detail) == ("failed", "file_ticket_full", "1 MB")


def test_a_file_that_is_known_to_be_too_large_is_not_linked(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    Workspace.objects.update(max_file_mb=1)
    write(File("big.bin", b"x" * 3_000_000))
    work()
    assert "big.bin" in entries(itop, linked)[-1]
    assert "<a " not in entries(itop, linked)[-1]


@pytest.mark.parametrize("pictures", [1, 5])
def test_a_message_with_pictures_costs_two_calls_for_each_and_two_for_itself(
    pictures: int, linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(pictures=(SHOT,))
    work()
    itop.calls.clear()
    write(pictures=tuple(File(f"{number}.png", png(40, number + 1)) for number in range(pictures)))
    process_batch()
    write_due(linked.ticket)
    assert itop.calls == [
        ("core/get", "UserRequest"),
        *[("core/create", "Attachment"), ("core/create", "InlineImage")] * pictures,
        ("core/update", "UserRequest"),
    ]
    assert entries(itop, linked)[-1].count("<img") == pictures
    assert len(attachments(itop)) == len(inline_images(itop)) == 1 + pictures


def test_each_copy_belongs_to_the_organization_that_the_ticket_has_now(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(TEXT, SHOT)
    work()
    itop.store.update("UserRequest", linked.ticket.object_id, org_id=5)
    write(TEXT, SHOT)
    work()
    assert [int(row["item_org_id"]) for row in attachments(itop)] == [4, 4, 5, 5]


def test_the_size_of_a_copy_that_a_killed_worker_made_counts_for_the_ticket(
    linked: TicketLink, write: Write, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.objects.update(max_ticket_files_mb=1)
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    big = File("big.png", png(4, 4) + b"x" * 600_000)
    write(pictures=(big,))
    process_batch()
    with monkeypatch.context() as killed:
        killed.setattr(files, "_save", kill)
        with pytest.raises(KeyboardInterrupt):
            files.copy_file(waiting_file())
    later()
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.size) == ("copied", len(big.content))
    write(big)
    later()
    work()
    assert FileToItop.objects.latest("pk").reason_code == "file_ticket_full"
    assert len(attachments(itop)) == 1


def test_a_kept_copy_of_a_redacted_message_counts_for_the_ticket(
    linked: TicketLink, write: Write, itop: Itop, work: Work, client: Client
) -> None:
    Workspace.objects.update(max_ticket_files_mb=1, deletes_redacted_files=False)
    part = write(File("a.bin", b"x" * 600_000))
    work()
    redacted = {**part, "body": "", "attachments": [], "redacted": True}
    conversation_id = linked.conversation.conversation_id
    topic = "conversation_part.redacted"
    notify(client, redacted, topic=topic, notification_id="redaction", id=conversation_id)
    work()
    write(File("b.bin", b"y" * 600_000))
    work()
    assert [row["name"] for row in attachments(itop)] == ["a.bin"]
    assert FileToItop.objects.latest("pk").reason_code == "file_ticket_full"
