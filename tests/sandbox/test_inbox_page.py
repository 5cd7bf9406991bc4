"""The inbox page: what it hands on, and what a teammate sees of a canvas in a real browser."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import requests
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application
from django.test import Client
from pytest_django import Settings

from sandbox.intercom import Intercom, running_intercom
from sandbox.intercom.files import png
from tests.browser import browser_test, new_page, running_chromium

from .bridge import Bridge, Received, running_bridge


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with running_bridge() as running:
        yield running


@pytest.fixture
def intercom(bridge: Bridge, settings: Settings) -> Iterator[Intercom]:
    with running_intercom(bridge_url=bridge.url) as running:
        settings.SANDBOX_INTERCOM_URL = running.url
        yield running


# --- Without a browser -------------------------------------------------------------------------------


def test_the_page_has_no_inline_script(client: Client) -> None:
    page = client.get("/sandbox/")
    assert page.status_code == 200
    assert "csrftoken" in page.cookies
    html = page.content.decode()
    assert '<script type="module" src=' in html
    assert "onclick" not in html and "<style" not in html and "style=" not in html


def test_the_page_sends_its_requests_to_its_own_origin(client: Client, intercom: Intercom) -> None:
    listed = client.get("/sandbox/api/conversations").json()["conversations"]
    assert [one["contact"]["name"] for one in listed][:1] == ["Alice Martin"]
    written = client.post(
        f"/sandbox/api/conversations/{listed[0]['id']}/messages",
        {"author": "admin", "body": "hello", "attachments": ["a.png"]},
        content_type="application/json",
    )
    assert written.status_code == 200
    assert [file["name"] for file in written.json()["attachments"]] == ["a.png"]
    assert client.get("/sandbox/api/conversations/1").status_code == 404


@pytest.mark.parametrize(
    "path", ["../me", "me", "admins", "webhooks", "conversations/1/reply", "conversations/../../me"]
)
def test_only_requests_that_the_page_needs_are_passed_on(
    client: Client, intercom: Intercom, path: str
) -> None:
    assert client.get(f"/sandbox/api/{path}").status_code == 404
    assert intercom.calls == []


def test_another_site_cannot_write_messages(intercom: Intercom) -> None:
    strict = Client(enforce_csrf_checks=True)
    conversation = intercom.conversation_of("Alice Martin")
    address = f"/sandbox/api/conversations/{conversation.id}/messages"
    assert strict.post(address, {"body": "x"}, content_type="application/json").status_code == 403


def test_a_stand_in_that_does_not_respond_is_named(client: Client, settings: Settings) -> None:
    with running_intercom() as gone:
        settings.SANDBOX_INTERCOM_URL = gone.url
    answer = client.get("/sandbox/api/conversations")
    assert answer.status_code == 502
    assert gone.url in answer.json()["error"]


# --- In a browser ------------------------------------------------------------------------------------


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address(intercom: Intercom) -> Iterator[str]:
    application = StaticFilesHandler(get_wsgi_application())
    server = make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/sandbox/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any, address: str, bridge: Bridge) -> Iterator[Any]:
    with new_page(browser, address) as opened:
        yield opened


def show(page: Any, bridge: Bridge, *components: dict[str, Any], stored_data: Any = None) -> Any:
    """Open the page with a canvas of these components and return the panel."""
    canvas = {"canvas": {"content": {"components": list(components)}, "stored_data": stored_data or {}}}
    bridge.answer = lambda request: (200, canvas)
    page.goto("")
    panel = page.locator("#panel")
    panel.locator("fieldset").first.wait_for()
    return panel


def submits(bridge: Bridge, count: int = 1) -> list[Received]:
    ends = time.monotonic() + 10
    while len(bridge.of("/canvas-kit/submit")) < count and time.monotonic() < ends:
        time.sleep(0.02)
    return bridge.of("/canvas-kit/submit")


SUBMIT = {"type": "submit"}
OPTIONS = [{"type": "option", "id": "a", "text": "First"}, {"type": "option", "id": "b", "text": "Second"}]
EVERYTHING: list[dict[str, Any]] = [
    {"type": "text", "id": "t", "text": "**Bold** and [a link](https://a.example/b) *not* <b>this</b>\nnext"},
    {"type": "text", "text": "Header", "style": "header", "align": "center"},
    {"type": "text", "text": "Muted", "style": "muted", "bottom_margin": "none"},
    {"type": "text", "text": "Error", "style": "error"},
    {"type": "input", "id": "line", "label": "Line", "placeholder": "type", "value": "before"},
    {"type": "input", "id": "find", "label": "Find", "action": SUBMIT},
    {"type": "input", "id": "wrong", "label": "Wrong", "save_state": "failed"},
    {"type": "input", "id": "kept", "label": "Kept", "value": "locked", "save_state": "saved"},
    {"type": "textarea", "id": "area", "label": "Area", "error": True},
    {"type": "dropdown", "id": "drop", "label": "Drop", "options": OPTIONS},
    {"type": "dropdown", "id": "chosen", "label": "Chosen", "options": OPTIONS, "value": "b"},
    {"type": "single-select", "id": "single", "label": "Single", "options": OPTIONS},
    {"type": "checkbox", "id": "boxes", "label": "Boxes", "option": OPTIONS, "value": ["b"]},
    {
        "type": "list",
        "items": [
            {"type": "item", "id": "item-1", "title": "Item", "subtitle": "2", "tertiary_text": "3", "action": SUBMIT},
            {"type": "item", "id": "item-2", "title": "Off", "disabled": True, "action": SUBMIT},
            {"type": "item", "id": "item-3", "title": "Away", "action": {"type": "url", "url": "https://a.example/"}},
        ],
    },
    {"type": "data-table", "items": [{"type": "field-value", "field": "Field", "value": "long " * 40}]},
    {"type": "divider"},
    {"type": "spacer", "size": "xl"},
    {"type": "button", "id": "save", "label": "Save", "style": "primary", "action": SUBMIT},
    {"type": "button", "id": "off", "label": "Disabled", "action": SUBMIT, "disabled": True},
    {"type": "button", "id": "away", "label": "Open", "style": "link", "action": {"type": "url", "url": "https://a.example/"}},
]  # fmt: skip


class TestInABrowser:
    pytestmark = browser_test

    def test_every_component_is_drawn(self, page: Any, bridge: Bridge) -> None:
        panel = show(page, bridge, *EVERYTHING)
        text = panel.locator("p.text").first
        assert text.locator("strong").all_inner_texts() == ["Bold"]
        assert text.locator("a").get_attribute("href") == "https://a.example/b"
        assert "*not* <b>this</b>" in text.inner_text()
        assert panel.get_by_label("Line", exact=True).input_value() == "before"
        assert panel.get_by_label("Kept").is_disabled()
        assert panel.get_by_label("Chosen").input_value() == "b"
        assert panel.get_by_role("button", name="Disabled").is_disabled()
        assert panel.get_by_role("link", name="Open").get_attribute("target") == "_blank"
        assert panel.get_by_role("button", name="Off").is_disabled()
        assert (
            page.locator("#problems").inner_text() != ""
        )  # a primary button on the first screen is not right

    def test_a_click_sends_all_values_and_the_canvas(self, page: Any, bridge: Bridge) -> None:
        panel = show(page, bridge, *EVERYTHING, stored_data={"k": 1})
        panel.get_by_label("Line", exact=True).fill("after")
        panel.get_by_label("Area").fill("two\nlines")
        panel.get_by_label("Drop").select_option("a")
        panel.get_by_label("First").last.check()
        panel.get_by_role("button", name="Save").click()
        (request,) = submits(bridge)
        assert request.data["component_id"] == "save"
        assert request.data["input_values"] == {
            "line": "after",
            "find": "",
            "wrong": "",
            "kept": "locked",
            "area": "two\nlines",
            "drop": "a",
            "chosen": "b",
            "boxes": ["a", "b"],
        }
        assert request.data["current_canvas"]["stored_data"] == {"k": 1}
        assert request.data["current_canvas"]["content"]["components"] == EVERYTHING

    def test_list_items_and_inputs_can_be_clicked(self, page: Any, bridge: Bridge) -> None:
        panel = show(page, bridge, *EVERYTHING)
        panel.get_by_role("button", name="Item").click()
        assert submits(bridge)[0].data["component_id"] == "item-1"
        page.locator("#panel:not([aria-busy])").wait_for()
        panel.get_by_label("Find", exact=True).fill("words")
        panel.get_by_label("Find", exact=True).press("Enter")
        assert submits(bridge, 2)[1].data["component_id"] == "find"

    def test_buttons_are_disabled_while_a_response_is_pending(self, page: Any, bridge: Bridge) -> None:
        panel = show(page, bridge, *EVERYTHING)
        answered = threading.Event()
        canvas = {"canvas": {"content": {"components": [{"type": "text", "text": "Done"}]}}}

        def slowly(request: Received) -> tuple[int, Any]:
            answered.wait(10)
            return 200, canvas

        bridge.answer = slowly
        save = panel.get_by_role("button", name="Save")
        save.click()
        assert panel.get_attribute("aria-busy") == "true"
        assert save.is_disabled()
        answered.set()
        panel.get_by_text("Done").wait_for()
        assert len(submits(bridge)) == 1

    def test_a_truncated_text_is_shown_in_a_tooltip(self, page: Any, bridge: Bridge) -> None:
        panel = show(page, bridge, *EVERYTHING)
        panel.locator("dd").hover()
        assert page.get_by_role("tooltip").inner_text().startswith("long long")

    def test_an_invalid_canvas_is_reported(self, page: Any, bridge: Bridge) -> None:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"type": "video", "id": "v"}, "of no known type"),
            ({"type": "dropdown", "id": "d", "options": OPTIONS[:1]}, "options is not right"),
            ({"type": "checkbox", "id": "c", "label": "C", "options": OPTIONS}, "option is missing"),
            ({"type": "button", "id": "b", "label": ""}, "action is missing"),
            ({"type": "text", "text": "x", "colour": "red"}, "colour is not a property"),
            ({"type": "dropdown", "id": "e", "options": OPTIONS, "value": "z"}, "none of its options"),
            ({"type": "text", "id": "b", "text": "x"}, "The id b is there twice"),
        ]
        show(page, bridge, *(component for component, _ in wrong))
        said = page.locator("#problems").inner_text()
        for _, complaint in wrong:
            assert complaint in said

    def test_a_response_without_a_canvas_is_reported(self, page: Any, bridge: Bridge) -> None:
        answers: list[tuple[int, Any, str]] = [
            (500, {"canvas": {}}, "HTTP 500"),
            (200, b"<html>", "not JSON"),
            (200, {"canvas": {"content": {}}}, "canvas.content.components is missing"),
        ]
        response: tuple[int, Any] = answers[0][:2]
        bridge.answer = lambda request: response
        page.goto("")
        for *response_parts, complaint in answers:
            response = (response_parts[0], response_parts[1])
            page.get_by_role("button", name="Reload").click()
            page.locator("#problems").get_by_text(complaint).wait_for()

    def test_the_details_show_the_response_its_time_and_its_height(self, page: Any, bridge: Bridge) -> None:
        show(page, bridge, {"type": "text", "text": "hello"})
        page.get_by_text("Details").click()
        facts = page.locator("#facts").inner_text()
        assert "initialize" in facts and " ms" in facts and " px" in facts
        assert '"text": "hello"' in page.locator("#raw").inner_text()

    def test_messages_can_be_written_and_read(self, page: Any, bridge: Bridge, intercom: Intercom) -> None:
        show(page, bridge, {"type": "text", "text": "hello"})
        for voice, words in (
            ("Reply", "from Ada"),
            ("Note", "psst"),
            ("As the customer", "from <b>Alice</b> 🚀"),
        ):
            page.locator(".voices").get_by_text(voice).click()
            page.get_by_role("textbox", name="Message").fill(words)
            page.get_by_role("button", name="Send").click()
            page.locator("#thread").get_by_text(words).wait_for()
        parts = intercom.store.parts(intercom.conversation_of("Alice Martin").id)[-3:]
        assert [(part.author_type, part.part_type) for part in parts] == [
            ("admin", "comment"),
            ("admin", "note"),
            ("user", "comment"),
        ]
        # What comes from elsewhere appears by itself.
        intercom.write(
            parts[0].conversation_id, author="admin", html="<p>later <img src=x onerror=alert(1)></p>"
        )
        page.locator("#thread").get_by_text("later").wait_for()

    def test_a_new_customer_starts_a_conversation(
        self, page: Any, bridge: Bridge, intercom: Intercom
    ) -> None:
        show(page, bridge, {"type": "text", "text": "hello"})
        page.get_by_role("button", name="New", exact=True).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Customer").select_option(label="Somebody new…")
        dialog.get_by_label("Name").fill("Rosa Delgado")
        dialog.get_by_label("E-mail").fill("rosa.delgado@globex.example")
        dialog.get_by_label("Message").fill("¡Hola!")
        dialog.get_by_role("button", name="Begin").click()
        page.locator("#who").get_by_text("Rosa Delgado").wait_for()
        assert intercom.contact("rosa.delgado@globex.example").role == "user"

    def test_everything_can_be_reached_with_the_keyboard(self, page: Any, bridge: Bridge) -> None:
        panel = show(
            page, bridge, {"type": "button", "id": "go", "label": "Go", "style": "link", "action": SUBMIT}
        )
        panel.get_by_role("button", name="Go").focus()
        page.keyboard.press("Enter")
        assert submits(bridge)[0].data["component_id"] == "go"
        page.locator("#panel:not([aria-busy])").wait_for()
        assert page.evaluate("document.activeElement.id") == "panel"


# --- Files -------------------------------------------------------------------------------------------

PASTE = """async ([selector, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
  const options = { clipboardData, bubbles: true, cancelable: true };
  document.querySelector(selector).dispatchEvent(new ClipboardEvent("paste", options));
}"""
IS_LOADED = "(image) => image.complete && image.naturalWidth"


def paste(page: Any, selector: str, picture: bytes) -> None:
    """Paste a picture, as a person pastes a screenshot."""
    page.evaluate(PASTE, [selector, base64.b64encode(picture).decode()])


def test_a_message_with_files_of_several_megabytes_is_passed_on(client: Client, intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    data = base64.b64encode(bytes(6_000_000)).decode()
    file = {"name": "big.bin", "content_type": "application/octet-stream", "data": data}
    written = client.post(
        f"/sandbox/api/conversations/{conversation.id}/messages",
        {"author": "contact", "attachments": [file]},
        content_type="application/json",
    )
    assert written.status_code == 200
    assert written.json()["attachments"][0]["filesize"] == 6_000_000


class TestFilesInABrowser:
    pytestmark = browser_test

    @pytest.mark.parametrize("voice", ["Reply", "Note", "As the customer"])
    def test_a_pasted_screenshot_and_a_file_are_sent_and_seen(
        self, page: Any, bridge: Bridge, intercom: Intercom, voice: str
    ) -> None:
        show(page, bridge, {"type": "text", "text": "x"})
        page.get_by_text(voice, exact=True).click()
        page.locator("#words").fill("It looks like this:")
        paste(page, "#words", png(60, 30))
        page.locator("#files li", has_text="image.png").wait_for()
        page.locator("#attach").set_input_files(
            [{"name": "report.txt", "mimeType": "text/plain", "buffer": b"all of it"}]
        )
        page.locator("#files li", has_text="report.txt").wait_for()
        page.get_by_role("button", name="Send").click()
        shown = page.locator(".message").last
        shown.locator(".bubble div img").wait_for()
        assert shown.locator(".bubble div img").evaluate(IS_LOADED) == 60
        assert page.locator("#files li").count() == 0
        part = intercom.store.parts(intercom.conversation_of("Alice Martin").id)[-1]
        assert [(file.name, file.content_type) for file in part.attachments] == [("report.txt", "text/plain")]
        answer = requests.get(shown.get_by_role("link").get_attribute("href"), timeout=5)
        assert answer.content == b"all of it"
