"""A message that is redacted in Intercom: our copy is erased, and the ticket's private log says so."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from intercom_bridge.models import Delivery, TicketCreation, TicketLink, WebhookEvent
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate, author_of, conversation, notify, part

Work = Callable[[], None]
SECRET = "4111 1111 1111 1111"
TOPIC = "conversation_part.redacted"
REDACTED = "<p><i>This message was deleted</i></p>"


def redact(client: Client, times: int = 1) -> None:
    for number in range(times):
        redacted = part(37358198350, REDACTED, author_of(ALICE), redacted=True)
        notify(client, redacted, topic=TOPIC, notification_id=f"notif_redaction_{number}")


def is_stored(text: str) -> bool:
    rows = [*Delivery.objects.all(), *TicketCreation.objects.all()]
    stored = [value for row in rows for value in vars(row).values()]
    bodies = [bytes(body).decode() for body in WebhookEvent.objects.values_list("body", flat=True)]
    return any(text in str(value) for value in [*stored, *bodies])


def test_our_copy_is_erased_and_the_private_log_has_a_notice_without_the_words(
    client: Client, ticket: int, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, f"<p>{SECRET}</p>", author_of(ALICE)))
    work()
    assert is_stored(SECRET)
    before = len(itop.store.log(ticket, "private_log"))
    redact(client, times=2)
    work()
    assert not is_stored(SECRET)
    notices = itop.store.log(ticket, "private_log")[before:]
    assert [entry["message"] for entry in notices] == [
        "<p>A message from Alice Martin was redacted in Intercom. The bridge cannot remove the text from this "
        "ticket's log, and cannot recall e-mails that iTop has sent with it.</p>"
    ]
    assert Delivery.objects.get(kind="part").state == "written"


def test_a_message_that_is_still_waiting_is_not_written(
    client: Client, ticket: int, itop: Itop, work: Work
) -> None:
    itop.faults.add("maintenance", operation="core/update", count=1)
    notify(client, part(37358198350, f"<p>{SECRET}</p>", author_of(ALICE)))
    work()
    redact(client)
    work()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason_code) == ("skipped", "redacted")
    assert not is_stored(SECRET)
    assert SECRET not in str(itop.store.log(ticket))


def test_a_part_that_was_copied_with_the_ticket_is_erased_too(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.conversation = conversation(part(37358198350, f"<p>{SECRET}</p>", author_of(ALICE)))
    teammate.open().click("Create a ticket").click("Create ticket")
    work()
    assert is_stored(SECRET)
    redact(client)
    work()
    assert not is_stored(SECRET)
    ticket = TicketLink.objects.get().ticket.object_id
    assert "was redacted in Intercom" in str(itop.store.log(ticket, "private_log"))
