"""What is known of a contact can be handed over, and erased; the keys that keep messages from doubling stay."""

from __future__ import annotations

import datetime as dt
import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from intercom_bridge.admin import privacy
from intercom_bridge.desk.person import question_who
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopAnswer,
    Mention,
    Notification,
    Participant,
    PersonMatch,
    Posting,
    Submission,
    Ticket,
    TicketLink,
    Unlinking,
    Workspace,
)
from intercom_bridge.sync import intake, mentions, readback, retention, tasks, writer
from intercom_bridge.sync.reconcile import reconcile
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import ALICE, WORKSPACE, Teammate, notify, part

pytestmark = pytest.mark.django_db

SAID = "my phone is blue and its code is 1234"
TYPED = "Phone of the customer"
ELSEWHERE = "a word in a conversation without a ticket"
BOB = ALICE | {"id": "696205460674dbb9050bbbbb", "email": "bob.other@acme.example", "name": "Bob Other"}
BOBS = "what Bob said"


@pytest.fixture
def story(client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]) -> Callable[[], None]:
    """Alice wrote, got a ticket, wrote on, and wrote elsewhere; so did Bob. Answers what a worker does."""
    teammate.open().click("Create a ticket").click("Create", Title=TYPED)
    work()
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    notify(client, part(37358198351, f"<p>{ELSEWHERE}</p>"), id="215472621200001")
    notify(
        client,
        part(
            37358198352, f"<p>{BOBS}</p>", {"type": "user", "id": BOB["id"], "name": BOB["name"], "email": ""}
        ),
        id="215472621200002",
        contacts={"contacts": [{"type": "contact", "id": BOB["id"]}]},
        source=None,
    )
    work()
    assert Delivery.objects.filter(part_id="37358198350", state="written").exists()
    return work


def everything() -> str:
    """All that the database holds, bytes included."""
    tables = [*apps.get_app_config("intercom_bridge").get_models(), LogEntry]
    return json.dumps([list(model._default_manager.values()) for model in tables], default=as_text)


def as_text(value: Any) -> str:
    return bytes(value).decode() if isinstance(value, bytes | memoryview) else str(value)


def said(command: str, *arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, WORKSPACE, *arguments, stdout=out, **options)
    return out.getvalue()


TRACES = (SAID, TYPED, ELSEWHERE, "Alice", "alice", ALICE["id"], "The export button")


@pytest.mark.parametrize("meant", [ALICE["id"], "Alice.Martin@acme.example", "40"])
def test_all_that_is_known_is_handed_over(story: Any, meant: str) -> None:
    meant = str(PersonMatch.objects.get().person_id) if meant == "40" else meant
    exported = said("export_contact", meant)
    for trace in TRACES:
        assert trace in exported
    assert BOBS not in exported
    [contact] = json.loads(exported)
    assert {one["conversation"] for one in contact["conversations"]} == {"215472621202693"}
    assert {one["conversation_id"] for one in contact["notifications"]} == {
        "215472621202693",
        "215472621200001",
    }


def test_after_erasing_nothing_of_it_is_left(story: Any) -> None:
    for trace in TRACES:
        assert trace in everything()
    told = said("erase_contact", ALICE["id"], no_input=True)
    assert "2 conversations, 2 notifications." in told
    for trace in TRACES:
        assert trace not in everything()
    assert BOBS in everything()
    with pytest.raises(CommandError, match="Nothing is known here"):
        said("export_contact", ALICE["id"])


def test_what_was_written_once_is_not_written_again_after_it(
    client: Client, story: Callable[[], None], itop: Itop
) -> None:
    said("erase_contact", ALICE["id"], no_input=True)
    ticket = Ticket.objects.get()
    before = itop.store.log(ticket.object_id)
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    notify(client, part(37358198350, f"<p>{SAID}</p>"), notification_id="another")
    notify(client, part(37358198341, "<p>It is urgent</p>"), notification_id="of the transcript")
    story()
    assert itop.store.log(ticket.object_id) == before
    assert TicketLink.objects.count() == 1


def test_what_still_waited_is_left_out(client: Client, story: Callable[[], None], itop: Itop) -> None:
    notify(client, part(37358198360, "<p>too late</p>"))
    said("erase_contact", ALICE["id"], no_input=True)
    story()
    assert "too late" not in str(itop.store.log(Ticket.objects.get().object_id))
    assert Notification.objects.get(notification_id="notif_37358198360").verdict == "skipped"


def erase_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Somebody erases Alice just before this is done for the first time."""
    really = getattr(module, name)

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, name, really)
        said("erase_contact", ALICE["id"], no_input=True)
        return really(*args, **kwargs)

    monkeypatch.setattr(module, name, meanwhile)


@pytest.mark.parametrize("moment", ["log_item", "append"])
def test_what_is_just_being_written_is_not_kept_anew(
    client: Client, story: Callable[[], None], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    notify(client, part(37358198360, "<p>in hand</p>"), part(37358198361, "<p>the next</p>"))
    erase_before(monkeypatch, writer, moment)
    story()
    assert "in hand" not in everything() and "the next" not in everything()
    written = Delivery.objects.get(part_id="37358198360")
    assert (written.state, written.item, written.tries) == ("written", None, [])
    assert Delivery.objects.get(part_id="37358198361").state == "skipped"


@pytest.mark.parametrize("fault", ["error500", "drop_after"])
def test_what_just_failed_is_not_kept_anew(
    client: Client, story: Callable[[], None], itop: Itop, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    notify(client, part(37358198360, "<p>in hand</p>"))
    itop.faults.add(fault, operation="core/update", count=1)
    erase_before(monkeypatch, writer, "append")
    story()
    left_out = Delivery.objects.get(part_id="37358198360")
    assert (left_out.state, left_out.item, left_out.tries) == ("skipped", None, [])


def test_what_is_just_being_taken_in_is_not_kept_anew(
    client: Client, story: Callable[[], None], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(client, part(37358198360, "<p>in hand</p>"))
    erase_before(monkeypatch, intake, "may_be_our_echo")
    story()
    assert "in hand" not in everything()
    assert "in hand" not in str(itop.store.log(Ticket.objects.get().object_id))


def test_what_is_just_being_read_back_is_not_written_again(
    story: Callable[[], None], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = Ticket.objects.get()
    before = itop.store.log(ticket.object_id)
    met = [readback.Operation("public_log", 0, "Somebody", "2026-11-24 10:00:00")]
    monkeypatch.setattr(readback, "missing_from", lambda _entries, written, _zone: written)
    markers = list(Delivery.objects.exclude(marker="").values_list("marker", flat=True))
    monkeypatch.setattr(readback, "_met", lambda *_: dict.fromkeys(markers, met))
    erase_before(monkeypatch, readback, "read_logs")
    readback.check_log(ticket)
    story()
    assert not Delivery.objects.waiting().exists()
    assert itop.store.log(ticket.object_id) == before


def test_what_was_not_posted_yet_is_not_posted_empty(story: Callable[[], None]) -> None:
    Posting.objects.update(state="waiting", part_id="")
    said("erase_contact", ALICE["id"], no_input=True)
    assert not Posting.objects.unfinished().exists()
    assert not Posting.objects.retriable().exists()


def test_another_ticket_can_be_linked_right_after_it(teammate: Teammate, story: Callable[[], None]) -> None:
    assert Notification.objects.filter(verdict="handled").exists()
    said("erase_contact", ALICE["id"], no_input=True)
    teammate.open().link("R-000006")
    story()
    assert TicketLink.objects.count() == 2


def test_while_a_ticket_is_being_created_nothing_is_erased(story: Any) -> None:
    Submission.objects.update(state="creating")
    before = everything()
    with pytest.raises(CommandError, match="just being created. Run it again"):
        said("erase_contact", ALICE["id"], no_input=True)
    assert everything() == before


def test_django_s_own_log_forgets_the_name_too(story: Any) -> None:
    match = PersonMatch.objects.get()
    user = User.objects.create_superuser("root")
    LogEntry.objects.log_actions(user.pk, [match], CHANGE, "Looked at.")  # type: ignore[arg-type]
    assert LogEntry.objects.get().object_repr == "Alice Martin"
    said("erase_contact", ALICE["id"], no_input=True)
    assert LogEntry.objects.get().object_repr == "erased at the contact's request"


def test_what_an_undo_of_an_unlinking_would_put_back_is_forgotten(story: Any) -> None:
    link = TicketLink.objects.get()
    Unlinking.objects.create(
        conversation=link.conversation,
        ticket=link.ticket,
        linked_at=link.created_at,
        sync_on=True,
        since_part_at=0,
        since_part_order=0,
        left_out=[[1, "failed", f"iTop refused it: Value not allowed [{TYPED}]"]],
    )
    said("erase_contact", ALICE["id"], no_input=True)
    assert Unlinking.objects.get().left_out == []


def test_no_secret_is_handed_over(client: Client, story: Any) -> None:
    notify(client, part(37358198370, "<p>more</p>"), custom_attributes={"access_token": "hush-hush"})
    assert b"hush-hush" in bytes(Notification.objects.order_by("pk")[3].body)
    exported = said("export_contact", ALICE["id"])
    assert "hush-hush" not in exported and "(a secret)" in exported


def test_somebody_whose_notifications_went_long_ago_is_found_by_the_conversation(story: Any) -> None:
    Notification.objects.all().delete()
    PersonMatch.objects.all().delete()
    assert "Alice Martin" in everything()
    said("erase_contact", ALICE["id"], no_input=True)
    assert "Alice" not in everything()


def test_who_joins_a_linked_conversation_is_known_when_it_is_compared(
    workspace: Workspace, intercom: Intercom, teammate: Teammate
) -> None:
    teammate.link("R-000006")
    conversation_row = Conversation.objects.get()
    Participant.objects.all().delete()
    Workspace.objects.update(access_token=intercom.token)
    conversation_row.refresh_from_db()
    reconcile(conversation_row)
    assert ALICE["id"] in Participant.objects.values_list("contact_id", flat=True)


def test_whom_a_notification_names_is_noted_as_it_comes_in(client: Client, workspace: Workspace) -> None:
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    assert Notification.objects.get().mentions_noted
    assert list(Mention.objects.values_list("contact_id", flat=True)) == [ALICE["id"]]
    # Found without any body's being read.
    Notification.objects.update(body=b"{}")
    assert "215472621202693" in said("export_contact", ALICE["id"])


def test_those_of_the_release_before_are_read_at_night(client: Client, workspace: Workspace) -> None:
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    as_the_release_before_wrote_it()
    tasks.clean_up_every_day.call_local()
    assert list(Mention.objects.values_list("contact_id", flat=True)) == [ALICE["id"]]
    assert Notification.objects.get().mentions_noted


def as_the_release_before_wrote_it() -> None:
    Notification.objects.update(mentions_noted=False)
    Mention.objects.all().delete()


def test_what_is_erased_while_it_is_read_names_nobody(
    client: Client, story: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_the_release_before_wrote_it()
    really = mentions.contacts_named

    def meanwhile(data: object) -> set[str]:
        Notification.objects.update(body=b"", cleaned_at=timezone.now())
        return really(data)

    monkeypatch.setattr(mentions, "contacts_named", meanwhile)
    assert mentions.note_mentions() == 3
    assert not Mention.objects.exists()


def test_whom_they_name_goes_with_what_they_say(client: Client, workspace: Workspace) -> None:
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    notify(client, part(37358198351, "<p>later</p>"))
    Notification.objects.update(verdict="skipped")
    old = Notification.objects.filter(notification_id="notif_37358198350")
    old.update(received_at=timezone.now() - dt.timedelta(days=31))
    retention.clean_payloads()
    assert list(Mention.objects.values_list("notification__notification_id", flat=True)) == [
        "notif_37358198351"
    ]


def test_where_they_were_one_of_several_candidates_they_are_forgotten(
    story: Any, workspace: Workspace
) -> None:
    people = {"people": [{"id": 40, "name": "Alice Martin"}], "more": False}
    question = f"{question_who(workspace, BOB['id'])}, among 0123abcd"
    ItopAnswer.objects.keep(workspace.itop, question, people)
    assert "Alice Martin" in everything()
    said("erase_contact", ALICE["id"], no_input=True)
    assert "Alice" not in everything()


@pytest.mark.parametrize(
    ("body", "is_named"),
    [
        (b'{"a": [{"type": "contact", "id": "ID"}]}', True),
        (b'{"a": {"type": "lead", "id": "ID"}}', True),
        (b'{"a": {"b": [[{"type": "visitor", "id": "ID"}]]}}', True),
        (b'{"a": {"type": "admin", "id": "ID"}}', False),
        (b'{"a": {"type": "contact", "id": "other", "note": "ID"}}', False),
        (b'not JSON, and "ID" in it', True),
        (b'{"a": {"type": "contact", "id": "other"}}', False),
    ],
)
def test_which_notifications_name_a_contact(workspace: Workspace, body: bytes, is_named: bool) -> None:
    Notification.objects.create(
        workspace=workspace, notification_id="n", topic="t", body=body.replace(b"ID", ALICE["id"].encode())
    )
    if is_named:
        said("export_contact", ALICE["id"])
    else:
        with pytest.raises(CommandError, match="Nothing is known here"):
            said("export_contact", ALICE["id"])


@pytest.mark.parametrize("was_there", [False, True])
def test_a_file_of_it_is_for_its_owner_alone(story: Any, tmp_path: Path, was_there: bool) -> None:
    file = tmp_path / "alice.json"
    if was_there:
        file.write_text("older", encoding="utf-8")
        file.chmod(0o644)
    said("export_contact", ALICE["id"], str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SAID in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("to_file", [False, True])
def test_half_a_character_does_not_end_the_export(
    workspace: Workspace, tmp_path: Path, to_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"body": "é and \ud83d"}
    monkeypatch.setattr("intercom_bridge.privacy.Contact.is_known", True)
    monkeypatch.setattr("intercom_bridge.privacy.Contact.export", lambda _: told)
    file, screen = tmp_path / "alice.json", io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    call_command("export_contact", WORKSPACE, ALICE["id"], *([file] if to_file else []), stdout=screen)
    screen.seek(0)
    text = file.read_text(encoding="utf-8") if to_file else screen.read()
    assert "é and " in text
    assert json.loads(text) == [told]


def test_it_asks_first(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _question: "no")
    with pytest.raises(CommandError, match="Nothing was erased"):
        said("erase_contact", ALICE["id"])
    assert SAID in everything()


LIST = "/admin/intercom_bridge/personmatch/"


def act(client: Client, action: str, **more: str) -> Any:
    chosen = {"_selected_action": str(PersonMatch.objects.get().pk), "action": action, "index": "0"}
    return client.post(LIST, chosen | more, follow=True)


def test_an_admin_exports_it_from_the_person_s_row(story: Any, admin_client: Client) -> None:
    answer = act(admin_client, "hand_over")
    assert answer["Content-Disposition"].startswith("attachment")
    assert SAID in answer.content.decode()
    assert "Exported what is known" in LogEntry.objects.get().change_message


def test_an_admin_erases_it_after_being_asked(story: Any, admin_client: Client) -> None:
    asked = act(admin_client, "erase").content.decode()
    assert "It cannot be undone" in asked and "Alice Martin: 2 conversations" in asked
    assert SAID in everything()
    done = act(admin_client, "erase", confirmed="yes").content.decode()
    assert "Erased here." in done
    for trace in TRACES:
        assert trace not in everything()
    assert LogEntry.objects.exists()


@pytest.mark.parametrize("action", ["hand_over", "erase"])
def test_what_takes_long_is_not_done_in_the_admin(
    story: Any, admin_client: Client, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(privacy, "READ_AT_ONCE", 2)
    as_the_release_before_wrote_it()
    answer = act(admin_client, action, confirmed="yes").content.decode()
    assert "3 notifications from before the last update" in answer and "Nothing was done." in answer
    assert SAID not in answer and SAID in everything()
    tasks.clean_up_every_day.call_local()
    assert "Nothing was done." not in act(admin_client, action, confirmed="yes").content.decode()


def test_an_erasing_that_was_refused_is_not_in_django_s_log(story: Any, admin_client: Client) -> None:
    Submission.objects.update(state="creating")
    assert "nothing was erased" in act(admin_client, "erase", confirmed="yes").content.decode()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("action", "needed"), [("hand_over", "read_messages"), ("erase", "delete_personmatch")]
)
def test_each_needs_its_permission(story: Any, client: Client, action: str, needed: str) -> None:
    user = User.objects.create_user("lead", is_staff=True)
    allow(user, "view_personmatch", "change_personmatch")
    client.force_login(user)
    assert SAID not in act(client, action, confirmed="yes").content.decode()
    assert SAID in everything()
    allow(user, needed)
    answer = act(client, action, confirmed="yes").content.decode()
    assert SAID in answer if action == "hand_over" else SAID not in everything()


def allow(user: User, *names: str) -> None:
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))


def test_an_unknown_workspace_is_said(workspace: Workspace) -> None:
    with pytest.raises(CommandError, match="There is no workspace nobody99"):
        call_command("export_contact", "nobody99", "x")
