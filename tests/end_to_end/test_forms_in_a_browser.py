"""The create form on the panel: it fits any data model, keeps what was typed, and never makes a ticket twice."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from intercom_bridge.datamodel import Attribute, Kind, Value
from intercom_bridge.models import TicketLink, Workspace
from sandbox.itop import Itop
from tests.browser import browser_test
from tests.datamodel.design_file import TICKET, design
from tests.panel.rules import ask_for, learn, let_itop

from . import inbox as words
from .inbox import Inbox

pytestmark = browser_test

# What a data model has where somebody has made an attribute mandatory, with a name in two languages.
REQUEST = """
  <class id="UserRequest">
   <parent>Ticket</parent>
   <properties>
    <abstract>false</abstract>
    <fields_semantic><state_attribute>status</state_attribute></fields_semantic>
   </properties>
   <fields>
    <field id="status" xsi:type="AttributeEnum">
     <values><value id="new"><code>new</code></value><value id="closed"><code>closed</code></value></values>
     <default_value>new</default_value><is_null_allowed>false</is_null_allowed>
    </field>
    <field id="escalation_reason" xsi:type="AttributeString">
     <default_value /><is_null_allowed>false</is_null_allowed>
    </field>
    <field id="public_log" xsi:type="AttributeCaseLog"><is_null_allowed>true</is_null_allowed></field>
   </fields>
   <lifecycle><states><state id="new" /><state id="closed" /></states></lifecycle>
  </class>"""
NAMES = """
 <dictionaries>
  <dictionary id="EN US"><entries>
   <entry id="Class:UserRequest">Order</entry>
   <entry id="Class:Ticket/Attribute:title">Heading</entry>
   <entry id="Class:UserRequest/Attribute:escalation_reason">Cost centre</entry>
  </entries></dictionary>
  <dictionary id="FR FR"><entries>
   <entry id="Class:UserRequest/Attribute:escalation_reason">Centre de coûts</entry>
  </entries></dictionary>
 </dictionaries>"""


def newest(itop: Itop) -> dict[str, Any]:
    return dict(max(itop.store.all("UserRequest"), key=lambda one: one["id"]))


def tickets(itop: Itop) -> int:
    return len(itop.store.all("UserRequest"))


def typed_as(workspace: Workspace, kind: Kind, **more: Any) -> None:
    """Change the type of the sandbox's text attribute "Escalation reason"."""
    learn(workspace, Attribute(code="escalation_reason", kind=kind, **more))
    ask_for(workspace, "escalation_reason")


# What it asks for


def test_an_uploaded_data_model_changes_the_form(inbox: Inbox, workspace: Workspace, itop: Itop) -> None:
    let_itop(itop, "escalation_reason", mandatory=True)
    ask_for(workspace)
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).field("Title").wait_for()
    assert not inbox.field("Cost centre").count()

    User.objects.create_superuser("root", password="The admin's own word")
    upload_page = reverse("admin:intercom_bridge_itopinstance_datamodel", args=[workspace.itop_id])
    admin = inbox.page.context.new_page()
    admin.goto(f"{reverse('admin:login')}?next={upload_page}")
    admin.get_by_label("Username").fill("root")
    admin.get_by_label("Password").fill("The admin's own word")
    admin.get_by_role("button", name="Log in").click()
    admin.get_by_label("File").set_input_files(
        {
            "name": "datamodel-production.xml",
            "mimeType": "text/xml",
            "buffer": design(TICKET, REQUEST, dictionaries=NAMES),
        }
    )
    admin.get_by_role("button", name="Import").click()
    admin.get_by_text("The import is waiting for a worker").wait_for()
    inbox.work()
    admin.get_by_text("Imported: ").wait_for()
    admin.close()

    inbox.reload().click(words.CREATE_A_TICKET).fill("Heading", "Three more screens")
    inbox.click(words.CREATE)
    assert inbox.is_marked("Cost centre")
    inbox.fill("Cost centre", "4711").click(words.CREATE).sees("created")
    assert newest(itop)["escalation_reason"] == "4711"
    workspace.language = "fr"
    workspace.save()
    inbox.reload().click("Créer un ticket").field("Centre de coûts").wait_for()


def test_fields_and_values_have_the_labels_of_the_data_model(inbox: Inbox, workspace: Workspace) -> None:
    learn(workspace, urgency={"labels": {"en": "How soon?", "de": "Wie bald?"}})
    ask_for(workspace, "urgency")
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).choose("How soon?", "High")
    workspace.language = "de"
    workspace.save()
    inbox.reload().click("Ticket erstellen").field("Wie bald?").wait_for()


def test_a_date_in_another_format_is_refused_at_its_field(
    inbox: Inbox, workspace: Workspace, itop: Itop
) -> None:
    typed_as(workspace, Kind.DATE)
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "Kept as it was")
    assert "2026-11-24" in inbox.field("Escalation reason").get_attribute("placeholder")
    for wrong in ("24/11/2026", "2026-02-30", "tomorrow"):
        inbox.fill("Escalation reason", wrong).click(words.CREATE)
        assert inbox.is_marked("Escalation reason")
        assert inbox.value("Escalation reason") == wrong
        assert inbox.value("Title") == "Kept as it was"
    inbox.fill("Escalation reason", "2026-2-3").click(words.CREATE).sees("created")
    assert newest(itop)["escalation_reason"] == "2026-02-03"


# Choices


def test_choosing_a_service_shows_its_subcategories_and_keeps_the_input(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "Typed by Ada")
    inbox.choose("Service", "Workplace")
    inbox.choose("Service subcategory", "Laptop broken")
    inbox.choose("Service", "Business applications <ERP>")
    assert inbox.value("Title") == "Typed by Ada"
    inbox.choose("Service subcategory", "ERP slow").click(words.CREATE).sees("created")
    assert (newest(itop)["service_id"], newest(itop)["servicesubcategory_id"]) == (6, 25)


def test_a_service_without_subcategories_says_so(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET)
    inbox.choose("Service", "Empty service")
    assert not inbox.field("Service subcategory").count()
    inbox.panel.locator("p").filter(has_text="Service subcategory").wait_for()
    inbox.fill("Title", "Without any").click(words.CREATE).sees("created")


def test_an_only_option_is_preselected(inbox: Inbox, workspace: Workspace, itop: Itop) -> None:
    typed_as(workspace, Kind.ENUM, values=(Value(code="only"),), is_mandatory=True)
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET)
    assert not inbox.field("Escalation reason").count()
    inbox.panel.locator("p").filter(has_text="Escalation reason").get_by_text("only").wait_for()
    inbox.fill("Title", "Nothing to choose").click(words.CREATE).sees("created")
    assert newest(itop)["escalation_reason"] == "only"


def test_more_than_ten_options_are_chosen_on_pages_with_a_search(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Dana O'Neil").click(words.CREATE_A_TICKET).fill("Title", "Typed by Ada")
    inbox.click("Service").sees("Page 1 of 2")
    first = inbox.lines
    assert len(first) == 10
    inbox.click(words.NEXT).sees("Page 2 of 2")
    assert len(inbox.lines) == 2 and not set(first) & set(inbox.lines)
    inbox.click(words.PREVIOUS).sees("Page 1 of 2")
    inbox.press_enter_in("Search", "no such service")
    assert inbox.lines == []
    inbox.press_enter_in("Search", "priority")
    assert inbox.lines == ["Helpdesk *priority*"]
    inbox.click("Helpdesk").sees("Helpdesk *priority*")
    assert inbox.value("Title") == "Typed by Ada"
    inbox.click(words.CREATE).sees("created")
    assert newest(itop)["service_id"] == 17


def test_leaving_the_page_of_options_changes_nothing(inbox: Inbox) -> None:
    inbox.open("Dana O'Neil").click(words.CREATE_A_TICKET).fill("Title", "Typed by Ada")
    inbox.click("Service").press_enter_in("Search", "priority").click(words.BACK_TO_FORM)
    assert inbox.value("Title") == "Typed by Ada"
    assert "Helpdesk" not in inbox.text


# Errors


def test_an_error_of_itop_is_shown_at_its_field_and_the_input_is_kept(inbox: Inbox, itop: Itop) -> None:
    let_itop(itop, "request_type", mandatory=True)
    before = tickets(itop)
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "Kept as it was")
    inbox.fill("Description", "Line one\n\nLine two, with <b>marks</b>").choose("Urgency", "High")
    inbox.choose("Service", "Workplace").click(words.CREATE)
    inbox.panel.locator("fieldset.failed").filter(has_text="Request type").wait_for()
    assert tickets(itop) == before
    assert inbox.value("Title") == "Kept as it was"
    assert inbox.value("Description") == "Line one\n\nLine two, with <b>marks</b>"
    inbox.choose("Request type", "Incident").click(words.CREATE).sees("created")
    made = newest(itop)
    assert (tickets(itop), made["title"], made["urgency"], made["service_id"], made["request_type"]) == (
        before + 1,
        "Kept as it was",
        "2",
        4,
        "incident",
    )


def test_a_missing_value_is_reported_without_a_call_to_itop(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET)
    itop.calls.clear()
    inbox.fill("Title", "").click(words.CREATE)
    assert inbox.is_marked("Title")
    assert ("core/create", "UserRequest") not in itop.calls


# One ticket


def test_a_possible_duplicate_is_shown_before_a_ticket_is_created(inbox: Inbox, itop: Itop) -> None:
    before = tickets(itop)
    inbox.open("Alice Martin").create("Screen flickers").sees("R-000008")
    assert tickets(itop) == before
    inbox.click(words.CREATE_ANYWAY).sees("created")
    assert tickets(itop) == before + 1


def test_a_possible_duplicate_is_linked_instead_of_a_new_ticket(inbox: Inbox, itop: Itop) -> None:
    before = tickets(itop)
    inbox.open("Alice Martin").create("Screen flickers")
    inbox.click("Link R-000008").click(words.FROM_NOW_ON).sees("R-000008")
    assert TicketLink.objects.get().ticket.ref == "R-000008" and tickets(itop) == before


def test_viewing_a_possible_duplicate_keeps_the_form(inbox: Inbox) -> None:
    inbox.open("Alice Martin").create("Screen flickers")
    inbox.clickable("R-000008").first.click()
    inbox.sees("Can you send a picture?")
    inbox.click(words.BACK)
    assert inbox.value("Title") == "Screen flickers"
    inbox.click(words.CREATE).sees("created")


def test_the_second_of_two_teammates_with_open_forms_is_told_of_the_ticket(
    inbox: Inbox, colleagues_inbox: Inbox, itop: Itop
) -> None:
    before = tickets(itop)
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "As Ada calls it")
    colleagues_inbox.open("Alice Martin").create("What Sam noticed").sees("created")
    sams = newest(itop)["ref"]
    inbox.click(words.CREATE).sees("Sam Field")
    inbox.sees(sams)
    assert tickets(itop) == before + 1
    inbox.click(words.BACK_TO_FORM)
    assert inbox.value("Title") == "As Ada calls it"
    inbox.click(words.CREATE).sees("created")
    assert tickets(itop) == before + 2 and newest(itop)["title"] == "As Ada calls it"


def test_a_colleague_can_view_the_first_ticket_instead_of_creating_one(
    inbox: Inbox, colleagues_inbox: Inbox, itop: Itop
) -> None:
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "As Ada calls it")
    colleagues_inbox.open("Alice Martin").create("What Sam noticed").sees("created")
    made = tickets(itop)
    inbox.click(words.CREATE).click(newest(itop)["ref"]).sees("What Sam noticed")
    inbox.open("Alice Martin").sees(words.LINKED)
    assert tickets(itop) == made


def test_two_clicks_on_create_make_one_ticket(inbox: Inbox, itop: Itop) -> None:
    before = tickets(itop)
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "Pressed in a hurry")
    inbox.clickable(words.CREATE).dblclick()
    inbox.sees("created")
    assert tickets(itop) == before + 1
