"""Match a contact to a person by its evidence and by the choice of a teammate, against the sandbox's iTop."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from intercom_bridge.models import ItopInstance, PersonMatch, TicketLink, Workspace
from intercom_bridge.panel.components import MAX_FIRST_SCREEN_HEIGHT, estimated_height
from intercom_bridge.panel.screens import person_picker as screen
from sandbox.itop import Itop
from sandbox.itop.seed import TOKEN
from tests.teammate import ALICE, Teammate

How = PersonMatch.How
PERSON, ORGANIZATION = ("core/get", "Person"), ("core/get", "Organization")
TICKETS = ("core/get", "UserRequest")
ZOE = ALICE | {
    "id": "6900000000000000000000ee",
    "role": "lead",
    "name": "Zoe",
    "email": "zoe@nowhere.example",
}
SHARED = ALICE | {"email": "reception@globex.example", "name": "Reception"}
# Alice and Bob belong to organization 4, which is in this scope. Globex is organization 5.
ACME = "SELECT Organization WHERE name LIKE 'Acme%'"


def stating(**attributes: Any) -> dict[str, Any]:
    return ALICE | {"custom_attributes": {"itop_contact_class": "Person"} | attributes}


def offered(teammate: Teammate) -> list[str]:
    """Return the people on the page, by name."""
    return [
        item["title"]
        for component in teammate.components
        for item in component.get("items", [])
        if item["id"].startswith("who:pick:")
    ]


def known_as(teammate: Teammate) -> str:
    """Return the person on the first screen, or "" without a match."""
    return str(teammate.components[0]["text"]) if teammate.offers("Create a ticket") else ""


def serve(workspace: Workspace, scope: str) -> None:
    workspace.scope = scope
    workspace.full_clean(exclude=["client_secret"])
    workspace.save()


# Automatic matching


@pytest.mark.parametrize(
    "email",
    [
        "alice.martin+support@acme.example",
        "alice.martin+a+b@acme.example",
        "Alice.Martin+Support@ACME.example",
        "ALICE.MARTIN@acme.example",
    ],
)
def test_a_tagged_address_matches_its_mailbox_in_one_call(teammate: Teammate, itop: Itop, email: str) -> None:
    teammate.contact = ALICE | {"email": email}
    teammate.open()
    assert "Alice Martin" in teammate.text and "matched by e-mail" in teammate.text
    assert itop.calls == [PERSON, TICKETS]


def test_an_exact_address_takes_precedence_over_its_mailbox(teammate: Teammate, itop: Itop) -> None:
    itop.store.insert(
        "Person", id=60, first_name="Al", name="Tagged", org_id=5, email="alice.martin+support@acme.example"
    )
    teammate.contact = ALICE | {"email": "alice.martin+support@acme.example"}
    assert known_as(teammate.open()) == "Al Tagged"


@pytest.mark.parametrize("email", ["+alice.martin@acme.example", '"alice.martin+x"@acme.example', "a+b"])
def test_an_address_that_only_resembles_a_tag_does_not_match(teammate: Teammate, email: str) -> None:
    teammate.contact = ALICE | {"email": email, "name": ""}
    assert "Not found in iTop" in teammate.open().text


def test_the_external_id_matches_the_configured_attribute(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    itop.store.update("Person", 41, employee_number="user-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    teammate.contact = ALICE | {"email": "somebody@nowhere.example"}
    teammate.open()
    assert "Bob Durand" in teammate.text and "matched by external ID" in teammate.text
    assert itop.calls == [PERSON, TICKETS]
    assert PersonMatch.objects.get().how == How.EXTERNAL_ID


def test_the_external_id_can_be_the_itop_id(teammate: Teammate, workspace: Workspace) -> None:
    workspace.external_id_attribute = "id"
    workspace.save()
    teammate.contact = ALICE | {"email": "", "external_id": "41"}
    assert known_as(teammate.open()) == "Bob Durand"
    teammate.contact = ALICE | {"external_id": "41 OR 1=1"}
    assert known_as(teammate.open()) == "Alice Martin"


def test_the_external_id_must_match_exactly(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    itop.store.update("Person", 41, employee_number="ÜSER-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    assert known_as(teammate.open()) == "Alice Martin"


def test_the_external_id_is_ignored_unless_configured(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ALICE | {"external_id": "41"}
    assert known_as(teammate.open()) == "Alice Martin"


def test_an_unknown_attribute_ignores_that_evidence_only(teammate: Teammate, workspace: Workspace) -> None:
    workspace.external_id_attribute = "no_such_thing"
    workspace.save()
    assert "Acme Corp · matched by e-mail" in teammate.open().text


def test_a_changed_external_id_attribute_invalidates_matches(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    teammate.open()
    itop.store.update("Person", 40, employee_number="user-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    assert "matched by external ID" in teammate.open().text


def test_consistent_evidence_finds_the_person_in_one_call(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    itop.store.update("Person", 40, employee_number="user-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    teammate.contact = stating(itop_contact_id=40)
    assert "matched by iTop ID" in teammate.open().text
    assert itop.calls == [PERSON, TICKETS]


def test_an_address_shared_by_two_people_is_resolved_by_the_id(teammate: Teammate) -> None:
    teammate.contact = SHARED | {"custom_attributes": {"itop_contact_id": "55"}}
    assert known_as(teammate.open()) == "Ben Twin"


def test_an_address_shared_by_two_people_matches_the_active_one(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("Person", 54, status="inactive")
    teammate.contact = SHARED
    assert known_as(teammate.open()) == "Ben Twin"


# Without a match


def test_contradictory_evidence_offers_its_candidates(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = stating(itop_contact_id="41")
    teammate.open()
    assert "belong to different people" in teammate.text
    assert sorted(offered(teammate)) == ["Alice Martin", "Bob Durand"]
    assert "Acme Corp · bob.durand@acme.example" in teammate.text
    assert itop.calls == [PERSON, PERSON]
    assert not PersonMatch.objects.exists()


def test_an_ambiguous_address_offers_its_candidates_with_one_more_call(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.contact = SHARED
    teammate.open()
    assert "Several people match" in teammate.text
    assert sorted(offered(teammate)) == ['Ann "Annie" Ärzte <b>', "Ben Twin"]
    assert itop.calls == [PERSON, PERSON]


def test_an_unknown_contact_offers_people_with_the_same_name(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"name": "Martin  ALICE"}
    teammate.open()
    assert "no person with the e-mail address zoe@nowhere.example" in teammate.text
    assert offered(teammate) == ["Alice Martin"]
    assert itop.calls == [PERSON, PERSON]


def test_a_lead_without_address_and_name_offers_a_search(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"email": None, "name": None}
    teammate.open()
    assert "no e-mail address" in teammate.text
    assert itop.calls == []
    teammate.click("Search", Search="durand")
    assert offered(teammate) == ["Bob Durand"]
    assert itop.calls == [PERSON]
    teammate.click("Bob Durand")
    assert "Acme Corp · chosen by Ada Reyes" in teammate.text and teammate.offers("Create a ticket")


def test_a_request_without_a_contact_is_reported(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = {}
    teammate.open()
    for component_id in ("home", "who", "who:pick:40"):
        teammate.send_click(component_id)
        assert "did not send the contact" in teammate.text
    assert not PersonMatch.objects.exists()


# The pick


def test_a_pick_is_stored_with_its_author_and_time(teammate: Teammate, itop: Itop, time_machine: Any) -> None:
    at = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)
    time_machine.move_to(at, tick=False)
    teammate.contact = SHARED
    teammate.open()
    itop.calls.clear()
    teammate.click("Ben Twin")
    assert "Ben Twin" in teammate.text and "chosen by Ada Reyes" in teammate.text
    assert itop.calls == [PERSON, TICKETS]
    match = PersonMatch.objects.get()
    assert (match.how, match.person_id, match.picked_by, match.picked_at) == (How.CHOSEN, 55, "Ada Reyes", at)
    itop.calls.clear()
    teammate.open()
    assert "chosen by Ada Reyes" in teammate.text
    assert itop.calls == []


def test_a_pick_does_not_expire_and_survives_an_address_change(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    picked_at = PersonMatch.objects.get().picked_at
    itop.store.update("Person", 55, name="Renamed")
    itop.calls.clear()
    teammate.contact = SHARED | {"email": ALICE["email"]}
    assert "chosen by Ada Reyes" in teammate.open().text
    assert itop.calls == []
    itop.calls.clear()
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=601))
    teammate.open()
    assert "Ben Renamed" in teammate.text and "chosen by Ada Reyes" in teammate.text
    assert itop.calls == [PERSON, TICKETS]
    assert PersonMatch.objects.get().picked_at == picked_at


def test_a_pick_applies_to_one_contact_in_one_workspace(teammate: Teammate) -> None:
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    teammate.contact = SHARED | {"id": "another"}
    assert "Several people match" in teammate.open().text


def test_a_pick_applies_to_one_itop(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    teammate.open().send_click("who:pick:41")
    assert "Bob Durand" in teammate.text
    workspace.itop = ItopInstance.objects.create(
        name="Another", url=f"{itop.url}/", token=TOKEN, time_zone="Europe/Paris"
    )
    workspace.save()
    assert "Acme Corp · matched by e-mail" in teammate.open().text
    assert PersonMatch.objects.get().itop == workspace.itop


@pytest.mark.parametrize("person_id", ["50", "99999", "0", "x", ""])
def test_people_outside_the_scope_or_unknown_cannot_be_picked(
    teammate: Teammate, workspace: Workspace, person_id: str
) -> None:
    serve(workspace, ACME)
    teammate.contact = ZOE
    teammate.open().send_click(f"who:pick:{person_id}")
    assert not teammate.offers("Create a ticket")
    assert "outside the scope" in teammate.text if person_id == "50" else "no longer exists" in teammate.text
    assert "Dana" not in teammate.text
    assert not PersonMatch.objects.exists()


def test_a_pick_of_a_deleted_person_leads_back_to_the_choice(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    time_machine.move_to(dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC))
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    itop.store.remove("Person", 55)
    time_machine.move_to(dt.datetime(2026, 11, 24, 9, 45, tzinfo=dt.UTC))
    teammate.open()
    assert "Ada Reyes chose Ben Twin on 24 Nov 2026 09:30" in teammate.text
    assert "this person no longer exists" in teammate.text
    assert offered(teammate) == ['Ann "Annie" Ärzte <b>']
    teammate.click("Annie")
    assert "chosen by Ada Reyes" in teammate.text
    assert PersonMatch.objects.get().person_id == 54


def test_a_pick_of_a_person_outside_the_scope_leads_back_to_the_choice(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    serve(workspace, ACME)
    teammate.open()
    assert "outside the scope of this workspace" in teammate.text
    assert "Ben Twin" not in teammate.text and offered(teammate) == []
    teammate.click("Search", Search="alice").click("Alice Martin")
    assert "chosen by Ada Reyes" in teammate.text


def test_an_automatic_match_never_replaces_a_concurrent_pick(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intercom_bridge.tickets.people import match

    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    # The state that a request read just before the pick.
    monkeypatch.setattr(match, "_stored_match", lambda *_: None)
    teammate.contact = SHARED | {"email": ALICE["email"]}
    teammate.open()
    assert (PersonMatch.objects.get().how, PersonMatch.objects.get().person_id) == (How.CHOSEN, 55)


# Not this person?


def test_not_this_person_clears_a_pick_after_a_confirmation(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41")
    assert "Bob Durand" in teammate.text
    teammate.click("Not this person?").click("Clear this match")
    assert "Alice Martin" in teammate.text and "matched by e-mail" in teammate.text
    assert PersonMatch.objects.get().how == How.EMAIL


def test_a_cleared_pick_without_another_match_leads_back_to_the_choice(teammate: Teammate) -> None:
    teammate.contact = ZOE
    teammate.open().send_click("who:pick:41").click("Not this person?").click("Clear this match")
    assert "Not found in iTop" in teammate.text
    assert not PersonMatch.objects.exists()


def test_an_unconfirmed_click_on_not_this_person_keeps_the_pick(teammate: Teammate, itop: Itop) -> None:
    teammate.open().send_click("who:pick:41")
    before = PersonMatch.objects.values().get()
    teammate.admin = {"type": "admin", "id": "2", "name": "Sam Boyd", "email": "sam@acme.example"}
    itop.faults.add("maintenance", count=1)
    teammate.click("Not this person?")
    assert PersonMatch.objects.values().get() == before
    teammate.click("Retry")
    assert (
        "Ada Reyes chose Bob Durand. This choice stays until someone chooses another person." in teammate.text
    )
    teammate.click("Search", Search="nobody")
    assert teammate.offers("Clear this match")
    teammate.click("Back")
    assert "Bob Durand" in teammate.text and "chosen by Ada Reyes" in teammate.text
    assert PersonMatch.objects.values().get() == before


def test_a_repeated_pick_keeps_its_first_author(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41")
    as_picked = PersonMatch.objects.values("person_id", "picked_by", "picked_at", "how", "evidence")
    before = as_picked.get()
    teammate.admin = {"type": "admin", "id": "2", "name": "Sam Boyd", "email": "sam@acme.example"}
    teammate.click("Not this person?").click("Search", Search="durand").click("Bob Durand")
    assert "chosen by Ada Reyes" in teammate.text
    assert as_picked.get() == before
    teammate.click("Not this person?").click("Search", Search="alice").click("Alice Martin")
    assert "chosen by Sam Boyd" in teammate.text


@pytest.mark.parametrize("how", ["picked once more", "looked again"])
def test_a_person_back_in_the_scope_is_recognized_immediately(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any, how: str
) -> None:
    at = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)
    time_machine.move_to(at)
    serve(workspace, ACME)
    teammate.open().send_click("who:pick:41")
    itop.store.update("Person", 41, org_id=5)
    time_machine.move_to(at + dt.timedelta(minutes=11))
    assert "outside the scope of this workspace" in teammate.open().text
    itop.store.update("Person", 41, org_id=4)
    time_machine.move_to(at + dt.timedelta(minutes=12))
    if how == "picked once more":
        teammate.click("Search", Search="durand").click("Bob Durand")
    else:
        teammate.click("Check again")
    assert "chosen by Ada Reyes" in teammate.text
    assert "chosen by Ada Reyes" in teammate.open().text


@pytest.mark.parametrize(
    ("verb", "message"), [("who:undo:41", "The match is cleared."), ("who:pick:41", "Your choice is stored.")]
)
def test_the_result_of_a_choice_is_displayed_while_itop_is_away(
    teammate: Teammate, itop: Itop, verb: str, message: str
) -> None:
    teammate.open()
    if "undo" in verb:
        teammate.send_click("who:pick:41")
    # The pick asks iTop for the person; the home screen that follows is what fails.
    itop.faults.add(
        "error500", operation="core/get", class_name="UserRequest" if "pick" in verb else "Person"
    )
    teammate.send_click(verb)
    assert message in teammate.text and "Nothing was changed" not in teammate.text
    itop.faults.clear()
    assert known_as(teammate.click("Retry")).startswith("Bob" if "pick" in verb else "Alice")


def test_an_outdated_undo_does_not_clear_a_newer_pick(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41").click("Not this person?")
    PersonMatch.objects.update(person_id=40)
    teammate.click("Clear this match")
    assert (PersonMatch.objects.get().person_id, PersonMatch.objects.get().how) == (40, How.CHOSEN)


def test_a_rejected_person_is_not_offered_after_an_empty_search(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"name": "Martin"}
    itop.store.insert("Person", id=60, first_name="Max", name="Martin", org_id=5, email="max@globex.example")
    teammate.open().click("Show all 2 candidates").click("Alice Martin").click("Not this person?")
    assert offered(teammate) == ["Max Martin"]
    teammate.click("Search", Search="bob").click("Search", Search="")
    assert offered(teammate) == ["Max Martin"]


def test_an_empty_list_of_candidates_suggests_a_search(teammate: Teammate) -> None:
    teammate.open().click("Not this person?")
    assert offered(teammate) == []
    assert "Search iTop for the person in this conversation." in teammate.text
    assert "Pick the person" not in teammate.text


def test_an_automatic_match_can_be_replaced_by_a_pick(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Not this person?")
    assert offered(teammate) == [] and not teammate.offers("Clear this match")
    teammate.click("Search", Search="Bob").click("Bob Durand")
    assert "chosen by Ada Reyes" in teammate.text
    assert known_as(teammate.open()) == "Bob Durand"


def test_leaving_the_choice_changes_nothing(teammate: Teammate) -> None:
    teammate.open().click("Not this person?").click("Back")
    assert "Acme Corp · matched by e-mail" in teammate.text
    assert PersonMatch.objects.get().how == How.EMAIL


def test_an_outdated_not_this_person_does_not_clear_a_newer_pick(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41").send_click("who:not:40")
    assert PersonMatch.objects.get().person_id == 41


def test_a_match_outside_the_scope_can_be_corrected(teammate: Teammate, workspace: Workspace) -> None:
    serve(workspace, "SELECT Organization WHERE id = 5")
    teammate.open().click("Not this person?")
    assert offered(teammate) == []
    teammate.click("Search", Search="twin").click("Ben Twin")
    assert "chosen by Ada Reyes" in teammate.text


# The search, and the scope


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("alice", ["Alice Martin"]),
        ("MARTIN ali", ["Alice Martin"]),
        ("durand@acme", ["Bob Durand"]),
        ("bob acme.example", ["Bob Durand"]),
        ("alice durand", []),
        ("D'Arcy", ["Chloé D'Arcy"]),
        ("%", []),
        ("a_ice", []),
        ("\\", []),
        ("' OR 1=1 OR '", []),
        ("otto", ["Otto Gone"]),
    ],
)
def test_the_search_matches_name_and_address_literally(
    teammate: Teammate, itop: Itop, query: str, names: list[str]
) -> None:
    teammate.contact = ZOE | {"name": ""}
    teammate.open()
    itop.calls.clear()
    teammate.click("Search", Search=query)
    assert offered(teammate) == names
    assert itop.calls == [PERSON]
    assert teammate.field("Search")["value"] == query
    assert ("No person in this workspace" in teammate.text) is (not names)


def test_an_empty_search_displays_the_candidates_again(teammate: Teammate) -> None:
    teammate.contact = ZOE | {"name": "Alice Martin"}
    teammate.open().click("Search", Search="bob")
    assert offered(teammate) == ["Bob Durand"]
    assert offered(teammate.click("Search", Search="")) == ["Alice Martin"]


def test_an_inactive_person_is_marked(teammate: Teammate) -> None:
    teammate.contact = ZOE
    assert "inactive" in teammate.open().click("Search", Search="otto").text


SCOPES = [
    ("SELECT Organization", 1, ["Alice Martin", "Max Martin"]),
    ("SELECT Organization WHERE name LIKE 'Acme%'", 1, ["Alice Martin"]),
    ("SELECT Organization AS o WHERE o.name = 'Acme Corp' OR name = 'Nobody'", 1, ["Alice Martin"]),
    ("SELECT Organization WHERE id = 4 UNION SELECT Organization WHERE id = 2", 1, ["Alice Martin"]),
    ("SELECT Person WHERE email LIKE '%@acme.example'", 1, ["Alice Martin"]),
    ("SELECT Person AS p JOIN Organization AS o ON p.org_id = o.id WHERE o.id = 4", 1, ["Alice Martin"]),
    ("SELECT Contact WHERE org_id = 4", 1, ["Alice Martin"]),
    ("SELECT User WHERE login LIKE 'alice%'", 1, ["Alice Martin"]),
    ("SELECT UserLocal AS u WHERE u.status = 'enabled'", 1, ["Alice Martin"]),
    # This scope cannot be joined, so each of the two people is checked separately.
    ("SELECT Organization WHERE id = 4 AND id = :current_contact->org_id", 3, ["Alice Martin"]),
    ("SELECT CustomerContract WHERE org_id = :current_contact->org_id AND id = 1", 3, ["Alice Martin"]),
    (
        "SELECT Organization AS o JOIN DeliveryModel AS d ON o.deliverymodel_id = d.id WHERE code = 'ACME'",
        3,
        ["Alice Martin"],
    ),
]


@pytest.mark.parametrize(("scope", "calls", "names"), SCOPES)
def test_only_people_in_the_scope_are_offered(
    teammate: Teammate, workspace: Workspace, itop: Itop, scope: str, calls: int, names: list[str]
) -> None:
    itop.store.insert("Person", id=60, first_name="Max", name="Martin", org_id=5, email="max@globex.example")
    itop.store.insert("Team", id=61, name="Martin's team", org_id=4)
    serve(workspace, scope)
    teammate.contact = ZOE | {"email": None, "name": None}
    teammate.open()
    itop.calls.clear()
    teammate.click("Search", Search="martin")
    assert offered(teammate) == names
    assert "There are more results" not in teammate.text
    assert len(itop.calls) == calls
    teammate.click("Alice Martin")
    assert "chosen by Ada Reyes" in teammate.text
    assert len(itop.calls) <= calls + 3


@pytest.mark.parametrize("scope", [scope for scope, _calls, names in SCOPES if len(names) == 1])
def test_people_outside_the_scope_are_never_offered(
    teammate: Teammate, workspace: Workspace, scope: str
) -> None:
    serve(workspace, scope)
    teammate.contact = SHARED
    teammate.open()
    assert "Several people match" in teammate.text
    assert "Ben Twin" not in teammate.text and "Globex" not in teammate.text
    teammate.send("/canvas-kit/submit", teammate.last_request | {"component_id": "who"} | forged([54, 55]))
    assert offered(teammate) == []
    teammate.send_click("who:pick:55")
    assert "outside the scope" in teammate.text


def forged(known: Any) -> dict[str, Any]:
    return {
        "current_canvas": {"content": {}, "stored_data": {"who": {"known": known, "then": "who:pick:55"}}}
    }


@pytest.mark.parametrize(
    "known", [[54, "55"], "54", {"a": 1}, ["x", None, [], -1, 2.5, True], [1] * 500, None]
)
def test_stored_candidates_are_validated(teammate: Teammate, known: Any) -> None:
    teammate.contact = ZOE | {"name": ""}
    teammate.open()
    teammate.send("/canvas-kit/submit", teammate.last_request | {"component_id": "who"} | forged(known))
    assert "Who is this?" in teammate.text
    assert len(teammate.canvas["stored_data"]["who"]["candidates"]) <= 50
    assert teammate.canvas["stored_data"]["who"]["then"] == "home"


# The height


@pytest.fixture
def many(itop: Itop) -> None:
    for number in range(15):
        itop.store.insert(
            "Person",
            id=100 + number,
            first_name="Reception",
            name=f"Desk {number:02d} of a house with a very long name indeed",
            org_id=5,
            email="reception@globex.example",
        )


@pytest.mark.parametrize("email", ["reception@globex.example", f"{'x' * 200}@nowhere.example"])
def test_the_choice_respects_the_height_limit_and_links_to_the_rest(
    teammate: Teammate, many: None, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    heights: list[int] = []
    original = screen.Canvas

    def measured(**parts: Any) -> Any:
        canvas = original(**parts)
        heights.append(estimated_height(canvas.components))
        return canvas

    monkeypatch.setattr(screen, "Canvas", measured)
    teammate.contact = SHARED | {"email": email}
    teammate.open()
    assert heights[-1] <= MAX_FIRST_SCREEN_HEIGHT
    assert not [component for component in teammate.components if component.get("style") == "primary"]
    assert len(offered(teammate)) < 10
    teammate.click("Show all 10 candidates")
    assert len(offered(teammate)) == 10
    assert "There are more results" in teammate.text
    teammate.click("Desk 05")
    assert "chosen by Ada Reyes" in teammate.text


def test_more_results_are_reported_if_the_first_ten_are_outside_the_scope(
    teammate: Teammate, workspace: Workspace, many: None, itop: Itop
) -> None:
    serve(workspace, "SELECT Organization WHERE id = 4 AND id = :current_contact->org_id")
    teammate.contact = ZOE
    teammate.open()
    itop.calls.clear()
    teammate.click("Search", Search="desk")
    assert offered(teammate) == []
    assert "No person in this workspace" not in teammate.text and "There are more results" in teammate.text
    # All ten belong to one organization.
    assert itop.calls == [PERSON, ORGANIZATION]


# In the middle of another action


@pytest.mark.parametrize("component_id", ["linked:1", "ongoing:1", "ticket:UserRequest:8", "create"])
def test_a_pick_continues_to_the_requested_screen(teammate: Teammate, component_id: str) -> None:
    teammate.open()
    wanted = teammate.send_click(component_id).text.replace("Alice Martin", "")
    teammate.contact = ZOE | {"name": "Alice Martin"}
    teammate.send_click(component_id)
    assert "Not found in iTop" in teammate.text
    teammate.click("Alice Martin")
    assert teammate.text.replace("Alice Martin", "") == wanted


def test_a_pick_after_a_search_continues_to_the_requested_screen(teammate: Teammate) -> None:
    teammate.contact = ZOE
    teammate.open().send_click("ongoing:1").click("Search", Search="alice").click("Alice Martin")
    assert "Open and resolved tickets of Alice Martin" in teammate.text


def test_the_input_survives_the_choice_and_is_not_submitted(teammate: Teammate, itop: Itop) -> None:
    before = len(itop.store.all("UserRequest"))
    teammate.open().click("Create a ticket")
    teammate.contact = ZOE
    teammate.click("Create ticket", Title="Typed already")
    assert "Not found in iTop" in teammate.text
    teammate.click("Search", Search="alice").click("Alice Martin")
    assert teammate.field("Title *")["value"] == "Typed already"
    assert len(itop.store.all("UserRequest")) == before
    teammate.click("Create ticket")
    assert "created" in teammate.text


def test_a_retry_after_an_error_continues_the_choice(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE
    teammate.open().send_click("ongoing:1")
    itop.faults.add("maintenance", count=1)
    teammate.click("Search", Search="alice")
    assert "iTop is not working correctly" in teammate.text
    teammate.click("Retry")
    assert offered(teammate) == ["Alice Martin"]
    itop.faults.add("maintenance", count=1)
    teammate.click("Alice Martin").click("Retry")
    assert "Open and resolved tickets of Alice Martin" in teammate.text


def test_an_error_while_listing_candidates_is_displayed(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"email": None}
    itop.faults.add("maintenance", count=1)
    teammate.open()
    assert "iTop is not working correctly" in teammate.text
    assert "Not found in iTop" in teammate.click("Retry").text


def test_the_input_survives_a_new_lookup(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket")
    teammate.contact = ZOE
    teammate.click("Create ticket", Title="Typed already")
    teammate.click("Check again").click("Search", Search="alice").click("Back")
    assert "Not found in iTop" in teammate.text
    teammate.contact = ALICE
    teammate.click("Check again")
    assert teammate.field("Title *")["value"] == "Typed already"


def test_a_new_lookup_finds_a_person_that_was_just_added(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE
    teammate.open()
    itop.store.insert("Person", id=60, first_name="Zoe", name="New", org_id=4, email=ZOE["email"])
    itop.calls.clear()
    assert "Not found in iTop" in teammate.open().text and itop.calls == []
    teammate.click("Check again")
    assert known_as(teammate) == "Zoe New" and "matched by e-mail" in teammate.text


def test_a_new_lookup_refreshes_the_candidates(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"name": "Alice Martin"}
    assert offered(teammate.open()) == ["Alice Martin"]
    itop.store.update("Person", 40, first_name="Renamed")
    assert offered(teammate.click("Check again")) == []


def test_a_pick_links_nothing(teammate: Teammate) -> None:
    teammate.contact = ZOE | {"name": "Alice Martin"}
    teammate.open().send_click("link:UserRequest:8:from-now-on").click("Alice Martin")
    assert teammate.offers("Create a ticket")
    assert not TicketLink.objects.exists()
