"""A real Chromium for tests. Where none is installed, they are skipped aloud."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
POLICY = "Content Security Policy"
browser_test = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: nothing is tried in a browser"),
]


@contextmanager
def running_chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread; what the test asks of the database is no part of it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield running
        running.close()


@contextmanager
def new_page(browser: Any, base_url: str, broken: list[str] | None = None) -> Iterator[Any]:
    """A page that is not yet opened. A script that breaks fails the test, and so does what the page's policy refuses.

    Both are told in `broken`, for a test that looks itself.
    """
    broken = [] if broken is None else broken
    context = browser.new_context(viewport={"width": 1400, "height": 900}, base_url=base_url)
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    opened.on("pageerror", lambda error: broken.append(str(error)))
    opened.on(
        "console", lambda said: broken.append(f"{opened.url}: {said.text}") if POLICY in said.text else None
    )
    yield opened
    context.close()
    assert broken == []
