"""Export and erasure of a contact's data. The keys that prevent duplicate messages are kept."""

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

from intercom_bridge.models import (
    CachedAnswer,
    Conversation,
    Delivery,
    EventKind,
    FileToIntercom,
    FileToItop,
    LinkRemoval,
    Mention,
    OutgoingMessage,
    Participant,
    PersonMatch,
    Ticket,
    TicketCreation,
    TicketEvent,
    TicketLink,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.sync import intake, retention, verify, writer
from intercom_bridge.sync.reconcile import reconcile
from intercom_bridge.tickets.people.match import match_question
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from sandbox.itop.seed import TOKENS
from tests.linked import store_link
from tests.teammate import ALICE, WORKSPACE, Teammate, conversation, notify, part

pytestmark = pytest.mark.django_db

SAID = "my phone is blue and its code is 1234"
TYPED = "Phone of the customer"
ELSEWHERE = "a word in a conversation without a ticket"
BOB = ALICE | {"id": "696205460674dbb9050bbbbb", "email": "bob.other@acme.example", "name": "Bob Other"}
BOBS = "what Bob said"


@pytest.fixture
def story(client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]) -> Callable[[], None]:
    """Have Alice write in a conversation with a ticket and in one without, and Bob in a third one.

    Return a function that runs the worker once.
    """
    teammate.open().click("Create a ticket").click("Create", Title=TYPED)
    work()
    receive_messages(client, work)
    return work


@pytest.fixture
def linked_story(
    client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]
) -> Callable[[], None]:
    """Prepare the same with a linked ticket, for tests that are not about what a created ticket's row contains."""
    store_link(teammate, itop, "R-000006")
    receive_messages(client, work)
    return work


def receive_messages(client: Client, work: Callable[[], None]) -> None:
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


def everything() -> str:
    """Return the contents of all tables as text."""
    tables: list[Any] = [*apps.get_app_config("intercom_bridge").get_models(), LogEntry]
    return json.dumps([list(model.objects.values()) for model in tables], default=as_text)


def as_text(value: Any) -> str:
    return bytes(value).decode() if isinstance(value, bytes | memoryview) else str(value)


def run(command: str, *arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, WORKSPACE, *arguments, stdout=out, **options)
    return out.getvalue()


TRACES = (SAID, TYPED, ELSEWHERE, "Alice", "alice", ALICE["id"], "The export button")


def test_everything_about_the_contact_is_exported(story: Any) -> None:
    exported = run("export_contact", ALICE["id"], audience="controller")
    for trace in TRACES:
        assert trace in exported
    assert BOBS not in exported
    [contact] = json.loads(exported)
    assert {row["conversation"] for row in contact["conversations"]} == {"215472621202693"}
    assert {row["conversation_id"] for row in contact["webhook_events"]} == {
        "215472621202693",
        "215472621200001",
    }
    for text in ("Alice.Martin@acme.example", str(PersonMatch.objects.get().person_id)):
        [same] = json.loads(run("export_contact", text, audience="controller"))
        assert same | {"exported_at": ""} == contact | {"exported_at": ""}


NOTED = "do not log this, says the colleague"
REPLIED = "we send a spare one from the shelf"
COLLEAGUE = {"type": "admin", "id": "814860", "name": "Ada Reyes", "email": "ada.reyes@it.example"}


def test_the_person_gets_their_own_messages_and_nothing_of_others(
    client: Client, story: Callable[[], None]
) -> None:
    notify(client, part(37358198360, f"<p>{NOTED}</p>", COLLEAGUE, part_type="note"))
    notify(client, part(37358198361, f"<p>{REPLIED}</p>", COLLEAGUE))
    bob = {"type": "user", "id": BOB["id"], "name": BOB["name"], "email": BOB["email"]}
    notify(client, part(37358198362, f"<p>{BOBS}</p>", bob))
    story()
    exported = run("export_contact", ALICE["id"])
    copy = json.loads(exported)
    [person] = copy["person"]
    assert person["name"] == "Alice Martin" and person["email"].lower() == "alice.martin@acme.example"
    assert person["organization"]
    conversations = {row["conversation"]: row for row in copy["conversations"]}
    assert set(conversations) == {"215472621202693", "215472621200001"}
    linked = conversations["215472621202693"]
    ref = Ticket.objects.get().ref
    assert [row["ticket"] for row in linked["tickets"]] == [ref]
    said = next(message for message in linked["messages"] if message["text"] == SAID)
    assert [copied["ticket"] for copied in said["copied_to"]] == [ref]
    assert ELSEWHERE in json.dumps(conversations["215472621200001"])
    for other in (NOTED, REPLIED, BOBS, BOB["id"], BOB["name"], "Ada", "it.example", "814860"):
        assert other not in exported
    for bookkeeping in ("part_order", "idempotency_key", "attempts", "webhook_events", "reason_code", TYPED):
        assert bookkeeping not in exported
    everything_stored = run("export_contact", ALICE["id"], audience="controller")
    for other in (NOTED, REPLIED, BOBS, COLLEAGUE["email"], TYPED):
        assert other in everything_stored


def own_messages(contact_id: str = ALICE["id"]) -> list[dict[str, Any]]:
    [conversation] = json.loads(run("export_contact", contact_id))["conversations"]
    messages: list[dict[str, Any]] = conversation["messages"]
    return messages


@pytest.mark.parametrize("token", ["intercom_sync_app", "agent_app"], ids=["administrator", "other account"])
@pytest.mark.parametrize("mapping", [{}, {"public_log": "private_log"}], ids=["two logs", "one log"])
def test_the_person_gets_what_was_copied_when_the_ticket_was_created(
    teammate: Teammate, workspace: Workspace, token: str, mapping: dict[str, str]
) -> None:
    workspace.itop.token = TOKENS[token]
    workspace.itop.save()
    workspace.profile.attributes_mapping = mapping
    workspace.profile.save()
    note = part(37358198343, f"<p>{NOTED}</p>", COLLEAGUE | {"id": ALICE["id"]}, part_type="note")
    teammate.conversation = conversation(
        part(37358198341, "<p>It is urgent</p>"), note, part(37358198344, "<p>Still there?</p>")
    )
    teammate.open().click("Create a ticket").click("Create", Title=TYPED)
    ref = Ticket.objects.get().ref
    messages = own_messages()
    expected = ["The export button does nothing", "It is urgent", "Still there?"]
    assert [message["text"] for message in messages] == expected
    assert [[copied["ticket"] for copied in message["copied_to"]] for message in messages] == [[ref]] * 3
    assert messages[1]["sent_at"].startswith("2026-01")


def test_copied_messages_that_share_an_entry_or_are_cleaned_are_named_without_a_text(
    teammate: Teammate, time_machine: Any
) -> None:
    teammate.conversation = conversation(
        *(part(37358198400 + number, f"<p>line {number}</p>") for number in range(300))
    )
    teammate.open().click("Create a ticket").click("Create", Title=TYPED)
    messages = own_messages()
    assert len(messages) == 301
    texts = [message["text"] for message in messages if message["text"]]
    assert texts == [f"line {number}" for number in range(60, 300)]
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(days=400))
    retention.clean_payloads()
    assert [message["text"] for message in own_messages()] == [""] * 301


def test_the_authors_of_copied_messages_are_erased(story: Any) -> None:
    assert ALICE["id"] in json.dumps(TicketCreation.objects.get().parts)
    run("erase_contact", ALICE["id"], no_input=True)
    assert ALICE["id"] not in json.dumps(TicketCreation.objects.get().parts)


def test_a_shared_address_is_not_exported_to_one_person(workspace: Workspace, linked_story: Any) -> None:
    [match] = PersonMatch.objects.all()
    match.pk, match.contact_id = None, BOB["id"]
    match.save()
    with pytest.raises(CommandError, match="Several contacts match"):
        run("export_contact", match.email)
    assert len(json.loads(run("export_contact", match.email, audience="controller"))) == 2


def test_the_file_s_name_says_who_it_is_for(linked_story: Any, admin_client: Client) -> None:
    answer = act(admin_client, "export_for_person")
    assert answer["Content-Disposition"] == f'attachment; filename="for-the-person-{ALICE["id"]}.json"'
    assert SAID in answer.content.decode()
    assert "for the person" in LogEntry.objects.get().change_message
    answer = act(admin_client, "export_for_controller")
    assert answer["Content-Disposition"].endswith(f'"internal-for-the-controller-{ALICE["id"]}.json"')


def test_one_file_is_not_exported_for_two_people(linked_story: Any, admin_client: Client) -> None:
    [match] = PersonMatch.objects.all()
    first, match.pk, match.contact_id = match.pk, None, BOB["id"]
    match.save()
    chosen = {"_selected_action": [str(first), str(match.pk)], "action": "export_for_person", "index": "0"}
    text = admin_client.post(LIST, chosen, follow=True).content.decode()
    assert "Select only one person" in text and SAID not in text


def test_the_erasure_leaves_no_trace(story: Any, workspace: Workspace) -> None:
    [match], link = PersonMatch.objects.all(), TicketLink.objects.get()
    LogEntry.objects.log_actions(User.objects.create_superuser("root").pk, [match], CHANGE, "Viewed.")
    LinkRemoval.objects.create(
        conversation=link.conversation,
        ticket=link.ticket,
        linked_at=link.created_at,
        sync_on=True,
        since_part_at=0,
        since_part_order=0,
        left_out=[
            {
                "id": 1,
                "state": "failed",
                "reason_code": "rejected",
                "reason_detail": f"Value not allowed [{TYPED}]",
            }
        ],
    )
    question = f"{match_question(workspace, BOB['id'])}, among 0123abcd"
    CachedAnswer.objects.store(
        workspace.itop, question, {"people": [{"id": 40, "name": "Alice Martin"}], "has_more": False}
    )
    OutgoingMessage.objects.update(state="waiting", part_id="")
    for trace in TRACES:
        assert trace in everything()
    output = run("erase_contact", ALICE["id"], no_input=True)
    assert "2 conversations" in output
    for trace in TRACES:
        assert trace not in everything()
    assert "erased" in LogEntry.objects.get().object_repr
    assert not OutgoingMessage.objects.waiting().exists()
    assert not OutgoingMessage.objects.retriable().exists()
    assert BOBS in everything()
    with pytest.raises(CommandError, match="Nothing is stored about"):
        run("export_contact", ALICE["id"], audience="controller")


def test_messages_are_not_written_again_after_the_erasure(
    client: Client, story: Callable[[], None], itop: Itop
) -> None:
    run("erase_contact", ALICE["id"], no_input=True)
    ticket = Ticket.objects.get()
    before = itop.store.log(ticket.object_id)
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    notify(client, part(37358198350, f"<p>{SAID}</p>"), notification_id="another")
    notify(client, part(37358198341, "<p>It is urgent</p>"), notification_id="of the transcript")
    story()
    assert itop.store.log(ticket.object_id) == before
    assert TicketLink.objects.count() == 1


def test_waiting_messages_are_skipped(client: Client, linked_story: Callable[[], None], itop: Itop) -> None:
    notify(client, part(37358198360, "<p>too late</p>"))
    run("erase_contact", ALICE["id"], no_input=True)
    linked_story()
    assert "too late" not in str(itop.store.log(Ticket.objects.get().object_id))
    assert WebhookEvent.objects.get(notification_id="notif_37358198360").state == "skipped"


def store_files(link: TicketLink) -> None:
    """Store a waiting file for iTop, a copied one, and one for Intercom, with Alice's words in their names."""
    for position, state in enumerate(("waiting", "copied")):
        FileToItop.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            part_kind="part",
            part_id="37358198350",
            position=position,
            part_created_at=1,
            author={"type": "user", "id": ALICE["id"], "name": "Alice Martin", "email": "alice@acme.example"},
            name=f"{SAID}.png",
            url=f"https://downloads.intercomcdn.com/i/o/{SAID}.png",
            state=state,
            attachment_id=position * 7 or None,
            idempotency_key=f"Intercom file 37358198350/{position}",
        )
    event = TicketEvent.objects.create(
        ticket=link.ticket, conversation=link.conversation, kind=EventKind.FILE, key="file:9"
    )
    FileToIntercom.objects.create(event=event, source="attachment", object_id=9, name=f"for {SAID}.pdf")


def test_files_are_exported(linked_story: Any) -> None:
    store_files(TicketLink.objects.get())
    [contact] = json.loads(run("export_contact", ALICE["id"], audience="controller"))
    [linked] = contact["conversations"]
    ref = Ticket.objects.get().ref
    assert [(file["name"], file["state"], file["ticket"]) for file in linked["files_copied_to_itop"]] == [
        (f"{SAID}.png", "waiting", ref),
        (f"{SAID}.png", "copied", ref),
    ]
    assert [(file["name"], file["ticket"]) for file in linked["files_copied_to_intercom"]] == [
        (f"for {SAID}.pdf", ref)
    ]


def test_files_are_erased_and_those_that_wait_are_not_copied(story: Callable[[], None], itop: Itop) -> None:
    store_files(TicketLink.objects.get())
    creation = TicketCreation.objects.get()
    creation.parts = [part | {"files": [{"name": f"{SAID}.png"}]} for part in creation.parts]
    creation.save()
    run("erase_contact", ALICE["id"], no_input=True)
    for trace in TRACES:
        assert trace not in everything()
    story()
    waiting, copied = FileToItop.objects.order_by("position")
    assert (waiting.state, waiting.reason_code, copied.state) == ("skipped", "erased", "copied")
    assert copied.attachment_id == 7 and copied.idempotency_key
    assert FileToIntercom.objects.get().state == "skipped"
    assert not itop.store.find("SELECT Attachment WHERE temp_id LIKE 'Intercom file%'")[1]


def test_a_file_being_copied_is_not_stored_again_after_the_erasure(
    linked_story: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_files(TicketLink.objects.get())

    def copy(row: FileToItop, *_: Any, **__: Any) -> None:
        row.name, row.state, row.attachment_id = f"{SAID}.png", FileToItop.State.COPIED, 8
        run("erase_contact", ALICE["id"], no_input=True)

    monkeypatch.setattr("intercom_bridge.sync.files.copy", copy)
    linked_story()
    row = FileToItop.objects.get(position=0)
    assert (row.name, row.attachment_id) == ("", 8)
    assert SAID not in everything()


def erase_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Erase Alice just before the first call of `module.name`."""
    original = getattr(module, name)

    def erase_and_call(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, name, original)
        run("erase_contact", ALICE["id"], no_input=True)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, erase_and_call)


@pytest.mark.parametrize("moment", ["log_item", "append"])
def test_a_message_being_written_is_not_stored_again(
    client: Client, linked_story: Callable[[], None], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    notify(client, part(37358198360, "<p>current message</p>"), part(37358198361, "<p>the next</p>"))
    erase_before(monkeypatch, writer, moment)
    linked_story()
    assert "current message" not in everything() and "the next" not in everything()
    written = Delivery.objects.get(part_id="37358198360")
    assert (written.state, written.item, written.attempt_log) == ("written", None, [])
    assert Delivery.objects.get(part_id="37358198361").state == "skipped"


@pytest.mark.parametrize("fault", ["error500", "drop_after"])
def test_a_failing_message_is_not_stored_again(
    client: Client, linked_story: Callable[[], None], itop: Itop, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    notify(client, part(37358198360, "<p>current message</p>"))
    itop.faults.add(fault, operation="core/update", count=1)
    erase_before(monkeypatch, writer, "append")
    linked_story()
    left_out = Delivery.objects.get(part_id="37358198360")
    assert (left_out.state, left_out.item, left_out.attempt_log) == ("skipped", None, [])


def test_an_event_being_processed_is_not_stored_again(
    client: Client, linked_story: Callable[[], None], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(client, part(37358198360, "<p>current message</p>"))
    erase_before(monkeypatch, intake, "may_be_our_echo")
    linked_story()
    assert "current message" not in everything()
    assert "current message" not in str(itop.store.log(Ticket.objects.get().object_id))


def test_an_entry_being_verified_is_not_written_again(
    linked_story: Callable[[], None], itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = Ticket.objects.get()
    before = itop.store.log(ticket.object_id)
    concurrent = [verify.Operation("public_log", 0, "Somebody", "2026-11-24 10:00:00")]
    monkeypatch.setattr(verify, "missing_from", lambda _entries, written, _zone: written)
    idempotency_keys = list(
        Delivery.objects.exclude(idempotency_key="").values_list("idempotency_key", flat=True)
    )
    monkeypatch.setattr(
        verify, "_concurrent_operations", lambda *_: dict.fromkeys(idempotency_keys, concurrent)
    )
    erase_before(monkeypatch, verify, "read_logs")
    verify.check_log(ticket)
    linked_story()
    assert not Delivery.objects.waiting().exists()
    assert itop.store.log(ticket.object_id) == before


def test_a_ticket_can_be_linked_after_the_erasure(
    teammate: Teammate, linked_story: Callable[[], None]
) -> None:
    assert WebhookEvent.objects.filter(state="handled").exists()
    run("erase_contact", ALICE["id"], no_input=True)
    teammate.open().link("R-000008")
    linked_story()
    assert TicketLink.objects.count() == 2


def test_nothing_is_erased_while_a_ticket_is_created(story: Any) -> None:
    TicketCreation.objects.update(state="creating")
    before = everything()
    with pytest.raises(CommandError, match="being created"):
        run("erase_contact", ALICE["id"], no_input=True)
    assert everything() == before


def test_nothing_is_erased_without_an_answer(linked_story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    before = everything()
    with pytest.raises(CommandError, match="Use --no-input"):
        run("erase_contact", ALICE["id"])
    assert everything() == before


def test_the_export_contains_no_secret(client: Client, linked_story: Any) -> None:
    notify(client, part(37358198370, "<p>more</p>"), custom_attributes={"access_token": "hush-hush"})
    assert b"hush-hush" in bytes(WebhookEvent.objects.order_by("pk")[3].body)
    exported = run("export_contact", ALICE["id"], audience="controller")
    assert "hush-hush" not in exported and "(a secret)" in exported


def test_the_export_contains_no_secret_of_a_body_that_is_not_json(linked_story: Any) -> None:
    WebhookEvent.objects.update(body=b'{"access_token": "hush-hush"')
    exported = run("export_contact", ALICE["id"], audience="controller")
    assert "hush-hush" not in exported and "(hidden: may contain a secret)" in exported


def test_a_contact_is_found_by_the_conversation_without_events(story: Any) -> None:
    WebhookEvent.objects.all().delete()
    PersonMatch.objects.all().delete()
    assert "Alice Martin" in everything()
    run("erase_contact", ALICE["id"], no_input=True)
    assert "Alice" not in everything()


def test_the_comparison_stores_new_participants(
    workspace: Workspace, intercom: Intercom, teammate: Teammate
) -> None:
    teammate.link("R-000006")
    conversation_row = Conversation.objects.get()
    Participant.objects.all().delete()
    Workspace.objects.update(access_token=intercom.token)
    conversation_row.refresh_from_db()
    reconcile(conversation_row)
    assert ALICE["id"] in Participant.objects.values_list("contact_id", flat=True)


def test_the_contacts_of_an_event_are_stored_on_arrival(client: Client, workspace: Workspace) -> None:
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    assert list(Mention.objects.values_list("contact_id", flat=True)) == [ALICE["id"]]
    # The export does not search the payloads.
    WebhookEvent.objects.update(body=b"{}")
    assert "215472621202693" in run("export_contact", ALICE["id"], audience="controller")


def test_the_contacts_of_an_event_are_deleted_with_its_payload(client: Client, workspace: Workspace) -> None:
    notify(client, part(37358198350, f"<p>{SAID}</p>"))
    notify(client, part(37358198351, "<p>later</p>"))
    WebhookEvent.objects.update(state="skipped")
    old = WebhookEvent.objects.filter(notification_id="notif_37358198350")
    old.update(received_at=timezone.now() - dt.timedelta(days=31))
    retention.clean_payloads()
    assert list(Mention.objects.values_list("webhook_event__notification_id", flat=True)) == [
        "notif_37358198351"
    ]


def test_the_exported_file_is_readable_by_its_owner_only(linked_story: Any, tmp_path: Path) -> None:
    new, existing = tmp_path / "new.json", tmp_path / "existing.json"
    existing.write_text("older", encoding="utf-8")
    existing.chmod(0o644)
    for file in (new, existing):
        run("export_contact", ALICE["id"], str(file), audience="controller")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert SAID in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("to_file", [False, True])
def test_a_lone_surrogate_can_be_exported(
    workspace: Workspace, tmp_path: Path, to_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"body": "é and \ud83d"}
    monkeypatch.setattr("intercom_bridge.privacy.contact.Contact.is_known", True)
    monkeypatch.setattr("intercom_bridge.privacy.contact.Contact.export", lambda _: data)
    file, screen = tmp_path / "alice.json", io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    call_command(
        "export_contact",
        WORKSPACE,
        ALICE["id"],
        *([file] if to_file else []),
        stdout=screen,
        audience="controller",
    )
    screen.seek(0)
    text = file.read_text(encoding="utf-8") if to_file else screen.read()
    assert "é and " in text
    assert json.loads(text) == [data]


def test_the_command_asks_for_confirmation(linked_story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _question: "no")
    with pytest.raises(CommandError, match="Nothing was erased"):
        run("erase_contact", ALICE["id"])
    assert SAID in everything()


LIST = "/admin/intercom_bridge/personmatch/"


def act(client: Client, action: str, **more: str) -> Any:
    chosen = {"_selected_action": str(PersonMatch.objects.get().pk), "action": action, "index": "0"}
    return client.post(LIST, chosen | more, follow=True)


def test_an_admin_exports_the_data_from_a_person_match(linked_story: Any, admin_client: Client) -> None:
    answer = act(admin_client, "export_for_controller")
    assert answer["Content-Disposition"].startswith("attachment")
    assert SAID in answer.content.decode()
    assert "Exported the contact's data for the controller" in LogEntry.objects.get().change_message


def test_an_admin_erases_the_data_after_a_confirmation(story: Any, admin_client: Client) -> None:
    question = act(admin_client, "erase_data").content.decode()
    assert "This cannot be undone" in question and "Alice Martin: 2 conversations" in question
    assert SAID in everything()
    done = act(admin_client, "erase_data", confirmed="yes").content.decode()
    assert "Erased. Now erase" in done
    for trace in TRACES:
        assert trace not in everything()
    assert LogEntry.objects.exists()


def test_a_refused_erasure_is_not_in_django_s_log(story: Any, admin_client: Client) -> None:
    TicketCreation.objects.update(state="creating")
    assert "Nothing was erased" in act(admin_client, "erase_data", confirmed="yes").content.decode()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("action", "needed"),
    [
        ("export_for_person", "read_messages"),
        ("export_for_controller", "read_messages"),
        ("erase_data", "delete_personmatch"),
    ],
)
def test_export_and_erasure_require_their_permissions(
    linked_story: Any, client: Client, action: str, needed: str
) -> None:
    user = User.objects.create_user("lead", is_staff=True)
    allow(user, "view_personmatch", "change_personmatch")
    client.force_login(user)
    assert SAID not in act(client, action, confirmed="yes").content.decode()
    assert SAID in everything()
    allow(user, needed)
    answer = act(client, action, confirmed="yes").content.decode()
    assert SAID in answer if action != "erase_data" else SAID not in everything()


def allow(user: User, *names: str) -> None:
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))


def test_an_unknown_workspace_is_reported(workspace: Workspace) -> None:
    with pytest.raises(CommandError, match="There is no workspace nobody99"):
        call_command("export_contact", "nobody99", "x")
