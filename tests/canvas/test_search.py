"""Find a ticket: any that the workspace serves, by reference or by words of its title."""

from __future__ import annotations

import pytest
from django.test import Client

from intercom_bridge.desk.search import matching
from intercom_bridge.intercom.api import conversation_url
from intercom_bridge.models import Conversation, ItopAnswer, Ticket, TicketLink, Workspace
from sandbox.itop import Itop
from tests.teammate import Teammate, conversation, part


def find(teammate: Teammate, words: str) -> Teammate:
    teammate.open().click("Find a ticket")
    return teammate.send_click("find", {"Reference": words})


def titles(teammate: Teammate) -> list[str]:
    lists = [one["items"] for one in teammate.components if one["type"] == "list"]
    return [item["subtitle"] for items in lists for item in items]


def link_elsewhere(workspace: Workspace, object_id: int, *conversation_ids: str) -> Ticket:
    ticket, _new = Ticket.objects.get_or_create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=object_id, ref=f"R-{object_id:06d}"
    )
    for one in conversation_ids:
        TicketLink.objects.create(conversation=Conversation.objects.known(workspace, one), ticket=ticket)
    return ticket


# What is found


@pytest.mark.parametrize(
    "words", ["R-000008", "r-8", "8", "R8", "000008", " r-0008 ", "R-0000000008", "R - 8", "flick SCREEN"]
)
def test_a_ticket_is_found_by_its_reference_or_by_words_of_its_title(teammate: Teammate, words: str) -> None:
    find(teammate, words)
    assert titles(teammate) == ["Screen flickers"]
    assert "R-000008 · Assigned" in teammate.text


def test_also_those_that_are_closed_or_of_somebody_else_are_found(teammate: Teammate) -> None:
    assert titles(find(teammate, "month end")) == ["ERP slow at month end"]
    assert "R-000004 · Closed" in teammate.text
    assert titles(find(teammate, "toner")) == ["Printer (2nd floor) is out of toner"]


def test_a_number_is_looked_for_in_titles_too(teammate: Teammate) -> None:
    assert titles(find(teammate, "07")) == ["Access to application 07", "Printer (2nd floor) is out of toner"]


def test_a_reference_finds_no_other_that_ends_like_it(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 8, ref="R-000108")
    assert titles(find(teammate, "8")) == titles(find(teammate, "R-8")) == []
    assert "No ticket that this workspace serves has this reference" in teammate.text


@pytest.mark.parametrize("words", ["%", "_____", "100%", "flick_r", "\\", "'", "x' OR 1 = 1 OR '", "[down]("])
def test_what_means_something_in_a_query_means_itself(teammate: Teammate, itop: Itop, words: str) -> None:
    expected = [one["title"] for one in itop.store.all("UserRequest") if words in one["title"]]
    assert titles(find(teammate, words)) == expected
    itop.store.update("UserRequest", 8, title=f"before {words} after")
    assert f"before {words} after" in titles(find(teammate, words))


def test_without_words_nothing_is_asked(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    itop.calls.clear()
    teammate.click("Find a ticket").send_click("find", {"Reference": "   "})
    assert itop.calls == []
    assert titles(teammate) == [] and "No ticket" not in teammate.text


def test_references_of_other_classes_and_customers_are_matched_as_they_are_written() -> None:
    assert "'INC-000123'" in matching("INC-123", title="title")
    assert "'%-000123'" in matching("123", title="title")
    assert ".ref" not in matching("no reference 12a", title="title")


# Pages


def test_pages_of_ten_cost_one_call_each_and_lead_on_and_back(teammate: Teammate, itop: Itop) -> None:
    find(teammate, "e")
    count = len([one for one in itop.store.all("UserRequest") if "e" in one["title"].casefold()])
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


def test_a_page_that_is_no_longer_there_shows_the_last(teammate: Teammate) -> None:
    find(teammate, "e").send_click("find:7")
    assert "Page 2 of 2" in teammate.text


def test_back_from_a_ticket_leads_to_the_page_it_was_found_on(teammate: Teammate) -> None:
    find(teammate, "e").click("Next")
    shown = titles(teammate)
    teammate.click(shown[0]).click("Link to this conversation").click("Back").click("Back")
    assert titles(teammate) == shown and "Page 2 of 2" in teammate.text
    assert "Create a ticket" in teammate.click("Back").text


def test_a_retry_after_trouble_searches_for_the_same_words(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Find a ticket")
    itop.faults.add("error500", count=1)
    teammate.send_click("find", {"Reference": "flickers"})
    assert titles(teammate.click("Retry")) == ["Screen flickers"]


def test_a_subtitle_that_itop_does_not_have_costs_the_subtitles_only(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.profile.subtitle_attribute = "no_such_thing"
    workspace.profile.save()
    assert "R-000008" in find(teammate, "flickers").text


# What is not served is not found

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
def test_the_scope_is_part_of_the_question(
    teammate: Teammate, workspace: Workspace, itop: Itop, scope: str
) -> None:
    workspace.scope = scope
    workspace.full_clean()
    workspace.save()
    teammate.open().click("Find a ticket")
    itop.calls.clear()
    teammate.send_click("find", {"Reference": "s"})
    assert [one for one in itop.calls if one == ("core/get", "UserRequest")] == [("core/get", "UserRequest")]
    assert set(ACME) <= set(titles(teammate))
    assert not {"Slow Wi-Fi", "Projector __blurred__"} & set(titles(teammate))


@pytest.mark.parametrize(
    "scope",
    [
        # Whose attribute `code` is, only the data model knows.
        "SELECT Organization AS o JOIN Person AS p ON p.org_id = o.id WHERE code = 'ACME'",
        "SELECT Organization AS o WHERE o.id IN (SELECT Organization AS p WHERE p.code = 'ACME')",
    ],
)
def test_a_scope_that_cannot_stand_within_the_question_is_asked_about_each_ticket(
    teammate: Teammate, workspace: Workspace, scope: str
) -> None:
    workspace.scope = scope
    workspace.save()
    shown = titles(find(teammate, "s"))
    while teammate.offers("Next"):
        shown += titles(teammate.click("Next"))
    assert set(ACME) <= set(shown)
    assert not {"Slow Wi-Fi", "Projector __blurred__"} & set(shown)


def test_the_scope_is_asked_about_again_when_a_ticket_is_opened(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    find(teammate, "flickers")
    itop.store.update("UserRequest", 8, org_id=5)
    teammate.click("R-000008")
    assert "outside the part of iTop" in teammate.text


def test_nothing_is_found_for_a_person_who_is_not_served(teammate: Teammate, workspace: Workspace) -> None:
    workspace.scope = "SELECT Organization WHERE id = 5"
    workspace.save()
    teammate.open()
    teammate.canvas = {"content": {"components": []}, "stored_data": {"words": "flickers"}}
    assert "outside the part of iTop" in teammate.send_click("find:1").text


# Several conversations


def test_a_ticket_that_other_conversations_have_says_so_and_how_many(
    teammate: Teammate, workspace: Workspace
) -> None:
    link_elsewhere(workspace, 8, "111", "222")
    assert "Linked to 2 other conversations" in find(teammate, "flickers").text
    teammate.open().click("ongoing tickets")
    assert "Linked to 2 other conversations" in teammate.text


def test_linking_such_a_ticket_says_so_before_with_links_to_them(
    teammate: Teammate, workspace: Workspace
) -> None:
    link_elsewhere(workspace, 8, "111", "222")
    find(teammate, "flickers").click("R-000008").click("Link to this conversation")
    assert "already linked to 2 other conversations" in teammate.text
    url = conversation_url("US", "abcd1234", "111")
    assert f"[111]({url})" in teammate.text and "[222](" in teammate.text
    assert TicketLink.objects.count() == 2


def test_such_a_ticket_asks_even_where_there_is_nothing_to_copy(
    teammate: Teammate, workspace: Workspace
) -> None:
    link_elsewhere(workspace, 8, "111")
    bot = {"type": "bot", "id": "1", "name": "Fin", "email": "fin@intercom.io"}
    teammate.conversation = conversation(part(101, "<p>I am a bot</p>", bot))
    teammate.conversation["source"]["author"] = bot
    find(teammate, "flickers").click("R-000008").click("Link to this conversation")
    assert "already linked to 1 other conversation" in teammate.text
    assert [one["label"] for one in teammate.components if one["type"] == "button"] == [
        "Link from now on",
        "Back",
    ]
    assert "is linked" in teammate.click("Link from now on").text


def test_a_conversation_may_have_several_tickets(teammate: Teammate) -> None:
    for words in ("flickers", "toner"):
        find(teammate, words).click(words).click("Link to this conversation").click("Link from now on")
    teammate.open().click("2 linked tickets")
    assert sorted(titles(teammate)) == ["Printer (2nd floor) is out of toner", "Screen flickers"]


# Input


@pytest.mark.parametrize(
    "stored", [{"words": 5}, {"words": ["x"]}, {"words": "\x00\ud800"}, {"back": "find"}]
)
def test_strange_words_are_no_trouble(teammate: Teammate, stored: dict[str, object]) -> None:
    teammate.open()
    teammate.canvas = {"content": {"components": []}, "stored_data": stored}
    for component_id in ("find:1", "find", "find:x", "find:99999999"):
        teammate.send_click(component_id)
        assert "Find a ticket" in teammate.text and "our mistake" not in teammate.text


def test_very_long_words_are_cut(teammate: Teammate) -> None:
    find(teammate, "x " * 5000)
    assert "Find a ticket" in teammate.text and len(teammate.field("Reference")["value"]) <= 100
    assert ItopAnswer.objects.filter(question__contains="LIKE").count() == 0


def test_another_teammates_search_is_another(client: Client, workspace: Workspace) -> None:
    one, two = Teammate(client), Teammate(client)
    find(one, "flickers")
    find(two, "toner")
    assert titles(one.click("R-000008").click("Back")) == ["Screen flickers"]
