"""The ledger: who may read what, what leads to which rows, and what can be asked for anew."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from intercom_bridge.admin import row_actions
from intercom_bridge.admin.filters import OF_DELIVERIES
from intercom_bridge.admin.hidden import without_quotes, without_texts
from intercom_bridge.intercom.payloads import Author, Part
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    KnownTickets,
    Notification,
    Participant,
    PersonMatch,
    Posting,
    Submission,
    Ticket,
    TicketLink,
    TicketProfile,
    Workspace,
)
from intercom_bridge.models.delivery import MISSING
from intercom_bridge.redaction import without_secrets
from intercom_bridge.sync.message import LOG_OF_PART_TYPE, destination

pytestmark = pytest.mark.django_db

WORDS = "my cat is called Minka"
HERE = ["delivery", "notification", "submission", "posting", "ticketlink", "conversation", "ticket"]


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_actions, "wake_for_everything", lambda: None)


@pytest.fixture
def talk() -> Conversation:
    """A conversation with one of everything, and another one that nothing here is about."""
    itop = ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="t")
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        itop=itop,
        region="EU",
        client_secret="s",
        profile=TicketProfile.objects.create(name="Requests"),
    )
    first = None
    for number in (1, 2):
        conversation = Conversation.objects.create(workspace=workspace, conversation_id=f"21547{number}")
        Participant.objects.note(conversation, [f"contact{number}"])
        first = first or conversation
        ticket = Ticket.objects.create(
            itop=itop, ticket_class="UserRequest", object_id=number, ref=f"R-00000{number}"
        )
        TicketLink.objects.create(conversation=conversation, ticket=ticket)
        body = {"topic": "conversation.user.replied", "data": {"body": WORDS, "access_token": "hush-hush"}}
        notification = Notification.objects.create(
            workspace=workspace,
            notification_id=f"n{number}",
            topic="conversation.user.replied",
            conversation_id=conversation.conversation_id,
            body=json.dumps(body).encode(),
        )
        Delivery.objects.create(
            ticket=ticket,
            conversation=conversation,
            notification=notification,
            kind="part",
            part_id=str(number),
            part_created_at=number,
            state="written",
            written_at=timezone.now(),
            checked_at=timezone.now(),
            log="public_log",
            reason=f"iTop refused it: Value not allowed [{WORDS}]",
            part={"body": WORDS},
            item={"message": f"<p>{WORDS}<img src='https://x.example/y'></p>", "user_login": "Jo"},
            tries=[[1768031789, "unknown", "no answer"], [1768031799, "written", ""]],
        )
        Submission.objects.create(
            conversation=conversation,
            form_key="k",
            ticket_class="UserRequest",
            caller_id=number,
            marker="m",
            ticket=ticket,
            reason=f"Value not allowed [{WORDS}]",
            fields={"title": WORDS, "org_id": 3},
            values={"title": WORDS},
            tries=[[1768031789, "refused", f"Value not allowed [{WORDS}]"]],
        )
        Posting.objects.create(conversation=conversation, admin_id="1", body=f"<p>{WORDS}</p>")
        KnownTickets.objects.create(
            workspace=workspace,
            person_id=number,
            conversation_id=conversation.conversation_id,
            terms="t",
            rows=[{"id": 1, "title": WORDS}],
        )
        PersonMatch.objects.create(
            workspace=workspace,
            itop=itop,
            contact_id=f"contact{number}",
            evidence="e",
            how="email",
            person_id=number + 50,
            name=f"Jo Park {number}",
            email=f"Jo{number}@globex.example",
            org_id=1,
        )
    assert first is not None
    return first


@pytest.fixture
def auditor(client: Client) -> Client:
    user = User.objects.create_user("auditor", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:intercom_bridge_{model}_{page}", args=args)


def html_of(client: Client, model: str, page: str = "changelist") -> str:
    key = (
        [apps.get_model("intercom_bridge", model).objects.order_by("pk")[0].pk]
        if page != "changelist"
        else []
    )
    response = client.get(url(model, page, *key))
    assert response.status_code == 200
    return response.content.decode()


# Texts and secrets


@pytest.mark.parametrize("page", ["changelist", "change", "history"])
@pytest.mark.parametrize("model", [*HERE, "knowntickets", "personmatch"])
def test_who_may_not_read_messages_sees_no_text_anywhere(
    auditor: Client, talk: Conversation, model: str, page: str
) -> None:
    assert "Minka" not in html_of(auditor, model, page)


@pytest.mark.parametrize("model", ["delivery", "notification", "submission", "posting", "knowntickets"])
def test_who_may_read_messages_sees_the_texts_and_no_secret(
    auditor: Client, talk: Conversation, model: str
) -> None:
    assert "(hidden: " in html_of(auditor, model, "change")
    User.objects.get().user_permissions.add(Permission.objects.get(codename="read_messages"))
    html = html_of(auditor, model, "change")
    assert WORDS in html and "(hidden: " not in html
    assert "hush-hush" not in html


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        ("delivery", "item__icontains"),
        ("delivery", "part__body__startswith"),
        ("delivery", "reason__contains"),
        ("delivery", "tries__icontains"),
        ("notification", "body__contains"),
        ("submission", "values__icontains"),
        ("submission", "reason__contains"),
        ("posting", "body__startswith"),
        ("knowntickets", "rows__icontains"),
        ("unlinking", "left_out__icontains"),
    ],
)
def test_texts_cannot_be_guessed_at_through_the_address(
    auditor: Client, talk: Conversation, model: str, lookup: str
) -> None:
    assert auditor.get(url(model), {lookup: "Minka"}).status_code == 400
    assert auditor.get(url(model), {"q": "Minka"}).context["cl"].result_count == 0


def test_structure_stays_where_texts_are_hidden() -> None:
    payload = {
        "type": "admin",
        "id": "12",
        "created_at": 5,
        "body": "Hello",
        "custom_attributes": {"phone": 49},
    }
    assert without_texts(payload | {"external_id": "jo@x.example", "ok": True, "id2_id": "a b"}) == {
        "type": "admin",
        "id": "12",
        "created_at": 5,
        "body": "(hidden: 5 characters)",
        "custom_attributes": "(hidden)",
        "external_id": "(hidden: 12 characters)",
        "ok": True,
        "id2_id": "(hidden: 3 characters)",
    }
    assert without_secrets({"a": [{"client_secret": "x", "b": 1}]}) == {
        "a": [{"client_secret": "(a secret)", "b": 1}]
    }


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ('Value not allowed [a]b], got "c"', "Value not allowed […"),
        ('iTop refused it: got "c", not [d]', 'iTop refused it: got "…'),
        ("Value not allowed [my cat is ca", "Value not allowed […"),
        ('got "my cat\nis ca', 'got "…'),
        ("HTTP 503: an empty answer", "HTTP 503: an empty answer"),
    ],
)
def test_what_a_reason_quotes_is_hidden_also_where_it_was_cut(reason: str, shown: str) -> None:
    assert without_quotes(reason) == shown


# Finding


@pytest.mark.parametrize("words", ["r-000001", "215471", "JO1@globex.example", "jo park 1", "51", "contact1"])
@pytest.mark.parametrize("model", [*HERE, "knowntickets"])
def test_a_reference_a_conversation_and_a_person_lead_to_their_rows(
    admin_client: Client, talk: Conversation, model: str, words: str
) -> None:
    response = admin_client.get(url(model), {"q": words})
    assert response.context["cl"].result_count == 1


def test_a_person_leads_to_the_conversations_that_a_ticket_was_created_from(
    admin_client: Client, talk: Conversation
) -> None:
    Participant.objects.all().delete()
    PersonMatch.objects.update(person_id=1)
    assert admin_client.get(url("delivery"), {"q": "jo park 2"}).context["cl"].result_count == 1


def test_a_person_s_page_leads_to_the_conversations_they_take_part_in(
    admin_client: Client, talk: Conversation
) -> None:
    person = PersonMatch.objects.get(contact_id="contact1")
    page = admin_client.get(
        reverse("admin:intercom_bridge_personmatch_change", args=[person.pk])
    ).content.decode()
    [address] = re.findall(r'href="(/admin/intercom_bridge/conversation/[?][^"]*)"', html.unescape(page))
    assert [row.pk for row in admin_client.get(address).context["cl"].result_list] == [talk.pk]


def test_deliveries_are_filtered_by_why(admin_client: Client, talk: Conversation) -> None:
    Delivery.objects.filter(part_id="1").update(state="failed", reason="iTop refused it: no")
    assert admin_client.get(url("delivery"), {"why": "refused"}).context["cl"].result_count == 1
    assert admin_client.get(url("delivery"), {"why": "gone"}).context["cl"].result_count == 0


@pytest.mark.parametrize("part_type", [*LOG_OF_PART_TYPE, "snoozed"])
@pytest.mark.parametrize(("author", "redacted"), [("bot", False), ("user", True), ("user", False)])
def test_each_reason_for_leaving_a_message_out_has_its_filter(
    part_type: str, author: str, redacted: bool
) -> None:
    _log, reason = destination(
        Part(kind="part", id="1", part_type=part_type, author=Author(type=author), redacted=redacted)
    )
    kinds = [kind for kind in OF_DELIVERIES.values() if kind.state == "skipped"]
    assert [kind.label for kind in kinds if reason.startswith(kind.begins)]


# Anew


def act(client: Client, model: str, action: str) -> None:
    first = apps.get_model("intercom_bridge", model).objects.order_by("pk")[0]
    client.post(url(model), {"action": action, "_selected_action": [first.pk], "index": "0"})


def test_a_written_delivery_is_read_back_on_demand_and_it_is_recorded(
    admin_client: Client, talk: Conversation
) -> None:
    Delivery.objects.update(reason=MISSING)
    act(admin_client, "delivery", "read_back")
    first, other = Delivery.objects.order_by("pk")
    assert (first.checked_at, first.reason) == (None, "")
    assert first.ticket.check_at and first.ticket.check_at <= timezone.now()
    assert (other.checked_at is not None, other.ticket.check_at) == (True, None)
    assert "read back" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize("model", ["conversation", "ticketlink"])
def test_a_conversation_is_compared_with_intercom_on_demand(
    admin_client: Client, talk: Conversation, model: str
) -> None:
    act(admin_client, model, "compare")
    assert list(Conversation.objects.due_for_comparing()) == [talk]
    assert "compared" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize("model", [*HERE, "knowntickets"])
def test_a_long_row_of_digits_is_no_id(admin_client: Client, talk: Conversation, model: str) -> None:
    found = admin_client.get(url(model), {"q": "9" * 5000})
    assert list(found.context["cl"].queryset) == []


@pytest.mark.parametrize(
    ("model", "action"),
    [
        ("delivery", "read_back"),
        ("conversation", "compare"),
        ("ticketlink", "compare"),
        ("submission", "try_now"),
    ],
)
def test_who_may_only_look_can_ask_for_nothing(
    auditor: Client, talk: Conversation, model: str, action: str
) -> None:
    act(auditor, model, action)
    assert not LogEntry.objects.exists()


# From row to row


def test_a_delivery_shows_the_entry_every_try_and_where_it_is(
    admin_client: Client, talk: Conversation
) -> None:
    html = html_of(admin_client, "delivery", "change")
    assert f"<p>{WORDS}</p>" in html, "as it is read, and without fetching its picture"
    assert "outcome unknown" in html and "no answer" in html
    assert (
        "https://itop.example.com/itop/pages/UI.php?operation=details&amp;class=UserRequest&amp;id=1" in html
    )
    assert "https://app.eu.intercom.com/a/inbox/abcd1234/inbox/shared/all/conversation/215471" in html


@pytest.mark.parametrize("model", ["conversation", "ticket", "ticketlink", "notification"])
def test_from_a_row_to_its_deliveries(admin_client: Client, talk: Conversation, model: str) -> None:
    html = html_of(admin_client, model, "change")
    there = html.split(f'href="{url("delivery")}?')[1].split('"')[0].replace("&amp;", "&")
    found = admin_client.get(f"{url('delivery')}?{there}").context["cl"]
    assert [one.part_id for one in found.result_list] == ["1"]


def test_a_long_list_is_counted_as_far_as_people_leaf(
    admin_client: Client, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intercom_bridge.admin.readonly.MOST_COUNTED", 1)
    assert "the newest 1 of more" in html_of(admin_client, "delivery")
