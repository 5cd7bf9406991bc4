"""What the admin shows of changes in iTop: each event and its outcome, broadcasts, polling, and the push secret."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from intercom_bridge.models import (
    Broadcast,
    Conversation,
    ItopInstance,
    ItopPoll,
    OutgoingMessage,
    Secret,
    Ticket,
    TicketEvent,
    TicketProfile,
    TicketSnapshot,
    Workspace,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    itop = ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="t")
    profile = TicketProfile.objects.create(name="Requests")
    workspace = Workspace.objects.create(
        workspace_id="abcd1234", itop=itop, client_secret="s", profile=profile
    )
    return Conversation.objects.create(workspace=workspace, conversation_id="2154")


def event(conversation: Conversation, number: int, **fields: Any) -> TicketEvent:
    ticket, _ = Ticket.objects.get_or_create(
        itop=conversation.workspace.itop, ticket_class="UserRequest", object_id=7, ref="R-000007"
    )
    values = {"kind": "public_entry", "author_name": "Jules Verne", "content": "<p>Try again</p>"} | fields
    return TicketEvent.objects.create(
        ticket=ticket, conversation=conversation, key=f"public_log:{number}:d", **values
    )


def message(conversation: Conversation, state: str = "posted", **fields: Any) -> OutgoingMessage:
    return OutgoingMessage.objects.create(
        conversation=conversation, is_note=True, body="<p>A note</p>", state=state, **fields
    )


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:intercom_bridge_{model}_{page}", args=args)


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    content = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", " ", response.content.decode())
    return " ".join(html.unescape(content).split())


# Events


def test_each_event_has_its_outcome(admin_client: Client, conversation: Conversation) -> None:
    event(conversation, 1, message=message(conversation))
    event(conversation, 2, message=message(conversation, "failed", reason_code="intercom_rejected"))
    event(conversation, 3, kind="status", reason_code="not_reported", before="New", after="Approved")
    page = text_of(admin_client, url("ticketevent"))
    assert "note posted" in page
    assert "note failed" in page and "Intercom rejected the request." in page
    assert "New → Approved" in page
    assert "not reported The workspace's rules do not report this change." in page
    assert "Jules Verne Try again" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"outcome": "posted"}, [1]),
        ({"outcome": "failed"}, [2]),
        ({"outcome": "none"}, [3]),
        ({"kind__exact": "status"}, [3]),
        ({"reason": "not_reported"}, [3]),
        ({"outcome": "none", "reason": "reported_with_parent"}, []),
        ({"q": "R-000007"}, [3, 2, 1]),
        ({"q": "2154"}, [3, 2, 1]),
        ({"q": "Jules"}, []),
    ],
)
def test_events_are_filtered_and_found(
    admin_client: Client, conversation: Conversation, query: dict[str, str], expected: list[int]
) -> None:
    event(conversation, 1, message=message(conversation))
    event(conversation, 2, message=message(conversation, "failed"))
    event(conversation, 3, kind="status", reason_code="not_reported")
    rows = admin_client.get(url("ticketevent"), query).context["cl"].result_list
    assert [int(row.key.split(":")[1]) for row in rows] == expected


def test_an_event_leads_to_its_message_and_back(admin_client: Client, conversation: Conversation) -> None:
    row = event(conversation, 1, message=message(conversation))
    page = admin_client.get(url("ticketevent", "change", row.pk)).content.decode()
    assert url("outgoingmessage", "change", row.message_id) in page
    assert "<p>Try again</p>" in page
    page = admin_client.get(url("outgoingmessage", "change", row.message_id)).content.decode()
    assert url("ticketevent", "change", row.pk) in page
    for model, key in (("ticket", row.ticket_id), ("conversation", conversation.pk)):
        page = html.unescape(admin_client.get(url(model, "change", key)).content.decode())
        [address] = re.findall(r'href="(/admin/intercom_bridge/ticketevent/[?][^"]*)"', page)
        assert [each.pk for each in admin_client.get(address).context["cl"].result_list] == [row.pk]


def test_an_events_text_loads_nothing_and_runs_nothing(
    admin_client: Client, conversation: Conversation
) -> None:
    row = event(conversation, 1, content='<p>Hi<img src="https://x.example/1"><script>alert(1)</script></p>')
    page = admin_client.get(url("ticketevent", "change", row.pk)).content.decode()
    assert "x.example" not in page and "alert(1)" not in page


def test_an_erased_text_is_said_to_be_deleted(admin_client: Client, conversation: Conversation) -> None:
    row = event(conversation, 1)
    TicketEvent.objects.all().erase_content()
    assert "Deleted on" in text_of(admin_client, url("ticketevent", "change", row.pk))


def test_the_list_of_events_needs_the_same_queries_however_long_it_is(
    admin_client: Client, conversation: Conversation, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        event(conversation, number, message=message(conversation))
    with django_assert_max_num_queries(14):
        admin_client.get(url("ticketevent"))


# Posting that was stopped


def test_posting_that_was_stopped_is_resumed_with_one_click(
    admin_client: Client, conversation: Conversation
) -> None:
    address = url("conversation", "change", conversation.pk)
    assert "Resume posting" not in text_of(admin_client, address)
    Conversation.objects.update(posting_stopped_at=timezone.now())
    assert "Resume posting" in text_of(admin_client, address)
    admin_client.post(
        url("conversation"), {"action": "resume_posting", "_selected_action": [conversation.pk], "index": "0"}
    )
    conversation.refresh_from_db()
    assert conversation.posting_stopped_at is None


# Broadcasts


def test_a_broadcast_shows_the_outcome_of_each_conversation(
    admin_client: Client, conversation: Conversation
) -> None:
    ticket = event(conversation, 1).ticket
    others = [
        Conversation.objects.create(workspace=conversation.workspace, conversation_id=f"99{number}")
        for number in range(3)
    ]
    left_out = [{"conversation": conversation.pk, "reason": "duplicate"}]
    broadcast = Broadcast.objects.create(ticket=ticket, form_key="f", admin_name="Ada", left_out=left_out)
    for row in others[:2]:
        message(row, broadcast=broadcast)
    message(others[2], "failed", broadcast=broadcast, reason_code="conversation_deleted")
    assert "2 posted, 1 failed, 1 left out" in text_of(admin_client, url("broadcast"))
    page = text_of(admin_client, url("broadcast", "change", broadcast.pk))
    assert "The conversation was deleted in Intercom." in page
    assert "1 failed 2 posted" in page
    raw = html.unescape(admin_client.get(url("broadcast", "change", broadcast.pk)).content.decode())
    [address] = re.findall(r'href="(/admin/intercom_bridge/outgoingmessage/[?][^"]*failed)"', raw)
    assert admin_client.get(address).context["cl"].result_count == 1
    for posted_as, count in (("note", 1), ("reply", 0)):
        found = admin_client.get(url("broadcast"), {"posted_as": posted_as}).context["cl"]
        assert found.result_count == count
    # Found once, although two of its conversations match.
    assert admin_client.get(url("broadcast"), {"q": "R-000007"}).context["cl"].result_count == 1


def test_a_broadcast_shows_its_text_until_it_is_erased_everywhere(
    admin_client: Client, conversation: Conversation
) -> None:
    broadcast = Broadcast.objects.create(ticket=event(conversation, 1).ticket, form_key="f")
    other = Conversation.objects.create(workspace=conversation.workspace, conversation_id="99")
    for row in (conversation, other):
        message(row, broadcast=broadcast)
    address = url("broadcast", "change", broadcast.pk)
    conversation.outgoing_messages.all().erase_content()
    assert "A note" in text_of(admin_client, address)
    other.outgoing_messages.all().erase_content()
    page = text_of(admin_client, address)
    assert "A note" not in page
    assert "Deleted (end of the retention period" in page


# Polling


def test_an_itops_page_says_how_polling_goes(admin_client: Client, conversation: Conversation) -> None:
    itop = conversation.workspace.itop
    address = url("itopinstance", "change", itop.pk)
    assert "Not polled yet." in text_of(admin_client, address)
    row = event(conversation, 1)
    TicketSnapshot.objects.create(ticket=row.ticket)
    closed = Ticket.objects.create(itop=itop, ticket_class="UserRequest", object_id=8, ref="R-000008")
    TicketSnapshot.objects.create(ticket=closed, poll_at=None)
    now = timezone.now()
    poll = ItopPoll.objects.create(itop=itop, polled_at=now, succeeded_at=now)
    page = text_of(admin_client, address)
    assert "OK, last poll" in page
    assert "Followed tickets: 1. Not polled any more, because closed long ago: 1" in page
    poll.reason_code, poll.reason_detail, poll.failures_in_a_row = "itop_not_allowed", "said so", 3
    poll.save()
    page = text_of(admin_client, address)
    assert "Failed 3 times in a row: The bridge's iTop account lacks permissions" in page
    assert "Nothing is lost" in page


# The push secret


def create_secret(client: Client, itop: ItopInstance) -> Any:
    return client.post(url("itopinstance", "push_secret", itop.pk))


@pytest.mark.allow_secret
def test_the_push_secret_is_displayed_once(admin_client: Client, conversation: Conversation) -> None:
    itop = conversation.workspace.itop
    address = url("itopinstance", "change", itop.pk)
    assert 'value="Create a push secret"' in admin_client.get(address).content.decode()
    response = create_secret(admin_client, itop)
    itop.refresh_from_db()
    secret = itop.push_secret.reveal()
    shown = response.content.decode()
    assert f"Authorization: Bearer {secret}" in shown
    assert f"/webhooks/itop/{itop.public_id}" in shown
    assert "no-store" in response["Cache-Control"]
    later = admin_client.get(address).content.decode()
    assert 'value="Replace the push secret"' in later
    for page in (later, text_of(admin_client, url("itopinstance", "history", itop.pk))):
        assert secret not in page
    assert "Created a push secret." in str(LogEntry.objects.get().get_change_message())


@pytest.mark.allow_secret
def test_a_replaced_push_secret_is_another_one(admin_client: Client, conversation: Conversation) -> None:
    itop = conversation.workspace.itop
    secrets = set()
    for _ in range(2):
        response = create_secret(admin_client, itop)
        itop.refresh_from_db()
        secrets.add(itop.push_secret.reveal())
    assert len(secrets) == 2
    assert "The bridge refuses the previous secret from now on." in response.content.decode()


def test_saving_an_itop_keeps_its_push_secret(admin_client: Client, conversation: Conversation) -> None:
    itop = conversation.workspace.itop
    secret = itop.renew_push_secret()
    values = {"name": "Renamed", "url": itop.url, "time_zone": "UTC", "user": "", "portal_url": ""}
    assert admin_client.post(url("itopinstance", "change", itop.pk), values).status_code == 302
    itop.refresh_from_db()
    assert (itop.name, itop.push_secret.reveal()) == ("Renamed", secret)


def test_the_push_secret_needs_the_permission_to_change_the_itop(
    client: Client, conversation: Conversation
) -> None:
    itop = conversation.workspace.itop
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_itopinstance"))
    client.force_login(user)
    assert create_secret(client, itop).status_code == 403
    assert "push secret" not in client.get(url("itopinstance", "change", itop.pk)).content.decode()
    itop.refresh_from_db()
    assert not itop.push_secret
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_itopinstance"))
    client.force_login(User.objects.get())
    assert client.get(url("itopinstance", "push_secret", itop.pk)).status_code == 405


def test_the_state_of_push_is_said_in_words(admin_client: Client, conversation: Conversation) -> None:
    itop = conversation.workspace.itop
    address = url("itopinstance", "change", itop.pk)
    assert "Not set up. Changes are found by polling." in text_of(admin_client, address)
    itop.renew_push_secret()
    assert "no push was received yet" in text_of(admin_client, address)
    itop.note_push()
    assert "Last push" in text_of(admin_client, address)
    ItopInstance.objects.update(push_secret=Secret("not a ciphertext"))
    assert "Create a new secret." in text_of(admin_client, address)
