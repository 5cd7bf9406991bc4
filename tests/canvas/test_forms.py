"""The create form fits the workspace's data model: each attribute is asked for by its kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from intercom_bridge.canvas.components import MAX_BYTES
from intercom_bridge.datamodel import Attribute, Kind, Value
from intercom_bridge.models import Submission, TicketProfile, Workspace
from sandbox.itop import Itop
from tests.canvas.rules import ask_for, learn, let_itop
from tests.teammate import ALICE, Teammate

FORM = "Create a ticket"
CREATE = "Create the ticket"
SHOW_SUBCATEGORIES = "Show the choices of Service subcategory"


def newest(itop: Itop) -> dict[str, Any]:
    return dict(max(itop.store.all("UserRequest"), key=lambda one: one["id"]))


def labels(teammate: Teammate) -> list[str]:
    return [one["label"] for one in teammate.fields()]


def typed_as(workspace: Workspace, kind: Kind, **more: Any) -> None:
    """The sandbox's Hot reason, which takes any text, is an attribute of this kind."""
    learn(workspace, Attribute(code="escalation_reason", kind=kind, **more))
    ask_for(workspace, "escalation_reason")


# Which fields


def test_the_profiles_fields_come_in_its_order_and_the_mandatory_ones_bear_a_star(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.profile.form_attributes = ["urgency", "title", "pending_reason", "description"]
    workspace.profile.save()
    teammate.open().click(FORM)
    assert labels(teammate) == ["Urgency *", "Title *", "Pending reason", "Description *"]
    kinds = [one["type"] for one in teammate.fields()]
    assert kinds == ["dropdown", "input", "textarea", "textarea"]


def test_labels_and_values_are_those_of_the_data_model(teammate: Teammate, workspace: Workspace) -> None:
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
    assert [one["text"] for one in teammate.field("Cost centre")["options"]] == ["Ann Arbor", "b"]


def test_what_itop_needs_and_the_form_lacks_is_asked_for_at_the_end(
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
    # What has a default, or is filled in by us (the caller, the organization), is not asked for.
    assert labels(teammate) == ["Title *", "Description *", "Escalation reason *"]
    teammate.click(CREATE)
    assert "This is needed." in teammate.text
    teammate.click(CREATE, **{"Escalation reason": "The board asked"})
    assert newest(itop)["escalation_reason"] == "The board asked"


def test_what_is_read_only_in_a_new_ticket_is_not_asked_for(teammate: Teammate, workspace: Workspace) -> None:
    ask_for(workspace, "start_date", "priority", "end_date")
    teammate.open().click(FORM)
    assert labels(teammate) == ["Title *", "Description *", "End date"]


def test_what_no_form_can_ask_for_is_named(teammate: Teammate, workspace: Workspace) -> None:
    learn(workspace, Attribute(code="contacts_list", kind=Kind.OTHER))
    ask_for(workspace, "contacts_list")
    teammate.open().click(FORM)
    assert "Contacts list cannot be asked for here; iTop's default is used." in teammate.text
    learn(workspace, Attribute(code="contacts_list", kind=Kind.OTHER, is_mandatory=True))
    teammate.open().click(FORM)
    assert "Contacts list cannot be asked for here, and iTop may need it." in teammate.text


def test_a_class_that_nobody_told_us_about_is_asked_for_by_its_stock_names(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.open()
    # The first screen needs the class in iTop; the form does not.
    ask_for(workspace, "urgency", "cost_centre", "sponsor_id", ticket_class="OurTicket")
    teammate.click(FORM)
    assert labels(teammate) == ["Title *", "Description *", "Urgency", "Cost centre"]
    assert "Sponsor cannot be asked for here" in teammate.text


def test_a_part_that_has_another_code_here_is_not_asked_for_by_its_stock_code(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.open()
    workspace.profile.form_attributes = ["subject"]
    workspace.profile.attributes_mapping = {"title": "subject", "org_id": "customer_id"}
    workspace.profile.save()
    teammate.click(FORM)
    assert labels(teammate) == ["Subject *", "Description *"]


# Defaults


def test_the_profiles_defaults_stand_in_the_form_before_itops_own(
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
    # A default of what the form does not ask for is sent as well.
    assert (ticket["urgency"], ticket["impact"], ticket["request_type"]) == ("2", "1", "incident")


def test_a_default_that_itop_computes_is_left_to_it(teammate: Teammate, workspace: Workspace) -> None:
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
def test_defaults_that_cannot_be_meant_are_refused_in_the_admin(db: None, defaults: Any) -> None:
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
        # Workspace UTC, iTop in Paris: an hour later in winter, two in summer.
        (Kind.DATETIME, "2026-11-24 14:30", "2026-11-24 15:30:00"),
        (Kind.DATETIME, "2026-07-24T23:30:10", "2026-07-25 01:30:10"),
    ],
)
def test_what_is_typed_is_sent_as_itop_takes_it(
    teammate: Teammate, workspace: Workspace, itop: Itop, kind: Kind, typed: str, sent: str
) -> None:
    typed_as(workspace, kind)
    teammate.open().click(FORM).click(CREATE, **{"Escalation reason": typed})
    assert newest(itop)["escalation_reason"] == sent
    assert Submission.objects.get().values["escalation_reason"] == typed


@pytest.mark.parametrize(
    ("kind", "typed", "said"),
    [
        (Kind.DATE, "24/11/2026", "Write a date like 2026-11-24."),
        (Kind.DATE, "2026-02-30", "Write a date like 2026-11-24."),
        (Kind.DATE, "0026-11-24", "Write a date like 2026-11-24."),
        (Kind.DATETIME, "2026-11-24", "Write a date and a time like 2026-11-24 14:30."),
        (Kind.DATETIME, "2026-11-24 25:00", "Write a date and a time like 2026-11-24 14:30."),
        (Kind.DATETIME, "9999-12-31 23:59", "Write a date and a time like 2026-11-24 14:30."),
        (Kind.DATETIME, "tomorrow", "Write a date and a time like 2026-11-24 14:30."),
        (Kind.INTEGER, "a dozen", "Write a whole number, like 12."),
        (Kind.INTEGER, "1.5", "Write a whole number, like 12."),
        (Kind.INTEGER, "٣", "Write a whole number, like 12."),
        (Kind.INTEGER, "2147483648", "Write a number from -2147483648 to 2147483647."),
        (Kind.DECIMAL, "1,5", "Write a number with a point, like 12.5."),
        (Kind.LINE, "x" * 11, "Too long: 11 characters of 10."),
        (Kind.TEXT, "é" * 11, "Too long: 11 characters of 10."),
        (Kind.HTML, "é" * 10, "it has 17 characters of 10."),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field_before_it_is_sent(
    teammate: Teammate, workspace: Workspace, itop: Itop, kind: Kind, typed: str, said: str
) -> None:
    typed_as(workspace, kind, limit=10)
    teammate.open().click(FORM)
    itop.calls.clear()
    teammate.click(CREATE, **{"Escalation reason": typed})
    field = teammate.field("Escalation reason")
    assert field["value"] == typed
    assert field.get("save_state") == "failed" or field.get("error") is True
    after = teammate.components[teammate.components.index(field) + 1]
    assert after["style"] == "error" and said in after["text"]
    assert itop.calls == []


def test_a_text_of_as_many_characters_as_itop_takes_is_sent(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    typed_as(workspace, Kind.LINE, limit=10)
    teammate.open().click(FORM).click(CREATE, **{"Escalation reason": "é🚀" * 5})
    assert newest(itop)["escalation_reason"] == "é🚀" * 5


def test_the_format_of_a_date_is_said_in_its_field_with_the_zone(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.time_zone = "Asia/Tokyo"
    workspace.save()
    learn(workspace, Attribute(code="escalation_reason", kind=Kind.DATE))
    ask_for(workspace, "end_date", "escalation_reason", defaults={})
    teammate.open().click(FORM)
    assert teammate.field("End date")["placeholder"] == "Like 2026-11-24 14:30, time of Asia/Tokyo"
    assert teammate.field("Escalation reason")["placeholder"] == "Like 2026-11-24"


def test_a_time_is_meant_in_the_workspaces_zone_and_sent_in_itops(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.time_zone = "Asia/Tokyo"
    workspace.save()
    ask_for(workspace, "end_date", defaults={"end_date": "2026-11-24 08:00:00"})
    teammate.open().click(FORM)
    assert teammate.field("End date")["value"] == "2026-11-24 16:00"
    teammate.click(CREATE)
    assert newest(itop)["end_date"] == "2026-11-24 08:00:00"


def test_a_time_over_which_the_clocks_are_put_forward_is_refused(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.time_zone = "Europe/Paris"
    workspace.save()
    ask_for(workspace, "end_date")
    teammate.open().click(FORM).click(CREATE, **{"End date": "2026-03-29 02:30"})
    assert "There is no such time on that day" in teammate.text


# Choices


def test_one_value_of_an_enum_is_shown_and_chosen(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    typed_as(workspace, Kind.ENUM, values=(Value(code="only"),), is_mandatory=True)
    teammate.open().click(FORM)
    assert "Escalation reason" in teammate.text and ": **only**" in teammate.text
    teammate.click(CREATE)
    assert newest(itop)["escalation_reason"] == "only"


def test_more_than_ten_values_open_a_page_to_pick_from(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    values = tuple(Value(code=f"floor:{number}", labels={"en": f"Floor {number}"}) for number in range(1, 13))
    typed_as(workspace, Kind.ENUM, values=values)
    teammate.open().click(FORM)
    teammate.click("Choose one of 12", Title="Kept while I choose")
    teammate.click("Next").click("Floor 12")
    assert "Escalation reason: Floor 12" in teammate.text
    assert teammate.field("Title")["value"] == "Kept while I choose"
    teammate.click("Escalation reason").click("Choose none")
    assert "Choose one of 12" in teammate.text
    teammate.click("Choose one of 12").click("Next").click("Floor 11").click(CREATE)
    assert newest(itop)["escalation_reason"] == "floor:11"


def test_what_hangs_on_a_choice_from_a_page_needs_no_press_of_its_own(teammate: Teammate, itop: Itop) -> None:
    for number in range(40, 52):
        offer_service(itop, number, f"Service {number}")
    teammate.open().click(FORM)
    assert "Service subcategory: choose Service first." in teammate.text
    assert not teammate.offers(SHOW_SUBCATEGORIES)
    teammate.click("Choose one of").click("Search", Search="Workplace").click("Workplace")
    assert "choose Service first" not in teammate.text
    assert not teammate.offers(SHOW_SUBCATEGORIES)
    assert teammate.field("Service subcategory")["options"]


def offer_service(itop: Itop, number: int, name: str) -> None:
    """One more service in the contract of the customer's organization."""
    itop.store.insert("Service", id=number, name=name, org_id=3, status="production")
    itop.store.insert("lnkCustomerContractToService", customercontract_id=1, service_id=number)


def test_an_unknown_value_of_an_enum_is_refused_before_it_is_sent(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, "urgency")
    teammate.open().click(FORM)
    itop.calls.clear()
    teammate.click(CREATE, Urgency="9")
    assert "This is none of the choices." in teammate.text
    assert itop.calls == []


def test_the_services_are_those_of_the_callers_organization(teammate: Teammate, workspace: Workspace) -> None:
    teammate.open().click(FORM)
    offered = [one["text"] for one in teammate.field("Service")["options"]]
    assert offered == [
        "Business applications <ERP>",
        "E-mail & messaging",
        "Empty service",
        "Future cloud",
        "Workplace",
    ]
    teammate.contact = ALICE | {"id": "dana", "email": "dana.oneil@globex.example"}
    teammate.open().click(FORM)
    assert "Choose one of 12" in teammate.text


def test_subcategories_are_those_of_the_service_and_the_request_type(
    teammate: Teammate, workspace: Workspace
) -> None:
    ask_for(workspace, "request_type", "service_id", "servicesubcategory_id")
    teammate.open().click(FORM)
    assert "Service subcategory: choose Service first." in teammate.text
    teammate.click(SHOW_SUBCATEGORIES, Service=teammate.option("Service", "Workplace"))
    offered = [one["text"] for one in teammate.field("Service subcategory")["options"]]
    assert offered == ["Laptop broken", "New laptop"]
    teammate.click(SHOW_SUBCATEGORIES, **{"Request type": "incident"})
    # One that is left is chosen.
    assert "Service subcategory: **Laptop broken**" in teammate.text
    teammate.click(SHOW_SUBCATEGORIES, Service=teammate.option("Service", "Empty service"))
    assert "Service subcategory: iTop offers none for what is chosen here." in teammate.text


def test_a_field_that_is_changed_clears_what_hangs_on_it_to_the_last(
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
    teammate.click(SHOW_SUBCATEGORIES, Service=teammate.option("Service", "Workplace"))
    subcategory = teammate.option("Service subcategory", "Laptop broken")
    teammate.click("Show the choices of Parent request", **{"Service subcategory": subcategory})
    parent = teammate.option("Parent request", "R-000001")
    teammate.click(SHOW_SUBCATEGORIES, **{"Parent request": parent})
    assert teammate.field("Parent request")["value"] == parent
    values = teammate.canvas["stored_data"]["form"]["values"]
    assert {"servicesubcategory_id", "parent_request_id"} <= set(values)
    before = len(itop.store.all("UserRequest"))
    teammate.click(CREATE, Service=teammate.option("Service", "E-mail"))
    values = teammate.canvas["stored_data"]["form"]["values"]
    assert not {"servicesubcategory_id", "parent_request_id"} & set(values)
    # Nobody wants a ticket without what was chosen for it.
    assert "Please choose again: this depends on what was changed." in teammate.text
    assert len(itop.store.all("UserRequest")) == before


def test_a_subcategory_of_another_service_is_refused_before_it_is_sent(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.open().click(FORM)
    teammate.click(SHOW_SUBCATEGORIES, Service=teammate.option("Service", "Workplace"))
    itop.calls.clear()
    teammate.click(CREATE, **{"Service subcategory": "22"})
    assert "This is no longer among the choices." in teammate.text
    assert itop.calls == []
    teammate.click(CREATE, Service="", **{"Service subcategory": "19"})
    assert "Please choose Service first." in teammate.text


@pytest.mark.parametrize("approver", ["50", "9 OR 1=1", "41 UNION SELECT Person", "-41", "9" * 30])
def test_a_person_of_another_organization_is_none_of_the_choices(
    teammate: Teammate, workspace: Workspace, itop: Itop, approver: str
) -> None:
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    assert [one["text"] for one in teammate.field("Approver")["options"]] == [
        "Alice Martin",
        "Bob Durand",
        "Chloé D'Arcy",
    ]
    itop.calls.clear()
    teammate.click(CREATE, Approver=approver)
    assert "This is no longer among the choices." in teammate.text
    assert itop.calls == []


def test_choices_hang_on_another_field_of_the_form(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    ask_for(workspace, "team_id", "agent_id")
    teammate.open().click(FORM)
    assert "Agent: choose Team first." in teammate.text
    teammate.click("Show the choices of Agent", Team=teammate.option("Team", "Helpdesk"))
    teammate.click(CREATE, Agent=teammate.option("Agent", "Agatha"))
    ticket = newest(itop)
    assert (int(ticket["team_id"]), int(ticket["agent_id"])) == (37, 10)


def test_two_hundred_choices_are_ten_a_page_with_a_search_and_one_call(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    more_persons(itop, 230)
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM).click("Choose one of 233", Description="é\n" * 15_000)
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


def test_more_choices_than_a_list_holds_are_searched_for_in_itop(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    more_persons(itop, 600)
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM).click("Choose one of 603")
    assert "There are 603. Search for part of the name to see the others." in teammate.text
    teammate.send_click("form:search:approver_id", {"Search": "No. 599 extra"})
    teammate.click("Extra No. 599")
    assert "Approver: Extra No. 599" in teammate.text
    teammate.click(CREATE)
    assert "is created" in teammate.text
    assert int(newest(itop)["approver_id"]) == 1599
    teammate.open().click(FORM)
    teammate.canvas["stored_data"]["form"]["values"]["approver_id"] = "50"
    teammate.click(CREATE)
    assert "This is no longer among the choices." in teammate.text


def more_persons(itop: Itop, count: int) -> None:
    for number in range(count):
        itop.store.insert("Person", id=1000 + number, first_name="Extra", name=f"No. {number}", org_id=4)


def test_choices_are_remembered_for_five_minutes(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any
) -> None:
    import datetime as dt

    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    itop.calls.clear()
    teammate.send_click("create")
    assert itop.calls == []
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=301))
    teammate.send_click("create")
    assert itop.calls == [("core/get", "Person")]


@pytest.mark.parametrize("filter_", ["SELECT Person AS p WHERE p.nope = 1", "SELECT Person WHERE ("])
def test_a_filter_that_itop_does_not_understand_costs_its_field_and_not_the_form(
    teammate: Teammate, workspace: Workspace, filter_: str
) -> None:
    learn(workspace, approver_id={"filter": filter_})
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    assert "Approver: iTop could not say what may be chosen." in teammate.text
    teammate.click(CREATE)
    assert "is created" in teammate.text


def test_a_quote_in_a_value_stays_a_value_in_a_filter(teammate: Teammate, workspace: Workspace) -> None:
    learn(
        workspace,
        approver_id={"filter": "SELECT Person AS p WHERE p.name = :this->pending_reason"},
    )
    ask_for(workspace, "pending_reason", "approver_id")
    teammate.open().click(FORM)
    teammate.click("Show the choices of Approver", **{"Pending reason": "x' OR p.id > 0 OR p.name = 'x"})
    assert "Approver: iTop offers none" in teammate.text
    teammate.click("Show the choices of Approver", **{"Pending reason": "D'Arcy"})
    assert "Approver: **Chloé D'Arcy**" in teammate.text


def test_choices_after_a_value_that_the_caller_or_we_bring(teammate: Teammate, workspace: Workspace) -> None:
    learn(
        workspace,
        approver_id={
            "filter": "SELECT Person AS p WHERE p.id != :this->caller_id AND p.org_id = :this->org_id "
            "AND :this->origin = 'chat' AND :this->org_name = 'Acme Corp'"
        },
    )
    ask_for(workspace, "approver_id")
    teammate.open().click(FORM)
    assert [one["text"] for one in teammate.field("Approver")["options"]] == ["Bob Durand", "Chloé D'Arcy"]


def test_a_filter_that_itop_refuses_is_asked_once_whatever_hangs_on_it(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    hanging = "WHERE x.id = :this->approver_id"
    learn(
        workspace,
        approver_id={"filter": "SELECT Person AS x WHERE x.nope = 1"},
        service_id={"filter": f"SELECT Service AS x {hanging}"},
        team_id={"filter": f"SELECT Team AS x {hanging}"},
        agent_id={"filter": f"SELECT Person AS x {hanging}"},
    )
    ask_for(workspace, "approver_id", "service_id", "team_id", "agent_id")
    teammate.open()
    itop.calls.clear()
    teammate.click(FORM)
    assert itop.calls.count(("core/get", "Person")) == 1
