"""Find any ticket in the scope of the workspace, by reference or title."""

from __future__ import annotations

import pytest
from django.test import Client

from intercom_bridge.intercom.client import conversation_url
from intercom_bridge.models import CachedAnswer, Conversation, Ticket, TicketLink, Workspace
from intercom_bridge.tickets.search import title_or_reference_condition
from sandbox.itop import Itop
from tests.teammate import Teammate, conversation, part


def find(teammate: Teammate, query: str) -> Teammate:
    teammate.open().click("Find a ticket")
    return teammate.send_click("find", {"Reference": query})


def titles(teammate: Teammate) -> list[str]:
    lists = [component["items"] for component in teammate.components if component["type"] == "list"]
    return [item["subtitle"] for items in lists for item in items]


def link_elsewhere(workspace: Workspace, object_id: int, *conversation_ids: str) -> Ticket:
    ticket, _new = Ticket.objects.get_or_create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=object_id, ref=f"R-{object_id:06d}"
    )
    for conversation_id in conversation_ids:
        TicketLink.objects.create(
            conversation=Conversation.objects.find_or_create(workspace, conversation_id), ticket=ticket
        )
    return ticket


# Matching


@pytest.mark.parametrize(
    "query", ["R-000008", "r-8", "8", "R8", "000008", " r-0008 ", "R-0000000008", "R - 8", "flick SCREEN"]
)
def test_a_ticket_is_found_by_its_reference_or_its_title(teammate: Teammate, query: str) -> None:
    find(teammate, query)
    assert titles(teammate) == ["Screen flickers"]
    assert "R-000008 · Assigned" in teammate.text


def test_tickets_that_are_closed_or_of_another_person_are_found(teammate: Teammate) -> None:
    assert titles(find(teammate, "month end")) == ["ERP slow at month end"]
    assert "R-000004 · Closed" in teammate.text
    assert titles(find(teammate, "toner")) == ["Printer (2nd floor) is out of toner"]


def test_a_number_is_searched_in_titles_too(teammate: Teammate) -> None:
    assert titles(find(teammate, "07")) == ["Printer (2nd floor) is out of toner", "Access to application 07"]


def test_a_reference_does_not_match_others_with_the_same_ending(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 8, ref="R-000108")
    assert titles(find(teammate, "8")) == titles(find(teammate, "R-8")) == []
    assert "no ticket in this workspace's scope has this reference" in teammate.text


@pytest.mark.parametrize("query", ["%", "_____", "100%", "flick_r", "\\", "'", "x' OR 1 = 1 OR '", "[down]("])
def test_query_syntax_in_the_search_text_is_escaped(teammate: Teammate, itop: Itop, query: str) -> None:
    expected = [ticket["title"] for ticket in itop.store.all("UserRequest") if query in ticket["title"]]
    assert titles(find(teammate, query)) == expected
    itop.store.update("UserRequest", 8, title=f"before {query} after")
    assert f"before {query} after" in titles(find(teammate, query))


def test_an_empty_search_makes_no_call(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    itop.calls.clear()
    teammate.click("Find a ticket").send_click("find", {"Reference": "   "})
    assert itop.calls == []
    assert titles(teammate) == [] and "No ticket" not in teammate.text


def test_custom_reference_formats_are_matched_literally() -> None:
    assert "'INC-000123'" in title_or_reference_condition("INC-123", title="title")
    assert "'%-000123'" in title_or_reference_condition("123", title="title")
    assert ".ref" not in title_or_reference_condition("no reference 12a", title="title")


# Pages


def test_each_page_of_ten_results_costs_one_call(teammate: Teammate, itop: Itop) -> None:
    find(teammate, "e")
    count = len([ticket for ticket in itop.store.all("UserRequest") if "e" in ticket["title"].casefold()])
    assert 10 < count <= 20
    first = titles(teammate)
    assert len(first) == 10 and "Page 1 of 2" in teammate.text
    itop.calls.clear()
    teammate.click("Next")
    assert itop.calls == [("core/get", "UserRequest")]
    second = titles(teammate)
    assert len(second) == count - 10 and not set(first) & set(second)
    assert "Page 2 of 2" in teammate.text and teammate.field("Reference")["value"] == "e"
    assert titles(teammate.click("Previous")) == first


def test_a_page_beyond_the_end_displays_the_last_page(teammate: Teammate) -> None:
    find(teammate, "e").send_click("find:7")
    assert "Page 2 of 2" in teammate.text


def test_back_from_a_ticket_returns_to_its_result_page(teammate: Teammate) -> None:
    find(teammate, "e").click("Next")
    found = titles(teammate)
    teammate.click(found[0]).click("Link to this conversation").click("Back").click("Back")
    assert titles(teammate) == found and "Page 2 of 2" in teammate.text
    assert "Create a ticket" in teammate.click("Back").text


def test_a_retry_after_an_error_repeats_the_search(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Find a ticket")
    itop.faults.add("error500", count=1)
    teammate.send_click("find", {"Reference": "flickers"})
    assert titles(teammate.click("Retry")) == ["Screen flickers"]


def test_an_unknown_subtitle_attribute_omits_the_subtitles_only(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.profile.subtitle_attribute = "no_such_thing"
    workspace.profile.save()
    assert "R-000008" in find(teammate, "flickers").text


# Scope

ACME = ["ERP slow at month end", "Screen flickers"]


@pytest.mark.parametrize(
    "scope",
    [
        "SELECT Organization WHERE name LIKE 'Acme%'",
        "SELECT Organization AS o WHERE o.id = 4 AND o.status = 'active'",
        "SELECT Organization WHERE id = :current_contact->org_id",
        "SELECT Organization WHERE name = 'x' UNION SELECT Organization WHERE code = 'ACME'",
        "SELECT Person WHERE org_id = 4 AND status = 'active'",
        "SELECT Contact WHERE name IN ('Martin', 'Durand')",
        "SELECT User WHERE login = 'alice.martin'",
        "SELECT UserLocal AS u JOIN Person AS p ON u.contactid = p.id WHERE p.org_id = 4",
        "SELECT CustomerContract WHERE org_id = :current_contact->org_id",
    ],
)
def test_the_scope_is_part_of_the_search_query(
    teammate: Teammate, workspace: Workspace, itop: Itop, scope: str
) -> None:
    workspace.scope = scope
    workspace.full_clean()
    workspace.save()
    teammate.open().click("Find a ticket")
    itop.calls.clear()
    teammate.send_click("find", {"Reference": "s"})
    assert [call for call in itop.calls if call == ("core/get", "UserRequest")] == [
        ("core/get", "UserRequest")
    ]
    assert set(ACME) <= set(titles(teammate))
    assert not {"Slow Wi-Fi", "Projector __blurred__"} & set(titles(teammate))


@pytest.mark.parametrize(
    "scope",
    [
        # Only the data model says which class has the attribute `code`.
        "SELECT Organization AS o JOIN Person AS p ON p.org_id = o.id WHERE code = 'ACME'",
        "SELECT Organization AS o WHERE o.id IN (SELECT Organization AS p WHERE p.code = 'ACME')",
    ],
)
def test_a_scope_that_cannot_be_joined_is_checked_per_ticket(
    teammate: Teammate, workspace: Workspace, scope: str
) -> None:
    workspace.scope = scope
    workspace.save()
    found = titles(find(teammate, "s"))
    while teammate.offers("Next"):
        found += titles(teammate.click("Next"))
    assert set(ACME) <= set(found)
    assert not {"Slow Wi-Fi", "Projector __blurred__"} & set(found)


def test_the_scope_is_checked_again_when_a_ticket_is_opened(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    find(teammate, "flickers")
    itop.store.update("UserRequest", 8, org_id=5)
    teammate.click("R-000008")
    assert "outside the part of iTop" in teammate.text


def test_nothing_is_found_for_a_person_outside_the_scope(teammate: Teammate, workspace: Workspace) -> None:
    workspace.scope = "SELECT Organization WHERE id = 5"
    workspace.save()
    teammate.open()
    teammate.canvas = {"content": {"components": []}, "stored_data": {"words": "flickers"}}
    assert "outside the part of iTop" in teammate.send_click("find:1").text


# Several conversations


def test_a_ticket_linked_elsewhere_displays_the_number_of_conversations(
    teammate: Teammate, workspace: Workspace
) -> None:
    link_elsewhere(workspace, 8, "111", "222")
    assert "Linked to 2 other conversations" in find(teammate, "flickers").text
    teammate.open().click("open tickets")
    assert "Linked to 2 other conversations" in teammate.text


def test_linking_a_ticket_that_is_linked_elsewhere_asks_with_links(
    teammate: Teammate, workspace: Workspace
) -> None:
    link_elsewhere(workspace, 8, "111", "222")
    find(teammate, "flickers").click("R-000008").click("Link to this conversation")
    assert "already linked to 2 other conversations" in teammate.text
    url = conversation_url("US", "abcd1234", "111")
    assert f"[111]({url})" in teammate.text and "[222](" in teammate.text
    assert TicketLink.objects.count() == 2


def test_a_ticket_linked_elsewhere_asks_even_with_nothing_to_copy(
    teammate: Teammate, workspace: Workspace
) -> None:
    link_elsewhere(workspace, 8, "111")
    bot = {"type": "bot", "id": "1", "name": "Fin", "email": "fin@intercom.io"}
    teammate.conversation = conversation(part(101, "<p>I am a bot</p>", bot))
    teammate.conversation["source"]["author"] = bot
    find(teammate, "flickers").click("R-000008").click("Link to this conversation")
    assert "already linked to 1 other conversation" in teammate.text
    assert [component["label"] for component in teammate.components if component["type"] == "button"] == [
        "Link without earlier messages",
        "Back",
    ]
    assert "linked" in teammate.click("Link without earlier messages").text


def test_a_conversation_may_have_several_tickets(teammate: Teammate) -> None:
    for query in ("flickers", "toner"):
        find(teammate, query).click(query).click("Link to this conversation").click(
            "Link without earlier messages"
        )
    teammate.open().send_click("linked:1")
    assert sorted(titles(teammate)) == ["Printer (2nd floor) is out of toner", "Screen flickers"]


# Input


@pytest.mark.parametrize(
    "stored", [{"words": 5}, {"words": ["x"]}, {"words": "\x00\ud800"}, {"back": "find"}]
)
def test_invalid_stored_search_text_causes_no_error(teammate: Teammate, stored: dict[str, object]) -> None:
    teammate.open()
    teammate.canvas = {"content": {"components": []}, "stored_data": stored}
    for component_id in ("find:1", "find", "find:x", "find:99999999"):
        teammate.send_click(component_id)
        assert "Find a ticket" in teammate.text and "our mistake" not in teammate.text


def test_a_very_long_search_text_is_truncated(teammate: Teammate) -> None:
    find(teammate, "x " * 5000)
    assert "Find a ticket" in teammate.text and len(teammate.field("Reference")["value"]) <= 100
    assert CachedAnswer.objects.filter(question__contains="LIKE").count() == 0


def test_searches_of_two_teammates_are_independent(client: Client, workspace: Workspace) -> None:
    first, second = Teammate(client), Teammate(client)
    find(first, "flickers")
    find(second, "toner")
    assert titles(first.click("R-000008").click("Back")) == ["Screen flickers"]
