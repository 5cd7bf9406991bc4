"""The create form fits the workspace's data model: each attribute has a field of its type."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError

from intercom_bridge.datamodel import Attribute, Kind, Value
from intercom_bridge.models import TicketCreation, TicketProfile, Workspace
from intercom_bridge.panel.components import MAX_BYTES
from intercom_bridge.panel.form.parsing import InvalidInputError, to_itop
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate

from .rules import ask_for, learn, let_itop

PARIS = ZoneInfo("Europe/Paris")
FORM = "Create a ticket"
CREATE = "Create ticket"
SHOW_SUBCATEGORIES = "Show options for Service subcategory"


def newest(itop: Itop) -> dict[str, Any]:
    return dict(max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"]))


def labels(teammate: Teammate) -> list[str]:
    return [field["label"] for field in teammate.fields() if field["id"] != "form:copy"]


def set_kind(workspace: Workspace, kind: Kind, **more: Any) -> None:
    """Change the type of the sandbox's text attribute "Hot reason"."""
    learn(workspace, Attribute(code="escalation_reason", kind=kind, **more))
    ask_for(workspace, "escalation_reason")


# Fields


def test_fields_follow_the_profile_and_mandatory_ones_have_a_star(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.profile.form_attributes = ["urgency", "title", "pending_reason", "description"]
    workspace.profile.save()
    teammate.open().click(FORM)
    assert labels(teammate) == ["Urgency *", "Title *", "Pending reason", "Description *"]
    kinds = [field["type"] for field in teammate.fields()]
    assert kinds == ["dropdown", "input", "textarea", "textarea", "dropdown"]


def test_labels_and_values_come_from_the_data_model(teammate: Teammate, workspace: Workspace) -> None:
    learn(
        workspace,
        Attribute(
            code="escalation_reason",
            kind=Kind.ENUM,
            labels={"en": "Cost centre"},
            values=(Value(code="a", labels={"en": "Ann Arbor"}), Value(code="b")),
        ),
    )
    ask_for(workspace, "escalation_reason")
    teammate.open().click(FORM)
    assert [option["text"] for option in teammate.field("Cost centre")["options"]] == ["Ann Arbor", "b"]


def test_missing_mandatory_attributes_are_appended_to_the_form(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    learn(
        workspace,
        escalation_reason={"is_mandatory": True},
        user_comment={"is_mandatory": True, "default": "-"},
    )
    let_itop(itop, "escalation_reason", mandatory=True)
    ask_for(workspace)
    teammate.open().click(FORM)
    # Attributes with a default and those that the bridge sets (caller, organization) have no field.
    assert labels(teammate) == ["Title *", "Description *", "Escalation reason *"]
    teammate.click(CREATE)
    assert "Required." in teammate.text
    teammate.click(CREATE, **{"Escalation reason": "The board asked"})
    assert newest(itop)["escalation_reason"] == "The board asked"


def test_attributes_read_only_in_a_new_ticket_are_omitted(teammate: Teammate, workspace: Workspace) -> None:
    ask_for(workspace, "start_date", "priority", "end_date")
    teammate.open().click(FORM)
    assert labels(teammate) == ["Title *", "Description *", "End date"]


def test_attributes_that_no_form_can_contain_are_reported(teammate: Teammate, workspace: Workspace) -> None:
    learn(workspace, Attribute(code="contacts_list", kind=Kind.OTHER))
    ask_for(workspace, "contacts_list")
    teammate.open().click(FORM)
    assert "Contacts list cannot be entered here. iTop's default is used." in teammate.text
    learn(workspace, Attribute(code="contacts_list", kind=Kind.OTHER, is_mandatory=True))
    teammate.open().click(FORM)
    assert "Contacts list cannot be entered here, and iTop may require it." in teammate.text


def test_an_unknown_class_uses_the_stock_attribute_names(teammate: Teammate, workspace: Workspace) -> None:
    teammate.open()
    # The first screen needs the class in iTop; the form does not.
    ask_for(workspace, "urgency", "cost_centre", "sponsor_id", ticket_class="OurTicket")
    teammate.click(FORM)
    assert labels(teammate) == ["Title *", "Description *", "Urgency", "Cost centre"]
    assert "Sponsor cannot be entered here" in teammate.text


def test_a_mapped_attribute_replaces_its_stock_code(teammate: Teammate, workspace: Workspace) -> None:
    teammate.open()
    workspace.profile.form_attributes = ["subject"]
    workspace.profile.attributes_mapping = {"title": "subject", "org_id": "customer_id"}
    workspace.profile.save()
    teammate.click(FORM)
    assert labels(teammate) == ["Subject *", "Description *"]


# Defaults


def test_defaults_of_the_profile_take_precedence_over_itops(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(
        workspace,
        "urgency",
        "impact",
        "solution",
        defaults={
            "solution": "<p>Ask &amp; see</p>",
            "urgency": 2,
            "request_type": "incident",
            "title": "Unused",
        },
    )
    teammate.open().click(FORM)
    assert teammate.field("Urgency")["value"] == "2"
    assert teammate.field("Impact")["value"] == "1"
    assert teammate.field("Solution")["value"] == "Ask & see"
    assert teammate.field("Title")["value"] == "The export button does nothing"
    teammate.click(CREATE)
    ticket = newest(itop)
    # Defaults of attributes without a field are sent too.
    assert (ticket["urgency"], ticket["impact"], ticket["request_type"]) == ("2", "1", "incident")


def test_a_default_computed_by_itop_is_left_empty(teammate: Teammate, workspace: Workspace) -> None:
    learn(workspace, end_date={"default": "NOW()"}, service_id={"default": "SELECT Service"})
    ask_for(workspace, "end_date", "service_id")
    teammate.open().click(FORM)
    assert "value" not in teammate.field("End date")
    assert "value" not in teammate.field("Service")


@pytest.mark.parametrize(
    "defaults",
    [
        ["urgency"],
        {"not a code": "1"},
        {"urgency": None},
        {"urgency": {"a": 1}},
        {"org_id": "3"},
        {"ref": "R-1"},
    ],
)
def test_invalid_defaults_are_rejected_in_the_admin(db: None, defaults: Any) -> None:
    with pytest.raises(ValidationError) as error:
        TicketProfile(name="x", defaults=defaults).full_clean()
    assert list(error.value.message_dict) == ["defaults"]


# Formats


@pytest.mark.parametrize(
    ("kind", "typed", "sent"),
    [
        (Kind.DATE, "2026-11-24", "2026-11-24"),
        (Kind.DATE, " 2026-2-3 ", "2026-02-03"),
        (Kind.INTEGER, "-12", "-12"),
        (Kind.INTEGER, "007", "7"),
        (Kind.DECIMAL, "12.50", "12.50"),
        (Kind.LINE, "  as it is ", "as it is"),
        # The workspace uses UTC and iTop Paris time: one hour later in winter, two in summer.
        (Kind.DATETIME, "2026-11-24 14:30", "2026-11-24 15:30:00"),
        (Kind.DATETIME, "2026-07-24T23:30:10", "2026-07-25 01:30:10"),
    ],
)
def test_input_is_converted_to_the_format_of_itop(kind: Kind, typed: str, sent: str) -> None:
    assert to_itop(Attribute(code="x", kind=kind), typed, dt.UTC, PARIS) == sent


def test_converted_input_is_sent_and_stored_as_typed(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    set_kind(workspace, Kind.DATE)
    teammate.open().click(FORM).click(CREATE, **{"Escalation reason": " 2026-2-3 "})
    assert newest(itop)["escalation_reason"] == "2026-02-03"
    assert TicketCreation.objects.get().values["escalation_reason"] == " 2026-2-3 "


@pytest.mark.parametrize(
    ("kind", "typed", "message"),
    [
        (Kind.DATE, "24/11/2026", "Enter a date like 2026-11-24."),
        (Kind.DATE, "2026-02-30", "Enter a date like 2026-11-24."),
        (Kind.DATE, "0026-11-24", "Enter a date like 2026-11-24."),
        (Kind.DATETIME, "2026-11-24", "Enter a date and time like 2026-11-24 14:30."),
        (Kind.DATETIME, "2026-11-24 25:00", "Enter a date and time like 2026-11-24 14:30."),
        (Kind.DATETIME, "9999-12-31 23:59", "Enter a date and time like 2026-11-24 14:30."),
        (Kind.DATETIME, "tomorrow", "Enter a date and time like 2026-11-24 14:30."),
        (Kind.INTEGER, "a dozen", "Enter a whole number, like 12."),
        (Kind.INTEGER, "1.5", "Enter a whole number, like 12."),
        (Kind.INTEGER, "٣", "Enter a whole number, like 12."),
        (Kind.INTEGER, "2147483648", "Enter a number from -2147483648 to 2147483647."),
        (Kind.DECIMAL, "1,5", "Enter a number with a decimal point, like 12.5."),
        (Kind.LINE, "x" * 11, "Too long: 11 characters, at most 10 are allowed."),
        (Kind.TEXT, "é" * 11, "Too long: 11 characters, at most 10 are allowed."),
        (Kind.HTML, "é" * 10, "this text has 17 characters. At most 10 are allowed."),
    ],
)
def test_invalid_input_is_rejected_with_an_example(kind: Kind, typed: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        to_itop(Attribute(code="x", kind=kind, limit=10), typed, dt.UTC, PARIS)


@pytest.mark.parametrize(
    ("kind", "typed", "message"),
    [
        (Kind.DATE, "24/11/2026", "Enter a date like 2026-11-24."),
        (Kind.TEXT, "é" * 11, "Too long: 11 characters, at most 10 are allowed."),
    ],
)
def test_invalid_input_is_reported_at_its_field_without_a_call(
    teammate: Teammate, workspace: Workspace, itop: Itop, kind: Kind, typed: str, message: str
) -> None:
    set_kind(workspace, kind, limit=10)
    teammate.open().click(FORM)
    itop.calls.clear()
    teammate.click(CREATE, **{"Escalation reason": typed})
    field = teammate.field("Escalation reason")
    assert field["value"] == typed
    assert field.get("save_state") == "failed" or field.get("error") is True
    after = teammate.components[teammate.components.index(field) + 1]
    assert after["style"] == "error" and message in after["text"]
    assert itop.calls == []


def test_a_text_of_exactly_the_maximum_length_is_sent(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    set_kind(workspace, Kind.LINE, limit=10)
    teammate.open().click(FORM).click(CREATE, **{"Escalation reason": "é🚀" * 5})
    assert newest(itop)["escalation_reason"] == "é🚀" * 5


def test_the_placeholder_of_a_date_has_the_format_and_the_time_zone(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.time_zone = "Asia/Tokyo"
    workspace.save()
    learn(workspace, Attribute(code="escalation_reason", kind=Kind.DATE))
    ask_for(workspace, "end_date", "escalation_reason", defaults={})
    teammate.open().click(FORM)
    assert teammate.field("End date")["placeholder"] == "e.g. 2026-11-24 14:30 (Asia/Tokyo)"
    assert teammate.field("Escalation reason")["placeholder"] == "e.g. 2026-11-24"


def test_a_time_is_converted_from_the_workspaces_time_zone_to_itops(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.time_zone = "Asia/Tokyo"
    workspace.save()
    ask_for(workspace, "end_date", defaults={"end_date": "2026-11-24 08:00:00"})
    teammate.open().click(FORM)
    assert teammate.field("End date")["value"] == "2026-11-24 16:00"
    teammate.click(CREATE)
    assert newest(itop)["end_date"] == "2026-11-24 08:00:00"


def test_a_time_skipped_by_a_clock_change_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="This time does not exist on that day"):
        to_itop(Attribute(code="x", kind=Kind.DATETIME), "2026-03-29 02:30", PARIS, PARIS)


# Options


def test_the_only_value_of_an_enum_is_selected(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    set_kind(workspace, Kind.ENUM, values=(Value(code="only"),), is_mandatory=True)
    teammate.open().click(FORM)
    assert "Escalation reason" in teammate.text and ": **only**" in teammate.text
    teammate.click(CREATE)
    assert newest(itop)["escalation_reason"] == "only"


def test_more_than_ten_values_open_a_selection_page(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    values = tuple(Value(code=f"floor:{number}", labels={"en": f"Floor {number}"}) for number in range(1, 13))
    set_kind(workspace, Kind.ENUM, values=values)
    teammate.open().click(FORM)
    teammate.click("Choose from 12", Title="Kept while I choose")
    teammate.click("Next").click("Floor 12")
    assert "Escalation reason: Floor 12" in teammate.text
    assert teammate.field("Title")["value"] == "Kept while I choose"
    teammate.click("Escalation reason").click("None of these")
    assert "Choose from 12" in teammate.text
    teammate.click("Choose from 12").click("Next").click("Floor 11").click(CREATE)
    assert newest(itop)["escalation_reason"] == "floor:11"


def test_dependent_options_are_loaded_after_a_selection_from_a_page(teammate: Teammate, itop: Itop) -> None:
    for number in range(40, 52):
        offer_service(itop, number, f"Service {number}")
    teammate.open().click(FORM)
    assert "Service subcategory: choose Service first." in teammate.text
    assert not teammate.offers(SHOW_SUBCATEGORIES)
    teammate.click("Choose from").click("Search", Search="Workplace").click("Workplace")
    assert "choose Service first" not in teammate.text
    assert not teammate.offers(SHOW_SUBCATEGORIES)
    assert teammate.field("Service subcategory")["options"]


def offer_service(itop: Itop, number: int, name: str) -> None:
    """Add a service to the contract of the customer's organization."""
    itop.store.insert("Service", id=number, name=name, org_id=3, status="production")
    itop.store.insert("lnkCustomerContractToService", customercontract_id=1, service_id=number)


def test_an_unknown_value_of_an_enum_is_rejected_without_a_call(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, "urgency")
    teammate.open().click(FORM)
    itop.calls.clear()
    teammate.click(CREATE, Urgency="9")
    assert "Not one of the options." in teammate.text
    assert itop.calls == []


def test_the_services_belong_to_the_organization_of_the_caller(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.open().click(FORM)
    offered = [option["text"] for option in teammate.field("Service")["options"]]
    assert offered == [
        "Business applications <ERP>",
        "E-mail & messaging",
        "Empty service",
        "Future cloud",
        "Workplace",
    ]
    teammate.contact = ALICE | {"id": "dana", "email": "dana.oneil@globex.example"}
    teammate.open().click(FORM)
    assert "Choose from 12" in teammate.text


def test_subcategories_depend_on_the_service_and_the_request_type(
    teammate: Teammate, workspace: Workspace
) -> None:
    ask_for(workspace, "request_type", "service_id", "servicesubcategory_id")
    teammate.open().click(FORM)
    assert "Service subcategory: choose Service first." in teammate.text
    teammate.choose("Service", "Workplace")
    offered = [option["text"] for option in teammate.field("Service subcategory")["options"]]
    assert offered == ["Laptop broken", "New laptop"]
    teammate.choose("Request type", "Incident")
    # The only remaining option is selected.
    assert "Service subcategory: **Laptop broken**" in teammate.text
    teammate.choose("Service", "Empty service")
    assert "No Service subcategory available for the current selection." in teammate.text


def test_choosing_a_service_loads_its_subcategories_without_another_click(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.open().click(FORM)
    assert teammate.field("Service")["type"] == "single-select"
    assert "Service subcategory: choose Service first." in teammate.text
    teammate.choose("Service", "Workplace", Title="Kept while I choose")
    assert teammate.field("Title")["value"] == "Kept while I choose"
    assert teammate.field("Service")["value"] == "4"
    # Nothing depends on the subcategory, so it needs no click.
    assert teammate.field("Service subcategory")["type"] == "dropdown"
    assert not teammate.offers(SHOW_SUBCATEGORIES)
    teammate.click(CREATE, **{"Service subcategory": teammate.option("Service subcategory", "Laptop broken")})
    ticket = newest(itop)
    assert (int(ticket["service_id"]), int(ticket["servicesubcategory_id"])) == (4, 19)


def test_a_changed_field_clears_all_dependent_fields(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    learn(
        workspace,
        Attribute(
            code="parent_request_id",
            kind=Kind.KEY,
            target_class="UserRequest",
            filter="SELECT UserRequest AS r WHERE r.servicesubcategory_id = :this->servicesubcategory_id",
        ),
    )
    ask_for(workspace, "service_id", "servicesubcategory_id", "parent_request_id")
    teammate.open().click(FORM)
    teammate.choose("Service", "Workplace")
    teammate.choose("Service subcategory", "Laptop broken")
    parent = teammate.option("Parent request", "R-000001")
    teammate.send_click("form:show", {"Parent request": parent})
    assert teammate.field("Parent request")["value"] == parent
    values = teammate.canvas["stored_data"]["form"]["values"]
    assert {"servicesubcategory_id", "parent_request_id"} <= set(values)
    before = len(itop.store.all("UserRequest"))
    teammate.click(CREATE, Service=teammate.option("Service", "E-mail"))
    values = teammate.canvas["stored_data"]["form"]["values"]
    assert not {"servicesubcategory_id", "parent_request_id"} & set(values)
    # A ticket without the selected values would be wrong, so the form is displayed again.
    assert "Please choose again: this depends on another field that has changed." in teammate.text
    assert len(itop.store.all("UserRequest")) == before


def test_a_subcategory_that_is_no_longer_offered_does_not_block_the_form(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.open().click(FORM)
    teammate.choose("Service", "E-mail")
    # The choice of a subcategory is no click. It arrives with the next one, which changes the service, too.
    subcategory = teammate.field("Service subcategory")["options"][0]["id"]
    teammate.choose("Service", "Empty service", **{"Service subcategory": subcategory})
    before = len(itop.store.all("UserRequest"))
    teammate.click(CREATE)
    assert "No longer one of the options. Please choose again." in teammate.text
    assert len(itop.store.all("UserRequest")) == before
    teammate.click(CREATE)
    assert len(itop.store.all("UserRequest")) == before + 1
    assert not int(newest(itop)["servicesubcategory_id"])


def test_a_subcategory_of_another_service_is_rejected_without_a_call(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click(FORM)
    teammate.choose("Service", "Workplace")
    itop.calls.clear()
    teammate.click(CREATE, **{"Service subcategory": "22"})
    assert "No longer one of the options." in teammate.text
    assert itop.calls == []
    teammate.click(CREATE, Service="", **{"Service subcategory": "19"})
    assert "Please choose Service first." in teammate.text


@pytest.mark.parametrize("approver", ["50", "9 OR 1=1", "41 UNION SELECT Person", "-41", "9" * 30])
def test_a_person_of_another_organization_is_not_an_option(
    teammate: Teammate, workspace: Workspace, itop: Itop, approver: str
) -> None:
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    assert [option["text"] for option in teammate.field("Approver")["options"]] == [
        "Alice Martin",
        "Bob Durand",
        "Chloé D'Arcy",
    ]
    itop.calls.clear()
    teammate.click(CREATE, Approver=approver)
    assert "No longer one of the options." in teammate.text
    assert itop.calls == []


def test_options_can_depend_on_another_field(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    ask_for(workspace, "team_id", "agent_id")
    teammate.open().click(FORM)
    assert "Agent: choose Team first." in teammate.text
    teammate.choose("Team", "Helpdesk")
    teammate.click(CREATE, Agent=teammate.option("Agent", "Agatha"))
    ticket = newest(itop)
    assert (int(ticket["team_id"]), int(ticket["agent_id"])) == (37, 10)


def test_two_hundred_options_are_paginated_and_searched_with_one_call(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    more_persons(itop, 230)
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM).click("Choose from 233", Description="é\n" * 15_000)
    sizes = [len(json.dumps(teammate.canvas[name])) for name in ("content", "stored_data")]
    assert max(sizes) <= MAX_BYTES
    assert "Page 1 of 24" in teammate.text
    itop.calls.clear()
    teammate.send_click("form:search:approver_id", {"Search": "no. 22"})
    # 22 and 220 to 229.
    assert "Page 1 of 2" in teammate.text
    teammate.click("Next")
    assert "Page 2 of 2" in teammate.text
    teammate.click("Previous").click("Extra No. 220")
    assert "Approver: Extra No. 220" in teammate.text
    assert itop.calls == []


def test_more_options_than_the_maximum_are_searched_in_itop(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    more_persons(itop, 600)
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM).click("Choose from 603")
    assert "There are 603 options. Search by name to find the others." in teammate.text
    teammate.send_click("form:search:approver_id", {"Search": "No. 599 extra"})
    teammate.click("Extra No. 599")
    assert "Approver: Extra No. 599" in teammate.text
    teammate.click(CREATE)
    assert "created" in teammate.text
    assert int(newest(itop)["approver_id"]) == 1599
    teammate.open().click(FORM)
    teammate.canvas["stored_data"]["form"]["values"]["approver_id"] = "50"
    teammate.click(CREATE)
    assert "No longer one of the options." in teammate.text


def more_persons(itop: Itop, count: int) -> None:
    for number in range(count):
        itop.store.insert("Person", id=1000 + number, first_name="Extra", name=f"No. {number}", org_id=4)


def test_options_are_cached_for_five_minutes(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any
) -> None:
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    itop.calls.clear()
    teammate.send_click("create")
    assert itop.calls == []
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=301))
    teammate.send_click("create")
    assert itop.calls == [("core/get", "Person")]


@pytest.mark.parametrize("filter_", ["SELECT Person AS p WHERE p.nope = 1", "SELECT Person WHERE ("])
def test_an_invalid_filter_disables_its_field_only(
    teammate: Teammate, workspace: Workspace, filter_: str
) -> None:
    learn(workspace, approver_id={"filter": filter_})
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    assert "Approver: iTop could not list the options." in teammate.text
    teammate.click(CREATE)
    assert "created" in teammate.text


def test_a_quote_in_a_value_is_escaped_in_a_filter(teammate: Teammate, workspace: Workspace) -> None:
    learn(workspace, approver_id={"filter": "SELECT Person AS p WHERE p.name = :this->pending_reason"})
    ask_for(workspace, "pending_reason", "approver_id")
    teammate.open().click(FORM)
    teammate.click("Show options for Approver", **{"Pending reason": "x' OR p.id > 0 OR p.name = 'x"})
    assert "No Approver available" in teammate.text
    teammate.click("Show options for Approver", **{"Pending reason": "D'Arcy"})
    assert "Approver: **Chloé D'Arcy**" in teammate.text


def test_options_can_depend_on_values_that_are_not_on_the_form(
    teammate: Teammate, workspace: Workspace
) -> None:
    learn(
        workspace,
        approver_id={
            "filter": "SELECT Person AS p WHERE p.id != :this->caller_id AND p.org_id = :this->org_id "
            "AND :this->origin = 'chat' AND :this->org_name = 'Acme Corp'"
        },
    )
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    assert [option["text"] for option in teammate.field("Approver")["options"]] == [
        "Bob Durand",
        "Chloé D'Arcy",
    ]


def test_a_rejected_filter_is_requested_once_for_all_dependent_fields(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    dependent_filter = "WHERE x.id = :this->approver_id"
    learn(
        workspace,
        approver_id={"filter": "SELECT Person AS x WHERE x.nope = 1"},
        service_id={"filter": f"SELECT Service AS x {dependent_filter}"},
        team_id={"filter": f"SELECT Team AS x {dependent_filter}"},
        agent_id={"filter": f"SELECT Person AS x {dependent_filter}"},
    )
    ask_for(workspace, "approver_id", "service_id", "team_id", "agent_id")
    teammate.open()
    itop.calls.clear()
    teammate.click(FORM)
    assert itop.calls.count(("core/get", "Person")) == 1
