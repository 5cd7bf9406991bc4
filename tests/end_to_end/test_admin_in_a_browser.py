"""What an admin does, in a real browser: connects, tests, tries a profile, looks up, follows a message, retries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from intercom_bridge.intercom.signature import webhook_signature
from intercom_bridge.models import Delivery, EventRules, TicketProfile, WorkerHeartbeat, Workspace
from sandbox.intercom import SECRET, WORKSPACE_ID, Intercom
from sandbox.itop import Itop
from sandbox.itop.seed import TOKEN
from tests.browser import browser_test, new_page

from .inbox import Inbox

pytestmark = browser_test

PASSWORD = "s3cr3t-of-the-admin"
LONG = 20_000
COLOUR = "node => getComputedStyle(node).color"


@pytest.fixture
def admin(browser: Any, transactional_db: None, live_server: Any, settings: Any) -> Iterator[Any]:
    """Yield a page of a logged-in admin; anything that the page's policy blocks fails the test."""
    settings.PUBLIC_URL = live_server.url
    User.objects.create_superuser("root", password=PASSWORD)
    refused: list[str] = []
    with new_page(browser, live_server.url, refused) as page:
        page.goto("/admin/login/?next=/admin/")
        page.get_by_label("Username").fill("root")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("The bridge").first.wait_for()
        yield page
    assert refused == []


def of(row: Any, page: str = "change") -> str:
    return reverse(f"admin:intercom_bridge_{row._meta.model_name}_{page}", args=[row.pk])


def test_the_rules_for_changes_in_itop_are_chosen_in_a_table(admin: Any, workspace: Workspace) -> None:
    admin.goto(of(workspace))
    admin.get_by_role("link", name="Rules for changes in iTop").click()
    admin.locator("[name=resolved][value=reply]").check()
    admin.locator("[name=reopens_on][value=public_entry]").check()
    admin.get_by_role("button", name="Save").click()
    admin.get_by_text("saved").first.wait_for()
    rules = EventRules.objects.get(workspace=workspace)
    assert (rules.resolved, rules.public_entry, rules.reopens_on) == ("reply", "note", ["public_entry"])


def test_a_workspace_is_connected_and_tested_on_the_way(admin: Any, itop: Itop, intercom: Intercom) -> None:
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    admin.goto(reverse("admin:intercom_bridge_workspace_changelist"))
    admin.get_by_role("link", name="Connect a workspace").click()
    admin.get_by_label("Workspace ID").fill(WORKSPACE_ID)
    admin.locator("[name=client_secret]").fill(SECRET)
    admin.locator("[name=access_token]").fill(intercom.token)
    admin.locator("[name=itop-name]").fill("Service desk")
    admin.locator("[name=itop-url]").fill(itop.url)
    admin.locator("[name=itop-token]").fill("a wrong one")
    admin.locator("[name=time_zone]").select_option("Europe/Paris")
    admin.get_by_role("button", name="Connect").click()
    admin.get_by_text("contains spaces").wait_for()
    assert not Workspace.objects.exists()
    # No secret came back into the page, but the two without an error are kept.
    assert admin.locator("[name=client_secret]").input_value() == ""
    admin.locator("[name=itop-token]").fill("made-up")
    admin.get_by_role("button", name="Connect").click()
    admin.get_by_text("refuses the token").wait_for()
    assert not Workspace.objects.exists()
    admin.locator("[name=itop-token]").fill(TOKEN)
    admin.get_by_role("button", name="Connect").click()
    admin.get_by_role("button", name="Test now").click()
    admin.get_by_text("a signed ping sent to PUBLIC_URL was accepted").wait_for(timeout=LONG)
    assert "0 failures" in admin.locator(".bridge-verdict").inner_text()


def test_the_fields_of_a_new_itop_are_displayed_only_for_a_new_itop(admin: Any, workspace: Workspace) -> None:
    admin.goto(reverse("admin:intercom_bridge_workspace_connect"))
    address = admin.locator("[name=itop-url]")
    assert not address.is_visible()
    admin.locator("[name=of-itop]").select_option("new")
    assert address.is_visible()


def test_the_codes_of_a_profile_are_picked_from_lists(admin: Any, workspace: Workspace) -> None:
    profile = TicketProfile.objects.get()
    admin.goto(of(profile))
    form = admin.locator(".field-form_attributes")
    assert not form.locator("textarea").is_visible()
    form.get_by_role("button", name="Move Urgency up").click()
    form.get_by_role("button", name="Remove Service", exact=True).click()
    form.locator(".bridge-picker > select").select_option(label="Impact (impact)")
    states = admin.locator(".field-excluded_states")
    states.locator("select").select_option(label="Resolved (resolved)")
    defaults = admin.locator(".field-defaults")
    defaults.locator(".bridge-picker > select").select_option("urgency")
    defaults.get_by_label("Default of Urgency").select_option(label="Low")
    details = admin.locator(".field-details_attributes")
    details.get_by_role("button", name="Edit the codes").click()
    details.locator("textarea").fill("status\nref")
    details.get_by_role("button", name="Show as a list").click()
    details.get_by_text("Reference").first.wait_for()
    admin.get_by_role("button", name="Save and continue editing").first.click()
    admin.get_by_text("was changed successfully").wait_for()
    profile.refresh_from_db()
    assert profile.form_attributes == ["title", "description", "urgency", "servicesubcategory_id", "impact"]
    assert profile.excluded_states == ["rejected", "closed", "resolved"]
    assert profile.defaults == {"urgency": "4"}
    assert profile.details_attributes == ["status", "ref"]


def test_codes_of_another_class_are_typed(admin: Any, workspace: Workspace) -> None:
    admin.goto(of(TicketProfile.objects.get()))
    codes = admin.locator(".field-form_attributes textarea")
    admin.locator("[name=ticket_class]").fill("Boat")
    assert codes.is_visible()
    admin.locator("[name=ticket_class]").fill("UserRequest")
    assert not codes.is_visible()


def test_an_address_is_copied_with_one_click(admin: Any, live_server: Any) -> None:
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    admin.goto(reverse("admin:intercom_bridge_workspace_connect"))
    admin.get_by_role("button", name=re.compile("Copy Webhooks")).click()
    admin.get_by_text("Copied").wait_for()
    assert admin.evaluate("navigator.clipboard.readText()") == f"{live_server.url}/webhooks/intercom"


def test_the_scope_tester_says_who_is_served_and_why(admin: Any, workspace: Workspace) -> None:
    admin.goto(reverse("admin:intercom_bridge_workspace_changelist"))
    admin.get_by_role("link", name="Scope test").click()
    admin.get_by_label("Person").fill("dana.oneil@globex.example")
    admin.get_by_role("button", name="Look up").click()
    admin.get_by_text("the person's organization, Globex & Söhne").wait_for()
    admin.get_by_role("button", name="Count the people").click()
    admin.locator(".bridge-results td", has_text=re.compile(r"^11$")).wait_for()


def test_a_profile_is_previewed_before_it_is_saved(admin: Any, workspace: Workspace) -> None:
    profile = TicketProfile.objects.get()
    admin.goto(of(profile))
    admin.locator(".field-form_attributes").get_by_role("button", name="Edit the codes").click()
    admin.locator("[name=form_attributes]").fill("title\ndescription\nimpact\nnonsense")
    admin.get_by_label("Accept other codes").check()
    with admin.context.expect_page() as opening:
        admin.get_by_role("button", name="Preview panel").click()
    preview = opening.value
    preview.get_by_label("Person").fill("alice.martin@acme.example")
    preview.get_by_role("button", name="Preview").click()
    form = preview.locator(".bridge-screen[data-drawn=true]").nth(1)
    form.get_by_text("Impact").first.wait_for()
    preview.get_by_text(
        "nonsense, in the form: the class UserRequest does not have this attribute."
    ).wait_for()
    home = preview.locator(".bridge-screen[data-drawn=true]").first
    assert "Alice Martin" in home.inner_text()
    # What the page itself finds wrong with a canvas: nothing.
    assert preview.locator(".bridge-problems li").count() == 0
    assert "impact" not in TicketProfile.objects.get().form_attributes
    # The panel is light, as in Intercom, also where the admin is dark.
    words = [form.locator("label").first, form.locator("textarea").first]
    in_light = [element.evaluate(COLOUR) for element in words]
    preview.emulate_media(color_scheme="dark")
    assert [element.evaluate(COLOUR) for element in words] == in_light
    preview.close()


def test_a_list_and_a_result_fit_into_a_narrow_window(admin: Any, workspace: Workspace) -> None:
    admin.set_viewport_size({"width": 800, "height": 900})
    admin.goto(reverse("admin:intercom_bridge_delivery_changelist"))
    assert admin.locator("#changelist .changelist-form-container").bounding_box()["width"] > 400
    admin.goto(reverse("admin:intercom_bridge_workspace_scopes") + "?who=dana.oneil@globex.example")
    admin.get_by_text("the person's organization").wait_for()
    assert admin.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


@pytest.fixture
def written(inbox: Inbox, work: Callable[[], None]) -> Delivery:
    """Return a delivery that was written to a ticket after a webhook."""
    inbox.load().open("Alice Martin").create("Printer is out of toner")
    work()
    inbox.say("and of paper")
    work()
    return Delivery.objects.get(webhook_event__isnull=False, state="written")


def test_a_message_is_followed_from_the_notification_to_the_entry(admin: Any, written: Delivery) -> None:
    admin.goto(reverse("admin:intercom_bridge_webhookevent_changelist"))
    admin.locator("#searchbar").fill(written.conversation.conversation_id)
    admin.get_by_role("button", name="Search").click()
    admin.locator(f"#result_list a[href*='/webhookevent/{written.webhook_event_id}/']").first.click()
    admin.get_by_text("and of paper").first.wait_for()
    admin.get_by_role("link", name="1 written").click()
    admin.locator(f"#result_list a[href*='/delivery/{written.pk}/']").first.click()
    admin.get_by_text("and of paper").first.wait_for()
    to_itop = admin.get_by_role("link", name=f"UserRequest {written.ticket.ref}").first.get_attribute("href")
    assert f"id={written.ticket.object_id}" in str(to_itop)


def test_a_failed_message_is_retried_from_its_page(
    admin: Any, written: Delivery, work: Callable[[], None]
) -> None:
    Delivery.objects.filter(pk=written.pk).update(state="failed", reason_code="rejected", reason_detail="no")
    admin.goto(of(written))
    admin.get_by_role("button", name="Retry").click()
    admin.get_by_text("1 delivery will be retried.").wait_for()
    work()
    written.refresh_from_db()
    assert written.state == "written"


def test_the_data_of_a_contact_is_exported_and_erased(
    inbox: Inbox, admin: Any, work: Callable[[], None]
) -> None:
    inbox.load().open("Alice Martin").create("Printer is out of toner")
    work()
    admin.goto(reverse("admin:intercom_bridge_personmatch_changelist"))
    admin.get_by_role("link", name="Alice Martin").click()
    with admin.expect_download() as downloading:
        admin.get_by_role("button", name="Export for the controller (internal)").click()
    assert downloading.value.suggested_filename.startswith("internal-for-the-controller-")
    known = json.loads(downloading.value.path().read_text(encoding="utf-8"))
    assert "Printer is out of toner" in json.dumps(known)
    with admin.expect_download() as downloading:
        admin.get_by_role("button", name="Export for the person").click()
    assert downloading.value.suggested_filename.startswith("for-the-person-")
    admin.get_by_role("button", name="Erase stored data").click()
    admin.get_by_text("This cannot be undone.").wait_for()
    admin.get_by_role("button", name="Erase").click()
    admin.get_by_text("Erased. Now erase").wait_for()
    assert admin.get_by_role("link", name="Alice Martin").count() == 0


def test_the_dashboard_leads_from_a_failure_to_its_message(admin: Any, written: Delivery) -> None:
    Delivery.objects.filter(pk=written.pk).update(state="failed", reason_code="log_full")
    admin.goto(reverse("admin:index"))
    admin.get_by_role("link", name="Dashboard").click()
    assert admin.locator("meter").first.get_attribute("value") == str(Delivery.objects.count())
    admin.get_by_role("link", name=str(Workspace.objects.get())).click()
    admin.get_by_text(f"Only {Workspace.objects.get()}").wait_for()
    admin.get_by_role("link", name="log is full").click()
    admin.get_by_text("1 delivery").first.wait_for()
    assert admin.locator("#result_list tbody tr").count() == 1


def test_a_second_secret_is_added_and_both_are_valid(
    admin: Any, workspace: Workspace, client: Client
) -> None:
    admin.goto(of(workspace))
    admin.locator("[name=previous_client_secret]").fill(SECRET)
    admin.locator("[name=previous_client_secret_until_0]").fill("2099-01-01")
    admin.locator("[name=previous_client_secret_until_1]").fill("00:00")
    admin.locator("[name=client_secret]").fill("the-new-secret-of-this-workspace")
    admin.get_by_role("button", name="Save and continue editing").first.click()
    admin.get_by_text("was changed successfully").wait_for()
    body = json.dumps({"type": "notification_event", "app_id": WORKSPACE_ID, "topic": "ping"}).encode()
    for secret, column in (
        (SECRET, "previous_client_secret_used_at"),
        ("the-new-secret-of-this-workspace", "client_secret_used_at"),
    ):
        answer = client.post(
            "/webhooks/intercom",
            body,
            content_type="application/json",
            headers={"X-Hub-Signature": webhook_signature(body, secret)},
        )
        assert answer.status_code == 200
        workspace.refresh_from_db()
        assert getattr(workspace, column) is not None
    admin.reload()
    assert "never" not in admin.locator(".field-previous_client_secret_used_at").inner_text().casefold()
