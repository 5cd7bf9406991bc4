"""A teammate in the sandbox's inbox page, in a real browser: sees words, clicks on words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sandbox.intercom import Intercom


class Inbox:
    """What is clicked and typed here goes through the page, Intercom's stand-in, the panel and iTop's stand-in."""

    def __init__(self, page: Any, intercom: Intercom, work: Callable[[], None]) -> None:
        self.page = page
        self.intercom = intercom
        self.work = work
        self.panel = page.locator("#panel")

    def open(self, customer: str) -> Inbox:
        """Opens the customer's conversation; the panel answers."""
        self.load()
        self.page.locator("#conversations").get_by_text(customer).first.click()
        self.page.locator("#who").get_by_text(customer).wait_for()
        return self._answered()

    def load(self) -> Inbox:
        """Loads the page. It opens the first conversation by itself, and draws the list anew when it has."""
        self.page.goto("")
        self.page.locator("#conversations [aria-current]").wait_for()
        return self._answered()

    def click(self, words: str) -> Inbox:
        self.panel.locator("button, a").filter(has_text=words).first.click()
        return self._answered()

    def press_enter_in(self, label: str, words: str) -> Inbox:
        """Types into a field that has a button of its own, and submits it."""
        self.field(label).fill(words)
        self.field(label).press("Enter")
        return self._answered()

    def fill(self, label: str, words: str) -> Inbox:
        self.field(label).fill(words)
        return self

    def choose(self, label: str, words: str) -> Inbox:
        self.field(label).select_option(label=words)
        return self

    def field(self, label: str) -> Any:
        """The field with this label, starred or not."""
        return self.panel.get_by_label(re.compile(rf"^{re.escape(label)}( \*)?$"))

    def value(self, label: str) -> str:
        return str(self.field(label).input_value())

    def say(self, words: str, voice: str = "As the customer") -> Inbox:
        """Writes into the conversation as `voice`; the worker hands it on."""
        self.page.locator(".voices").get_by_text(voice).click()
        self.page.get_by_role("textbox", name="Message").fill(words)
        self.page.get_by_role("button", name="Send").click()
        self.page.locator("#thread").get_by_text(words, exact=True).first.wait_for()
        assert self.intercom.webhooks.wait_until_sent()
        self.work()
        return self

    def reload(self) -> Inbox:
        self.page.get_by_role("button", name="Reload").click()
        return self._answered()

    def sees(self, words: str) -> bool:
        """Waits for the words; raises when they do not come."""
        self.panel.get_by_text(words).first.wait_for()
        return True

    @property
    def text(self) -> str:
        return str(self.panel.inner_text())

    @property
    def problems(self) -> str:
        """What the page finds wrong with the canvas."""
        return str(self.page.locator("#problems").inner_text())

    def _answered(self) -> Inbox:
        self.page.locator("#panel:not([aria-busy])").wait_for()
        self.panel.locator("fieldset").first.wait_for()
        return self
