"""Records in the admin: who may read texts, search, actions, and links between records."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db.models import BinaryField, CharField, Field, JSONField, Model, TextField
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from intercom_bridge.admin import row_actions
from intercom_bridge.admin.masking import mask_texts
from intercom_bridge.models import (
    Broadcast,
    CachedTickets,
    Conversation,
    Delivery,
    FileToIntercom,
    FileToItop,
    ItopInstance,
    LinkRemoval,
    Messenger,
    OutgoingMessage,
    Participant,
    PersonMatch,
    Ticket,
    TicketCreation,
    TicketEvent,
    TicketLink,
    TicketProfile,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.encryption import SecretField
from intercom_bridge.privacy.redaction import redact_secrets

pytestmark = pytest.mark.django_db

TEXT = "my cat is called Minka"
MODELS = [
    "delivery",
    "webhookevent",
    "ticketcreation",
    "outgoingmessage",
    "ticketlink",
    "conversation",
    "ticket",
    "ticketevent",
    "broadcast",
    "filetoitop",
    "filetointercom",
]


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_actions, "wake", lambda topic: None)


@pytest.fixture
def conversation() -> Conversation:
    """Return a conversation with one record of each kind. A second conversation has its own records."""
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
        row = Conversation.objects.create(workspace=workspace, conversation_id=f"21547{number}")
        Participant.objects.record(row, [f"contact{number}"])
        first = first or row
        ticket = Ticket.objects.create(
            itop=itop, ticket_class="UserRequest", object_id=number, ref=f"R-00000{number}"
        )
        TicketLink.objects.create(conversation=row, ticket=ticket)
        body = {"topic": "conversation.user.replied", "data": {"body": TEXT, "access_token": "hush-hush"}}
        notification = WebhookEvent.objects.create(
            workspace=workspace,
            notification_id=f"n{number}",
            topic="conversation.user.replied",
            conversation_id=row.conversation_id,
            body=json.dumps(body).encode(),
        )
        Delivery.objects.create(
            ticket=ticket,
            conversation=row,
            webhook_event=notification,
            kind="part",
            part_id=str(number),
            part_created_at=number,
            state="written",
            written_at=timezone.now(),
            checked_at=timezone.now(),
            log="public_log",
            reason_code="rejected",
            reason_detail=f"Value not allowed [{TEXT}]",
            part={"body": TEXT},
            item={"message": f"<p>{TEXT}<img src='https://x.example/y'></p>", "user_login": "Jo"},
            attempt_log=[
                {"at": 1768031789, "outcome": "unknown", "code": "itop_no_response", "detail": ""},
                {"at": 1768031799, "outcome": "written", "code": "", "detail": ""},
            ],
        )
        TicketCreation.objects.create(
            conversation=row,
            form_key="k",
            ticket_class="UserRequest",
            caller_id=number,
            idempotency_key="m",
            ticket=ticket,
            reason_code="invalid_value",
            reason_detail=f"Value not allowed [{TEXT}]",
            fields={"title": TEXT, "org_id": 3},
            values={"title": TEXT},
            attempt_log=[
                {
                    "at": 1768031789,
                    "outcome": "refused",
                    "code": "invalid_value",
                    "detail": f"Value not allowed [{TEXT}]",
                }
            ],
        )
        broadcast = Broadcast.objects.create(
            ticket=ticket,
            form_key=f"f{number}",
            admin_name="Ada Reyes",
            left_out=[{"conversation": row.pk, "reason": "duplicate"}],
        )
        message = OutgoingMessage.objects.create(
            conversation=row, admin_id="1", body=f"<p>{TEXT}</p>", broadcast=broadcast, is_note=True
        )
        FileToItop.objects.create(
            ticket=ticket,
            conversation=row,
            part_kind="part",
            part_id=str(number),
            part_created_at=number,
            position=0,
            name=f"{TEXT}.png",
            reason_detail=TEXT,
        )
        event = TicketEvent.objects.create(
            ticket=ticket,
            conversation=row,
            kind="public_entry",
            key=f"public_log:0:{number}",
            author_name="Jules Verne",
            content=f"<p>{TEXT}<img src='https://x.example/y'></p>",
            message=message,
            reason_detail=TEXT,
        )
        FileToIntercom.objects.create(
            event=event, source="attachment", object_id=number, name=f"{TEXT}.png", reason_detail=TEXT
        )
        CachedTickets.objects.create(
            workspace=workspace,
            person_id=number,
            conversation_id=row.conversation_id,
            terms="t",
            rows=[{"id": 1, "title": TEXT}],
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


@pytest.mark.parametrize("model", [*MODELS, "cachedtickets", "personmatch"])
def test_texts_are_hidden_without_the_permission_to_read_them(
    auditor: Client, conversation: Conversation, model: str
) -> None:
    for page in ("changelist", "change", "history"):
        assert "Minka" not in html_of(auditor, model, page), page


@pytest.mark.parametrize(
    "model",
    [
        "delivery",
        "webhookevent",
        "ticketcreation",
        "outgoingmessage",
        "cachedtickets",
        "ticketevent",
        "broadcast",
        "filetoitop",
        "filetointercom",
    ],
)
def test_texts_are_displayed_with_the_permission_and_secrets_never(
    auditor: Client, conversation: Conversation, model: str
) -> None:
    assert "(hidden: " in html_of(auditor, model, "change")
    User.objects.get().user_permissions.add(Permission.objects.get(codename="read_messages"))
    html = html_of(auditor, model, "change")
    assert TEXT in html and "(hidden: " not in html
    assert "hush-hush" not in html


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        ("delivery", "item__icontains"),
        ("delivery", "part__body__startswith"),
        ("delivery", "reason_detail__contains"),
        ("delivery", "attempt_log__icontains"),
        ("webhookevent", "body__contains"),
        ("ticketcreation", "values__icontains"),
        ("ticketcreation", "reason_detail__contains"),
        ("outgoingmessage", "body__startswith"),
        ("ticketevent", "content__startswith"),
        ("broadcast", "messages__body__startswith"),
        ("cachedtickets", "rows__icontains"),
        ("linkremoval", "left_out__icontains"),
        ("ticketcreation", "parts__contains"),
        ("ticketcreation", "parts__body__contains"),
        ("filetoitop", "name__contains"),
        ("filetoitop", "reason_detail__contains"),
        ("filetoitop", "attempt_log__icontains"),
        ("filetointercom", "name__startswith"),
        ("filetointercom", "event__content__contains"),
        ("itopinstance", "token__gt"),
        ("workspace", "access_token__gt"),
    ],
)
def test_texts_cannot_be_guessed_with_filters_in_the_address(
    auditor: Client, conversation: Conversation, model: str, lookup: str
) -> None:
    assert auditor.get(url(model), {lookup: "Minka"}).status_code == 400
    assert auditor.get(url(model), {"q": "Minka"}).context["cl"].result_count == 0


@pytest.mark.parametrize("model", apps.get_app_config("intercom_bridge").get_models())
def test_only_the_list_s_own_filters_are_accepted_in_the_address(
    admin_client: Client, model: type[Model]
) -> None:
    if model not in site._registry:
        return
    name = str(model._meta.model_name)
    filters: list[Any] = [item for item in site._registry[model].list_filter if not isinstance(item, type)]
    filtered: set[str] = {item if isinstance(item, str) else item[0] for item in filters}
    assert admin_client.get(url(name), {"pk__gt": "0"}).status_code == 400
    model_admin: Any = site._registry[model]
    for column in {column.name for column in model._meta.concrete_fields} - filtered:
        for lookup in ("gt", "contains", "body__contains", "id__gt", "regex"):
            assert not model_admin.lookup_allowed(f"{column}__{lookup}", "x"), (column, lookup)
    for column in filtered:
        assert admin_client.get(url(name), {f"{column}__regex": "x"}).status_code in (302, 400), column


# Columns that anyone with permission to view the row may read: names, addresses, codes and keys.
DISPLAYED_TEXTS = {
    "broadcast": {"admin_name", "left_out"},
    "conversation": {"conversation_id"},
    "delivery": {"part_id", "author", "idempotency_key"},
    "filetointercom": {"content_type"},
    "filetoitop": {"part_id", "content_type", "idempotency_key"},
    "itopinstance": {"name", "url", "time_zone", "portal_url", "user"},
    "linkremoval": {"unlinked_by", "linked_by"},
    "messenger": {"pages", "allowed_profiles", "person_attributes"},
    "outgoingmessage": {"admin_id", "part_id"},
    "personmatch": {"contact_id", "evidence", "name", "email", "org_name", "picked_by"},
    "ticket": {"ref", "ticket_class"},
    "ticketevent": {"author_name", "before", "after"},
    "ticketcreation": {"form_key", "admin_id", "admin_name", "ticket_class", "idempotency_key"},
    "ticketlink": {"linked_by"},
    "ticketprofile": {
        "name",
        "ticket_class",
        "form_attributes",
        "defaults",
        "excluded_states",
        "subtitle_attribute",
        "details_attributes",
        "attributes_mapping",
    },
    "webhookevent": {"notification_id", "topic", "conversation_id"},
    "workspace": {
        "workspace_id",
        "name",
        "scope",
        "external_id_attribute",
        "time_zone",
        "forbidden_file_types",
        "file_hosts",
    },
    "cachedtickets": {"conversation_id"},
}


def plant(row: Model, column: Field[Any, Any], text: str) -> None:
    planted_json = {"body": text, "message": text, "user_login": text, "id": text, "title": [text]}
    value: Any = text
    if isinstance(column, JSONField):
        value = planted_json if column.get_default() in ({}, None) else [text]
        if isinstance(row, Broadcast):
            value = [{"conversation": 1, "reason": text}]
        if column.name == "attempt_log":
            value = [{"at": 1, "outcome": "refused", "code": "rejected", "detail": text}]
    elif isinstance(column, BinaryField):
        value = json.dumps(planted_json).encode()
    type(row)._base_manager.filter(pk=row.pk).update(**{column.name: value})


@pytest.mark.parametrize("model", sorted(DISPLAYED_TEXTS))
def test_no_page_displays_a_planted_text_without_the_permission_to_read_texts(
    auditor: Client, conversation: Conversation, model: str
) -> None:
    LinkRemoval.objects.create(
        conversation=conversation,
        ticket=Ticket.objects.all()[0],
        linked_at=timezone.now(),
        sync_on=True,
        since_part_at=0,
        since_part_order=0,
    )
    Messenger.objects.create(workspace=conversation.workspace)
    ItopInstance.objects.update(paused_until=timezone.now(), pause_code="rejected")
    Conversation.objects.update(reconcile_code="rejected")
    row = apps.get_model("intercom_bridge", model).objects.order_by("pk")[0]
    planted = {}
    for number, column in enumerate(row._meta.concrete_fields):
        is_text = isinstance(column, CharField | TextField | JSONField | BinaryField)
        if is_text and not column.choices and not isinstance(column, SecretField) and column.name != "log":
            planted[column.name] = f"plant {number:02}!"
            plant(row, column, planted[column.name])
    pages = "".join(
        auditor.get(url(model, page, *key)).content.decode()
        for page, key in (("changelist", []), ("change", [row.pk]), ("history", [row.pk]))
    )
    displayed = {name for name, text in planted.items() if text in pages}
    assert displayed <= DISPLAYED_TEXTS[model]


def test_every_admin_is_checked_for_planted_texts() -> None:
    registered = {
        str(model._meta.model_name) for model in site._registry if model._meta.app_label == "intercom_bridge"
    }
    assert registered == set(DISPLAYED_TEXTS)


def test_masking_keeps_the_structure_of_a_payload() -> None:
    payload = {
        "type": "admin",
        "id": "12",
        "created_at": 5,
        "body": "Hello",
        "custom_attributes": {"phone": 49},
    }
    assert mask_texts(payload | {"external_id": "jo@x.example", "ok": True, "id2_id": "a b"}) == {
        "type": "admin",
        "id": "12",
        "created_at": 5,
        "body": "(hidden: 5 characters)",
        "custom_attributes": "(hidden)",
        "external_id": "(hidden: 12 characters)",
        "ok": True,
        "id2_id": "(hidden: 3 characters)",
    }
    assert redact_secrets({"a": [{"client_secret": "x", "b": 1}]}) == {
        "a": [{"client_secret": "(a secret)", "b": 1}]
    }


# Search


@pytest.mark.parametrize("model", [*MODELS, "cachedtickets"])
def test_a_reference_a_conversation_or_a_person_finds_its_records(
    admin_client: Client, conversation: Conversation, model: str
) -> None:
    for text in ("r-000001", "215471", "JO1@globex.example", "jo park 1", "51", "contact1"):
        response = admin_client.get(url(model), {"q": text})
        assert response.context["cl"].result_count == 1, text


@pytest.mark.parametrize("model", ["conversation", "ticketlink", "ticketcreation", "outgoingmessage"])
def test_lists_display_the_customer_to_those_who_may_view_person_matches(
    auditor: Client, conversation: Conversation, model: str
) -> None:
    text = html_of(auditor, model)
    assert "Jo Park 1" in text and "Jo Park 2" in text
    permissions = User.objects.get().user_permissions
    permissions.remove(Permission.objects.get(codename="view_personmatch"))
    assert "Jo Park" not in html_of(auditor, model)


def test_the_list_of_deliveries_displays_the_author_and_the_log(
    auditor: Client, conversation: Conversation
) -> None:
    Delivery.objects.update(author="Alexandra K.")
    Delivery.objects.filter(part_id="2").update(log="private_log")
    rows = {row.part_id: row for row in Delivery.objects.all()}
    text = html_of(auditor, "delivery")
    assert text.count('<td class="field-message">Alexandra K.</td>') == len(rows)
    for label in ("public", "private"):
        assert f'<td class="field-log_label">{label}</td>' in text


def test_a_caller_finds_the_conversation_that_a_ticket_was_created_from(
    admin_client: Client, conversation: Conversation
) -> None:
    Participant.objects.all().delete()
    PersonMatch.objects.update(person_id=1)
    assert admin_client.get(url("delivery"), {"q": "jo park 2"}).context["cl"].result_count == 1


def test_a_person_s_page_links_to_their_conversations(
    admin_client: Client, conversation: Conversation
) -> None:
    person = PersonMatch.objects.get(contact_id="contact1")
    page = admin_client.get(
        reverse("admin:intercom_bridge_personmatch_change", args=[person.pk])
    ).content.decode()
    [address] = re.findall(r'href="(/admin/intercom_bridge/conversation/[?][^"]*)"', html.unescape(page))
    assert [row.pk for row in admin_client.get(address).context["cl"].result_list] == [conversation.pk]


def test_deliveries_are_filtered_by_reason(admin_client: Client, conversation: Conversation) -> None:
    Delivery.objects.filter(part_id="1").update(state="failed", reason_code="log_full")
    assert admin_client.get(url("delivery"), {"reason": "log_full"}).context["cl"].result_count == 1
    assert admin_client.get(url("delivery"), {"reason": "ticket_not_found"}).context["cl"].result_count == 0


# Actions


def act(client: Client, model: str, action: str) -> None:
    first = apps.get_model("intercom_bridge", model).objects.order_by("pk")[0]
    client.post(url(model), {"action": action, "_selected_action": [first.pk], "index": "0"})


def test_a_written_delivery_is_verified_on_demand(admin_client: Client, conversation: Conversation) -> None:
    Delivery.objects.update(reason_code="entry_missing")
    act(admin_client, "delivery", "verify")
    first, other = Delivery.objects.order_by("pk")
    assert (first.checked_at, first.reason_code) == (None, "")
    assert first.ticket.check_at and first.ticket.check_at <= timezone.now()
    assert (other.checked_at is not None, other.ticket.check_at) == (True, None)
    assert "Verification" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize("model", ["conversation", "ticketlink"])
def test_a_conversation_is_compared_with_intercom_on_demand(
    admin_client: Client, conversation: Conversation, model: str
) -> None:
    act(admin_client, model, "compare")
    assert list(Conversation.objects.due_for_comparing()) == [conversation]
    assert "Comparison" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize("model", [*MODELS, "cachedtickets"])
def test_a_number_that_is_too_long_finds_nothing(
    admin_client: Client, conversation: Conversation, model: str
) -> None:
    found = admin_client.get(url(model), {"q": "9" * 5000})
    assert list(found.context["cl"].queryset) == []


@pytest.mark.parametrize(
    ("model", "action"),
    [
        ("delivery", "verify"),
        ("conversation", "compare"),
        ("ticketlink", "compare"),
        ("ticketcreation", "retry"),
    ],
)
def test_actions_require_the_permission_to_change(
    auditor: Client, conversation: Conversation, model: str, action: str
) -> None:
    act(auditor, model, action)
    assert not LogEntry.objects.exists()


# Links


def test_a_delivery_s_page_displays_its_entry_attempts_and_links(
    admin_client: Client, conversation: Conversation
) -> None:
    html = html_of(admin_client, "delivery", "change")
    assert f"<p>{TEXT}</p>" in html, "rendered, without loading its image"
    assert "unknown: iTop may have written it" in html
    assert (
        "https://itop.example.com/itop/pages/UI.php?operation=details&amp;class=UserRequest&amp;id=1" in html
    )
    assert "https://app.eu.intercom.com/a/inbox/abcd1234/inbox/shared/all/conversation/215471" in html


@pytest.mark.parametrize("model", ["conversation", "ticket", "ticketlink", "webhookevent"])
def test_records_link_to_their_deliveries(
    admin_client: Client, conversation: Conversation, model: str
) -> None:
    html = html_of(admin_client, model, "change")
    there = html.split(f'href="{url("delivery")}?')[1].split('"')[0].replace("&amp;", "&")
    found = admin_client.get(f"{url('delivery')}?{there}").context["cl"]
    assert [one.part_id for one in found.result_list] == ["1"]


def test_a_long_list_is_not_counted_to_the_end(
    admin_client: Client, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intercom_bridge.admin.records.MAX_COUNTED", 1)
    assert "the newest 1 of more" in html_of(admin_client, "delivery")
