"""What the doctor says of changes in iTop that come back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.doctor.events import examine_events
from intercom_bridge.models import (
    Conversation,
    EventRules,
    ItopPoll,
    Ticket,
    TicketLink,
    TicketSnapshot,
    Workspace,
)
from itop_client import Client, ItopPermissionError
from sandbox.itop import Itop
from sandbox.itop.seed import TOKENS

from .findings import about, run


def finding(check: str) -> tuple[str, str]:
    found = about(run(examine_events), check)
    assert bool(found.to_do) is (found.level.value != "ok")
    return found.level.value, found.found


# Polling


@pytest.fixture
def snapshot(workspace: Workspace) -> TicketSnapshot:
    ticket = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=8, ref="R-000008"
    )
    return TicketSnapshot.objects.create(ticket=ticket)


def test_polling_begins_with_the_first_link(workspace: Workspace) -> None:
    assert finding("itop.polling") == ("ok", "is polled for changes once a ticket is linked")


def test_polling_that_works_is_said_so(workspace: Workspace, snapshot: TicketSnapshot) -> None:
    now = timezone.now()
    ItopPoll.objects.create(itop=workspace.itop, polled_at=now, succeeded_at=now)
    assert finding("itop.polling") == ("ok", "is polled for changes of 1 linked ticket")


def test_linked_tickets_that_itop_no_longer_returns_are_named(
    workspace: Workspace, snapshot: TicketSnapshot
) -> None:
    now = timezone.now()
    ItopPoll.objects.create(itop=workspace.itop, polled_at=now, succeeded_at=now)
    conversation = Conversation.objects.find_or_create(workspace, "215472621202701")
    gone = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=9, ref="R-000009", gone_at=now
    )
    TicketLink.objects.create(ticket=gone, conversation=conversation)
    text = "is polled for changes of 1 linked ticket; iTop no longer returns 1 linked ticket: R-000009"
    assert finding("itop.polling") == ("ok", text)


def test_polling_that_fails_is_a_failure_that_loses_nothing(
    workspace: Workspace, snapshot: TicketSnapshot
) -> None:
    ItopPoll.objects.create(
        itop=workspace.itop, polled_at=timezone.now(), failures_in_a_row=4, reason_code="itop_not_allowed"
    )
    level, text = finding("itop.polling")
    assert level == "failure"
    assert "failed 4 times in a row: The bridge's iTop account lacks permissions" in text


@pytest.mark.parametrize(("minutes", "level"), [(14, "ok"), (16, "failure")])
def test_polling_that_is_late_is_a_failure(
    workspace: Workspace, snapshot: TicketSnapshot, minutes: int, level: str
) -> None:
    ItopPoll.objects.create(itop=workspace.itop, polled_at=timezone.now())
    TicketSnapshot.objects.update(poll_at=timezone.now() - dt.timedelta(minutes=minutes))
    assert finding("itop.polling")[0] == level


# The history


@pytest.mark.parametrize("login", ["intercom_sync_app", "agent_app"])
def test_a_support_agent_may_search_tickets_by_their_history(
    workspace: Workspace, itop: Itop, login: str
) -> None:
    workspace.itop.token = TOKENS[login]
    workspace.itop.save()
    assert finding("itop.history")[0] == "ok"


def test_an_account_that_may_not_is_a_warning(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Client.get

    def refuse(client: Client, class_name: str, key: Any, **options: Any) -> Any:
        if "CMDBChangeOp" in str(key) and class_name == "UserRequest":
            raise ItopPermissionError("joined")
        return get(client, class_name, key, **options)

    monkeypatch.setattr(Client, "get", refuse)
    level, text = finding("itop.history")
    assert level == "warning"
    assert "may not search UserRequest by their history" in text


# Push


def test_push_is_optional(workspace: Workspace) -> None:
    assert "itop.push" not in [each.about for each in run(examine_events)]


def test_push_that_was_never_received_is_a_warning(workspace: Workspace) -> None:
    workspace.itop.renew_push_secret()
    level, text = finding("itop.push")
    assert (level, "but no push has ever come" in text) == ("warning", True)


@pytest.mark.parametrize(("days", "level"), [(6, "ok"), (8, "warning")])
def test_push_that_ended_is_a_warning(workspace: Workspace, days: int, level: str) -> None:
    workspace.itop.renew_push_secret()
    workspace.itop.push_received_at = timezone.now() - dt.timedelta(days=days)
    workspace.itop.save()
    assert finding("itop.push")[0] == level


# E-mails


def mail(itop: Itop, description: str, trigger_class: str, to: str = "caller_id", **fields: Any) -> None:
    values = {"target_class": "UserRequest", "context": "", "filter": ""} | fields
    made = itop.store.insert(trigger_class, description=description, **values)
    action = itop.store.insert(
        "ActionEmail",
        name=f"Mail of {description}",
        status="enabled",
        to=f"SELECT Person WHERE id = :this->{to}",
    )
    itop.store.insert("lnkTriggerAction", trigger_id=made["id"], action_id=action["id"])


def test_an_itop_without_e_mails_tells_nobody_twice(workspace: Workspace) -> None:
    EventRules.objects.create(workspace=workspace, public_entry="reply")
    assert finding("itop.emails")[0] == "ok"


def test_e_mails_are_listed_even_if_the_rules_send_no_replies(workspace: Workspace, itop: Itop) -> None:
    mail(itop, "Answer mailed", "TriggerOnObjectUpdate", target_attcodes="public_log")
    level, text = finding("itop.emails")
    assert level == "ok"
    assert "because of: “Answer mailed”" in text


@pytest.mark.parametrize(
    ("kind", "trigger_class", "fields"),
    [
        ("public_entry", "TriggerOnObjectUpdate", {"target_attcodes": "title, public_log"}),
        ("public_entry", "TriggerOnObjectUpdate", {"target_attcodes": ""}),
        (
            "public_entry",
            "TriggerOnObjectUpdate",
            {"target_attcodes": "last_update", "target_class": "Ticket"},
        ),
        ("assignment", "TriggerOnObjectUpdate", {"target_attcodes": "agent_id"}),
        ("resolved", "TriggerOnObjectUpdate", {"target_attcodes": "status"}),
        ("resolved", "TriggerOnStateEnter", {"state": "resolved"}),
        ("pending", "TriggerOnStateEnter", {"state": "pending"}),
        ("closed", "TriggerOnStateEnter", {"state": "closed"}),
        ("reopened", "TriggerOnStateEnter", {"state": "assigned"}),
        ("status", "TriggerOnStateEnter", {"state": "escalated_ttr"}),
        ("resolved", "TriggerOnStateEnter", {"state": "resolved", "context": "GUI:Console"}),
    ],
)
def test_a_reply_and_an_e_mail_about_the_same_are_a_warning(
    workspace: Workspace, itop: Itop, kind: str, trigger_class: str, fields: dict[str, str]
) -> None:
    mail(itop, "Mailed", trigger_class, **fields)
    EventRules.objects.create(workspace=workspace, **{kind: "reply"})
    level, text = finding("itop.emails")
    assert level == "warning"
    assert "customers are told twice: about “" in text and "“Mailed”" in text
    EventRules.objects.update(**{kind: "note"})
    assert finding("itop.emails")[0] == "ok"


@pytest.mark.parametrize(
    "fields",
    [
        {"target_attcodes": "priority"},
        {"target_attcodes": "public_log", "to": "agent_id"},
        {"target_attcodes": "public_log", "context": "REST/JSON"},
        {"target_attcodes": "public_log", "target_class": "Person"},
        {"target_attcodes": "public_log", "filter": "SELECT UserRequest AS u WHERE u.intercom_ref = ''"},
    ],
    ids=["other attribute", "to the agent", "other context", "other class", "without conversations"],
)
def test_other_e_mails_are_not_listed(workspace: Workspace, itop: Itop, fields: dict[str, str]) -> None:
    mail(itop, "Mailed", "TriggerOnObjectUpdate", **fields)
    EventRules.objects.create(workspace=workspace, public_entry="reply", resolved="reply")
    assert "“Mailed”" not in about(run(examine_events), "itop.emails").found


def test_an_account_that_may_not_read_triggers_says_that_it_cannot_look(
    workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Client.get

    def refuse(client: Client, class_name: str, key: Any, **options: Any) -> Any:
        if class_name.startswith("Trigger"):
            raise ItopPermissionError("triggers")
        return get(client, class_name, key, **options)

    monkeypatch.setattr(Client, "get", refuse)
    level, text = finding("itop.emails")
    assert (level, "may not read triggers" in text) == ("ok", True)
