"""A contact for whom a teammate chose a person is merged into another one, as a lead who signs up is into a user."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import Participant, PersonMatch, WebhookEvent, Workspace
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.sync.intake import process_batch
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate, conversation, half_a_minute_passes, notification, post_webhook

LEAD = ALICE | {"id": "lead", "role": "lead", "name": "Zoe", "email": "zoe@nowhere.example"}
USER = ALICE | {"id": "user", "name": "Zoe", "email": "zoe@work.example"}
# Bob is in iTop.
BOB = USER | {"email": "bob.durand@acme.example", "name": "Bob Durand"}


def shows(teammate: Teammate, contact: dict[str, Any], *others: dict[str, Any]) -> Teammate:
    """Open the panel of one of the contacts in the conversation."""
    teammate.contact = contact
    people = [{"type": "contact", "id": person["id"]} for person in (contact, *others)]
    listed = {"type": "contact.list", "contacts": people}
    teammate.conversation = (teammate.conversation or conversation()) | {"contacts": listed}
    return teammate.open()


def choose_alice(teammate: Teammate, contact: dict[str, Any] = LEAD) -> None:
    shows(teammate, contact).click("Search", Search="alice").click("Alice Martin")
    assert is_alice(teammate)


def is_alice(teammate: Teammate) -> bool:
    return "Alice Martin" in teammate.text and "chosen by Ada Reyes" in teammate.text


def tell_of_merge(client: Client, **item: Any) -> WebhookEvent:
    payload = notification(topic="contact.merged", notification_id="notif_merged")
    payload["data"]["item"] = USER | {"merged_from": {"type": "contact", "id": LEAD["id"]}} | item
    post_webhook(client, json.dumps(payload).encode())
    process_batch()
    return WebhookEvent.objects.get()


@dataclass(frozen=True)
class Merge:
    """A lead and a user that Intercom has, too."""

    intercom: Intercom
    lead: dict[str, Any]
    user: dict[str, Any]

    @classmethod
    def prepare(cls, intercom: Intercom, workspace: Workspace) -> Merge:
        workspace.access_token = intercom.token
        workspace.save()
        lead = intercom.store.add_contact(name="Zoe", role="lead")
        user = intercom.store.add_contact(name="Zoe", email=USER["email"])
        return cls(intercom, LEAD | {"id": lead.id}, USER | {"id": user.id})

    def carry_out(self) -> None:
        store = self.intercom.store
        self.intercom.workspace.merge_contacts(store.contact(self.lead["id"]), store.contact(self.user["id"]))


def test_the_choice_moves_to_the_surviving_contact(teammate: Teammate, client: Client) -> None:
    choose_alice(teammate)
    event = tell_of_merge(client)
    assert (event.state, event.reason_code) == ("handled", "")
    # In another conversation, so that it is not this one that remembers.
    teammate.conversation = conversation(id="2")
    assert is_alice(shows(teammate, USER))
    assert PersonMatch.objects.get().contact_id == USER["id"]


def test_the_choice_moves_although_the_contact_was_unknown_a_moment_ago(
    teammate: Teammate, client: Client
) -> None:
    choose_alice(teammate)
    teammate.conversation = conversation(id="2")
    assert "Not found in iTop" in shows(teammate, USER).text
    tell_of_merge(client)
    assert is_alice(shows(teammate, USER))


def test_a_choice_that_moved_can_be_cleared_for_good(teammate: Teammate, client: Client) -> None:
    choose_alice(teammate)
    tell_of_merge(client)
    shows(teammate, USER).click("Not this person?").click("Clear this match")
    assert "Not found in iTop" in shows(teammate, USER).text


def test_the_conversation_remembers_the_choice_without_a_notification(teammate: Teammate) -> None:
    choose_alice(teammate)
    assert is_alice(shows(teammate, USER))
    shows(teammate, USER).click("Not this person?").click("Clear this match")
    assert "Not found in iTop" in shows(teammate, USER).text


@pytest.mark.parametrize("item", [{"merged_from": None}, {"merged_from": {"type": "contact"}}, {"id": None}])
def test_a_notification_that_does_not_name_the_contact_moves_nothing(
    teammate: Teammate, client: Client, item: dict[str, Any]
) -> None:
    choose_alice(teammate)
    event = tell_of_merge(client, **item)
    assert (event.state, event.reason_code) == ("skipped", ReasonCode.NO_MERGED_CONTACT)
    assert PersonMatch.objects.get().contact_id == LEAD["id"]


def test_a_disabled_workspace_moves_nothing(teammate: Teammate, client: Client, workspace: Workspace) -> None:
    choose_alice(teammate)
    workspace.enabled = False
    workspace.save()
    assert tell_of_merge(client).reason_code == ReasonCode.WORKSPACE_DISABLED


# Somebody else


def test_the_choice_is_not_for_another_participant(teammate: Teammate) -> None:
    choose_alice(teammate)
    assert "Not found in iTop" in shows(teammate, USER, LEAD).text
    # The lead leaves the conversation.
    assert "Not found in iTop" in shows(teammate, USER).text
    assert is_alice(shows(teammate, LEAD))


def test_the_choice_of_a_participant_of_a_group_is_not_for_the_one_who_stays(teammate: Teammate) -> None:
    shows(teammate, LEAD, USER).click("Search", Search="alice").click("Alice Martin")
    assert "Not found in iTop" in shows(teammate, USER).text


def test_the_choice_is_not_for_a_contact_who_replaced_one_that_intercom_still_has(
    teammate: Teammate, intercom: Intercom, workspace: Workspace, time_machine: Any
) -> None:
    merge = Merge.prepare(intercom, workspace)
    choose_alice(teammate, merge.lead)
    assert "Not found in iTop" in shows(teammate, merge.user).text
    half_a_minute_passes(time_machine)
    merge.carry_out()
    assert "Not found in iTop" in shows(teammate, merge.user).text


def test_intercom_says_that_the_contact_was_merged(
    teammate: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    merge = Merge.prepare(intercom, workspace)
    choose_alice(teammate, merge.lead)
    merge.carry_out()
    assert is_alice(shows(teammate, merge.user))


def test_while_intercom_does_not_respond_nobody_inherits(
    teammate: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    merge = Merge.prepare(intercom, workspace)
    choose_alice(teammate, merge.lead)
    merge.carry_out()
    workspace.access_token = "expired"
    workspace.save()
    assert "Not found in iTop" in shows(teammate, merge.user).text
    workspace.access_token = intercom.token
    workspace.save()
    assert is_alice(shows(teammate, merge.user))


# Contradictions


@pytest.mark.parametrize("is_told", [True, False])
def test_a_contact_whose_own_data_leads_to_another_person_is_that_person(
    teammate: Teammate, client: Client, is_told: bool
) -> None:
    choose_alice(teammate)
    if is_told:
        tell_of_merge(client)
    shows(teammate, BOB)
    assert "Bob Durand" in teammate.text and "matched by e-mail" in teammate.text
    # The choice does not come back.
    assert "Not found in iTop" in shows(teammate, USER).text


@pytest.mark.parametrize("is_told", [True, False])
def test_a_choice_that_contradicts_ambiguous_data_is_dropped(
    teammate: Teammate, client: Client, is_told: bool
) -> None:
    choose_alice(teammate)
    if is_told:
        tell_of_merge(client)
    assert "Several people match" in shows(teammate, USER | {"email": "reception@globex.example"}).text
    assert "Not found in iTop" in shows(teammate, USER).text


def test_a_choice_among_several_who_match_is_kept(teammate: Teammate, client: Client) -> None:
    shows(teammate, LEAD).click("Search", Search="twin").click("Ben Twin")
    tell_of_merge(client)
    shows(teammate, USER | {"email": "reception@globex.example"})
    assert "Ben Twin" in teammate.text and "chosen by Ada Reyes" in teammate.text


def test_the_surviving_contacts_own_choice_is_kept(teammate: Teammate, client: Client) -> None:
    choose_alice(teammate)
    teammate.conversation = conversation(id="2")
    shows(teammate, USER).click("Search", Search="durand").click("Bob Durand")
    tell_of_merge(client)
    assert "Bob Durand" in shows(teammate, USER).text
    assert PersonMatch.objects.get().contact_id == USER["id"]


def test_while_itop_does_not_respond_a_choice_that_moved_is_not_shown(
    teammate: Teammate, client: Client, itop: Itop
) -> None:
    choose_alice(teammate)
    tell_of_merge(client)
    itop.stop()
    assert "Alice" not in shows(teammate, BOB).text


def test_a_merged_contacts_conversations_are_found_with_the_surviving_one(
    teammate: Teammate, client: Client
) -> None:
    choose_alice(teammate)
    tell_of_merge(client)
    assert set(Participant.objects.values_list("contact_id", flat=True)) == {LEAD["id"], USER["id"]}
