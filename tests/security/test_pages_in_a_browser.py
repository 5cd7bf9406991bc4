"""Every page works under the policy that it comes with: the browser had nothing to refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import NoReverseMatch, reverse

from intercom_bridge.models import Conversation, ItopInstance, TicketProfile, Workspace
from tests.browser import browser_test, new_page, running_chromium

pytestmark = browser_test

PASSWORD = "s3cr3t-of-the-admin"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any, live_server: Any, transactional_db: None) -> Iterator[tuple[Any, list[str]]]:
    """Yield a page, and what the browser blocked on it."""
    refused: list[str] = []
    User.objects.create_superuser("root", password=PASSWORD)
    with new_page(browser, live_server.url, refused) as opened:
        yield opened, refused


def log_in(page: Any) -> None:
    page.goto("/admin/login/?next=/admin/")
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("The bridge").first.wait_for()


def rows() -> None:
    itop = ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="s3cr3t-token")
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        name="Support",
        client_secret="s3cr3t-of-the-workspace",
        itop=itop,
        profile=TicketProfile.objects.create(name="Requests"),
    )
    Conversation.objects.create(workspace=workspace, conversation_id="1")


def addresses() -> list[str]:
    """All lists, all forms to add something, and the pages of one row of each that there is, ours included."""
    found = ["/admin/", "/admin/password_change/", "/admin/login/"]
    for model, model_admin in admin.site._registry.items():
        row = model._default_manager.first()
        for pattern in model_admin.get_urls():
            for args in ([], [row.pk] if row else []):
                with suppress(NoReverseMatch):
                    found.append(reverse(f"admin:{pattern.name}", args=args))
    return list(dict.fromkeys(found))


def test_no_admin_page_violates_the_content_security_policy(page: Any) -> None:
    opened, refused = page
    log_in(opened)
    rows()
    seen = 0
    for address in addresses():
        answer = opened.goto(address)
        assert answer.status < 500, address
        if answer.status == 200:
            seen += 1
            assert "default-src 'self'" in answer.headers["content-security-policy"], address
    assert seen > 40
    assert refused == []


def test_date_pickers_work(page: Any) -> None:
    opened, refused = page
    log_in(opened)
    rows()
    opened.goto(reverse("admin:intercom_bridge_workspace_change", args=[Workspace.objects.get().pk]))
    opened.get_by_role("link", name="Today").first.click()
    assert opened.locator("input.vDateField").first.input_value()
    opened.locator(".datetimeshortcuts a", has=opened.locator(".date-icon")).first.click()
    opened.locator(".calendarbox").first.wait_for()
    assert refused == []


def test_a_locked_out_user_reads_why(page: Any) -> None:
    opened, refused = page
    for _ in range(5):
        opened.goto("/admin/login/")
        opened.get_by_label("Username").fill("root")
        opened.get_by_label("Password").fill("s3cr3t-guess")
        opened.get_by_role("button", name="Log in").click()
    opened.get_by_role("heading", name="Too many login attempts").wait_for()
    assert refused == []


def test_an_inline_script_is_blocked(page: Any) -> None:
    """That the browser looks, and that this file would see it."""
    opened, refused = page
    opened.goto("/admin/login/")
    opened.evaluate(
        """() => { const made = document.createElement("script"); made.textContent = "document.title = 'broken'";
        document.head.append(made); }"""
    )
    assert opened.title() != "broken"
    assert len(refused) == 1
    refused.clear()
