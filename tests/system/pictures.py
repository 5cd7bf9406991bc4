"""Take the handbook's screenshots from a running demo: `.venv/bin/python -m tests.system.pictures`.

Needs Chromium and an emoji font (Debian: `apt-get install chromium fonts-noto-color-emoji`). The demo runs on its own
ports and ends with this script.
"""

from __future__ import annotations

import base64
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import requests

from sandbox.demo_inbox import Inbox as Workspace
from settings.env import BASE_DIR
from tests.browser import CHROMIUM, VIEWPORT, new_page, running_chromium
from tests.end_to_end import inbox as words
from tests.end_to_end.inbox import InboxPage

PICTURES = BASE_DIR / "docs" / "pictures"
# Longer than the panel caches a response of iTop.
FRESH_SECONDS = 60
# The row of the newest change in iTop.
NEWS = "Jules Verne answered"
# The picture, the customer of the conversation, and the clicks.
SCREENS: tuple[tuple[str, str, tuple[words.Words, ...]], ...] = (
    ("home", "Alice Martin", ()),
    ("tickets", "Dana O'Neil", (words.ONGOING,)),
    ("ticket", "Alice Martin", (words.LINKED,)),
    ("create", "Alice Martin", (words.CREATE_A_TICKET,)),
    ("find", "Dana O'Neil", (words.FIND,)),
    ("who", "Reception", ()),
    ("sync", "Alice Martin", (words.SYNC,)),
    ("news", "Alice Martin", (NEWS,)),
    ("send", "Alice Martin", (NEWS, "Send the solution to the customer")),
)


# What the customer's screenshot shows.
ERROR = """<main style="width: 520px; padding: 20px 28px; font: 16px sans-serif; background: #1f3a5f; color: white">
<h2>Update not complete</h2>
<p>The update could not be finished. Undoing changes: 35 %</p><p>Error 0x80070643</p></main>"""
# The content of an admin page, without header, sidebar and breadcrumbs.
ADMIN_PAGE = "#content"
# The user name and password of the demo.
ADMIN = "admin"


def main() -> None:
    if CHROMIUM is None:
        sys.exit("There is no Chromium on this machine. Debian: apt-get install chromium")
    ports = _free_ports(3)
    with tempfile.TemporaryDirectory() as directory:
        options = ["--port", ports[0], "--itop-port", ports[1], "--intercom-port", ports[2]]
        demo = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--directory", f"{directory}/demo", *options],
            cwd=BASE_DIR,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            _wait_for_story(demo)
            service, itop, intercom = (f"http://127.0.0.1:{port}" for port in ports)
            PICTURES.mkdir(exist_ok=True)
            with running_chromium() as browser:
                _take_admin(browser, service)
                _take_panel(browser, f"{service}/sandbox/", itop, Workspace(intercom))
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait()


def _free_ports(count: int) -> list[str]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]


def _wait_for_story(demo: subprocess.Popen[str]) -> None:
    for line in demo.stdout or ():
        if "Press Ctrl-C to stop" in line:
            return
    sys.exit("The demo failed; run `make demo` to see why.")


def _take_admin(browser: Any, service: str) -> None:
    """Take the pictures of the admin, before those of the panel, which end with an iTop that is away."""
    with new_page(browser, service) as page:
        page.goto("/admin/")
        page.get_by_label("Username").fill(ADMIN)
        page.get_by_label("Password").fill(ADMIN)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Connect a workspace").click()
        # The addresses are local, and the page warns correctly that Intercom does not accept them.
        page.locator(".bridge-addresses + .bridge-warning").evaluate("warning => warning.remove()")
        for address in page.locator(".bridge-addresses code[data-copy]").all():
            address.evaluate(
                "(code, service) => code.textContent = code.textContent.replace(service, "
                "'https://bridge.example.com')",
                service,
            )
        page.locator("[name=of-itop]").select_option("new")
        _admin_picture(page, "connect")
        page.goto("/admin/intercom_bridge/dashboard/")
        _admin_picture(page, "dashboard")
        page.goto("/admin/intercom_bridge/workspace/")
        page.get_by_role("link", name="Scope test").click()
        page.get_by_label("Person").fill("dana.oneil@globex.example")
        page.get_by_role("button", name="Look up").click()
        page.locator(".bridge-results").wait_for()
        _admin_picture(page, "scope-test")
        page.goto("/admin/intercom_bridge/workspace/")
        page.get_by_role("link", name="abcd1234").first.click()
        page.get_by_role("link", name="Test connection").click()
        page.get_by_role("button", name="Test now").click()
        page.locator(".bridge-verdict").wait_for(timeout=FRESH_SECONDS * 1000)
        _admin_picture(page, "test")
        page.goto("/admin/intercom_bridge/workspace/")
        page.get_by_role("link", name="abcd1234").first.click()
        page.get_by_role("link", name="Rules for changes in iTop").click()
        page.locator("[name=resolved][value=reply]").check()
        page.locator("[name=reopens_on][value=resolved]").check()
        _admin_picture(page, "rules")
        page.goto("/admin/intercom_bridge/delivery/?state__exact=written")
        page.locator("#result_list tbody th a").nth(2).click()
        _admin_picture(page, "delivery")
        page.goto("/admin/intercom_bridge/messenger/")
        page.locator("#result_list tbody th a").first.click()
        _admin_picture(page, "messenger")
        page.goto("/sandbox/portal/")
        page.locator("#claims dt").first.wait_for()
        page.screenshot(path=PICTURES / "portal.png")
        page.goto("/admin/intercom_bridge/ticketprofile/")
        page.locator("#result_list tbody th a").first.click()
        with page.context.expect_page() as opening:
            page.get_by_role("button", name="Preview panel").click()
        preview = opening.value
        preview.set_viewport_size({"width": 1600, "height": 900})
        preview.get_by_label("Person").fill("dana.oneil@globex.example")
        preview.get_by_role("button", name="Preview").click()
        preview.get_by_role("heading", name="Dana O'Neil").wait_for()
        _admin_picture(preview, "preview")


def _admin_picture(page: Any, name: str) -> None:
    page.locator(ADMIN_PAGE).screenshot(path=PICTURES / f"admin-{name}.png")


def _take_panel(browser: Any, address: str, itop: str, workspace: Workspace) -> None:
    with new_page(browser, address) as page:
        inbox = InboxPage(page).load()
        inbox.thread.locator("article").first.wait_for()
        page.evaluate("document.fonts.ready")
        page.screenshot(path=PICTURES / "inbox.png")
        for name, customer, clicks in SCREENS:
            inbox.open(customer)
            for clicked in clicks:
                inbox.click(clicked)
            _picture(inbox, name)
        inbox.open("Bob Durand").create("Printer is out of toner")
        _picture(inbox, "duplicates")
        with new_page(browser, itop) as ticket:
            _take_files(inbox, ticket, workspace)
        _merge(workspace, "Alice Martin", "Chloé D'Arcy")
        # The panel of the merged conversation reports the merge, and the worker stores it.
        inbox.open("Alice Martin").open("Chloé D'Arcy")
        _until(inbox.reload, lambda: inbox.offers(words.MERGED_IN), "The merge is not offered.")
        inbox.click(words.MERGED_IN)
        _picture(inbox, "merged")
        inbox.open("Dana O'Neil")
        requests.post(f"{itop}/sandbox/faults", json={"faults": [{"kind": "error500"}]}, timeout=10)
        _until(inbox.reload, lambda: not inbox.is_home, "The panel has not noticed that iTop is away.")
        _picture(inbox, "away")


def _take_files(inbox: InboxPage, ticket: Any, workspace: Workspace) -> None:
    """Take the pictures of a customer's screenshot in a ticket, and of an agent's file in the conversation.

    `ticket` is a page of iTop.
    """
    ticket.set_content(ERROR)
    data = base64.b64encode(ticket.locator("main").screenshot()).decode()
    words = "It starts now, and then says this:"
    workspace.write(
        _conversation_of(workspace, "Alice Martin"),
        author="contact",
        body=words,
        pictures=[{"name": "error.png", "content_type": "image/png", "data": data}],
    )
    ticket.goto("")
    inbox.open("Alice Martin")
    # While a message waits, the first screen has no space for titles.
    _until(inbox.reload, lambda: "· My laptop" in inbox.text, "No ticket “My laptop” is linked.")
    ticket.get_by_role("link", name=_ref(inbox, "My laptop")).first.click()
    entry = ticket.locator(".entry").filter(has_text=words)
    _until(ticket.reload, lambda: entry.count() > 0, "The screenshot is not in iTop.")
    ticket.set_viewport_size({"width": 900, "height": 640})
    # What the ticket says besides its files and its public log would fill the picture.
    for other in ticket.locator("form, table, .private, h2:has-text('Private log')").all():
        other.evaluate("element => element.hidden = true")
    entry.locator("img").evaluate("picture => picture.decode()")
    ticket.screenshot(path=PICTURES / "files-itop.png")
    ticket.reload()
    ticket.locator("textarea[name=text]").fill("Please remove the update. The guide says how.")
    guide = {"name": "Remove the update.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7\n" * 9000}
    ticket.locator("input[name=files]").set_input_files([guide])
    ticket.get_by_role("button", name="Answer publicly").click()
    file = inbox.thread.get_by_role("link", name=guide["name"])
    _until(
        lambda: inbox.open("Alice Martin"),
        lambda: file.count() > 0,
        "The agent's file is not in the conversation.",
    )
    inbox.thread.locator("img").last.evaluate("picture => picture.decode()")
    inbox.thread.screenshot(path=PICTURES / "files-inbox.png")


def _ref(inbox: InboxPage, title: str) -> str:
    """Return the reference of the linked ticket whose title begins like this."""
    return str(re.findall(rf"(R-\d+) · {title}", inbox.text)[0])


def _conversation_of(workspace: Workspace, customer: str) -> str:
    """Return the ID of the customer's newest conversation."""
    conversations = workspace.ask("conversations")["conversations"]
    return str(next(found["id"] for found in conversations if found["contact"]["name"] == customer))


def _until(reload: Callable[[], object], is_reached: Callable[[], bool], problem: str) -> None:
    """Reload a page until a condition holds; exit with `problem` if it does not in time."""
    ends = time.monotonic() + FRESH_SECONDS
    while not is_reached():
        if time.monotonic() > ends:
            sys.exit(problem)
        time.sleep(1)
        reload()


def _picture(inbox: InboxPage, name: str) -> None:
    # The panel is in a column that scrolls.
    inbox.page.set_viewport_size(VIEWPORT | {"height": 1300})
    inbox.page.locator(".card.app").screenshot(path=PICTURES / f"{name}.png")
    inbox.page.set_viewport_size(VIEWPORT)


def _merge(workspace: Workspace, customer: str, into: str) -> None:
    ended, going_on = (_conversation_of(workspace, name) for name in (customer, into))
    workspace.ask(f"conversations/{ended}/merge", {"into": going_on})


if __name__ == "__main__":
    main()
