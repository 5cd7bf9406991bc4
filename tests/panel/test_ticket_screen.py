"""The ticket screen: its content, its links and its calls to iTop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from intercom_bridge.intercom.client import conversation_url
from intercom_bridge.models import Conversation, Ticket, TicketLink, Workspace
from intercom_bridge.panel.screens import ticket as screen
from intercom_bridge.tickets.details import TicketDetails
from sandbox.itop import Itop
from tests.teammate import Teammate


def open_ticket(teammate: Teammate, ref: str = "R-000008") -> Teammate:
    return teammate.open().click("open tickets").click(ref)


def addresses(teammate: Teammate) -> dict[str, str]:
    return {
        component["label"]: component["action"]["url"]
        for component in teammate.clickable()
        if component["action"]["type"] == "url"
    }


def entry(number: int, date: str, message: str, author: str = "Jules Verne") -> dict[str, str]:
    return {"date": date, "user_login": author, "user_id": str(number), "format": "html", "message": message}


def test_the_ticket_screen_costs_one_call(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("open tickets")
    itop.calls.clear()
    teammate.click("R-000008")
    assert itop.calls == [("core/get", "UserRequest")]


def test_the_last_entries_of_each_log_have_an_author_and_a_date(teammate: Teammate) -> None:
    open_ticket(teammate)
    texts = [component["text"] for component in teammate.components if component["type"] == "text"]
    public = texts.index("Public log")
    # 12:55:40 in Paris is 11:55 in the workspace's UTC; 9:30 of the first of October is 7:30.
    assert texts[public + 1 : public + 4] == [
        "**intercom_sync_app** · 22 Nov 2026 11:55\nPlain text entry by the API user",
        "**Jules Verne** · 1 Oct 2024 07:30\nCan you send a picture?",
        "**Alice Martin** · 1 Oct 2024 07:00\nMy screen flickers",
    ]
    private = texts.index("Private log")
    assert texts[private + 1] == "**intercom_sync_app** · 22 Nov 2026 11:55\ninternal: probably the cable"


def test_dates_of_entries_use_the_time_zone_of_the_workspace(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.time_zone = "America/New_York"
    workspace.save()
    assert "**Jules Verne** · 1 Oct 2024 03:30" in open_ticket(teammate).text


def test_the_last_three_entries_of_a_log_are_displayed_and_truncated(teammate: Teammate, itop: Itop) -> None:
    entries = [entry(11, f"2026-11-20 10:00:{n:02d}", f"<p>number {n} {'word ' * 200}</p>") for n in range(9)]
    itop.store.update("UserRequest", 8, public_log=entries)
    open_ticket(teammate)
    texts = [component["text"] for component in teammate.components if "number " in component.get("text", "")]
    assert [text.split("number ")[1][0] for text in texts] == ["8", "7", "6"]
    assert all(len(text) < 400 and text.endswith("…") for text in texts)
    assert "6 older entries are in iTop." in teammate.text


def test_markdown_in_log_entries_is_escaped(teammate: Teammate, itop: Itop) -> None:
    message = "<p>**bold** [click](https://evil.example)</p>"
    itop.store.update(
        "UserRequest", 8, public_log=[entry(0, "2026-11-20 10:00:00", message, "**Me** [x](y)")]
    )
    texts = [
        component["text"] for component in open_ticket(teammate).components if component["type"] == "text"
    ]
    assert not any("](" in text or "**bold**" in text or "**Me**" in text for text in texts)


def test_a_link_into_itop_is_displayed_by_its_name(teammate: Teammate, itop: Itop) -> None:
    """As iTop returns the link to a file (recording 235)."""
    address = f"{itop.url}/pages/ajax.document.php?operation=download_document&amp;class=Attachment&amp;id=28"
    message = f'<p>[File: <a href="{address}">secret.txt</a>]</p>'
    itop.store.update("UserRequest", 8, public_log=[entry(0, "2026-11-20 10:00:00", message)])
    text = open_ticket(teammate).text
    assert "secret.txt" in text and "ajax.document.php" not in text


def test_an_entry_is_displayed_without_secrets_and_with_the_addresses_of_other_sites(
    teammate: Teammate, itop: Itop
) -> None:
    secret = f"{itop.url}/pages/ajax.document.php?operation=download_inlineimage&amp;id=4&amp;s=5ec2e7"
    message = (
        f'<p>See <a href="https://help.example/printers">the manual</a> <img src="{secret}" alt="plan.png"></p>'
        f"<ul><li>paper</li><li>toner</li></ul><p>Like [[UserRequest:7|R-000007]]</p>"
    )
    itop.store.update("UserRequest", 8, public_log=[entry(0, "2026-11-20 10:00:00", message)])
    text = open_ticket(teammate).text
    assert "See the manual (https://help.example/printers)" in text.replace("\\", "")
    assert "plan.png" in text and "5ec2e7" not in text and "/pages/" not in text
    assert "paper" in text and "toner" in text and "Like R-000007" in text.replace("\\", "")


def test_a_description_is_displayed_without_secrets_and_addresses_of_itop(
    teammate: Teammate, itop: Itop
) -> None:
    pages = f"{itop.url}/pages"
    description = (
        f'<p>Like <a href="{pages}/UI.php?operation=details&amp;class=UserRequest&amp;id=2">R-000002</a>: '
        f'<img src="{pages}/ajax.document.php?operation=download_inlineimage&amp;id=4&amp;s=5ec2e7"></p>'
    )
    itop.store.update("UserRequest", 8, description=description)
    text = open_ticket(teammate).text.replace("\\", "")
    assert "Like R-000002: [Picture]" in text
    assert "5ec2e7" not in text and "/pages/" not in text


def test_empty_logs_are_not_displayed(teammate: Teammate) -> None:
    assert "log" not in open_ticket(teammate, "R-000006").text.casefold()


def test_agent_and_team_are_always_displayed(teammate: Teammate, workspace: Workspace) -> None:
    workspace.profile.details_attributes = ["status"]
    workspace.profile.save()
    open_ticket(teammate)
    rows = {row["field"]: row["value"] for part in teammate.components for row in part.get("items", [])}
    assert rows == {"Status": "Assigned", "Agent": "Jules Verne", "Team": "Helpdesk"}


def test_missing_attributes_cost_one_call_and_are_reported_if_configured(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.profile.details_attributes = ["status", "no_such_id"]
    workspace.profile.attributes_mapping = {"private_log": "no_such_log"}
    workspace.profile.save()
    open_ticket(teammate)
    assert "iTop has no attribute no_such_id." in teammate.text and "no_such_log" not in teammate.text
    assert "Public log" in teammate.text and "Agent" in teammate.text
    itop.calls.clear()
    teammate.click("Back").click("R-000008")
    assert itop.calls.count(("core/get", "UserRequest")) == 1
    assert "iTop has no attribute no_such_id." in teammate.text


@pytest.mark.parametrize("scope", ["SELECT Organization", "SELECT Organization WHERE id = 4"])
def test_every_conversation_of_a_ticket_has_a_link(
    teammate: Teammate, workspace: Workspace, scope: str
) -> None:
    workspace.scope = scope
    workspace.save()
    other = Workspace.objects.create(
        workspace_id="efgh5678", name="Europe", region="EU", itop=workspace.itop, profile=workspace.profile
    )
    teammate.link("R-000008")
    ticket = Ticket.objects.get()
    for conversation_id, its_workspace in (("111", workspace), ("222", other)):
        TicketLink.objects.create(
            conversation=Conversation.objects.find_or_create(its_workspace, conversation_id), ticket=ticket
        )
    open_ticket(teammate)
    assert "Linked to this conversation and 2 others" in teammate.text
    assert f"[111]({conversation_url('US', 'abcd1234', '111')})" in teammate.text
    assert f"[222]({conversation_url('EU', 'efgh5678', '222')}) (Europe (efgh5678))" in teammate.text
    assert "215472621202693" not in teammate.text


def test_at_most_ten_conversations_of_a_ticket_are_listed(teammate: Teammate, workspace: Workspace) -> None:
    ticket = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=8, ref="R-000008"
    )
    for number in range(13):
        conversation = Conversation.objects.find_or_create(workspace, str(1000 + number))
        TicketLink.objects.create(conversation=conversation, ticket=ticket)
    open_ticket(teammate)
    assert teammate.text.count("](https://") == 10 and "and 3 more" in teammate.text


def test_the_ticket_opens_in_the_back_office_and_in_the_portal(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.itop.portal_url = "https://support.acme.example/{class}/{id}"
    workspace.itop.save()
    assert addresses(open_ticket(teammate)) == {
        "Open in iTop": f"{itop.url}/pages/UI.php?operation=details&class=UserRequest&id=8",
        "Open in the customer portal": "https://support.acme.example/UserRequest/8",
    }
    workspace.profile.show_open_in_backoffice_button = False
    workspace.profile.save()
    assert list(addresses(open_ticket(teammate))) == ["Open in the customer portal"]


@pytest.mark.parametrize("linked", [True, False])
def test_the_ticket_screen_offers_link_or_unlink_and_back(teammate: Teammate, linked: bool) -> None:
    if linked:
        teammate.link("R-000008")
    open_ticket(teammate)
    assert teammate.offers("Link to this conversation") is not linked
    assert any(component.get("label") == "Unlink" for component in teammate.clickable()) is linked
    assert "Open and resolved tickets of Alice Martin" in teammate.click("Back").text


@pytest.mark.parametrize("letter", ["語", "*", "a"])
@pytest.mark.parametrize("count", [3, 8, 20])
def test_many_long_attributes_fit_the_panel(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch, count: int, letter: str
) -> None:
    original = screen.get_details

    def long(*args: Any) -> TicketDetails:
        attributes = tuple((f"text{number}", letter * 5000) for number in range(count))
        return replace(original(*args), attributes=attributes)

    monkeypatch.setattr(screen, "get_details", long)
    open_ticket(teammate)
    assert "R-000008" in teammate.text and "Text0" in teammate.text


def test_a_long_description_is_read_on_page_by_page(teammate: Teammate, itop: Itop) -> None:
    words = [f"word{number}" for number in range(2000)]
    itop.store.update("UserRequest", 8, description=f"<p>{' '.join(words)}</p>")
    open_ticket(teammate)
    assert "word0 " in teammate.text and "word1999" not in teammate.text
    teammate.click("Read more: Description")
    read: list[str] = []
    while True:
        [text] = [part["text"] for part in teammate.components if part.get("style") == "paragraph"]
        read += text.split()
        if not teammate.offers("Next"):
            break
        teammate.click("Next")
    assert read == words
    assert "Open and resolved tickets of Alice Martin" in teammate.click("Back").click("Back").text


@pytest.mark.parametrize("letter", ["🚀", "*", "_", "]("])
def test_a_page_of_a_text_fits_the_panel(teammate: Teammate, itop: Itop, letter: str) -> None:
    itop.store.update("UserRequest", 8, description=f"<p>{letter * 6000}</p>")
    open_ticket(teammate).click("Read more").click("Next")
    assert "Page 2 of" in teammate.text


def test_reading_on_keeps_the_form_and_only_shows_tickets_in_scope(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 8, description=f"<p>{'long ' * 2000}</p>")
    teammate.open().click("Create a ticket").click("Create ticket", Title="Screen flickers")
    teammate.click("R-000008").click("Read more").click("Back").click("Back")
    assert teammate.field("Title")["value"] == "Screen flickers"
    for component_id in ("text:UserRequest:8:private_log:1", "text:UserRequest:9999:description:1"):
        teammate.open().send_click(component_id)
        assert "Nothing was changed" in teammate.text


def test_a_short_text_is_a_paragraph_too(teammate: Teammate, itop: Itop) -> None:
    # In a table, the Inbox cuts it.
    itop.store.update("UserRequest", 8, description="<p>It flickers at noon and at night</p>")
    open_ticket(teammate)
    texts = [part["text"] for part in teammate.components if part["type"] == "text"]
    assert "**Description**\nIt flickers at noon and at night" in texts


@pytest.mark.parametrize("is_linked", [False, True])
def test_what_can_be_done_with_a_ticket_comes_before_its_logs(teammate: Teammate, is_linked: bool) -> None:
    if is_linked:
        teammate.link("R-000008")
    open_ticket(teammate)
    kinds = [
        component.get("label") or component.get("text") or component["type"]
        for component in teammate.components
    ]
    actions = [
        kinds.index("Open in iTop"),
        kinds.index("Unlink" if is_linked else "Link to this conversation"),
    ]
    assert max(actions) < min(kinds.index("data-table"), kinds.index("Public log"))
