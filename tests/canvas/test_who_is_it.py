"""Who is it? Matching by what the contact says, and by what a teammate says, against the sandbox's iTop."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from intercom_bridge.canvas.components import FIRST_SCREEN_HEIGHT
from intercom_bridge.canvas.screens import who as screen
from intercom_bridge.models import ItopInstance, PersonMatch, TicketLink, Workspace
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
# Alice and Bob are of organization 4, whom this serves; Globex is 5.
ACME = "SELECT Organization WHERE name LIKE 'Acme%'"


def stating(**attributes: Any) -> dict[str, Any]:
    return ALICE | {"custom_attributes": {"itop_contact_class": "Person"} | attributes}


def offered(teammate: Teammate) -> list[str]:
    """The people on the page, by name."""
    return [
        item["title"]
        for one in teammate.components
        for item in one.get("items", [])
        if item["id"].startswith("who:pick:")
    ]


def known_as(teammate: Teammate) -> str:
    """Who it is by the first screen; "" when it does not know."""
    return str(teammate.components[0]["text"]) if teammate.offers("Create a ticket") else ""


def serve(workspace: Workspace, scope: str) -> None:
    workspace.scope = scope
    workspace.full_clean(exclude=["client_secret"])
    workspace.save()


# By what the contact says


@pytest.mark.parametrize(
    "email",
    [
        "alice.martin+support@acme.example",
        "alice.martin+a+b@acme.example",
        "Alice.Martin+Support@ACME.example",
        "ALICE.MARTIN@acme.example",
    ],
)
def test_an_address_with_a_tag_is_that_of_its_box_in_one_call(
    teammate: Teammate, itop: Itop, email: str
) -> None:
    teammate.contact = ALICE | {"email": email}
    teammate.open()
    assert "Alice Martin" in teammate.text and "found by e-mail" in teammate.text
    assert itop.calls == [PERSON, TICKETS]


def test_who_has_the_address_to_the_letter_comes_before_its_box(teammate: Teammate, itop: Itop) -> None:
    itop.store.insert(
        "Person", id=60, first_name="Al", name="Tagged", org_id=5, email="alice.martin+support@acme.example"
    )
    teammate.contact = ALICE | {"email": "alice.martin+support@acme.example"}
    assert known_as(teammate.open()) == "Al Tagged"


@pytest.mark.parametrize("email", ["+alice.martin@acme.example", '"alice.martin+x"@acme.example', "a+b"])
def test_what_only_looks_like_a_tag_is_none(teammate: Teammate, email: str) -> None:
    teammate.contact = ALICE | {"email": email, "name": ""}
    assert "Not known in iTop" in teammate.open().text


def test_the_external_id_finds_the_person_where_the_workspace_says_what_it_is(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    itop.store.update("Person", 41, employee_number="user-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    teammate.contact = ALICE | {"email": "somebody@nowhere.example"}
    teammate.open()
    assert "Bob Durand" in teammate.text and "known by the contact's external id" in teammate.text
    assert itop.calls == [PERSON, TICKETS]
    assert PersonMatch.objects.get().how == How.EXTERNAL_ID


def test_the_external_id_can_be_itops_own_number(teammate: Teammate, workspace: Workspace) -> None:
    workspace.external_id_attribute = "id"
    workspace.save()
    teammate.contact = ALICE | {"email": "", "external_id": "41"}
    assert known_as(teammate.open()) == "Bob Durand"
    teammate.contact = ALICE | {"external_id": "41 OR 1=1"}
    assert known_as(teammate.open()) == "Alice Martin"


def test_an_external_id_is_meant_to_the_letter(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    itop.store.update("Person", 41, employee_number="ÜSER-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    assert known_as(teammate.open()) == "Alice Martin"


def test_the_external_id_is_not_looked_at_unless_the_workspace_says_so(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.contact = ALICE | {"external_id": "41"}
    assert known_as(teammate.open()) == "Alice Martin"


def test_an_attribute_that_itop_does_not_have_costs_only_that_evidence(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.external_id_attribute = "no_such_thing"
    workspace.save()
    assert "Acme Corp · found by e-mail" in teammate.open().text


def test_another_meaning_of_the_external_id_makes_a_match_void(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    teammate.open()
    itop.store.update("Person", 40, employee_number="user-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    assert "known by the contact's external id" in teammate.open().text


def test_all_evidence_that_agrees_finds_the_person_in_one_call(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    itop.store.update("Person", 40, employee_number="user-40")
    workspace.external_id_attribute = "employee_number"
    workspace.save()
    teammate.contact = stating(itop_contact_id=40)
    assert "known by the contact's iTop id" in teammate.open().text
    assert itop.calls == [PERSON, TICKETS]


def test_an_address_of_two_is_settled_by_the_id(teammate: Teammate) -> None:
    teammate.contact = SHARED | {"custom_attributes": {"itop_contact_id": "55"}}
    assert known_as(teammate.open()) == "Ben Twin"


def test_of_two_with_one_address_the_active_one_is_meant(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("Person", 54, status="inactive")
    teammate.contact = SHARED
    assert known_as(teammate.open()) == "Ben Twin"


# Where it is not known


def test_evidence_that_contradicts_itself_asks_among_those_it_leads_to(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.contact = stating(itop_contact_id="41")
    teammate.open()
    assert "lead to different people in iTop" in teammate.text
    assert sorted(offered(teammate)) == ["Alice Martin", "Bob Durand"]
    assert "Acme Corp · bob.durand@acme.example" in teammate.text
    assert itop.calls == [PERSON, PERSON]
    assert not PersonMatch.objects.exists()


def test_an_address_of_several_asks_among_them_in_one_call_more(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = SHARED
    teammate.open()
    assert "More than one person fits" in teammate.text
    assert sorted(offered(teammate)) == ['Ann "Annie" Ärzte <b>', "Ben Twin"]
    assert itop.calls == [PERSON, PERSON]


def test_a_contact_that_is_not_known_is_asked_for_among_those_of_its_name(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.contact = ZOE | {"name": "Martin  ALICE"}
    teammate.open()
    assert "no person with the e-mail address zoe@nowhere.example" in teammate.text
    assert offered(teammate) == ["Alice Martin"]
    assert itop.calls == [PERSON, PERSON]


def test_a_lead_without_address_and_name_is_no_dead_end(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"email": None, "name": None}
    teammate.open()
    assert "no e-mail address" in teammate.text
    assert itop.calls == []
    teammate.click("Search", Search="durand")
    assert offered(teammate) == ["Bob Durand"]
    assert itop.calls == [PERSON]
    teammate.click("Bob Durand")
    assert "Acme Corp · picked by Ada Reyes" in teammate.text and teammate.offers("Create a ticket")


def test_a_request_that_names_no_contact_says_so(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = {}
    teammate.open()
    for component_id in ("home", "who", "who:pick:40"):
        teammate.send_click(component_id)
        assert "did not say which contact" in teammate.text
    assert not PersonMatch.objects.exists()


# The pick


def test_a_pick_is_remembered_with_who_made_it_and_when(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    at = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)
    time_machine.move_to(at, tick=False)
    teammate.contact = SHARED
    teammate.open()
    itop.calls.clear()
    teammate.click("Ben Twin")
    assert "Ben Twin" in teammate.text and "picked by Ada Reyes" in teammate.text
    assert itop.calls == [PERSON, TICKETS]
    match = PersonMatch.objects.get()
    assert (match.how, match.person_id, match.picked_by, match.picked_at) == (How.CHOSEN, 55, "Ada Reyes", at)
    itop.calls.clear()
    teammate.open()
    assert "picked by Ada Reyes" in teammate.text
    assert itop.calls == []


def test_a_pick_outlives_the_time_after_which_evidence_is_asked_again_and_another_address(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    picked_at = PersonMatch.objects.get().picked_at
    itop.store.update("Person", 55, name="Renamed")
    itop.calls.clear()
    teammate.contact = SHARED | {"email": ALICE["email"]}
    assert "picked by Ada Reyes" in teammate.open().text
    assert itop.calls == []
    itop.calls.clear()
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=601))
    teammate.open()
    assert "Ben Renamed" in teammate.text and "picked by Ada Reyes" in teammate.text
    assert itop.calls == [PERSON, TICKETS]
    assert PersonMatch.objects.get().picked_at == picked_at


def test_a_pick_is_for_one_contact_in_one_workspace(teammate: Teammate) -> None:
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    teammate.contact = SHARED | {"id": "another"}
    assert "More than one person fits" in teammate.open().text


def test_a_pick_is_for_one_itop(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    teammate.open().send_click("who:pick:41")
    assert "Bob Durand" in teammate.text
    workspace.itop = ItopInstance.objects.create(
        name="Another", url=f"{itop.url}/", token=TOKEN, time_zone="Europe/Paris"
    )
    workspace.save()
    assert "Acme Corp · found by e-mail" in teammate.open().text
    assert PersonMatch.objects.get().itop == workspace.itop


@pytest.mark.parametrize("person_id", ["50", "99999", "0", "x", ""])
def test_nobody_outside_the_scope_or_out_of_thin_air_can_be_picked(
    teammate: Teammate, workspace: Workspace, person_id: str
) -> None:
    serve(workspace, ACME)
    teammate.contact = ZOE
    teammate.open().send_click(f"who:pick:{person_id}")
    assert not teammate.offers("Create a ticket")
    assert "outside the part" in teammate.text if person_id == "50" else "no longer has" in teammate.text
    assert "Dana" not in teammate.text
    assert not PersonMatch.objects.exists()


def test_a_pick_whose_person_is_no_longer_in_itop_leads_back_to_the_page(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    time_machine.move_to(dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC))
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    itop.store.remove("Person", 55)
    time_machine.move_to(dt.datetime(2026, 11, 24, 9, 45, tzinfo=dt.UTC))
    teammate.open()
    assert "Ada Reyes picked Ben Twin on 24 Nov 2026 09:30" in teammate.text
    assert "no longer has this person" in teammate.text
    assert offered(teammate) == ['Ann "Annie" Ärzte <b>']
    teammate.click("Annie")
    assert "picked by Ada Reyes" in teammate.text
    assert PersonMatch.objects.get().person_id == 54


def test_a_pick_whose_person_has_left_the_scope_leads_back_to_the_page(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    serve(workspace, ACME)
    teammate.open()
    assert "outside the part of iTop that this workspace serves" in teammate.text
    assert "Ben Twin" not in teammate.text and offered(teammate) == []
    teammate.click("Search", Search="alice").click("Alice Martin")
    assert "picked by Ada Reyes" in teammate.text


def test_an_automatic_match_never_takes_the_place_of_a_pick_made_meanwhile(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intercom_bridge.desk import person

    teammate.contact = SHARED
    teammate.open().click("Ben Twin")
    # As a request saw it that came a moment before the pick.
    monkeypatch.setattr(person, "_match", lambda *_: None)
    teammate.contact = SHARED | {"email": ALICE["email"]}
    teammate.open()
    assert (PersonMatch.objects.get().how, PersonMatch.objects.get().person_id) == (How.CHOSEN, 55)


# Not this person?


def test_not_this_person_undoes_a_pick_when_that_is_confirmed(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41")
    assert "Bob Durand" in teammate.text
    teammate.click("Not this person?").click("Undo the choice")
    assert "Alice Martin" in teammate.text and "found by e-mail" in teammate.text
    assert PersonMatch.objects.get().how == How.EMAIL


def test_where_nobody_else_is_found_an_undone_pick_leads_back_to_the_question(teammate: Teammate) -> None:
    teammate.contact = ZOE
    teammate.open().send_click("who:pick:41").click("Not this person?").click("Undo the choice")
    assert "Not known in iTop" in teammate.text
    assert not PersonMatch.objects.exists()


def test_a_click_on_not_this_person_by_mistake_costs_no_pick_and_not_who_made_it(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.open().send_click("who:pick:41")
    before = PersonMatch.objects.values().get()
    teammate.admin = {"type": "admin", "id": "2", "name": "Sam Boyd", "email": "sam@acme.example"}
    itop.faults.add("maintenance", count=1)
    teammate.click("Not this person?")
    assert PersonMatch.objects.values().get() == before
    teammate.click("Retry")
    assert "Ada Reyes picked Bob Durand, and that stands until somebody else is picked." in teammate.text
    teammate.click("Search", Search="nobody")
    assert teammate.offers("Undo the choice")
    teammate.click("Back")
    assert "Bob Durand" in teammate.text and "picked by Ada Reyes" in teammate.text
    assert PersonMatch.objects.values().get() == before


def test_who_is_picked_once_more_stays_the_choice_of_whoever_was_first(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41")
    as_picked = PersonMatch.objects.values("person_id", "picked_by", "picked_at", "how", "evidence")
    before = as_picked.get()
    teammate.admin = {"type": "admin", "id": "2", "name": "Sam Boyd", "email": "sam@acme.example"}
    teammate.click("Not this person?").click("Search", Search="durand").click("Bob Durand")
    assert "picked by Ada Reyes" in teammate.text
    assert as_picked.get() == before
    teammate.click("Not this person?").click("Search", Search="alice").click("Alice Martin")
    assert "picked by Sam Boyd" in teammate.text


@pytest.mark.parametrize("how", ["picked once more", "looked again"])
def test_who_has_left_the_scope_and_is_back_is_known_at_once(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any, how: str
) -> None:
    at = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)
    time_machine.move_to(at)
    serve(workspace, ACME)
    teammate.open().send_click("who:pick:41")
    itop.store.update("Person", 41, org_id=5)
    time_machine.move_to(at + dt.timedelta(minutes=11))
    assert "outside the part of iTop" in teammate.open().text
    itop.store.update("Person", 41, org_id=4)
    time_machine.move_to(at + dt.timedelta(minutes=12))
    if how == "picked once more":
        teammate.click("Search", Search="durand").click("Bob Durand")
    else:
        teammate.click("Look again")
    assert "picked by Ada Reyes" in teammate.text
    assert "picked by Ada Reyes" in teammate.open().text


@pytest.mark.parametrize(
    ("verb", "said"), [("who:undo:41", "The choice is undone."), ("who:pick:41", "The choice is kept.")]
)
def test_what_became_of_the_choice_is_said_although_itop_has_gone(
    teammate: Teammate, itop: Itop, verb: str, said: str
) -> None:
    teammate.open()
    if "undo" in verb:
        teammate.send_click("who:pick:41")
    # The pick asks iTop for the person; the home screen that follows is what fails.
    itop.faults.add(
        "error500", operation="core/get", class_name="UserRequest" if "pick" in verb else "Person"
    )
    teammate.send_click(verb)
    assert said in teammate.text and "Nothing was changed" not in teammate.text
    itop.faults.clear()
    assert known_as(teammate.click("Retry")).startswith("Bob" if "pick" in verb else "Alice")


def test_an_old_undo_does_not_undo_a_newer_pick(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41").click("Not this person?")
    PersonMatch.objects.update(person_id=40)
    teammate.click("Undo the choice")
    assert (PersonMatch.objects.get().person_id, PersonMatch.objects.get().how) == (40, How.CHOSEN)


def test_who_was_said_not_to_be_it_is_not_offered_after_an_empty_search_either(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.contact = ZOE | {"name": "Martin"}
    itop.store.insert("Person", id=60, first_name="Max", name="Martin", org_id=5, email="max@globex.example")
    teammate.open().click("Alice Martin").click("Not this person?")
    assert offered(teammate) == ["Max Martin"]
    teammate.click("Search", Search="bob").click("Search", Search="")
    assert offered(teammate) == ["Max Martin"]


def test_where_nobody_is_listed_one_is_asked_to_search(teammate: Teammate) -> None:
    teammate.open().click("Not this person?")
    assert offered(teammate) == []
    assert "Search for the person who writes here." in teammate.text
    assert "Pick the person" not in teammate.text


def test_not_this_person_of_an_automatic_match_lets_another_be_picked(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Not this person?")
    assert offered(teammate) == [] and not teammate.offers("Undo the choice")
    teammate.click("Search", Search="Bob").click("Bob Durand")
    assert "picked by Ada Reyes" in teammate.text
    assert known_as(teammate.open()) == "Bob Durand"


def test_from_there_one_gets_back_without_any_change(teammate: Teammate) -> None:
    teammate.open().click("Not this person?").click("Back")
    assert "Acme Corp · found by e-mail" in teammate.text
    assert PersonMatch.objects.get().how == How.EMAIL


def test_an_old_not_this_person_does_not_undo_a_newer_pick(teammate: Teammate) -> None:
    teammate.open().send_click("who:pick:41").send_click("who:not:40")
    assert PersonMatch.objects.get().person_id == 41


def test_a_person_who_is_not_served_can_be_put_right(teammate: Teammate, workspace: Workspace) -> None:
    serve(workspace, "SELECT Organization WHERE id = 5")
    teammate.open().click("Not this person?")
    assert offered(teammate) == []
    teammate.click("Search", Search="twin").click("Ben Twin")
    assert "picked by Ada Reyes" in teammate.text


# The search, and the scope


@pytest.mark.parametrize(
    ("words", "names"),
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
def test_the_search_takes_words_of_the_name_or_the_address_as_they_are(
    teammate: Teammate, itop: Itop, words: str, names: list[str]
) -> None:
    teammate.contact = ZOE | {"name": ""}
    teammate.open()
    itop.calls.clear()
    teammate.click("Search", Search=words)
    assert offered(teammate) == names
    assert itop.calls == [PERSON]
    assert teammate.field("Search")["value"] == words
    assert ("nobody with these words" in teammate.text) is (not names)


def test_an_empty_search_shows_whom_it_may_be_again(teammate: Teammate) -> None:
    teammate.contact = ZOE | {"name": "Alice Martin"}
    teammate.open().click("Search", Search="bob")
    assert offered(teammate) == ["Bob Durand"]
    assert offered(teammate.click("Search", Search="")) == ["Alice Martin"]


def test_a_person_who_is_inactive_says_so(teammate: Teammate) -> None:
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
    # Not to be asked in the same breath: each of the two who were found is asked for.
    ("SELECT Organization WHERE id = 4 AND id = :current_contact->org_id", 3, ["Alice Martin"]),
    ("SELECT CustomerContract WHERE org_id = :current_contact->org_id AND id = 1", 3, ["Alice Martin"]),
    (
        "SELECT Organization AS o JOIN DeliveryModel AS d ON o.deliverymodel_id = d.id WHERE code = 'ACME'",
        3,
        ["Alice Martin"],
    ),
]


@pytest.mark.parametrize(("scope", "calls", "names"), SCOPES)
def test_only_those_whom_the_workspace_serves_are_offered(
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
    assert "There are more" not in teammate.text
    assert len(itop.calls) == calls
    teammate.click("Alice Martin")
    assert "picked by Ada Reyes" in teammate.text
    assert len(itop.calls) <= calls + 3


@pytest.mark.parametrize("scope", [scope for scope, _calls, names in SCOPES if len(names) == 1])
def test_the_others_are_not_offered_by_any_other_way_either(
    teammate: Teammate, workspace: Workspace, scope: str
) -> None:
    serve(workspace, scope)
    teammate.contact = SHARED
    teammate.open()
    assert "More than one person fits" in teammate.text
    assert "Ben Twin" not in teammate.text and "Globex" not in teammate.text
    teammate.send("/canvas-kit/submit", teammate.last_request | {"component_id": "who"} | forged([54, 55]))
    assert offered(teammate) == []
    teammate.send_click("who:pick:55")
    assert "outside the part" in teammate.text


def forged(known: Any) -> dict[str, Any]:
    return {
        "current_canvas": {"content": {}, "stored_data": {"who": {"known": known, "then": "who:pick:55"}}}
    }


@pytest.mark.parametrize(
    "known", [[54, "55"], "54", {"a": 1}, ["x", None, [], -1, 2.5, True], [1] * 500, None]
)
def test_what_the_page_kept_is_read_as_input(teammate: Teammate, known: Any) -> None:
    teammate.contact = ZOE | {"name": ""}
    teammate.open()
    teammate.send("/canvas-kit/submit", teammate.last_request | {"component_id": "who"} | forged(known))
    assert "Who is it?" in teammate.text
    assert len(teammate.canvas["stored_data"]["who"]["known"]) <= 50
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
def test_the_first_screen_is_no_higher_than_intercom_allows_and_leads_to_the_rest(
    teammate: Teammate, many: None, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    heights: list[int] = []
    original = screen.Canvas

    def measured(**parts: Any) -> Any:
        canvas = original(**parts)
        heights.append(canvas.height())
        return canvas

    monkeypatch.setattr(screen, "Canvas", measured)
    teammate.contact = SHARED | {"email": email}
    teammate.open()
    assert heights[-1] <= FIRST_SCREEN_HEIGHT
    assert not [one for one in teammate.components if one.get("style") == "primary"]
    assert len(offered(teammate)) < 10
    teammate.click("Show all 10 candidates")
    assert len(offered(teammate)) == 10
    assert "There are more" in teammate.text
    teammate.click("Desk 05")
    assert "picked by Ada Reyes" in teammate.text


def test_where_the_first_ten_are_not_served_it_does_not_say_that_nobody_is(
    teammate: Teammate, workspace: Workspace, many: None, itop: Itop
) -> None:
    serve(workspace, "SELECT Organization WHERE id = 4 AND id = :current_contact->org_id")
    teammate.contact = ZOE
    teammate.open()
    itop.calls.clear()
    teammate.click("Search", Search="desk")
    assert offered(teammate) == []
    assert "nobody with these words" not in teammate.text and "There are more" in teammate.text
    # The ten are of one organization.
    assert itop.calls == [PERSON, ORGANIZATION]


# In the midst of something else


@pytest.mark.parametrize("component_id", ["linked:1", "ongoing:1", "ticket:UserRequest:8", "create"])
def test_any_screen_leads_to_the_page_and_the_pick_leads_on(teammate: Teammate, component_id: str) -> None:
    teammate.open()
    wanted = teammate.send_click(component_id).text.replace("Alice Martin", "")
    teammate.contact = ZOE | {"name": "Alice Martin"}
    teammate.send_click(component_id)
    assert "Not known in iTop" in teammate.text
    teammate.click("Alice Martin")
    assert teammate.text.replace("Alice Martin", "") == wanted


def test_a_search_in_between_leads_on_too(teammate: Teammate) -> None:
    teammate.contact = ZOE
    teammate.open().send_click("ongoing:1").click("Search", Search="alice").click("Alice Martin")
    assert "Ongoing tickets of Alice Martin" in teammate.text


def test_what_was_typed_into_the_form_survives_and_is_not_sent_by_itself(
    teammate: Teammate, itop: Itop
) -> None:
    before = len(itop.store.all("UserRequest"))
    teammate.open().click("Create a ticket")
    teammate.contact = ZOE
    teammate.click("Create the ticket", Title="Typed already")
    assert "Not known in iTop" in teammate.text
    teammate.click("Search", Search="alice").click("Alice Martin")
    assert teammate.field("Title *")["value"] == "Typed already"
    assert len(itop.store.all("UserRequest")) == before
    teammate.click("Create the ticket")
    assert "is created" in teammate.text


def test_a_retry_after_trouble_goes_on_where_it_was(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE
    teammate.open().send_click("ongoing:1")
    itop.faults.add("maintenance", count=1)
    teammate.click("Search", Search="alice")
    assert "iTop is in trouble" in teammate.text
    teammate.click("Retry")
    assert offered(teammate) == ["Alice Martin"]
    itop.faults.add("maintenance", count=1)
    teammate.click("Alice Martin").click("Retry")
    assert "Ongoing tickets of Alice Martin" in teammate.text


def test_trouble_while_it_is_asked_who_it_may_be_is_a_screen(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"email": None}
    itop.faults.add("maintenance", count=1)
    teammate.open()
    assert "iTop is in trouble" in teammate.text
    assert "Not known in iTop" in teammate.click("Retry").text


def test_what_was_typed_into_the_form_survives_a_look_again_and_a_way_back(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket")
    teammate.contact = ZOE
    teammate.click("Create the ticket", Title="Typed already")
    teammate.click("Look again").click("Search", Search="alice").click("Back")
    assert "Not known in iTop" in teammate.text
    teammate.contact = ALICE
    teammate.click("Look again")
    assert teammate.field("Title *")["value"] == "Typed already"


def test_look_again_finds_at_once_whom_an_admin_has_just_added(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE
    teammate.open()
    itop.store.insert("Person", id=60, first_name="Zoe", name="New", org_id=4, email=ZOE["email"])
    itop.calls.clear()
    assert "Not known in iTop" in teammate.open().text and itop.calls == []
    teammate.click("Look again")
    assert known_as(teammate) == "Zoe New" and "found by e-mail" in teammate.text


def test_look_again_asks_anew_among_whom_it_may_be(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ZOE | {"name": "Alice Martin"}
    assert offered(teammate.open()) == ["Alice Martin"]
    itop.store.update("Person", 40, first_name="Renamed")
    assert offered(teammate.click("Look again")) == []


def test_nothing_is_linked_by_a_pick(teammate: Teammate) -> None:
    teammate.contact = ZOE | {"name": "Alice Martin"}
    teammate.open().send_click("link:UserRequest:8:from-now-on").click("Alice Martin")
    assert teammate.offers("Create a ticket")
    assert not TicketLink.objects.exists()
