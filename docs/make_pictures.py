"""Takes the pictures of README and panel.md from the running demo: `.venv/bin/python docs/make_pictures.py`.

Needs a Chromium (Debian: `apt-get install chromium`). The demo runs on ports of its own while the pictures
are taken, and is ended afterwards.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sandbox.demo_inbox import Inbox as Workspace  # noqa: E402 - the tree has to be found first
from tests.browser import CHROMIUM, new_page, running_chromium  # noqa: E402
from tests.end_to_end import inbox as words  # noqa: E402
from tests.end_to_end.inbox import InboxPage  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
# Longer than the panel takes an answer of iTop's for fresh.
FRESH_SECONDS = 60
# The picture, whose conversation, and what is clicked there.
SCREENS: tuple[tuple[str, str, tuple[words.Words, ...]], ...] = (
    ("home", "Alice Martin", ()),
    ("tickets", "Dana O'Neil", (words.ONGOING,)),
    ("ticket", "Alice Martin", (words.LINKED, "R-0000")),
    ("create", "Alice Martin", (words.CREATE_A_TICKET,)),
    ("find", "Alice Martin", (words.FIND,)),
    ("who", "Reception", ()),
    ("sync", "Alice Martin", (words.SYNC,)),
)


def main() -> None:
    if CHROMIUM is None:
        sys.exit("There is no Chromium on this machine. Debian: apt-get install chromium")
    ports = _free_ports(3)
    with tempfile.TemporaryDirectory() as directory:
        options = ["--port", ports[0], "--itop-port", ports[1], "--intercom-port", ports[2]]
        demo = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--directory", f"{directory}/demo", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            _wait_for_story(demo)
            service, itop, intercom = (f"http://127.0.0.1:{port}" for port in ports)
            _take(f"{service}/sandbox/", itop, Workspace(intercom))
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
        if "Ctrl-C ends it all" in line:
            return
    sys.exit("The demo failed; run `make demo` to see why.")


def _take(address: str, itop: str, workspace: Workspace) -> None:
    PICTURES.mkdir(exist_ok=True)
    with running_chromium() as browser, new_page(browser, address) as page:
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
        _merge(workspace, "Alice Martin", "Chloé D'Arcy")
        # The panel of the one that ended is what learns of it.
        inbox.open("Alice Martin").open("Chloé D'Arcy").click(words.MERGED_IN)
        _picture(inbox, "merged")
        inbox.open("Dana O'Neil")
        requests.post(f"{itop}/sandbox/faults", json={"faults": [{"kind": "error500"}]}, timeout=10)
        _wait_until_away(inbox)
        _picture(inbox, "away")


def _picture(inbox: InboxPage, name: str) -> None:
    inbox.page.locator(".card.app").screenshot(path=PICTURES / f"{name}.png")


def _merge(workspace: Workspace, customer: str, into: str) -> None:
    conversations = workspace.ask("conversations")["conversations"]
    ended, going_on = (
        next(one["id"] for one in conversations if one["contact"]["name"] == name)
        for name in (customer, into)
    )
    workspace.ask(f"conversations/{ended}/merge", {"into": going_on})


def _wait_until_away(inbox: InboxPage) -> None:
    """What iTop said a moment ago is shown as if it said so now, for so long."""
    ends = time.monotonic() + FRESH_SECONDS
    while inbox.is_home:
        if time.monotonic() > ends:
            sys.exit("The panel has not noticed that iTop is away.")
        time.sleep(1)
        inbox.reload()


if __name__ == "__main__":
    main()
