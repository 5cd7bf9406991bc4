"""A rejection by iTop is explained at its field; all other input is kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from intercom_bridge.datamodel import Attribute, Kind, Value
from intercom_bridge.models import TicketCreation, Workspace
from intercom_bridge.panel.errors import explain_problem
from itop_client import InvalidValueError
from itop_client.errors import ValueProblem
from itop_client.response import classify
from sandbox.itop import Itop
from tests.itop_client.recordings import recording
from tests.teammate import Teammate, conversation

from .rules import ask_for, learn, let_itop

FORM = "Create a ticket"
CREATE = "Create ticket"


def error_after(teammate: Teammate, label: str) -> str:
    """Return the message under a field, which must be marked as failed."""
    field = teammate.field(label)
    assert field.get("save_state") == "failed" or field.get("error") is True
    after = teammate.components[teammate.components.index(field) + 1]
    assert after["style"] == "error"
    return str(after["text"])


def newest(itop: Itop) -> dict[str, Any]:
    return dict(max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"]))


def test_an_attribute_that_itop_unexpectedly_requires_is_added_to_the_form(
    teammate: Teammate, itop: Itop
) -> None:
    let_itop(itop, "escalation_reason", mandatory=True)
    let_itop(itop, "request_type", mandatory=True)
    teammate.open().click(FORM)
    teammate.click(CREATE, Title="Mine", Description="A long story", Urgency="2")
    assert error_after(teammate, "Escalation reason") == "iTop requires this field."
    assert error_after(teammate, "Request type") == "iTop requires this field."
    # The field type follows the data model if it is known.
    assert teammate.field("Request type")["type"] == "single-select"
    values = {field["label"].rstrip(" *"): field.get("value", "") for field in teammate.fields()}
    assert (values["Title"], values["Description"], values["Urgency"]) == ("Mine", "A long story", "2")
    teammate.choose("Request type", "Incident", **{"Escalation reason": "The board asked"})
    assert teammate.field("Escalation reason")["value"] == "The board asked"
    teammate.click(CREATE)
    ticket = newest(itop)
    assert (ticket["title"], ticket["escalation_reason"], ticket["request_type"]) == (
        "Mine",
        "The board asked",
        "incident",
    )


def test_a_required_external_key_is_added_with_its_options(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    let_itop(itop, "service_id", mandatory=True)
    ask_for(workspace)
    teammate.open().click(FORM).click(CREATE)
    assert error_after(teammate, "Service") == "iTop requires this field."
    teammate.click(CREATE, Service=teammate.option("Service", "Workplace"))
    assert int(newest(itop)["service_id"]) == 4


def test_a_value_missing_in_itop_is_rejected_at_its_field(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    learn(workspace, urgency={"values": (Value(code="4"), Value(code="9"))})
    teammate.open().click(FORM).click(CREATE, Title="Mine", Urgency="9")
    assert error_after(teammate, "Urgency") == "iTop does not accept this value."
    assert teammate.field("Title")["value"] == "Mine"
    teammate.click(CREATE, Urgency="4")
    assert newest(itop)["urgency"] == "4"


def test_a_text_over_the_limit_of_itop_is_rejected_at_its_field(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    learn(workspace, Attribute(code="escalation_reason", kind=Kind.TEXT))
    ask_for(workspace, "escalation_reason")
    teammate.open().click(FORM).click(CREATE, **{"Escalation reason": "é" * 256})
    assert error_after(teammate, "Escalation reason") == "Too long: 256 characters, at most 255 are allowed."
    assert teammate.field("Escalation reason")["value"] == "é" * 256


def test_an_object_deleted_after_its_selection_is_rejected_at_its_field(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    itop.store.remove("Person", 42)
    teammate.click(CREATE, Approver="42")
    assert error_after(teammate, "Approver") == "This no longer exists in iTop. Please choose again."
    teammate.click(CREATE, Approver="41")
    assert int(newest(itop)["approver_id"]) == 41


def test_a_form_attribute_missing_in_itop_is_reported_in_its_position(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, "cost_centre")
    teammate.open().click(FORM).click(CREATE, **{"Cost centre": "4711"})
    assert error_after(teammate, "Cost centre").startswith("This field does not exist in iTop.")
    teammate.click(CREATE, **{"Cost centre": ""})
    assert "created" in teammate.text


def test_a_default_for_a_missing_attribute_is_reported_without_a_field(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, defaults={"cost_centre": "4711"})
    teammate.open().click(FORM).click(CREATE)
    assert "Cost centre: This field does not exist in iTop." in teammate.text
    assert [field["label"] for field in teammate.fields()] == [
        "Title *",
        "Description *",
        "Conversation so far",
    ]


def test_a_rejected_default_can_be_corrected_on_the_form(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, defaults={"impact": "7"})
    teammate.open().click(FORM).click(CREATE)
    assert error_after(teammate, "Impact") == "iTop does not accept this value."
    teammate.click(CREATE, Impact="2")
    assert newest(itop)["impact"] == "2"


@pytest.mark.parametrize(
    "added", [["escalation_reason"], ["status", "caller_id", "ref"], "urgency", [3, None, {}], {"a": 1}]
)
def test_only_attributes_that_itop_required_can_be_added_to_a_form(
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


def test_an_attribute_required_in_another_conversation_is_not_added(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace)
    let_itop(itop, "escalation_reason", mandatory=True)
    teammate.open().click(FORM).click(CREATE)
    canvas = teammate.canvas
    teammate.conversation = conversation(id="another")
    teammate.canvas = canvas
    teammate.click("Create ticket")
    assert TicketCreation.objects.filter(state="refused").count() == 2
    assert [creation.values for creation in TicketCreation.objects.order_by("pk")][1].keys() == {
        "title",
        "description",
    }


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        ("063", "title", "iTop requires this field."),
        ("064", "description", "iTop requires this field."),
        ("067", "urgency", "iTop does not accept this value."),
        ("068", "caller_id", "This no longer exists in iTop. Please choose again."),
        ("078", "title", "Too long: 300 characters, at most 255 are allowed."),
        ("086", "start_date", "iTop cannot read this date."),
        ("088", "intercom_url", "iTop cannot read this value: the format is wrong."),
    ],
)
def test_known_rejections_by_itop_are_explained(number: str, code: str, message: str) -> None:
    recorded = recording(number)
    with pytest.raises(InvalidValueError) as refusal:
        classify(recorded.status, recorded.content_type, recorded.body.encode())
    problems = {problem.attribute: asdict(problem) for problem in refusal.value.problems}
    assert explain_problem(problems[code]) == message


def test_an_unknown_rejection_is_displayed_verbatim() -> None:
    problem = ValueProblem("title", detail="The stars are not right")
    assert explain_problem(asdict(problem)) == "The stars are not right"
