"""A real Chromium for tests. Without an installed Chromium, the browser tests are skipped, with a reason."""

from __future__ import annotations

import atexit
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest
from django.db import connections

# The headless shell, which Debian packages too, needs less CPU time than the whole browser.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Pages of the same site share a process: otherwise each page that is opened starts one.
    "--process-per-site",
]
VIEWPORT = {"width": 1400, "height": 900}
POLICY = "Content Security Policy"
browser_test = [
    pytest.mark.browser,
    # All in one process of pytest-xdist, with one Chromium.
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: nothing is tried in a browser"),
]

# Starting Chromium or opening a page costs as much CPU time as a short test: all tests share one browser, and a page
# that no test uses is kept for the next test with the same base URL.
_shared_browser = ExitStack()
_idle_pages: dict[str, list[Any]] = defaultdict(list)


@cache
def _browser() -> Any:
    """Start Chromium, which runs until the process ends."""
    from playwright.sync_api import sync_playwright

    # Playwright runs an event loop in this thread, which makes Django refuse database access. Tests do not access
    # the database from that loop.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    playwright = _shared_browser.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
    _shared_browser.callback(browser.close)
    atexit.register(_shared_browser.close)
    return browser


def close_browser() -> None:
    """Close Chromium, and the database connections that this thread opened while Playwright's event loop ran."""
    connections.close_all()
    _shared_browser.close()


@contextmanager
def running_chromium() -> Iterator[Any]:
    """Return Playwright's browser, which all tests share."""
    yield _browser()


@contextmanager
def new_page(browser: Any, base_url: str, broken: list[str] | None = None) -> Iterator[Any]:
    """Return an empty page without cookies.

    Afterwards, fail if a script raised an error or the content security policy blocked something. Both are added to
    `broken`, which a test can pass and empty to check them itself.
    """
    broken = [] if broken is None else broken
    page = _idle_pages[base_url].pop() if _idle_pages[base_url] else _open_page(browser, base_url)

    def on_error(error: Any) -> None:
        broken.append(str(error))

    def on_message(message: Any) -> None:
        if POLICY in message.text:
            broken.append(f"{page.url}: {message.text}")

    page.on("pageerror", on_error)
    page.on("console", on_message)
    try:
        yield page
    except BaseException:
        page.context.close()
        raise
    page.goto("about:blank")
    page.remove_listener("pageerror", on_error)
    page.remove_listener("console", on_message)
    for opened in page.context.pages:
        if opened is not page:
            opened.close()
    page.set_viewport_size(VIEWPORT)
    page.context.clear_cookies()
    page.context.clear_permissions()
    _idle_pages[base_url].append(page)
    assert broken == []


def _open_page(browser: Any, base_url: str) -> Any:
    page = browser.new_context(viewport=VIEWPORT, base_url=base_url).new_page()
    page.set_default_timeout(10_000)
    return page
