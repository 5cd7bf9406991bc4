"""What people wrote in iTop is kept as long as other contents, exported, and erased with the contact."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.models import CachedAnswer, Participant, Ticket, TicketEvent, TicketSnapshot, Workspace
from intercom_bridge.ops import metrics
from intercom_bridge.privacy.contact import Contact
from intercom_bridge.privacy.person_copy import person_copy
from intercom_bridge.sync.retention import clean_payloads
from sandbox.itop import Itop
from tests.teammate import ALICE as CONTACT

from .conftest import ALICE, Agent

Poll = Callable[[], None]


@pytest.fixture
def answered(ticket: Ticket, agent: Agent, poll: Poll, workspace: Workspace) -> Contact:
    """Return the customer of a conversation in whose ticket an agent and the customer wrote, and which is resolved."""
    agent.write(ticket, "words of an agent")
    agent.write(ticket, "words of the customer", account=ALICE)
    agent.change(ticket, status="resolved", solution="<p>words of the solution</p>")
    poll()
    conversation = ticket.links.get().conversation
    Participant.objects.get_or_create(conversation=conversation, contact_id=CONTACT["id"])
    assert TicketEvent.objects.exclude(content="").count() == 3
    return Contact(workspace, CONTACT["id"])


def test_contents_are_deleted_after_the_workspaces_retention(answered: Contact, workspace: Workspace) -> None:
    workspace.keep_payloads_days = 3
    workspace.save()
    TicketEvent.objects.update(created_at=timezone.now() - dt.timedelta(days=2))
    clean_payloads()
    assert TicketEvent.objects.exclude(content="").count() == 3
    TicketEvent.objects.update(created_at=timezone.now() - dt.timedelta(days=4))
    assert clean_payloads()["ticket events"] == 3
    assert not TicketEvent.objects.exclude(content="").exists()
    assert TicketEvent.objects.exclude(cleaned_at=None).count() == 3


def test_the_solution_of_a_ticket_that_is_not_polled_any_more_is_deleted(answered: Contact) -> None:
    TicketSnapshot.objects.update(read_at=timezone.now() - dt.timedelta(days=31))
    clean_payloads()
    assert TicketSnapshot.objects.get().solution
    TicketSnapshot.objects.update(poll_at=None)
    assert clean_payloads()["ticket snapshots"] == 1
    snapshot = TicketSnapshot.objects.get()
    assert snapshot.solution == "" and snapshot.status == "resolved"


def test_the_erasure_of_the_contact_includes_what_came_from_itop(
    answered: Contact, agent: Agent, ticket: Ticket, poll: Poll
) -> None:
    assert CachedAnswer.objects.filter(question=f"person of account {ALICE}").exists()
    assert answered.erase()["ticket events"] == 3
    events = json.dumps(list(TicketEvent.objects.values()), default=str)
    for words in ("words of", "Jules", "Alice", "@"):
        assert words not in events
    assert TicketSnapshot.objects.get().solution == ""
    assert not CachedAnswer.objects.filter(question=f"person of account {ALICE}").exists()
    # It is not reported again.
    poll()
    assert TicketEvent.objects.count() == 3


def test_the_export_has_all_events_and_the_persons_copy_their_own_words(answered: Contact) -> None:
    exported = json.dumps(answered.export())
    for words in ("agent", "customer", "solution"):
        assert f"words of the {words}".replace("the agent", "an agent") in exported
    own: dict[str, Any] = person_copy(answered)
    texts = [message["text"] for one in own["conversations"] for message in one["messages"]]
    assert "words of the customer" in texts
    assert "an agent" not in json.dumps(own) and "solution" not in json.dumps(own)


def test_polls_and_events_are_counted(answered: Contact, itop: Itop, poll: Poll) -> None:
    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, labels) or 0.0

    itop_name = "Sandbox"
    polls = value("bridge_itop_polls_total", itop=itop_name, reason="")
    failed = value("bridge_itop_polls_total", itop=itop_name, reason="itop_unavailable")
    assert value("bridge_ticket_events_total", itop=itop_name, kind="resolved") >= 1
    poll()
    itop.faults.add("maintenance", count=1)
    poll()
    assert value("bridge_itop_polls_total", itop=itop_name, reason="") == polls + 1
    assert value("bridge_itop_polls_total", itop=itop_name, reason="itop_unavailable") == failed + 1
    assert b'bridge_itop_poll_age_seconds{itop="Sandbox"}' in metrics.exposition()
