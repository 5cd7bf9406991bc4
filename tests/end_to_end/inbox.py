"""A teammate in the sandbox's inbox page, in a real browser: sees words, clicks on words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Self

from sandbox.intercom import Intercom

Words = str | re.Pattern[str]

# The texts of the panel's buttons and rows. The tests click on these, and on names and references.
CREATE_A_TICKET = "Create a ticket"
CREATE, CREATE_ANYWAY = "Create ticket", "Create anyway"
LOOK_AGAIN = "Check again"
ONGOING, LINKED = re.compile(r"\d+ open ticket"), re.compile(r"R-\d+ · ")
FIND, WORDS_TO_FIND = "Find a ticket", "Reference or words of the title"
LINK, FROM_NOW_ON, LINK_AND_COPY = (
    "Link to this conversation",
    "Link without earlier messages",
    "Link and copy",
)
UNLINK, UNDO = "Unlink", "Undo"
MERGED_IN, MERGED_AWAY = "was merged into this one", "Merged into another conversation"
MOVE, OTHER_CONVERSATION = re.compile(r"Move the links?"), "ID or URL of the other conversation"
SYNC, PAUSE, RESUME = re.compile(r"Sync (on|paused|status)"), "Pause sync", "Resume sync"
WRITE_THEM, LEAVE_THEM = "Copy them now", "Leave them out"
TRY_AGAIN, RETRY = "Try again", "Retry"
NOT_THIS_PERSON, WHO_TO_FIND = "Not this person?", "Search by name or e-mail"
NEXT, PREVIOUS, BACK, BACK_TO_FORM = "Next", "Previous", "Back", "Back to the form"
LINKED_TO_OTHERS = re.compile(r"[Ll]inked to .*1 other")


class InboxPage:
    """What is clicked and typed here goes through the page, Intercom's stand-in, the panel and iTop's stand-in.

    After each click the page has nothing against the canvas that came, and the canvas leads somewhere.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.panel = page.locator("#panel")
        self.thread = page.locator("#thread")
        self.teammate = ""

    # The page

    def open(self, customer: str) -> Self:
        """Open the customer's conversation and wait for the panel."""
        self.load()
        self.page.locator("#conversations").get_by_text(customer).first.click()
        self.page.locator("#who").get_by_text(customer).wait_for()
        return self._answered()

    def load(self) -> Self:
        """Load the page, which opens the first conversation and then updates the list."""
        self.page.goto("")
        self.page.locator("#conversations [aria-current]").wait_for()
        self._answered()
        return self.become(self.teammate) if self.teammate else self

    def become(self, teammate: str) -> Self:
        """Sits down as another teammate; the panel answers anew."""
        self.teammate = teammate
        self.page.get_by_label("You are").select_option(label=teammate)
        return self._answered()

    def reload(self) -> Self:
        self.page.get_by_role("button", name="Reload").click()
        return self._answered()

    # What is clicked and filled in on the panel

    def click(self, words: Words) -> Self:
        self.clickable(words).first.click()
        return self._answered()

    def press_enter_in(self, label: str, words: str) -> Self:
        """Types into a field that has a button of its own, and submits it."""
        self.field(label).fill(words)
        self.field(label).press("Enter")
        return self._answered()

    def fill(self, label: str, words: str) -> Self:
        self.field(label).fill(words)
        return self

    def choose(self, label: str, words: str) -> Self:
        options = self.panel.get_by_role("group", name=re.compile(rf"^{re.escape(label)}( \*)?$"))
        if not options.count():
            self.field(label).select_option(label=words)
            return self
        # A single-select with an action: the choice is a click.
        options.get_by_label(words).check()
        return self._answered()

    # What teammates do all day

    def see_ticket(self, ref: str) -> Self:
        """From the first screen to one of the customer's open tickets."""
        return self.click(ONGOING).click(ref)

    def search(self, words: str) -> Self:
        """Search for a ticket, from the first screen."""
        return self.click(FIND).press_enter_in(WORDS_TO_FIND, words)

    def create(self, title: str) -> Self:
        """From the first screen to the press of Create; nothing but the title is typed."""
        return self.click(CREATE_A_TICKET).fill("Title", title).click(CREATE)

    # What is to be seen

    def clickable(self, words: Words) -> Any:
        return self.panel.locator("button:enabled, a[href]").filter(has_text=words)

    def offers(self, words: Words) -> bool:
        return bool(self.clickable(words).count())

    def field(self, label: str) -> Any:
        """Return the field with this label, with or without an asterisk."""
        return self.panel.get_by_label(re.compile(rf"^{re.escape(label)}( \*)?$"))

    def value(self, label: str) -> str:
        return str(self.field(label).input_value())

    def is_marked(self, label: str) -> bool:
        """Whether the field is shown to be wrong."""
        return bool(self.field(label).get_attribute("aria-invalid") == "true")

    def sees(self, words: Words) -> bool:
        """Wait for a text; raise if it does not appear."""
        self.panel.get_by_text(words).first.wait_for()
        return True

    @property
    def text(self) -> str:
        """As it is read: what keeps Markdown's marks from being any has no width."""
        return str(self.panel.inner_text()).replace("\u200b", "")

    @property
    def lines(self) -> list[str]:
        """The titles of a list's lines."""
        return [str(title) for title in self.panel.locator(".item .title").all_inner_texts()]

    @property
    def height(self) -> int:
        """Of the panel, in pixels, as the browser draws it."""
        return int(self.panel.evaluate("panel => panel.scrollHeight"))

    @property
    def is_home(self) -> bool:
        return self.offers(CREATE_A_TICKET)

    @property
    def problems(self) -> str:
        """What the page finds wrong with the canvas."""
        return str(self.page.locator("#problems").inner_text())

    def go_home(self) -> int:
        """Click the last button, Back, until the first screen is shown. Return the number of clicks."""
        for presses in range(5):
            if self.is_home:
                return presses
            self.panel.locator("button[data-action=submit]:enabled").last.click()
            self._answered()
        raise AssertionError(f"no way back to the first screen; the panel shows:\n{self.text}")

    def _answered(self) -> Self:
        self.page.locator("#panel:not([aria-busy])").wait_for()
        self.panel.locator("fieldset").first.wait_for()
        assert not self.problems, self.problems
        assert self.panel.locator("button[data-action=submit]:enabled").count(), "a dead end"
        return self


class Inbox(InboxPage):
    """The page, with a worker behind it, and what happens in the workspace meanwhile."""

    def __init__(self, page: Any, intercom: Intercom, work: Callable[[], None]) -> None:
        super().__init__(page)
        self.intercom = intercom
        self.work = work

    def say(self, words: str, voice: str = "As the customer") -> Self:
        """Write to the conversation as `voice` and run the worker."""
        self.page.locator(".voices").get_by_text(voice).click()
        self.page.get_by_role("textbox", name="Message").fill(words)
        self.page.get_by_role("button", name="Send").click()
        self.thread.get_by_text(words, exact=True).first.wait_for()
        assert self.intercom.webhooks.wait_until_sent()
        self.work()
        return self

    def reads_note(self, *words: str) -> Self:
        """Run the worker and wait until the thread has a note of the bridge with these words in order."""
        self.work()
        note = self.thread.locator(".note").filter(has_text=re.compile(".*".join(map(re.escape, words))))
        note.filter(has_text="by the app").first.wait_for()
        return self

    def link(self, ref: str) -> Self:
        """Links one of the customer's open tickets; the panel says that it is."""
        self.see_ticket(ref).click(LINK).click(FROM_NOW_ON).sees(ref)
        self.work()
        return self

    def merge(self, customer: str, *, into: str) -> Self:
        """Merge the first customer's conversation into the other one's."""
        found = (self.intercom.conversation_of(name) for name in (customer, into))
        self.intercom.merge(*(conversation.id for conversation in found))
        return self
