"""Files and pictures in both directions, as people see them in the inbox and on iTop's pages, in a real browser."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intercom_bridge.models import FileToItop, OutgoingMessage
from itop_client import Client
from sandbox.intercom.files import png
from sandbox.itop import Itop
from tests.browser import browser_test
from tests.ops.processes import wait_until

from .inbox import Inbox
from .test_two_way_in_a_browser import poll
from .workers import SECONDS, Workers, poll_now, wait_until_idle

pytestmark = browser_test

TICKET = 6
SCREENSHOT = png(320, 180, (180, 40, 40))
PLAN = png(200, 100, (40, 120, 40))
REPORT = b"%PDF-1.7\n% what the agent wrote\n"
# What a browser does with a picture that was copied before: Ctrl+V.
PASTE = """(field, [name, data]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  field.focus();
  field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
}"""

# Whether the thread is scrolled to its end.
AT_END = """() => {
  const { scrollTop, scrollHeight, clientHeight } = document.getElementById("thread");
  return scrollTop > 0 && scrollHeight - clientHeight - scrollTop < 2;
}"""


def paste(field: Any, name: str, picture: bytes) -> None:
    field.evaluate(PASTE, [name, base64.b64encode(picture).decode()])


def open_ticket(inbox: Inbox, itop: Itop) -> Any:
    """Open the ticket's page in iTop as an agent, in another tab."""
    page = inbox.page.context.new_page()
    # Whoever begins on the first page is logged in as an agent.
    page.goto(itop.url)
    page.goto(f"{itop.url}/pages/UI.php?operation=details&class=UserRequest&id={TICKET}")
    return page


def is_displayed(picture: Any) -> bool:
    """Return whether the browser has loaded a picture and shows it."""
    picture.scroll_into_view_if_needed()
    picture.evaluate("picture => picture.decode()")
    return bool(picture.is_visible() and picture.evaluate("picture => picture.naturalWidth") > 0)


def content(page: Any, link: Any) -> bytes:
    """Return what the browser gets at a link, with the page's cookies."""
    answer = page.request.get(link.evaluate("link => link.href"))
    assert answer.ok
    return bytes(answer.body())


def files_of_ticket(itop: Itop) -> list[bytes]:
    query = f"SELECT Attachment WHERE item_class = 'UserRequest' AND item_id = {TICKET}"
    found = Client(itop.url, token=itop.token).get("Attachment", query, fields=("contents",))
    return [base64.b64decode(item.fields["contents"]["data"]) for item in found]


@pytest.fixture
def workers(tmp_path: Path, inbox: Inbox) -> Iterator[Workers]:
    """Return workers that are processes, which work instead of the test's own thread."""
    running = Workers(tmp_path)
    yield running
    running.end()


def names_in_conversation(inbox: Inbox) -> list[str]:
    """Return the names of the files that the bridge posted in Alice's conversation."""
    conversation = inbox.intercom.workspace.conversation_json(inbox.intercom.conversation_of("Alice Martin"))
    parts = conversation["conversation_parts"]["conversation_parts"]
    return [file["name"] for part in parts if part["app_package_code"] for file in part["attachments"]]


def send(inbox: Inbox, words: str) -> None:
    """Send a message as the customer, without waiting for a worker."""
    inbox.page.locator(".voices").get_by_text("As the customer").click()
    inbox.page.get_by_role("textbox", name="Message").fill(words)
    inbox.page.get_by_role("button", name="Send").click()
    inbox.thread.get_by_text(words, exact=True).wait_for()
    assert inbox.intercom.webhooks.wait_until_sent()


def redeliver_everything(inbox: Inbox) -> None:
    webhooks = inbox.intercom.webhooks
    for notification in list(webhooks.log):
        if notification.id:
            webhooks.redeliver(notification.id)
    assert webhooks.wait_until_sent()
    inbox.work()


def test_a_pasted_screenshot_is_seen_in_the_ticket(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000006")
    paste(inbox.page.get_by_role("textbox", name="Message"), "screenshot.png", SCREENSHOT)
    inbox.page.get_by_text("screenshot.png").wait_for()
    inbox.say("This is what I see")
    assert is_displayed(inbox.thread.locator("img").last)
    page = open_ticket(inbox, itop)
    entry = page.locator(".entry").filter(has_text="This is what I see")
    assert is_displayed(entry.locator("img"))
    assert content(page, page.locator(".attachments a")) == SCREENSHOT
    redeliver_everything(inbox)
    assert files_of_ticket(itop) == [SCREENSHOT]
    page.reload()
    assert page.locator(".attachments a").count() == 1
    assert (entry.count(), entry.locator("img").count()) == (1, 1)


def test_the_newest_message_is_in_view_once_its_picture_is_loaded(inbox: Inbox) -> None:
    inbox.page.set_viewport_size({"width": 1400, "height": 600})
    inbox.open("Alice Martin")
    paste(inbox.page.get_by_role("textbox", name="Message"), "screenshot.png", png(300, 240, (180, 40, 40)))
    inbox.page.get_by_text("screenshot.png").wait_for()
    inbox.say("This is what I see")
    picture = inbox.open("Alice Martin").thread.locator("img").last
    picture.evaluate("picture => picture.decode()")
    inbox.page.wait_for_function(AT_END)


def test_the_customers_file_is_linked_in_the_ticket(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000006")
    inbox.page.locator("input[type=file]").first.set_input_files(
        {"name": "Bericht für Müller.pdf", "mimeType": "application/pdf", "buffer": REPORT}
    )
    inbox.page.get_by_text("Bericht für Müller.pdf").wait_for()
    inbox.say("Here is the report")
    page = open_ticket(inbox, itop)
    link = page.locator(".entry").filter(has_text="Here is the report").get_by_role("link")
    assert link.filter(has_text="Bericht für Müller.pdf").count() == 1
    assert content(page, link.filter(has_text="Bericht für Müller.pdf")) == REPORT


def test_an_agents_file_is_seen_and_opened_in_the_conversation(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000006")
    poll(inbox)
    page = open_ticket(inbox, itop)
    page.locator("input[name=files]").set_input_files(
        [
            {"name": "report.pdf", "mimeType": "application/pdf", "buffer": REPORT},
            {"name": "plan.png", "mimeType": "image/png", "buffer": PLAN},
        ]
    )
    page.locator("textarea[name=text]").fill("Please read the report")
    page.get_by_role("button", name="Answer publicly").click()
    page.locator(".done").wait_for()
    poll(inbox)
    inbox.open("Alice Martin").reads_note("Please read the report")
    link = inbox.thread.get_by_role("link", name="📎 report.pdf")
    assert content(inbox.page, link) == REPORT
    assert is_displayed(inbox.thread.locator("img[alt='plan.png']"))
    poll(inbox)
    redeliver_everything(inbox)
    inbox.open("Alice Martin")
    assert inbox.thread.get_by_role("link", name="📎 report.pdf").count() == 1
    # It did not come back to the ticket as a file of the conversation.
    assert sorted(files_of_ticket(itop)) == sorted([REPORT, PLAN])


def test_a_picture_that_an_agent_pastes_is_seen_in_the_conversation(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000006")
    poll(inbox)
    page = open_ticket(inbox, itop)
    text = page.locator("textarea[name=text]")
    text.fill("It has to look like this")
    paste(text, "plan.png", PLAN)
    page.get_by_role("button", name="Answer publicly").click()
    page.locator(".done").wait_for()
    assert is_displayed(page.locator(".entry").filter(has_text="look like this").locator("img"))
    poll(inbox)
    inbox.open("Alice Martin").reads_note("It has to look like this")
    note = inbox.thread.locator("article").filter(has_text="It has to look like this")
    assert is_displayed(note.locator("img"))
    # The address with iTop's secret stays in iTop.
    assert "download_inlineimage" not in inbox.thread.inner_html()
    assert files_of_ticket(itop) == []


@pytest.mark.processes
def test_each_file_arrives_once_although_workers_are_killed_and_restarted(
    inbox: Inbox, itop: Itop, workers: Workers
) -> None:
    inbox.open("Alice Martin").link("R-000006")
    poll(inbox)
    inbox.work = wait_until_idle
    # Killed while it downloads the screenshot.
    inbox.intercom.faults.add("drip", path="/i/o/")
    paste(inbox.page.get_by_role("textbox", name="Message"), "screenshot.png", SCREENSHOT)
    inbox.page.get_by_text("screenshot.png").wait_for()
    send(inbox, "This is what I see")
    workers.start()
    wait_until(FileToItop.objects.filter(attempts=1).exists, "the download to begin", SECONDS)
    workers.kill()
    inbox.intercom.faults.clear()
    assert files_of_ticket(itop) == []
    # Killed after iTop has stored the file, and before it says so.
    itop.faults.add("slow", operation="core/create", class_name="Attachment", count=1, seconds=10)
    workers.start()
    wait_until(lambda: files_of_ticket(itop), "the file to be in iTop", SECONDS)
    workers.kill()
    assert FileToItop.objects.waiting().count() == 1
    workers.start()
    wait_until_idle()
    page = open_ticket(inbox, itop)
    entry = page.locator(".entry").filter(has_text="This is what I see")
    assert entry.count() == 1
    assert entry.get_by_role("link", name="screenshot.png").count() == 1
    assert content(page, page.locator(".attachments a")) == SCREENSHOT
    # Killed while it reads the agent's file.
    reading = itop.faults.add("slow", operation="core/get", contains='"contents"', count=1, seconds=10)
    page.locator("input[name=files]").set_input_files(
        {"name": "report.pdf", "mimeType": "application/pdf", "buffer": REPORT}
    )
    page.locator("textarea[name=text]").fill("Please read the report")
    page.get_by_role("button", name="Answer publicly").click()
    page.locator(".done").wait_for()
    poll_now()
    wait_until(lambda: reading not in itop.faults.active, "the file to be read", SECONDS)
    workers.kill()
    assert names_in_conversation(inbox) == []
    # Killed after Intercom has stored the note, and before it says so.
    inbox.intercom.faults.add("slow", path="/reply", count=1, seconds=4)
    workers.start()
    wait_until(lambda: names_in_conversation(inbox), "the note to be posted", SECONDS)
    workers.kill()
    assert OutgoingMessage.objects.waiting().count() == 1
    workers.start()
    wait_until_idle()
    workers.restart()
    poll_now()
    redeliver_everything(inbox)
    inbox.open("Alice Martin").reads_note("Please read the report")
    link = inbox.thread.get_by_role("link", name="📎 report.pdf")
    assert link.count() == 1
    assert content(inbox.page, link) == REPORT
    assert names_in_conversation(inbox) == ["report.pdf"]
    entries = open_ticket(inbox, itop).locator(".entry")
    assert entries.filter(has_text="This is what I see").count() == 1
    assert entries.filter(has_text="Please read the report").count() == 1
    assert sorted(files_of_ticket(itop)) == sorted([REPORT, SCREENSHOT])
