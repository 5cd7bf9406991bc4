"""Retention deletes contents and keeps keys, so that nothing is written twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from io import StringIO

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from intercom_bridge.models import (
    CachedAnswer,
    CachedTickets,
    Conversation,
    Delivery,
    EventKind,
    FileToIntercom,
    FileToItop,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    TicketEvent,
    TicketProfile,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.sync import retention, writer
from intercom_bridge.worker.loop import next_clean_up
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

pytestmark = pytest.mark.django_db

BODY = b'{"topic": "conversation.user.replied"}'


@pytest.fixture
def conversation() -> Conversation:
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        itop=ItopInstance.objects.create(name="Ours", url="https://itop.example.com", token="t"),
        profile=TicketProfile.objects.create(name="Requests"),
    )
    return Conversation.objects.create(workspace=workspace, conversation_id="215472621202693")


@pytest.fixture
def ticket(conversation: Conversation) -> Ticket:
    return Ticket.objects.create(
        itop=conversation.workspace.itop, ticket_class="UserRequest", object_id=1, ref="R-000001"
    )


def notification(conversation: Conversation, state: str, name: str = "n") -> WebhookEvent:
    return WebhookEvent.objects.create(
        workspace=conversation.workspace,
        notification_id=name,
        topic="conversation.user.replied",
        conversation_id=conversation.conversation_id,
        body=BODY,
        state=state,
    )


def delivery(ticket: Ticket, conversation: Conversation, state: str, part_id: int = 1) -> Delivery:
    return Delivery.objects.create(
        ticket=ticket,
        conversation=conversation,
        kind="part",
        part_id=str(part_id),
        part_created_at=part_id,
        state=state,
        part={"body": "Hello"},
        item={"message": "<p>Hello</p>"},
        idempotency_key="a marker",
    )


def submission(conversation: Conversation, state: str) -> TicketCreation:
    return TicketCreation.objects.create(
        conversation=conversation,
        form_key="k",
        state=state,
        ticket_class="UserRequest",
        fields={"title": "Hello"},
        values={"title": "Hello"},
        problems=[{"attribute": "title", "detail": "too long"}],
        caller_id=1,
        idempotency_key="a marker",
    )


def posting(conversation: Conversation, state: str) -> OutgoingMessage:
    return OutgoingMessage.objects.create(
        conversation=conversation, admin_id="1", body="<p>Hello</p>", state=state, part_id="7"
    )


def file_to_itop(ticket: Ticket, conversation: Conversation, state: str) -> FileToItop:
    return FileToItop.objects.create(
        ticket=ticket,
        conversation=conversation,
        part_kind="part",
        part_id="1",
        position=0,
        part_created_at=1,
        author={"type": "user", "id": "1", "name": "Alice", "email": "alice@acme.example"},
        name="my passport.png",
        url="https://downloads.intercomcdn.com/i/o/1/passport.png",
        state=state,
        idempotency_key="a marker",
    )


def after(days: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + dt.timedelta(days=days), tick=False)


HANDLED, FAILED, NEVER = 30, 180, None


@pytest.mark.parametrize(
    ("state", "days"), [("handled", HANDLED), ("skipped", HANDLED), ("failed", FAILED), ("received", NEVER)]
)
def test_a_notification_loses_its_body_and_keeps_its_id(
    conversation: Conversation, state: str, days: int | None
) -> None:
    notification(conversation, state)
    assert_is_kept_for(days, lambda: bytes(WebhookEvent.objects.get().body) == BODY)
    row = WebhookEvent.objects.get()
    assert (row.notification_id, row.state) == ("n", state)


@pytest.mark.parametrize(
    ("state", "days"),
    [
        ("written", HANDLED),
        ("restored", HANDLED),
        ("skipped", HANDLED),
        ("failed", FAILED),
        ("waiting", NEVER),
    ],
)
def test_a_delivery_loses_its_text_and_keeps_its_keys(
    ticket: Ticket, conversation: Conversation, state: str, days: int | None
) -> None:
    delivery(ticket, conversation, state)
    assert_is_kept_for(days, lambda: Delivery.objects.filter(part={"body": "Hello"}).exists())
    row = Delivery.objects.get()
    assert (row.part_id, row.state, row.idempotency_key) == ("1", state, "a marker")
    assert (row.item is None) == (days is not None)


@pytest.mark.parametrize(("state", "days"), [("created", HANDLED), ("refused", FAILED), ("creating", NEVER)])
def test_a_ticket_creation_loses_its_fields_and_keeps_its_form_key(
    conversation: Conversation, state: str, days: int | None
) -> None:
    submission(conversation, state)
    assert_is_kept_for(days, lambda: TicketCreation.objects.get().fields == {"title": "Hello"})
    row = TicketCreation.objects.get()
    assert row.form_key == "k"
    assert (row.values, row.problems) == (
        ({"title": "Hello"}, [{"attribute": "title", "detail": "too long"}]) if days is None else ({}, [])
    )


@pytest.mark.parametrize(("state", "days"), [("posted", HANDLED), ("failed", FAILED), ("waiting", NEVER)])
def test_an_outgoing_message_loses_its_text_and_keeps_its_part_id(
    conversation: Conversation, state: str, days: int | None
) -> None:
    posting(conversation, state)
    assert_is_kept_for(days, lambda: OutgoingMessage.objects.get().body == "<p>Hello</p>")
    assert OutgoingMessage.objects.get().part_id == "7"


@pytest.mark.parametrize(
    ("state", "days"),
    [("copied", HANDLED), ("skipped", HANDLED), ("failed", FAILED), ("waiting", NEVER), ("removed", NEVER)],
)
def test_a_file_loses_its_name_and_address_and_keeps_its_key(
    ticket: Ticket, conversation: Conversation, state: str, days: int | None
) -> None:
    file_to_itop(ticket, conversation, state)
    assert_is_kept_for(days, lambda: FileToItop.objects.filter(name="my passport.png").exists())
    row = FileToItop.objects.get()
    assert (row.part_id, row.position, row.state, row.idempotency_key) == ("1", 0, state, "a marker")
    assert (row.url, row.author) == ("", {}) or days is None


def test_a_file_that_was_left_out_with_its_message_is_erased_with_it(
    ticket: Ticket, conversation: Conversation
) -> None:
    delivery(ticket, conversation, "skipped")
    file_to_itop(ticket, conversation, "waiting")
    assert_is_kept_for(HANDLED, lambda: FileToItop.objects.filter(name="my passport.png").exists())
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("skipped", "sync_paused")


def test_a_file_that_waits_without_its_content_is_not_copied(
    ticket: Ticket, conversation: Conversation
) -> None:
    file_to_itop(ticket, conversation, "waiting")
    assert FileToItop.objects.to_copy().exists()
    FileToItop.objects.all().erase_content()
    assert not FileToItop.objects.to_copy().exists()


def test_a_file_of_itop_loses_its_name(ticket: Ticket, conversation: Conversation) -> None:
    event = TicketEvent.objects.create(
        ticket=ticket, conversation=conversation, kind=EventKind.FILE, key="file:7"
    )
    FileToIntercom.objects.create(event=event, source="attachment", object_id=7, name="quote.pdf")
    assert_is_kept_for(HANDLED, lambda: FileToIntercom.objects.filter(name="quote.pdf").exists())
    assert FileToIntercom.objects.get().object_id == 7


def test_a_ticket_creation_loses_the_names_and_addresses_of_its_files(conversation: Conversation) -> None:
    row = submission(conversation, "created")
    kept = {"kind": "part", "id": "1", "created_at": 1, "log": "public_log", "author": "Alice"}
    row.parts = [kept | {"part_author": {"email": "alice@acme.example"}, "files": [{"name": "a.png"}]}, kept]
    row.save()
    assert_is_kept_for(HANDLED, lambda: "files" in TicketCreation.objects.get().parts[0])
    assert TicketCreation.objects.get().parts == [kept, kept]


def test_a_cached_answer_is_deleted_after_a_week(conversation: Conversation) -> None:
    CachedAnswer.objects.store(conversation.workspace.itop, "account of alice@acme.example", 7)
    assert_is_kept_for(7, CachedAnswer.objects.exists)


def test_cached_tickets_are_deleted_after_a_week(conversation: Conversation) -> None:
    CachedTickets.objects.create(workspace=conversation.workspace, person_id=40, conversation_id="1")
    assert_is_kept_for(7, CachedTickets.objects.exists)


def assert_is_kept_for(days: int | None, is_kept: Callable[[], bool]) -> None:
    with after((days or 1000) - 0.1):
        retention.clean_payloads()
    assert is_kept()
    with after((days or 1000) + 0.1):
        retention.clean_payloads()
    assert is_kept() == (days is None)


def test_both_periods_can_be_configured(conversation: Conversation, settings: Settings) -> None:
    settings.KEEP_PAYLOADS_DAYS, settings.KEEP_FAILED_PAYLOADS_DAYS = 1, 2
    notification(conversation, "handled", "a")
    notification(conversation, "failed", "b")
    with after(1.5):
        assert retention.clean_payloads()["webhook events"] == 1
    with after(2.5):
        assert retention.clean_payloads()["webhook events"] == 1


@pytest.mark.parametrize(("own", "own_failed"), [(7, 14), (60, 300)])
def test_a_workspace_can_override_the_periods(conversation: Conversation, own: int, own_failed: int) -> None:
    ours = conversation.workspace
    theirs = Workspace.objects.create(
        workspace_id="efgh5678",
        itop=ours.itop,
        profile=ours.profile,
        keep_payloads_days=own,
        keep_failed_payloads_days=own_failed,
    )
    elsewhere = Conversation.objects.create(workspace=theirs, conversation_id="1")
    for where, name in ((conversation, "ours"), (elsewhere, "theirs")):
        notification(where, "handled", name)
        notification(where, "failed", f"{name}, failed")
        submission(where, "created")

    def kept() -> set[str]:
        retention.clean_payloads()
        names = WebhookEvent.objects.filter(cleaned_at=None).values_list("notification_id", flat=True)
        return set(names)

    gone = {"ours": HANDLED, "ours, failed": FAILED, "theirs": own, "theirs, failed": own_failed}
    for days in sorted(gone.values()):
        with after(days - 0.1):
            assert kept() == {name for name, end in gone.items() if end >= days}
        with after(days + 0.1):
            assert kept() == {name for name, end in gone.items() if end > days}
    assert not TicketCreation.objects.filter(cleaned_at=None).exists()


@pytest.mark.parametrize("column", ["keep_payloads_days", "keep_failed_payloads_days"])
def test_more_days_than_dates_exist_for_are_rejected(conversation: Conversation, column: str) -> None:
    workspace = conversation.workspace
    setattr(workspace, column, 99_999)
    workspace.full_clean()
    workspace.save()
    retention.clean_payloads()
    setattr(workspace, column, 100_000)
    with pytest.raises(ValidationError, match="less than or equal to 99999"):
        workspace.full_clean()


def test_overriding_one_period_keeps_the_other(conversation: Conversation) -> None:
    Workspace.objects.update(keep_payloads_days=7)
    notification(conversation, "failed")
    assert_is_kept_for(FAILED, lambda: bytes(WebhookEvent.objects.get().body) == BODY)


def test_payloads_that_another_workspace_keeps_longer_are_scanned_once(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch continues where the previous one ended, not at the oldest row that another workspace keeps."""
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    for number in range(7):
        row = notification(conversation, "handled", str(number))
        made_at = timezone.now() + dt.timedelta(seconds=number)
        WebhookEvent.objects.filter(pk=row.pk).update(received_at=made_at)
    with after(31), CaptureQueriesContext(connection) as queries:
        assert retention.clean_payloads()["webhook events"] == 7
    asked = [
        query["sql"] for query in queries if query["sql"].startswith("SELECT") and "handled" in query["sql"]
    ]
    assert [">=" in sql for sql in asked] == [False, True, True]


def test_cleaning_runs_in_batches_and_cleans_no_row_twice(
    ticket: Ticket, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    for number in range(8):
        delivery(ticket, conversation, "written", number)
    with after(31):
        with CaptureQueriesContext(connection) as queries:
            assert retention.clean_payloads()["deliveries"] == 8
        updates = [query for query in queries if query["sql"].startswith("UPDATE")]
        assert len(updates) == 3
        assert retention.clean_payloads()["deliveries"] == 0
    cleaned = set(Delivery.objects.values_list("cleaned_at", flat=True))
    assert None not in cleaned


def test_a_stopping_process_ends_between_two_batches(
    ticket: Ticket, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery(ticket, conversation, "written")
    writer.stopping.set()
    try:
        with after(31):
            retention.clean_payloads()
    finally:
        writer.stopping.clear()
    assert Delivery.objects.get().cleaned_at is None


def test_a_row_requeued_during_a_batch_keeps_its_payload(ticket: Ticket, conversation: Conversation) -> None:
    delivery(ticket, conversation, "failed")

    def put_back(execute: Callable[..., object], sql: str, *rest: object) -> object:
        if sql.startswith("UPDATE") and "cleaned_at" in sql.split("WHERE")[0]:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            Delivery.objects.filter(state="failed").update(state="waiting")
        return execute(sql, *rest)

    with after(181), connection.execute_wrapper(put_back):
        retention.clean_payloads()
    row = Delivery.objects.get()
    assert (row.state, row.part, row.cleaned_at) == ("waiting", {"body": "Hello"}, None)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="asks for SQLite's plan")
def test_cleaning_reads_an_index_and_not_the_table(ticket: Ticket, conversation: Conversation) -> None:
    Workspace.objects.create(
        workspace_id="efgh5678",
        itop=conversation.workspace.itop,
        profile=conversation.workspace.profile,
        keep_payloads_days=7,
    )
    for old_rows in retention._all_old_rows():
        oldest = old_rows.rows.order_by(old_rows.date_field).values_list("pk", flat=True)[:500]
        sql, params = oldest.query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            plan = " ".join(str(line[3]) for line in cursor.fetchall())
        indexes = ("_payload (", "answer_at (", "tickets_at (", "form_draft_saved_at (")
        assert any(index in plan for index in indexes), f"{old_rows.name}: {plan}"
        assert "TEMP B-TREE" not in plan


def test_a_dry_run_only_counts(conversation: Conversation) -> None:
    notification(conversation, "handled")
    with after(31):
        assert "1  webhook events would be cleaned" in said(dry_run=True)
        assert bytes(WebhookEvent.objects.get().body) == BODY
        assert "1  webhook events cleaned" in said()
        assert bytes(WebhookEvent.objects.get().body) == b""
        assert "0  webhook events would be cleaned" in said(dry_run=True)


def said(**options: bool) -> str:
    out = StringIO()
    call_command("clean_payloads", stdout=out, **options)
    return out.getvalue()


def test_the_worker_cleans_up_once_a_night() -> None:
    evening = dt.datetime(2026, 1, 10, 22, 30, tzinfo=dt.UTC)
    first = next_clean_up(evening)
    assert (first.date(), first.hour) == (dt.date(2026, 1, 11), 3)
    assert next_clean_up(first) == first + dt.timedelta(days=1)
    assert next_clean_up(first - dt.timedelta(seconds=1)) == first


def test_a_message_received_again_after_cleaning_is_not_written_again(
    client: Client, teammate: Teammate, itop: Itop, work: Callable[[], None]
) -> None:
    teammate.link("R-000006")
    work()
    notify(client, part(37358198350, "<p>once</p>"))
    work()
    ticket = Ticket.objects.get()
    before = len(itop.store.log(ticket.object_id))
    with after(31):
        retention.clean_payloads()
        assert Delivery.objects.get(part_id="37358198350").cleaned_at
        notify(client, part(37358198350, "<p>once</p>"))
        notify(client, part(37358198350, "<p>once</p>"), notification_id="another")
        work()
    assert len(itop.store.log(ticket.object_id)) == before
    assert Delivery.objects.filter(part_id="37358198350").count() == 1
