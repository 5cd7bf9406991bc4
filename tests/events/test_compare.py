"""What is different between a ticket and its snapshot, and what kind of change it is."""

from __future__ import annotations

from typing import Any

import pytest

from intercom_bridge.events.compare import Difference, EventAuthor, attribute_codes, compare, entry_change
from intercom_bridge.models import ItopInstance, Ticket, TicketProfile, TicketSnapshot
from itop_client import ItopObject

PROFILE = TicketProfile()
AT = "2026-11-27 23:25:34"


def entry(text: str, *, date: str = AT, user_id: int = 11, name: str = "Jules Verne") -> dict[str, str]:
    return {
        "date": date,
        "user_login": name,
        "user_id": str(user_id),
        "message": text,
        "message_html": f"<p>{text}</p>",
    }


def found(*entries: dict[str, str], **fields: Any) -> ItopObject:
    values = {
        "status": "assigned",
        "last_update": AT,
        "agent_id": "9",
        "agent_id_friendlyname": "Jules Verne",
        "team_id": "37",
        "team_id_friendlyname": "Helpdesk",
        "caller_id": "40",
        "solution": "",
        "pending_reason": "",
        "public_log": {"entries": list(entries)},
    }
    return ItopObject("UserRequest", 13, values | fields)


def unread() -> TicketSnapshot:
    return TicketSnapshot(ticket=Ticket(itop=ItopInstance(time_zone="Europe/Paris")))


def snapshot_of(ticket: ItopObject) -> TicketSnapshot:
    snapshot = unread()
    store(snapshot, difference(snapshot, ticket))
    return snapshot


def difference(
    snapshot: TicketSnapshot, ticket: ItopObject, profile: TicketProfile = PROFILE, *, private: bool = False
) -> Difference:
    return compare(snapshot, ticket, profile, attribute_codes(profile, private=private))


def store(snapshot: TicketSnapshot, result: Difference) -> Difference:
    for name, value in result.new_values.items():
        setattr(snapshot, name, value)
    return result


def texts(result: Difference) -> list[str]:
    return [new.entry.message for new in result.entries]


def test_what_was_never_read_is_no_change() -> None:
    result = difference(unread(), found(entry("old")))
    assert (result.entries, result.changes) == ([], [])
    assert result.new_values["status"] == "assigned"


def test_an_unchanged_ticket_has_no_difference() -> None:
    ticket = found(entry("old"))
    assert difference(snapshot_of(ticket), ticket) == Difference()


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("new", "assigned", "status"),
        ("assigned", "escalated_ttr", "status"),
        ("waiting_for_approval", "rejected", "status"),
        ("assigned", "pending", "pending"),
        ("pending", "assigned", "status"),
        ("assigned", "resolved", "resolved"),
        ("resolved", "closed", "closed"),
        ("resolved", "assigned", "reopened"),
        ("closed", "assigned", "reopened"),
        ("rejected", "new", "reopened"),
    ],
)
def test_kinds_of_changes_of_status(before: str, after: str, kind: str) -> None:
    (change,) = difference(snapshot_of(found(status=before)), found(status=after)).changes
    assert (change.kind, change.before, change.after) == (kind, before, after)
    assert change.key == f"status:{AT}:{after}"
    assert change.happened_at is not None and change.happened_at.isoformat() == "2026-11-27T23:25:34+01:00"


def test_a_resolution_contains_the_solution_and_a_pending_ticket_the_reason() -> None:
    before = snapshot_of(found())
    (resolved,) = difference(before, found(status="resolved", solution="<p>Done</p>")).changes
    (pending,) = difference(before, found(status="pending", pending_reason="Spare part")).changes
    assert (resolved.content, pending.content) == ("<p>Done</p>", "Spare part")


def test_a_ticket_that_was_resolved_and_closed_since_the_last_poll_reports_its_solution() -> None:
    before = snapshot_of(found(solution="<p>First</p>"))
    resolved, closed = difference(before, found(status="closed", solution="<p>Second</p>")).changes
    assert (resolved.kind, resolved.before, resolved.after) == ("resolved", "assigned", "resolved")
    assert (resolved.content, resolved.key) == ("<p>Second</p>", f"status:{AT}:resolved")
    assert (closed.kind, closed.before, closed.after) == ("closed", "resolved", "closed")
    # A solution that is already known was reported.
    (reported,) = difference(before, found(status="closed", solution="<p>First</p>")).changes
    assert (reported.kind, reported.content) == ("closed", "")


def test_an_assignment_names_the_agent_and_the_team() -> None:
    other = found(agent_id="10", agent_id_friendlyname="Agatha Christie")
    (change,) = difference(snapshot_of(found()), other).changes
    assert (change.kind, change.before, change.after) == (
        "assignment",
        "Jules Verne (Helpdesk)",
        "Agatha Christie (Helpdesk)",
    )
    assert change.key == f"assignment:{AT}:10:37"


def test_assigning_a_new_ticket_is_one_change() -> None:
    new = found(status="new", agent_id="0", agent_id_friendlyname=" ", team_id="0", team_id_friendlyname="")
    (change,) = difference(snapshot_of(new), found()).changes
    assert (change.kind, change.before, change.after) == ("assignment", "", "Jules Verne (Helpdesk)")


def test_an_attribute_that_becomes_readable_is_no_change() -> None:
    """The account got a permission, or the data model an attribute."""
    snapshot = snapshot_of(found())
    snapshot.agent_id = snapshot.team_id = snapshot.status = ""
    assert difference(snapshot, found()).changes == []


def test_new_entries_come_with_their_positions() -> None:
    snapshot = snapshot_of(found(entry("one")))
    result = difference(snapshot, found(entry("one"), entry("two"), entry("three")))
    assert [(new.index, new.entry.message) for new in result.entries] == [(1, "two"), (2, "three")]
    store(snapshot, result)
    assert texts(difference(snapshot, found(entry("one"), entry("two"), entry("three")))) == []


def test_an_equal_entry_of_the_same_second_is_new() -> None:
    assert texts(difference(snapshot_of(found(entry("ok"))), found(entry("ok"), entry("ok")))) == ["ok"]


def test_another_rendering_of_known_entries_is_no_news() -> None:
    """An update of iTop may turn the same HTML into another text."""
    snapshot = snapshot_of(found(entry("**one**"), entry("two")))
    assert texts(store(snapshot, difference(snapshot, found(entry("one"), entry("two"))))) == []
    assert texts(difference(snapshot, found(entry("one"), entry("two"), entry("three")))) == ["three"]


def test_of_a_replaced_log_only_unknown_entries_are_new() -> None:
    old = [entry("one", date="2026-11-27 10:00:00"), entry("two", date="2026-11-27 11:00:00")]
    other = entry("other", date="2026-11-27 10:30:00")
    snapshot = snapshot_of(found(*old))
    result = store(snapshot, difference(snapshot, found(old[1], other)))
    assert [(new.entry.message, new.replaces) for new in result.entries] == [("other", True)]
    # The removed entry is restored.
    assert texts(difference(snapshot, found(*old, other))) == []


def test_an_emptied_log_that_comes_back_is_no_news() -> None:
    snapshot = snapshot_of(found(entry("one"), entry("two")))
    assert texts(store(snapshot, difference(snapshot, found()))) == []
    assert texts(difference(snapshot, found(entry("one"), entry("two")))) == []


@pytest.mark.parametrize("value", [None, "", []])
def test_a_log_that_cannot_be_read_is_not_an_empty_log(value: Any) -> None:
    snapshot = snapshot_of(found(entry("one")))
    assert difference(snapshot, found(public_log=value)) == Difference()


def test_private_entries_of_the_time_in_which_nobody_wanted_them_are_no_news() -> None:
    private = [entry("one"), entry("two"), entry("three")]
    snapshot = snapshot_of(found())
    store(snapshot, difference(snapshot, found(private_log={"entries": private[:1]}), private=True))
    store(snapshot, difference(snapshot, found(), private=False))
    result = store(snapshot, difference(snapshot, found(private_log={"entries": private[:2]}), private=True))
    assert texts(result) == []
    assert texts(difference(snapshot, found(private_log={"entries": private}), private=True)) == ["three"]


def test_a_profile_can_name_other_attributes() -> None:
    profile = TicketProfile(attributes_mapping={"public_log": "customer_log", "status": "state"})
    snapshot = snapshot_of(found(customer_log={"entries": []}))
    store(snapshot, difference(snapshot, found(customer_log={"entries": []}, state="new"), profile))
    result = difference(snapshot, found(customer_log={"entries": [entry("one")]}, state="resolved"), profile)
    assert [new.key.split(":")[0] for new in result.entries] == ["public_log"]
    assert result.entries[0].code == "customer_log"
    assert [change.kind for change in result.changes] == ["resolved"]


@pytest.mark.parametrize(
    ("log", "is_customer", "kind"),
    [
        ("public_log", False, "public_entry"),
        ("public_log", True, "customer_entry"),
        ("private_log", False, "private_entry"),
    ],
)
def test_kinds_of_entries(log: str, is_customer: bool, kind: str) -> None:
    snapshot = snapshot_of(found())
    store(snapshot, difference(snapshot, found(private_log={"entries": []}), private=True))
    (new,) = difference(snapshot, found(**{log: {"entries": [entry("one")]}}), private=True).entries
    author = EventAuthor(name="Jules Verne", is_customer=is_customer)
    change = entry_change(new, author, snapshot.ticket.itop.zone)
    assert (change.kind, change.content, change.author) == (kind, "<p>one</p>", author)
    assert change.happened_at is not None and change.happened_at.isoformat() == "2026-11-27T23:25:34+01:00"
