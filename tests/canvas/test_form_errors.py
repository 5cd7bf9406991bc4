"""What iTop refuses stands at its field, in plain words, with everything else as it was typed."""

from __future__ import annotations

from typing import Any

import pytest

from intercom_bridge.canvas.refusals import in_plain_words
from intercom_bridge.datamodel import Attribute, Kind, Value
from intercom_bridge.models import Submission, Workspace
from itop_client import InvalidValue
from itop_client.errors import classify
from sandbox.itop import Itop
from tests.canvas.rules import ask_for, learn, let_itop
from tests.itop_client.recordings import recording
from tests.teammate import Teammate, conversation

FORM = "Create a ticket"
CREATE = "Create the ticket"


def error_after(teammate: Teammate, label: str) -> str:
    """What stands under a field, which has to be marked."""
    field = teammate.field(label)
    assert field.get("save_state") == "failed" or field.get("error") is True
    after = teammate.components[teammate.components.index(field) + 1]
    assert after["style"] == "error"
    return str(after["text"])


def newest(itop: Itop) -> dict[str, Any]:
    return dict(max(itop.store.all("UserRequest"), key=lambda one: one["id"]))


def test_what_itop_needs_and_nobody_told_us_of_appears_on_the_form_and_stays(
    teammate: Teammate, itop: Itop
) -> None:
    let_itop(itop, "escalation_reason", mandatory=True)
    let_itop(itop, "request_type", mandatory=True)
    teammate.open().click(FORM)
    teammate.click(CREATE, Title="Mine", Description="A long story", Urgency="2")
    assert error_after(teammate, "Escalation reason") == "iTop needs this."
    assert error_after(teammate, "Request type") == "iTop needs this."
    # By its kind where the data model is known.
    assert teammate.field("Request type")["type"] == "dropdown"
    shown = {one["label"].rstrip(" *"): one.get("value", "") for one in teammate.fields()}
    assert (shown["Title"], shown["Description"], shown["Urgency"]) == ("Mine", "A long story", "2")
    teammate.click("Show the choices", **{"Escalation reason": "The board asked", "Request type": "incident"})
    assert teammate.field("Escalation reason")["value"] == "The board asked"
    teammate.click(CREATE)
    ticket = newest(itop)
    assert (ticket["title"], ticket["escalation_reason"], ticket["request_type"]) == (
        "Mine",
        "The board asked",
        "incident",
    )


def test_a_key_that_itop_needs_and_the_form_lacks_is_chosen_from_its_choices(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    let_itop(itop, "service_id", mandatory=True)
    ask_for(workspace)
    teammate.open().click(FORM).click(CREATE)
    assert error_after(teammate, "Service") == "iTop needs this."
    teammate.click(CREATE, Service=teammate.option("Service", "Workplace"))
    assert int(newest(itop)["service_id"]) == 4


def test_a_value_that_only_the_imported_data_model_has_is_refused_at_its_field(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    learn(workspace, urgency={"values": (Value(code="4"), Value(code="9"))})
    teammate.open().click(FORM).click(CREATE, Title="Mine", Urgency="9")
    assert error_after(teammate, "Urgency") == "This is none of the values that iTop allows."
    assert teammate.field("Title")["value"] == "Mine"
    teammate.click(CREATE, Urgency="4")
    assert newest(itop)["urgency"] == "4"


def test_a_text_whose_limit_only_itop_knows_is_refused_at_its_field(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    learn(workspace, Attribute(code="escalation_reason", kind=Kind.TEXT))
    ask_for(workspace, "escalation_reason")
    teammate.open().click(FORM).click(CREATE, **{"Escalation reason": "é" * 256})
    assert error_after(teammate, "Escalation reason") == "Too long: 256 characters of 255."
    assert teammate.field("Escalation reason")["value"] == "é" * 256


def test_an_object_that_has_gone_since_it_was_chosen_is_refused_at_its_field(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    itop.store.remove("Person", 42)
    teammate.click(CREATE, Approver="42")
    assert (
        error_after(teammate, "Approver") == "iTop does not have this, or not any more. Please choose again."
    )
    teammate.click(CREATE, Approver="41")
    assert int(newest(itop)["approver_id"]) == 41


def test_a_field_of_the_profile_that_itop_lacks_says_so_at_its_place(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, "cost_centre")
    teammate.open().click(FORM).click(CREATE, **{"Cost centre": "4711"})
    assert error_after(teammate, "Cost centre").startswith("This iTop has no such attribute.")
    teammate.click(CREATE, **{"Cost centre": ""})
    assert "is created" in teammate.text


def test_a_default_that_itop_lacks_is_named_and_not_asked_for(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, defaults={"cost_centre": "4711"})
    teammate.open().click(FORM).click(CREATE)
    assert "Cost centre: This iTop has no such attribute." in teammate.text
    assert len(teammate.fields()) == 2


def test_a_default_that_itop_refuses_can_be_corrected_on_the_form(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, defaults={"impact": "7"})
    teammate.open().click(FORM).click(CREATE)
    assert error_after(teammate, "Impact") == "This is none of the values that iTop allows."
    teammate.click(CREATE, Impact="2")
    assert newest(itop)["impact"] == "2"


@pytest.mark.parametrize(
    "added", [["escalation_reason"], ["status", "caller_id", "ref"], "urgency", [3, None, {}], {"a": 1}]
)
def test_only_what_itop_has_asked_for_can_be_added_to_a_form(
    teammate: Teammate, workspace: Workspace, itop: Itop, added: Any
) -> None:
    ask_for(workspace)
    teammate.open().click(FORM)
    stored = teammate.canvas["stored_data"]["form"]
    stored["added"] = added
    stored["values"] |= {"escalation_reason": "Mine", "status": "closed", "caller_id": "41"}
    teammate.click(CREATE)
    ticket = newest(itop)
    assert (ticket["escalation_reason"] or "", ticket["status"], int(ticket["caller_id"])) == ("", "new", 40)


def test_what_itop_asked_for_in_another_conversation_is_no_field_of_this_one(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace)
    let_itop(itop, "escalation_reason", mandatory=True)
    teammate.open().click(FORM).click(CREATE)
    canvas = teammate.canvas
    teammate.conversation = conversation(id="another")
    teammate.canvas = canvas
    teammate.click("Create the ticket")
    assert Submission.objects.filter(state="refused").count() == 2
    assert [one.values for one in Submission.objects.order_by("pk")][1].keys() == {"title", "description"}


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        ("063", "title", "iTop needs this."),
        ("064", "description", "iTop needs this."),
        ("067", "urgency", "This is none of the values that iTop allows."),
        ("068", "caller_id", "iTop does not have this, or not any more. Please choose again."),
        ("078", "title", "Too long: 300 characters of 255."),
        ("086", "start_date", "iTop cannot read this as a date."),
        ("088", "intercom_url", "iTop cannot read this: it is not in the form that it needs."),
    ],
)
def test_the_refusals_that_itop_is_known_for_are_said_in_plain_words(
    number: str, code: str, said: str
) -> None:
    recorded = recording(number)
    with pytest.raises(InvalidValue) as refusal:
        classify(recorded.status, recorded.content_type, recorded.body.encode())
    reasons = {attribute: reason for attribute, _label, reason in refusal.value.problems}
    assert in_plain_words(reasons[code]) == said


def test_a_refusal_that_nobody_knows_is_told_as_itop_said_it() -> None:
    assert in_plain_words("The stars are not right") == "The stars are not right"
