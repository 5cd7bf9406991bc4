"""What has arrived before a message is written is written before it. Only arrival can change the order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, Ticket, TicketLink, WebhookEvent
from intercom_bridge.sync.intake import process_batch
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="fills the file of SQLite")


def texts(itop: Itop, ticket: Ticket) -> list[str]:
    return [entry["message"] for entry in itop.store.log(ticket.object_id)]


@contextmanager
def full_disk() -> Iterator[None]:
    """Refuse each new page, as a full disk does."""
    with connection.cursor() as cursor:
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        free = cursor.execute("PRAGMA freelist_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        if free:
            cursor.execute("CREATE TABLE filler (content BLOB)")
            cursor.execute("INSERT INTO filler VALUES (zeroblob(%s))", [(free - 1) * 4000])
        try:
            yield
        finally:
            cursor.execute("PRAGMA max_page_count = 1073741823")
            cursor.execute("DROP TABLE IF EXISTS filler")


def link(teammate: Teammate, itop: Itop, work: Work) -> tuple[Ticket, int]:
    """Link a ticket, and return it with the number of entries in its public log."""
    teammate.link("R-000006")
    work()
    ticket = TicketLink.objects.get().ticket
    return ticket, len(texts(itop, ticket))


@on_sqlite
@pytest.mark.django_db(transaction=True)
def test_a_message_refused_by_a_full_disk_is_written_when_intercom_repeats_it(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    """The later message is in the log by then, and iTop can only append: the earlier one keeps its own time."""
    ticket, before = link(teammate, itop, work)
    earlier = part(37358198350, f"<p>earlier {'x' * 20_000}</p>")
    client.raise_request_exception = False
    with full_disk():
        assert notify(client, earlier).status_code == 500
    assert not WebhookEvent.objects.exists()
    notify(client, part(37358198351, "<p>later</p>"))
    work()
    notify(client, earlier)
    work()
    written = itop.store.log(ticket.object_id)[before:]
    assert [entry["message"][:12] for entry in written] == ["<p>later</p>", "<p>earlier x"]
    assert written[1]["date"] < written[0]["date"]


@on_sqlite
@pytest.mark.django_db(transaction=True)
def test_a_disk_that_is_full_while_the_worker_works_changes_no_order(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    ticket, before = link(teammate, itop, work)
    numbers = range(12)
    for number in reversed(numbers):
        body = f"<p>{number} {'x' * 3000}</p>"
        notify(client, part(37358198350 + number, body))
    with full_disk():
        work()
    Delivery.objects.update(due_at=timezone.now())
    WebhookEvent.objects.filter(state="received").update(due_at=timezone.now())
    work()
    assert [text[3:].split()[0] for text in texts(itop, ticket)[before:]] == [
        str(number) for number in numbers
    ]


def test_each_of_many_tickets_gets_what_has_arrived_in_order(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    refs = ("R-000006", "R-000008")
    for ref in refs:
        teammate.link(ref)
    work()
    tickets = [link.ticket for link in TicketLink.objects.all()]
    before = {ticket.pk: len(texts(itop, ticket)) for ticket in tickets}
    for number in (3, 1):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    process_batch()
    for number in (2, 0):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    work()
    for ticket in tickets:
        assert texts(itop, ticket)[before[ticket.pk] :] == [f"<p>{number}</p>" for number in range(4)]
