"""The conversation attributes “iTop ticket” and “iTop status”, in the Intercom of the sandbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils import timezone

from intercom_bridge.doctor import intercom as doctor
from intercom_bridge.doctor.finding import Level
from intercom_bridge.events.attributes import STATUS, TICKET, known_names, outdated_workspaces
from intercom_bridge.intercom.client import IntercomClient
from intercom_bridge.models import Conversation, EventRules, Ticket, TicketLink, TicketSnapshot, Workspace
from intercom_bridge.models.lease import take_lease
from itop_client import Deadline
from sandbox.intercom import Intercom

from ..doctor.findings import about

Work = Callable[[], None]


@pytest.fixture
def snapshot(link: TicketLink, intercom: Intercom) -> TicketSnapshot:
    """Return what was last read of Alice's ticket. It is not polled."""
    create(intercom)
    return TicketSnapshot.objects.create(ticket=link.ticket, status="assigned", poll_at=None)


def create(intercom: Intercom) -> None:
    for name in (TICKET, STATUS):
        intercom.store.add_attribute(name)


def shown(intercom: Intercom) -> dict[str, Any]:
    return dict(intercom.conversation_of("Alice Martin").custom_attributes)


def puts(intercom: Intercom) -> int:
    return sum(method == "PUT" for method, _ in intercom.calls)


def archive(intercom: Intercom, name: str) -> None:
    for attribute in intercom.store.attributes():
        if attribute.name == name:
            intercom.store.archive_attribute(attribute.id)


def test_a_linked_conversation_shows_the_ticket_and_its_status(
    snapshot: TicketSnapshot, intercom: Intercom, work: Work
) -> None:
    work()
    assert shown(intercom) == {TICKET: "R-000012", STATUS: "Assigned"}
    TicketSnapshot.objects.update(status="resolved")
    work()
    assert shown(intercom) == {TICKET: "R-000012", STATUS: "Resolved"}
    work()
    assert puts(intercom) == 2


def test_the_status_is_in_the_workspaces_language(
    snapshot: TicketSnapshot, intercom: Intercom, workspace: Workspace, work: Work
) -> None:
    Workspace.objects.update(language="de")
    work()
    assert shown(intercom)[STATUS] == "Zugewiesen"


def test_a_ticket_that_was_not_read_yet_is_not_shown(link: TicketLink, workspace: Workspace) -> None:
    TicketSnapshot.objects.create(ticket=link.ticket)
    assert not outdated_workspaces().exists()


def test_the_ticket_that_was_linked_last_is_shown_until_none_is(
    snapshot: TicketSnapshot, link: TicketLink, intercom: Intercom, work: Work
) -> None:
    newer = Ticket.objects.create(
        itop=link.ticket.itop, ticket_class="UserRequest", object_id=13, ref="R-000013"
    )
    newest = TicketLink.objects.create(conversation=link.conversation, ticket=newer)
    TicketSnapshot.objects.create(ticket=newer, status="new", poll_at=None)
    work()
    assert shown(intercom) == {TICKET: "R-000013", STATUS: "New"}
    newest.delete()
    work()
    assert shown(intercom)[TICKET] == "R-000012"
    link.delete()
    work()
    assert shown(intercom) == {TICKET: None, STATUS: None}


def test_only_attributes_that_exist_once_are_updated(
    snapshot: TicketSnapshot, intercom: Intercom, work: Work
) -> None:
    archive(intercom, TICKET)
    intercom.store.add_attribute(STATUS)
    work()
    assert puts(intercom) == 0
    archive(intercom, STATUS)
    intercom.store.add_attribute(STATUS)
    cache.clear()
    work()
    assert shown(intercom) == {STATUS: "Assigned"}


def test_attributes_that_are_switched_off_are_left_alone(
    snapshot: TicketSnapshot, intercom: Intercom, workspace: Workspace, work: Work
) -> None:
    EventRules.objects.create(workspace=workspace, updates_attributes=False)
    work()
    assert puts(intercom) == 0


def test_an_attribute_that_was_archived_meanwhile_does_not_stop_the_other(
    snapshot: TicketSnapshot, intercom: Intercom, work: Work
) -> None:
    work()
    archive(intercom, TICKET)
    TicketSnapshot.objects.update(status="closed")
    work()
    work()
    assert shown(intercom)[STATUS] == "Closed"


def test_a_value_that_is_no_option_of_a_list_is_not_repeated(
    snapshot: TicketSnapshot, intercom: Intercom, work: Work
) -> None:
    archive(intercom, STATUS)
    intercom.store.add_attribute(STATUS, data_type="list", options=("Resolved",))
    work()
    work()
    assert puts(intercom) == 1
    TicketSnapshot.objects.update(status="resolved")
    work()
    assert shown(intercom)[STATUS] == "Resolved"


@pytest.mark.parametrize("fault", [{"kind": "error"}, {"kind": "drop_after"}, {"kind": "rate_limited"}])
def test_what_failed_is_updated_later(
    snapshot: TicketSnapshot, intercom: Intercom, work: Work, fault: dict[str, Any]
) -> None:
    intercom.faults.add(**fault, path="/conversations/", count=1)
    work()
    assert outdated_workspaces().exists()
    intercom.limit_rate(0)
    work()
    assert shown(intercom) == {TICKET: "R-000012", STATUS: "Assigned"}
    assert not outdated_workspaces().exists()


def test_a_deleted_conversation_is_not_tried_again(
    snapshot: TicketSnapshot, intercom: Intercom, work: Work
) -> None:
    intercom.delete(intercom.conversation_of("Alice Martin").id)
    work()
    work()
    assert puts(intercom) == 1


def test_a_conversation_that_another_worker_updates_is_left_to_it(
    snapshot: TicketSnapshot, link: TicketLink, intercom: Intercom, work: Work
) -> None:
    claimed = Conversation.objects.filter(pk=link.conversation_id)
    claimed.update(attributes_claimed_until=timezone.now() + dt.timedelta(minutes=1))
    work()
    assert puts(intercom) == 0
    claimed.update(attributes_claimed_until=timezone.now() - dt.timedelta(seconds=1))
    work()
    assert puts(intercom) == 1
    assert claimed.get().attributes_claimed_until is None


def test_neither_an_update_nor_a_creation_waits_for_the_other(
    snapshot: TicketSnapshot,
    link: TicketLink,
    intercom: Intercom,
    monkeypatch: pytest.MonkeyPatch,
    work: Work,
) -> None:
    creation = take_lease(link.conversation, 60)
    assert creation is not None
    work()
    assert puts(intercom) == 1
    creation.release()
    taken = []

    def create_meanwhile(*_: object, **__: object) -> None:
        taken.append(take_lease(link.conversation, 60))

    monkeypatch.setattr(IntercomClient, "set_attributes", create_meanwhile)
    TicketSnapshot.objects.update(status="closed")
    work()
    assert [lease is not None for lease in taken] == [True]


# Creation


def test_missing_attributes_are_created_once(
    link: TicketLink, intercom: Intercom, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    intercom.store.add_attribute(STATUS)
    call_command("create_attributes", workspace=workspace.workspace_id)
    assert capsys.readouterr().out == "Created: iTop ticket.\n"
    call_command("create_attributes", workspace=workspace.workspace_id)
    assert capsys.readouterr().out == "Both exist already.\n"
    names = [one.name for one in intercom.store.attributes() if not one.archived]
    assert sorted(names) == [STATUS, TICKET]


def test_a_refused_creation_says_what_else_to_do(
    link: TicketLink, intercom: Intercom, workspace: Workspace
) -> None:
    intercom.token = "another"
    with pytest.raises(CommandError, match="create the attributes in Intercom"):
        call_command("create_attributes", workspace=workspace.workspace_id)
    with pytest.raises(CommandError, match="Existing: abcd1234"):
        call_command("create_attributes", workspace="unknown")


def test_attributes_are_updated_while_redis_cannot_be_reached(
    link: TicketLink, intercom: Intercom, workspace: Workspace, settings: Any
) -> None:
    create(intercom)
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1",
        }
    }
    assert known_names(workspace) == {TICKET, STATUS}


# The doctor


def test_the_doctor_says_which_attribute_is_missing_or_there_twice(
    link: TicketLink, intercom: Intercom, workspace: Workspace
) -> None:
    def finding() -> Any:
        return about(list(doctor.examine(workspace, Deadline(inf))), "workspace.attributes")

    create(intercom)
    assert finding().level is Level.OK
    archive(intercom, TICKET)
    assert finding().level is Level.OK
    assert "no attribute “iTop ticket”" in finding().found
    assert "create_attributes" in finding().found
    intercom.store.add_attribute(TICKET)
    intercom.store.add_attribute(TICKET)
    assert "several conversation attributes named “iTop ticket”" in finding().found
    EventRules.objects.create(workspace=workspace, updates_attributes=False)
    checks = [found.about for found in doctor.examine(workspace, Deadline(inf))]
    assert "workspace.attributes" not in checks
