"""An iTop is asked for changes of linked tickets, and each becomes an event once, whatever happens meanwhile."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from intercom_bridge.events import follow, own_writes
from intercom_bridge.events import poll as poll_module
from intercom_bridge.events import record as record_module
from intercom_bridge.events.poll import poll_itop, poll_soon
from intercom_bridge.events.reading import TicketReader
from intercom_bridge.models import (
    CachedAnswer,
    Conversation,
    Delivery,
    EventRules,
    ItopInstance,
    ItopPoll,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    TicketEvent,
    TicketLink,
    TicketProfile,
    TicketSnapshot,
    Workspace,
)
from intercom_bridge.models.lease import take_lease
from sandbox.itop import Itop, accounts
from tests.teammate import Teammate

from .conftest import ALICE, BOB, Agent, make_due

Poll = Callable[[], None]
Work = Callable[[], None]


def kinds() -> list[str]:
    return list(TicketEvent.objects.order_by("pk").values_list("kind", flat=True))


def contents() -> list[str]:
    return list(TicketEvent.objects.order_by("pk").values_list("content", flat=True))


def link_many(ticket: Ticket, itop: Itop, count: int) -> list[Ticket]:
    """Link so many new tickets to the ticket's conversation."""
    link = TicketLink.objects.get(ticket=ticket)
    tickets = []
    for number in range(count):
        row = itop.store.insert(
            "UserRequest",
            ref=f"R-9{number:05d}",
            title="t",
            description="d",
            org_id=4,
            caller_id=40,
            status="assigned",
            last_update="2026-11-20 12:00:00",
        )
        tickets.append(
            Ticket.objects.create(
                itop=ticket.itop, ticket_class="UserRequest", object_id=row["id"], ref=row["ref"]
            )
        )
    TicketLink.objects.bulk_create(
        TicketLink(ticket=each, conversation=link.conversation, attributes_synced=True) for each in tickets
    )
    return tickets


# What is reported


def test_what_was_in_the_ticket_when_it_was_linked_is_no_news(talking: Teammate, work: Work) -> None:
    talking.link("R-000008")
    work()
    snapshot = TicketSnapshot.objects.get()
    assert snapshot.first_read_at and len(snapshot.entries["public_log"]) == 3
    assert (snapshot.status, snapshot.agent_name, snapshot.team_name) == (
        "assigned",
        "Jules Verne",
        "Helpdesk",
    )
    assert kinds() == []


def test_an_agents_entry_is_reported_once(ticket: Ticket, agent: Agent, poll: Poll) -> None:
    agent.write(ticket, "We are on it")
    poll()
    poll()
    event = TicketEvent.objects.get()
    assert (event.kind, event.content) == ("public_entry", "<p>We are on it</p>")
    assert (event.author_name, event.author_email) == ("Jules Verne", "jules.verne@it.example")
    assert event.message is not None and event.message.is_note and event.outcome == "posted"


def test_an_entry_of_the_customer_in_the_portal_is_told_apart(
    ticket: Ticket, agent: Agent, poll: Poll
) -> None:
    agent.write(ticket, "Any news?", account=ALICE)
    poll()
    assert kinds() == ["customer_entry"]


def test_only_a_member_of_a_team_counts_as_an_agent(ticket: Ticket, agent: Agent, poll: Poll) -> None:
    """A colleague of the customer may write in the portal, too."""
    agent.write(ticket, "an agent's")
    agent.write(ticket, "a colleague's", account=BOB)
    poll()
    found = TicketEvent.objects.order_by("pk").values_list("content", "kind", "is_by_agent")
    assert list(found) == [
        ("<p>an agent's</p>", "public_entry", True),
        ("<p>a colleague's</p>", "public_entry", False),
    ]


def test_an_agent_is_recognised_by_an_account_that_is_limited_to_the_customers_organization(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    """The account cannot read the agent's Person, which belongs to another organization."""
    itop.store.insert("URP_UserOrg", userid=2, allowed_org_id=4)
    agent.write(ticket, "an agent's")
    agent.write(ticket, "a colleague's", account=BOB)
    poll()
    found = TicketEvent.objects.order_by("pk").values_list(
        "content", "author_name", "author_email", "is_by_agent"
    )
    assert list(found) == [
        ("<p>an agent's</p>", "Jules Verne", "", True),
        ("<p>a colleague's</p>", "Bob Durand", "bob.durand@acme.example", False),
    ]


def test_an_entry_on_behalf_of_the_caller_is_the_customers(ticket: Ticket, agent: Agent, poll: Poll) -> None:
    for name in ("Alice Martin", "Somebody Else"):
        item = {"message": f"<p>{name}</p>", "format": "html", "user_id": 0, "user_login": name}
        agent.change(ticket, public_log={"add_item": item})
    poll()
    assert kinds() == ["customer_entry", "public_entry"]


def test_one_save_is_one_note(ticket: Ticket, agent: Agent, poll: Poll) -> None:
    agent.change(
        ticket,
        public_log={"add_item": {"message": "<p>Done</p>", "format": "html"}},
        status="resolved",
        solution="<p>Restarted</p>",
        agent_id=10,
    )
    poll()
    assert kinds() == ["public_entry", "assignment", "resolved"]
    # An assignment is reported only if the workspace wants it.
    assert TicketEvent.objects.exclude(kind="assignment").values("message").distinct().count() == 1
    assert OutgoingMessage.objects.count() == 1
    resolved = TicketEvent.objects.get(kind="resolved")
    assert (resolved.before, resolved.after, resolved.content) == ("Pending", "Resolved", "<p>Restarted</p>")


def test_private_entries_are_read_only_where_a_workspace_wants_them(
    ticket: Ticket, agent: Agent, poll: Poll, workspace: Workspace
) -> None:
    agent.write(ticket, "secret", log="private_log")
    poll()
    assert "private_log" not in TicketSnapshot.objects.get().entries
    EventRules.objects.create(workspace=workspace, private_entry="note")
    agent.change(ticket, title="so that the log is read")
    poll()
    assert kinds() == []
    agent.write(ticket, "internal", log="private_log")
    poll()
    assert contents() == ["<p>internal</p>"]


def test_in_a_ticket_that_the_bridge_created_every_later_entry_is_news(
    talking: Teammate, agent: Agent, work: Work
) -> None:
    """An agent may answer before the ticket is read for the first time."""
    talking.open().click("Create a ticket").click("Create", Title="Broken")
    ticket = Ticket.objects.get()
    created = len(agent.itop.store.log(ticket.object_id))
    assert created and not TicketSnapshot.objects.exists()
    agent.write(ticket, "I look at it now")
    work()
    assert contents() == ["<p>I look at it now</p>"]


def test_in_a_ticket_that_the_bridge_created_the_first_entry_after_it_was_read_is_news(
    talking: Teammate, agent: Agent, work: Work, poll: Poll
) -> None:
    talking.open().click("Create a ticket").click("Create", Title="Broken")
    work()
    poll()
    agent.write(Ticket.objects.get(), "I look at it now")
    poll()
    assert contents() == ["<p>I look at it now</p>"]


def test_each_conversation_of_a_ticket_has_its_own_event(
    ticket: Ticket, agent: Agent, poll: Poll, workspace: Workspace
) -> None:
    """The conversations may be of several workspaces with different profiles and languages."""
    other = Workspace.objects.create(
        workspace_id="other",
        name="Other",
        client_secret="s" * 32,
        language="de",
        itop=workspace.itop,
        profile=TicketProfile.objects.create(name="Other"),
    )
    for space in (workspace, other):
        conversation = Conversation.objects.create(workspace=space, conversation_id="77")
        TicketLink.objects.create(ticket=ticket, conversation=conversation)
    agent.change(ticket, status="resolved", solution="<p>Done</p>")
    poll()
    events = TicketEvent.objects.order_by("pk")
    assert [event.after for event in events] == ["Resolved", "Resolved", "Gelöst"]
    assert [event.reason_code for event in events] == ["", "", "no_access_token"]
    assert [event.message is None for event in events] == [False, False, True]


def test_an_entry_that_comes_with_a_new_caller_is_not_sent_to_the_former_one(
    ticket: Ticket, agent: Agent, poll: Poll, workspace: Workspace
) -> None:
    EventRules.objects.update_or_create(workspace=workspace, defaults={"public_entry": "reply"})
    TicketCreation.objects.create(
        conversation=TicketLink.objects.get().conversation,
        ticket=ticket,
        caller_id=40,
        ticket_class="UserRequest",
    )
    agent.write(ticket, "For Alice")
    poll()
    agent.change(ticket, caller_id=41)
    agent.write(ticket, "For Bob")
    poll()
    messages = [event.message for event in TicketEvent.objects.order_by("pk")]
    assert [message and message.is_note for message in messages] == [False, True]


@pytest.mark.parametrize("is_workspace_disabled", [True, False])
def test_changes_are_recorded_but_not_posted_while_the_sync_is_off(
    ticket: Ticket, agent: Agent, poll: Poll, is_workspace_disabled: bool
) -> None:
    if is_workspace_disabled:
        Workspace.objects.update(enabled=False)
    else:
        TicketLink.objects.get().switch(on=False, at=timezone.now().timestamp())
    agent.write(ticket, "one")
    poll()
    event = TicketEvent.objects.get()
    assert event.reason_code == ("workspace_disabled" if is_workspace_disabled else "sync_paused")
    assert event.message is None and not OutgoingMessage.objects.exists()


def test_profiles_may_name_attributes_differently(
    ticket: Ticket, agent: Agent, poll: Poll, workspace: Workspace
) -> None:
    """Both codes are read, and each ticket is compared by the profile of the workspace that linked it."""
    workspace.profile.attributes_mapping = {"public_log": "private_log"}
    workspace.profile.save()
    TicketSnapshot.objects.all().delete()
    Workspace.objects.create(
        workspace_id="other",
        name="Other",
        client_secret="s" * 32,
        itop=workspace.itop,
        profile=TicketProfile.objects.create(name="Other"),
    )
    poll()
    agent.write(ticket, "in the log of the customer", log="private_log")
    agent.write(ticket, "elsewhere")
    poll()
    assert contents() == ["<p>in the log of the customer</p>"]
    assert TicketEvent.objects.get().key.startswith("public_log:")


@pytest.mark.parametrize("code", ["agent_id", "pending_reason", "last_update"])
def test_attributes_that_the_class_does_not_have_are_asked_for_once(
    ticket: Ticket, agent: Agent, poll: Poll, itop: Itop, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    hide_attribute(itop, monkeypatch, code)
    agent.write(ticket, "one")
    poll()
    assert contents() == ["<p>one</p>"]
    assert ItopPoll.objects.get().reason_code == ""
    itop.calls.clear()
    poll()
    assert itop.calls == [("core/get", "UserRequest")]
    assert code in CachedAnswer.objects.get(question__contains="does not have").value


def hide_attribute(itop: Itop, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the class have no such attribute, and no name of the object behind it."""
    original = type(itop.store.model).attributes

    def attributes(self: Any, class_name: str) -> dict[str, Any]:
        known = original(self, class_name)
        if class_name != "UserRequest" or not hiding:
            return known
        return {name: value for name, value in known.items() if name != code and value.via != code}

    hiding: list[bool] = []
    monkeypatch.setattr(type(itop.store.model), "attributes", attributes)
    answer = type(itop.operations).answer

    def answered(self: Any, user: Any, version: str, request: Any, **more: Any) -> Any:
        if request.get("operation") == "core/get":
            hiding.append(True)
        try:
            return answer(self, user, version, request, **more)
        finally:
            hiding.clear()

    monkeypatch.setattr(type(itop.operations), "answer", answered)


# What it costs


def test_nothing_changed_costs_one_call_and_a_fixed_number_of_statements(
    ticket: Ticket, itop: Itop, poll: Poll
) -> None:
    statements = {}
    for count in (3, 60):
        link_many(ticket, itop, count)
        poll()
        make_due()
        itop.calls.clear()
        with CaptureQueriesContext(connection) as queries:
            poll_itop(ItopPoll.objects.get())
        assert itop.calls == [("core/get", "UserRequest")]
        statements[count] = len(queries)
        TicketLink.objects.exclude(ticket=ticket).delete()
        Ticket.objects.exclude(pk=ticket.pk).delete()
        itop.store.connection.execute("DELETE FROM Ticket WHERE ref LIKE 'R-9%'")
    assert statements[3] == statements[60] <= 15


def test_changes_of_many_tickets_cost_few_calls(ticket: Ticket, itop: Itop, agent: Agent, poll: Poll) -> None:
    tickets = link_many(ticket, itop, 20)
    poll()
    for each in tickets:
        agent.write(each, f"to {each.ref}")
    make_due()
    itop.calls.clear()
    poll_itop(ItopPoll.objects.get())
    # The tickets, whose entries they are, whether there are new files, who wrote them, and whether that is an agent.
    names = ["UserRequest", "UserRequest", "Attachment", "Person", "Person"]
    assert [name for _operation, name in itop.calls] == names
    assert TicketEvent.objects.count() == 20


def test_more_tickets_than_one_call_may_ask_for_are_read_in_turn(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_module, "MAX_TICKETS", 10)
    monkeypatch.setattr(poll_module, "MIN_TICKETS", 10)

    def poll_all() -> int:
        make_due()
        count = 0
        while ItopPoll.objects.due().exists():
            poll_itop(ItopPoll.objects.get())
            count += 1
        return count

    tickets = link_many(ticket, itop, 25)
    poll()
    assert poll_all() == 3
    assert not TicketSnapshot.objects.filter(first_read_at=None).exists()
    for each in (tickets[24], tickets[12], tickets[0]):
        agent.write(each, each.ref)
    assert poll_all() == 3
    assert sorted(contents()) == sorted(f"<p>{tickets[number].ref}</p>" for number in (0, 12, 24))


@pytest.mark.parametrize("minutes", [-5, 5])
def test_workers_whose_clocks_differ_report_everything_once(
    ticket: Ticket, itop: Itop, agent: Agent, work: Work, time_machine: Any, minutes: int
) -> None:
    """The second worker's clock is five minutes ahead of or behind the first one's and the database's."""
    real = dt.datetime.now(dt.UTC)
    itop.store.clock = lambda: real.timestamp() + len(contents())
    for number in range(4):
        agent.write(ticket, str(number))
        time_machine.move_to(real + dt.timedelta(minutes=minutes * (number % 2)))
        make_due()
        work()
        # The next poll is due in time, whichever worker makes it.
        for rows, field in ((TicketSnapshot.objects.all(), "poll_at"), (ItopPoll.objects.all(), "due_at")):
            in_time = {f"{field}__gt": Now(), f"{field}__lt": Now() + dt.timedelta(seconds=16)}
            assert rows.filter(**in_time).exists()
    assert contents() == [f"<p>{number}</p>" for number in range(4)]
    assert set(OutgoingMessage.objects.values_list("state", flat=True)) == {"posted"}


def test_active_tickets_are_read_often_idle_ones_seldom_closed_ones_not_at_all(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    def seconds_to_next() -> float | None:
        at = TicketSnapshot.objects.get().poll_at
        return None if at is None else round((at - timezone.now()).total_seconds())

    poll()
    assert 13 <= (seconds_to_next() or 0) <= 15
    TicketSnapshot.objects.update(active_at=timezone.now() - dt.timedelta(hours=2))
    poll()
    assert 298 <= (seconds_to_next() or 0) <= 300
    agent.change(ticket, status="closed")
    poll()
    assert 13 <= (seconds_to_next() or 0) <= 15
    TicketLink.objects.update(created_at=timezone.now() - dt.timedelta(days=9))
    TicketSnapshot.objects.update(active_at=timezone.now() - dt.timedelta(days=8))
    poll()
    assert seconds_to_next() is None


def test_a_closed_ticket_is_followed_again_when_a_message_is_written_to_it(
    customer_writes: Callable[[str], Delivery], ticket: Ticket, agent: Agent, poll: Poll
) -> None:
    agent.change(ticket, status="closed")
    poll()
    TicketLink.objects.update(created_at=timezone.now() - dt.timedelta(days=9))
    TicketSnapshot.objects.update(poll_at=None, active_at=timezone.now() - dt.timedelta(days=8))
    TicketEvent.objects.all().delete()
    customer_writes("It is broken again")
    assert TicketSnapshot.objects.get().poll_at is not None
    agent.change(ticket, status="assigned")
    poll()
    assert kinds() == ["reopened"]


def test_how_often_is_configurable(ticket: Ticket, poll: Poll, settings: Any) -> None:
    settings.ITOP_POLL_SECONDS, settings.ITOP_POLL_IDLE_SECONDS = 40, 700
    for active_at, seconds in ((dt.timedelta(0), 40), (dt.timedelta(hours=2), 700)):
        TicketSnapshot.objects.update(active_at=timezone.now() - active_at)
        poll()
        left = TicketSnapshot.objects.get().poll_at - timezone.now()  # type: ignore[operator]
        assert seconds - 2 <= left.total_seconds() <= seconds
        assert 38 <= (ItopPoll.objects.get().due_at - timezone.now()).total_seconds() <= 40


def test_a_ticket_that_a_worker_with_a_fast_clock_follows_is_read_at_once(
    talking: Teammate, work: Work, time_machine: Any
) -> None:
    """Until it is read, nothing that happens to it is news."""
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5))
    talking.link("R-000006")
    work()
    assert TicketSnapshot.objects.get().first_read_at is not None


def test_many_new_links_are_followed_in_one_turn(
    ticket: Ticket, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration that was imported may have ten thousand links, and the queue has a turn once a minute."""
    monkeypatch.setattr(follow, "MAX_AT_ONCE", 2)
    tickets = link_many(ticket, itop, 5)
    TicketSnapshot.objects.filter(ticket__in=tickets).delete()
    follow.follow_tickets(tickets[0])
    assert TicketSnapshot.objects.filter(ticket__in=tickets, poll_at__isnull=False).count() == 5


def test_a_ticket_that_is_linked_again_starts_anew(
    talking: Teammate, ticket: Ticket, agent: Agent, poll: Poll, work: Work
) -> None:
    TicketSnapshot.objects.update(poll_at=None, active_at=timezone.now() - dt.timedelta(days=8))
    TicketLink.objects.all().delete()
    agent.write(ticket, "while nobody listened")
    link = Conversation.objects.get()
    TicketLink.objects.create(conversation=link, ticket=ticket)
    work()
    assert kinds() == []
    agent.write(ticket, "now")
    poll()
    assert contents() == ["<p>now</p>"]


# Nothing is lost


def test_an_idle_ticket_that_changed_long_before_the_newest_is_not_missed(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    """It is read every five minutes only, and meanwhile another ticket changed later."""
    (other,) = link_many(ticket, itop, 1)
    poll()
    start = itop.store.clock()
    itop.store.clock = lambda: start + 10
    agent.write(ticket, "at ten seconds")
    itop.store.clock = lambda: start + 280
    agent.write(other, "at 280 seconds")
    TicketSnapshot.objects.filter(ticket=ticket).update(poll_at=timezone.now() + dt.timedelta(hours=1))
    TicketSnapshot.objects.filter(ticket=other).update(poll_at=timezone.now())
    ItopPoll.objects.update(due_at=timezone.now())
    poll_itop(ItopPoll.objects.get())
    assert contents() == ["<p>at 280 seconds</p>"]
    poll()
    assert contents() == ["<p>at 280 seconds</p>", "<p>at ten seconds</p>"]


@pytest.mark.parametrize("offset", [-3600, 3600])
def test_the_clock_of_itop_does_not_matter(
    talking: Teammate, itop: Itop, agent: Agent, work: Work, poll: Poll, offset: float
) -> None:
    clock = itop.store.clock
    itop.store.clock = lambda: clock() + offset
    talking.link("R-000006")
    work()
    ticket = Ticket.objects.get()
    for text in ("one", "two"):
        agent.write(ticket, text)
        poll()
    assert contents() == ["<p>one</p>", "<p>two</p>"]


def test_a_change_in_the_hour_that_summer_time_repeats_is_found(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, time_machine: Any
) -> None:
    """Its `last_update` is smaller than that of an earlier change."""
    end = dt.datetime(2027, 10, 31, 1, 0, tzinfo=dt.UTC)
    now = [end.timestamp() - 60]
    itop.store.clock = lambda: now[0]
    agent.write(ticket, "at 02:59 summer time")
    poll()
    now[0] = end.timestamp() + 60
    time_machine.move_to(end + dt.timedelta(seconds=60))
    # A sweep would find it, too.
    ItopPoll.objects.update(swept_at=timezone.now())
    agent.write(ticket, "at 02:01 winter time")
    assert itop.store.load("UserRequest", ticket.object_id)["last_update"] == "2027-10-31 02:01:00"  # type: ignore[index]
    poll()
    assert contents() == ["<p>at 02:59 summer time</p>", "<p>at 02:01 winter time</p>"]


def test_an_hour_without_itop_and_then_100_changes_lose_nothing(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, settings: Any
) -> None:
    tickets = link_many(ticket, itop, 20)
    poll()
    itop.faults.add("maintenance")
    for number in range(1, 4):
        make_due()
        poll_itop(ItopPoll.objects.get())
        row = ItopPoll.objects.get()
        assert (row.failures_in_a_row, row.reason_code) == (number, "itop_unavailable")
        assert row.due_at > timezone.now()
        assert TicketSnapshot.objects.due(row.itop).count() == 21
    itop.faults.clear()
    expected = []
    for number in range(5):
        for each in tickets:
            log = itop.store.log(each.object_id)
            log.append(
                {
                    "date": itop.store.now(),
                    "user_login": "Jules Verne",
                    "user_id": "11",
                    "format": "html",
                    "message": f"<p>{each.ref} {number}</p>",
                }
            )
            itop.store.update("UserRequest", each.object_id, public_log=log, last_update=itop.store.now())
            expected.append(f"<p>{each.ref} {number}</p>")
    make_due()
    poll_itop(ItopPoll.objects.get())
    make_due()
    poll_itop(ItopPoll.objects.get())
    assert sorted(contents()) == sorted(expected)
    row = ItopPoll.objects.get()
    assert (row.failures_in_a_row, row.reason_code) == (0, "")


@pytest.mark.parametrize(
    ("token", "code"), [("token-of-portal-app", "itop_login_refused"), ("token-of-x", "itop_not_allowed")]
)
def test_an_account_that_loses_its_permission_is_reported_and_nothing_is_lost(
    ticket: Ticket,
    itop: Itop,
    agent: Agent,
    poll: Poll,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    code: str,
) -> None:
    agent.write(ticket, "one")
    with monkeypatch.context() as patched:
        if code == "itop_not_allowed":
            patched.setattr(accounts, "may", lambda *_: False)
        else:
            ItopInstance.objects.update(token=token)
        poll()
    assert ItopPoll.objects.get().reason_code == code
    ItopInstance.objects.update(token=itop.token)
    poll()
    assert ItopPoll.objects.get().reason_code == ""
    assert contents() == ["<p>one</p>"]


def test_a_ticket_that_cannot_be_compared_does_not_hold_up_the_others(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = link_many(ticket, itop, 1)
    poll()
    agent.write(ticket, "one")
    agent.write(other, "two")
    original = record_module.record

    def broken(row: Ticket, *arguments: Any, **options: Any) -> Any:
        if row == ticket:
            raise ValueError("a defect")
        return original(row, *arguments, **options)

    monkeypatch.setattr(poll_module, "record", broken)
    poll()
    assert contents() == ["<p>two</p>"]
    row = ItopPoll.objects.get()
    assert (row.reason_code, row.reason_detail) == ("internal_error", ticket.ref)
    monkeypatch.setattr(poll_module, "record", original)
    poll()
    assert contents() == ["<p>two</p>", "<p>one</p>"]


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["changed", "foreign_entries", "record", "_mark_read", "_save"])
def test_a_worker_that_is_killed_at_any_step_loses_and_repeats_nothing(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (other,) = link_many(ticket, itop, 1)
    poll()
    agent.write(ticket, "one")
    agent.write(other, "two")
    owner: Any = {"changed": TicketReader, "_mark_read": poll_module._Poll, "_save": poll_module._Poll}.get(
        step, poll_module
    )
    original = getattr(owner, step)

    def killed(*arguments: Any, **options: Any) -> Any:
        original(*arguments, **options)
        raise KilledError

    for moment in (killed, lambda *_, **__: (_ for _ in ()).throw(KilledError)):
        make_due()
        with monkeypatch.context() as patched, pytest.raises(KilledError):
            patched.setattr(owner, step, moment)
            poll_itop(ItopPoll.objects.get())
        # The lease of a killed worker expires.
        ItopPoll.objects.update(lease_until=None)
    poll()
    assert sorted(contents()) == ["<p>one</p>", "<p>two</p>"]
    assert OutgoingMessage.objects.count() == 2


def test_another_worker_does_not_poll_at_the_same_time(ticket: Ticket, itop: Itop, agent: Agent) -> None:
    make_due()
    lease = take_lease(ItopPoll.objects.get(), 60)
    assert lease is not None
    assert not ItopPoll.objects.due().exists()
    itop.calls.clear()
    poll_itop(ItopPoll.objects.get())
    assert itop.calls == []
    lease.release()
    assert ItopPoll.objects.due().exists()


def test_a_worker_that_was_too_slow_does_not_overwrite_what_the_next_one_recorded(
    ticket: Ticket, agent: Agent, poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.write(ticket, "one")
    make_due()
    original = own_writes.foreign_entries

    def slow(*arguments: Any) -> Any:
        answer = original(*arguments)
        monkeypatch.setattr(poll_module, "foreign_entries", original)
        # Its lease ends, and another worker reads more than it did.
        ItopPoll.objects.update(lease_until=None, lease_token="")
        agent.write(ticket, "two")
        poll()
        return answer

    monkeypatch.setattr(poll_module, "foreign_entries", slow)
    poll_itop(ItopPoll.objects.get())
    assert contents() == ["<p>one</p>", "<p>two</p>"]
    assert len(TicketSnapshot.objects.get().entries["public_log"]) == 2
    poll()
    assert contents() == ["<p>one</p>", "<p>two</p>"]


def test_a_push_during_a_poll_makes_the_ticket_due_again(
    ticket: Ticket, agent: Agent, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its change may have come after the poll had read the ticket."""
    original = TicketReader.changed

    def changed(self: TicketReader, *arguments: Any) -> Any:
        answer = original(self, *arguments)
        monkeypatch.setattr(TicketReader, "changed", original)
        agent.write(ticket, "just now")
        poll_soon(Ticket.objects.filter(pk=ticket.pk))
        return answer

    monkeypatch.setattr(TicketReader, "changed", changed)
    make_due()
    work()
    assert ItopPoll.objects.due().exists()
    work()
    assert contents() == ["<p>just now</p>"]


def test_a_link_that_is_removed_during_a_poll_gets_no_event(
    ticket: Ticket, agent: Agent, poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TicketReader.changed

    def changed(self: TicketReader, *arguments: Any) -> Any:
        TicketLink.objects.all().delete()
        return original(self, *arguments)

    monkeypatch.setattr(TicketReader, "changed", changed)
    agent.write(ticket, "one")
    poll()
    assert kinds() == [] and not OutgoingMessage.objects.exists()
