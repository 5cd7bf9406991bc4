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
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser import CHROMIUM, running_chromium  # noqa: E402 - the tree has to be found first

PICTURES = ROOT / "docs" / "pictures"
SIZE = {"width": 1400, "height": 900}
# The picture, whose conversation, and what is clicked there.
SCREENS = (
    ("home", "Alice Martin", ()),
    ("tickets", "Dana O'Neil", ("ongoing tickets",)),
    ("ticket", "Alice Martin", ("linked ticket", "R-0000")),
    ("create", "Alice Martin", ("Create a ticket",)),
    ("find", "Alice Martin", ("Find a ticket",)),
    ("who", "Reception", ()),
    ("sync", "Alice Martin", ("The sync is",)),
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
            _take(f"http://127.0.0.1:{ports[0]}/sandbox/")
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


def _take(address: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    with running_chromium() as browser:
        page = browser.new_page(viewport=SIZE)
        page.goto(address)
        page.locator("#panel").get_by_text("linked ticket").wait_for()
        page.locator("#thread article").first.wait_for()
        page.evaluate("document.fonts.ready")
        page.screenshot(path=PICTURES / "inbox.png")
        for name, customer, clicks in SCREENS:
            page.locator("#conversations").get_by_text(customer).first.click()
            page.locator("#panel fieldset").wait_for()
            for words in clicks:
                page.locator("#panel").locator("button, a").filter(has_text=words).first.click()
                page.locator("#panel:not([aria-busy]) fieldset").wait_for()
            page.locator(".card.app").screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
