"""The texts of notes and replies."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from intercom_bridge.events.note import MAX_EVENTS, MAX_LENGTH, note_body, reply_body
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import EventKind, EventRules, TicketLink, TicketSnapshot

from .rows import event

CONSOLE = "/pages/UI.php?operation=details&amp;class=UserRequest&amp;id=12"
NOTES: dict[tuple[str, str, str, str, str], str] = {
    (EventKind.PUBLIC_ENTRY, "Jules", "", "", "<p>Try it</p>"): "Jules wrote in ticket R-000012:\n\nTry it",
    (EventKind.PUBLIC_ENTRY, "", "", "", "<p>x</p>"): "New public entry in ticket R-000012:\n\nx",
    (EventKind.CUSTOMER_ENTRY, "Alice", "", "", "<p>x</p>"): (
        "The customer Alice wrote in ticket R-000012 in iTop:\n\nx"
    ),
    (EventKind.CUSTOMER_ENTRY, "", "", "", "<p>x</p>"): "The customer wrote in ticket R-000012 in iTop:\n\nx",
    (EventKind.PRIVATE_ENTRY, "Jules", "", "", "<p>x</p>"): (
        "Jules wrote in the private log of ticket R-000012:\n\nx"
    ),
    (EventKind.PRIVATE_ENTRY, "", "", "", "<p>x</p>"): "New private entry in ticket R-000012:\n\nx",
    (EventKind.STATUS, "", "New", "Assigned", ""): (
        "The status of ticket R-000012 changed from New to Assigned."
    ),
    (EventKind.STATUS, "", "", "Assigned", ""): "The status of ticket R-000012 changed to Assigned.",
    (EventKind.ASSIGNMENT, "", "", "Jules (Helpdesk)", ""): (
        "Ticket R-000012 was assigned to Jules (Helpdesk)."
    ),
    (EventKind.ASSIGNMENT, "", "Jules", "", ""): "Ticket R-000012 was unassigned.",
    (
        EventKind.PENDING,
        "",
        "",
        "Pending",
        "waits < 3 days",
    ): "Ticket R-000012 was set to pending:\n\nwaits < 3 days",
    (EventKind.PENDING, "", "", "Pending", ""): "Ticket R-000012 was set to pending.",
    (EventKind.RESOLVED, "", "", "Resolved", "<p>Mailbox created</p>"): (
        "Ticket R-000012 was resolved:\n\nMailbox created"
    ),
    (EventKind.RESOLVED, "", "", "Resolved", ""): "Ticket R-000012 was resolved.",
    (EventKind.CLOSED, "", "", "Closed", ""): "Ticket R-000012 was closed.",
    (EventKind.REOPENED, "", "Resolved", "Assigned", ""): (
        "Ticket R-000012 was reopened. Its status changed to Assigned."
    ),
    (EventKind.GONE, "", "", "", ""): (
        "Ticket R-000012 was deleted in iTop, or the bridge's account is no longer allowed to see it. New messages "
        "are not copied to it."
    ),
}
REPLIES: dict[tuple[str, str, str, str], tuple[str, ...]] = {
    (EventKind.PUBLIC_ENTRY, "Jules", "", "<p>x</p>"): (
        "Jules replied to your ticket R-000012:\n\nx",
        "There is a reply to your ticket R-000012:\n\nx",
    ),
    (EventKind.STATUS, "Jules", "Assigned", ""): ("The status of your ticket R-000012 changed to Assigned.",)
    * 2,
    (EventKind.ASSIGNMENT, "Jules", "Jules", ""): (
        "Your ticket R-000012 was assigned to Jules.",
        "Your ticket R-000012 was assigned.",
    ),
    (EventKind.PENDING, "Jules", "Pending", "parts"): ("Your ticket R-000012 was put on hold:\n\nparts",) * 2,
    (EventKind.RESOLVED, "Jules", "Resolved", "<p>x</p>"): ("Your ticket R-000012 was resolved:\n\nx",) * 2,
    (EventKind.CLOSED, "Jules", "Closed", ""): ("Your ticket R-000012 was closed.",) * 2,
    (EventKind.REOPENED, "Jules", "Assigned", ""): ("Your ticket R-000012 was reopened.",) * 2,
}


@pytest.mark.parametrize("change", NOTES, ids=lambda change: change[0])
def test_a_note_says_what_happened(link: TicketLink, change: tuple[str, str, str, str, str]) -> None:
    kind, author, before, after, content = change
    row = event(link, kind, author_name=author, before=before, after=after, content=content)
    note = note_body([row], link.conversation)
    assert f'<a href="{link.ticket.itop.url}{CONSOLE}">R-000012</a>' in note
    assert to_text(note.replace(f' href="{link.ticket.itop.url}{CONSOLE}"', "")) == NOTES[change]


@pytest.mark.parametrize("change", REPLIES, ids=lambda change: change[0])
def test_a_reply_names_agents_only_if_the_rules_show_them(
    link: TicketLink, change: tuple[str, str, str, str]
) -> None:
    kind, author, after, content = change
    row = event(link, kind, author_name=author, before="New", after=after, content=content)
    for shows, expected in zip((True, False), REPLIES[change], strict=True):
        reply = reply_body([row], link.conversation, EventRules(shows_agent_names=shows))
        assert to_text(reply) == expected
        assert "UI.php" not in reply


def test_a_reply_that_hides_agents_names_hides_them_in_mentions_too(link: TicketLink) -> None:
    TicketSnapshot.objects.create(ticket=link.ticket, caller_id="40")
    mention = '<a data-role="object-mention" data-object-class="Person" data-object-id="{}" href="x">@{}</a>'
    content = (
        f"<p>{mention.format(40, 'Alice')}, {mention.format(7, 'Jules')} will call. "
        "[[Person:8|Marie]] knows. [[UserRequest:3|R-000003]]</p>"
    )
    row = event(link, EventKind.PUBLIC_ENTRY, content=content)
    hidden, shown = (
        to_text(reply_body([row], link.conversation, EventRules(shows_agent_names=shows)))
        for shows in (False, True)
    )
    assert hidden.endswith("@Alice, a colleague will call. a colleague knows. R-000003")
    assert shown.endswith("@Alice, @Jules will call. Marie knows. R-000003")
    assert "Jules" in note_body([row], link.conversation)


def test_names_are_escaped(link: TicketLink) -> None:
    row = event(link, EventKind.PUBLIC_ENTRY, author_name="<b>{x} & Co</b>", content="<p>x</p>")
    assert note_body([row], link.conversation).startswith("<p>&lt;b&gt;{x} &amp; Co&lt;/b&gt; wrote")


def test_the_language_is_the_workspaces(link: TicketLink) -> None:
    link.conversation.workspace.language = "de"
    row = event(link, EventKind.PUBLIC_ENTRY, content='<p><img src="https://x.example/a" alt="a.png"></p>')
    assert "[Bild: a.png]" in note_body([row], link.conversation)


def test_a_note_about_an_old_change_says_when_it_happened(link: TicketLink) -> None:
    link.conversation.workspace.time_zone = "Europe/Paris"
    then = dt.datetime(2026, 3, 1, 10, 30, tzinfo=dt.UTC)
    old = event(link, EventKind.CLOSED, happened_at=then)
    new = event(link, EventKind.CLOSED, happened_at=timezone.now() - dt.timedelta(hours=1))
    assert note_body([old], link.conversation).endswith(" was closed. (2026-03-01 11:30:00 CET)</p>")
    assert note_body([new], link.conversation).endswith(" was closed.</p>")


def test_a_very_long_note_leaves_out_contents_and_counts_what_it_does_not_name(link: TicketLink) -> None:
    rows = [
        event(link, EventKind.PUBLIC_ENTRY, author_name=f"A{number}", content=f"<p>{'word ' * 3000}</p>")
        for number in range(MAX_EVENTS + 2)
    ]
    note = note_body(rows, link.conversation)
    assert note.count(" wrote in ticket ") == MAX_EVENTS
    assert note.count("The rest of this text is in iTop.") == MAX_EVENTS - 3
    assert note.endswith("<p>Further changes: 2.</p>")
    assert len(note) < MAX_LENGTH + MAX_EVENTS * 300
