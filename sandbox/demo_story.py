"""The demo's script: a conversation is copied to two tickets, and changes of a ticket come to the conversation."""

from __future__ import annotations

import base64
import re
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from intercom_bridge.models import Delivery, ItopInstance, WebhookEvent
from itop_client import LogEntry

from .demo_inbox import Inbox, Panel
from .demo_itop import LOGS, Customer, Itop, TicketAsItIs, text_of
from .demo_processes import DemoError, wait_until
from .intercom.files import png

PUBLIC, PRIVATE = LOGS
TEAMMATE, COLLEAGUE = "Ada Reyes", "Sam Field"

FIRST_WORDS = "My laptop does not start any more since the update last night."
QUESTION = "I am sorry to hear that. Which model is it?"
FIRST_NOTE = "Third one this week, all of them after the update."
MODEL = (
    "A ThinkPad, from March.\n\n"
    "The power light blinks twice, then nothing. See https://status.example/update_42 & <me>."
)
ADVICE = "Please hold the power button for 30 seconds, then try again."
SECOND_NOTE = "If that does not help she gets the spare one from the shelf."
FILE = "power light.mp4"
BOTH = "It starts again! But the projector in the meeting room stays dark."
WHILE_PAUSED = "By the way: my password is swordfish."
AFTERWARDS = "We look at the projector this afternoon. And please choose a new password."
THANKS = "Thank you, that was quick 👍"
FOUND = "The update is known to cause this. It is withdrawn."
SENT = "Good news: the update that caused this is withdrawn. It will not happen again."
SOLUTION = "The update was withdrawn."
LOOKS = "This is what I see on the screen:"
SCREENSHOT, PICTURE = "screenshot.png", png(160, 90, (180, 40, 40))
GUIDE_WORDS = "The guide says how to keep the update away."
GUIDE, GUIDE_TEXT = "guide.txt", b"Settings, Updates, Pause.\n"


@dataclass(frozen=True)
class Expected:
    """An entry that a log must contain. If `author` is "", the author is not checked."""

    author: str
    text: str


@dataclass
class ExpectedTicket:
    ref: str
    logs: dict[str, list[Expected]] = field(default_factory=lambda: {PUBLIC: [], PRIVATE: []})

    def complaints(self, ticket: TicketAsItIs) -> list[str]:
        """Return a sentence for each difference between the ticket and what is expected."""
        found = []
        for log, expected in self.logs.items():
            entries = ticket.logs[log]
            if len(entries) != len(expected):
                found.append(f"{self.ref}, {log}: {len(entries)} entries instead of {len(expected)}.")
            for position, (entry, wanted) in enumerate(zip(entries, expected, strict=False), 1):
                if wanted.text not in text_of(entry):
                    found.append(
                        f"{self.ref}, {log}, entry {position}: “{text_of(entry)[:80]}” "
                        f"instead of “{wanted.text}”."
                    )
                elif not _is_by(entry, wanted.author):
                    found.append(
                        f"{self.ref}, {log}, entry {position}: written by {entry.user_login}, not by {wanted.author}."
                    )
        return found


class Story:
    """Plays the script. `say` prints a line. `customer` is a person in the iTop."""

    def __init__(self, inbox: Inbox, itop: Itop, customer: Customer, say: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._itop = itop
        self._customer = customer
        self._say = say
        self._steps = 0
        self._teammate = str(inbox.teammate(TEAMMATE)["id"])
        self._colleague = str(inbox.teammate(COLLEAGUE)["id"])
        self.conversation_id = ""
        # Whether to determine the iTop's time zone from the first ticket.
        self.finds_time_zone = False
        # All entries so far, for the transcript of a new ticket, and the tickets that get all further entries.
        self._entries: list[tuple[str, Expected]] = []
        self._tickets: list[ExpectedTicket] = []

    def play(self) -> list[str]:
        """Play the script and print the tickets. Return a sentence for each error in a ticket. Raise DemoError."""
        self._introduce()
        self._open_and_create()
        self._go_on_writing()
        self._link_a_second_ticket()
        self._pause_and_resume()
        self._send_a_screenshot()
        self._deliver_twice()
        self._hear_from_itop()
        self._share_a_file()
        self._count_screenshots()
        return self._look_at_the_tickets()

    # --- Chapters ---

    def _introduce(self) -> None:
        self._step("Intercom checks the webhook's address (HEAD) and sends a test request")
        status = self._inbox.webhooks(validate=True)["status"]
        if status != 200:
            raise DemoError(f"The webhook's address answered HEAD with HTTP {status}")
        self._inbox.webhooks(ping=True)
        self._step(f"{self._customer.name} writes: {_quoted(FIRST_WORDS)}")
        self.conversation_id = self._inbox.begin(
            name=self._customer.name, email=self._customer.email, body=FIRST_WORDS
        )
        self._expect(PUBLIC, self._customer.name, FIRST_WORDS)
        self._write_as(TEAMMATE, QUESTION)
        self._write_as(TEAMMATE, FIRST_NOTE, note=True)

    def _open_and_create(self) -> None:
        panel = self._panel(self._teammate).open()
        self._step(f"{TEAMMATE} opens the conversation; the panel responds in {panel.milliseconds} ms")
        self._show(panel)
        panel.press("Create a ticket")
        self._step(f"{TEAMMATE} clicks “Create a ticket” and fills in the form")
        for line in self._fill_in(panel):
            self._say(f"        {line}")
        panel.press("Create ticket")
        self._step(f"{TEAMMATE} clicks “Create ticket”; the panel responds in {panel.milliseconds} ms")
        if panel.can_press("Create anyway"):
            # An earlier demo in the same iTop has created a ticket with this title.
            panel.press("Create anyway")
        wait_until(lambda: _is_created(panel), f"the ticket to be created; the panel shows:\n{panel}")
        self._show(panel)
        ticket = ExpectedTicket(panel.headline.split()[0])
        for log, entry in self._entries:
            ticket.logs[log].append(entry)
        self._tickets.append(ticket)
        if self.finds_time_zone:
            self._find_time_zone(ticket)
        self._wait_for_post("The customer gets a message about the ticket")

    def _find_time_zone(self, ticket: ExpectedTicket) -> None:
        """Determine and store the iTop's time zone. The dates of files and the dates in the panel depend on it."""
        name = self._itop.time_zone(ticket.ref)
        if name:
            ItopInstance.objects.update(time_zone=name)
            self._say(
                f"        iTop's dates fit the time zone {name}. If iTop uses another one: --itop-time-zone"
            )

    def _fill_in(self, panel: Panel) -> Iterable[str]:
        """Fill in the form, and yield a line for each field. Keep values that are already there."""
        yield f"Title: {panel.value('Title')}"
        service = _pick(panel, "Service", "Workplace")
        if service:
            yield f"Service: {service}"
        subcategory = _pick(panel, "Service subcategory", "Laptop broken")
        if subcategory:
            yield f"Service subcategory: {subcategory}"
        if panel.has_field("Urgency"):
            yield f"Urgency: {panel.choose('Urgency', 'High')}"

    def _go_on_writing(self) -> None:
        self._write_as_customer(MODEL)
        self._write_as(TEAMMATE, ADVICE)
        self._write_as(COLLEAGUE, SECOND_NOTE, note=True)
        self._write_as_customer("", FILE)

    def _link_a_second_ticket(self) -> None:
        ref = self._itop.register(
            self._customer, "Projector in the meeting room stays dark", "<p>Reported by phone.</p>"
        )
        self._step(f"In iTop, a colleague has created another ticket for the customer: {ref}")
        panel = self._panel(self._colleague).open()
        panel.press("open ticket")
        while not panel.can_press(ref):
            panel.press("Next")
        panel.press(ref)
        panel.press("Link to this conversation")
        self._step(f"{COLLEAGUE} finds it in the list of open tickets and clicks “Link to this conversation”")
        self._show(panel)
        panel.press("Link without earlier messages")
        self._step(f"{COLLEAGUE} clicks “Link without earlier messages”")
        self._show(panel)
        if ref not in panel.headline:
            raise DemoError(f"Ticket {ref} was not linked. The panel shows:\n{panel}")
        self._tickets.append(ExpectedTicket(ref))
        self._wait_for_post("The teammates get a note")
        self._write_as_customer(BOTH)

    def _pause_and_resume(self) -> None:
        panel = self._panel(self._teammate).open().press("Sync on").press("Pause sync")
        self._step(f"{TEAMMATE} clicks “Pause sync”")
        self._show(panel, "sync")
        self._step(f"{self._customer.name} writes: {_quoted(WHILE_PAUSED)}")
        part = self._inbox.write(self.conversation_id, author="contact", body=WHILE_PAUSED)
        left_out = Delivery.objects.filter(part_id=part["id"], state=Delivery.State.SKIPPED)
        wait_until(lambda: left_out.count() == len(self._tickets), "the message to be left out")
        self._say("        left out of both tickets; the admin shows why")
        panel.press("Resume sync")
        self._step(f"{TEAMMATE} clicks “Resume sync”")
        self._show(panel, "left out")
        panel.press("Leave them out")
        self._step(f"{TEAMMATE} clicks “Leave them out”")
        self._write_as(TEAMMATE, AFTERWARDS)
        self._write_as_customer(THANKS)

    def _deliver_twice(self) -> None:
        wait_until(self._all_is_quiet, "all messages to be processed")
        notifications = [
            notification
            for notification in self._inbox.notifications()
            if notification["topic"].endswith(("replied", "noted")) and notification["id"]
        ]
        self._step(
            f"Intercom sends all {len(notifications)} notifications a second time, as it sometimes does"
        )
        for notification in notifications:
            self._inbox.webhooks(redeliver=notification["id"])
        known = WebhookEvent.objects.filter(times_received__gte=2)
        wait_until(lambda: known.count() >= len(notifications), "the notifications to arrive again")
        wait_until(self._all_is_quiet, "all messages to be processed")
        self._say("        all are known: nothing is written twice")

    def _hear_from_itop(self) -> None:
        """Play an agent who works on the first ticket in iTop. The changes are posted in the conversation."""
        ticket = self._tickets[0]
        self._step(f"In iTop, an agent answers in {ticket.ref}: {_quoted(FOUND)}")
        self._itop.answer(ticket.ref, FOUND)
        ticket.logs[PUBLIC].append(Expected("", FOUND))
        self._wait_for_note(FOUND, "The conversation gets a note")
        panel = self._panel(self._teammate).open().press("answered").press("Send to the customer")
        self._step(f"{TEAMMATE} clicks “Send to the customer” in the panel and changes the words")
        self._show(panel)
        panel.fill_in("Message to the customer", SENT)
        panel.press("Send")
        self._wait_for_note(SENT, "The customer gets a message")
        self._step(f"In iTop, the agent resolves {ticket.ref}: {_quoted(SOLUTION)}")
        self._itop.resolve(ticket.ref, SOLUTION)
        self._wait_for_note(SOLUTION, "The conversation gets a note")
        wait_until(self._all_is_quiet, "all messages to be processed")
        self._say("        nothing that came from iTop is written to a ticket")

    def _send_a_screenshot(self) -> None:
        """Let the customer paste a screenshot into a message. It becomes a file of every linked ticket."""
        self._step(f"{self._customer.name} pastes a screenshot: {_quoted(LOOKS)}")
        data = base64.b64encode(PICTURE).decode()
        picture = {"name": SCREENSHOT, "content_type": "image/png", "data": data}
        self._inbox.write(self.conversation_id, author="contact", body=LOOKS, pictures=[picture])
        self._expect(PUBLIC, self._customer.name, LOOKS)
        wait_until(
            lambda: all(map(self._screenshots, self._tickets)), "the screenshot to arrive in the tickets"
        )
        self._say("        the tickets have the screenshot among their files")

    def _screenshots(self, ticket: ExpectedTicket) -> int:
        return self._itop.files(ticket.ref).count(PICTURE)

    def _count_screenshots(self) -> None:
        for ticket in self._tickets:
            if (count := self._screenshots(ticket)) != 1:
                raise DemoError(f"Ticket {ticket.ref} has the screenshot {count} times.")

    def _share_a_file(self) -> None:
        """Let an agent add a file to the first ticket in iTop's console. It is posted in the conversation."""
        ticket = self._tickets[0]
        if not self._itop.answer_with_file(ticket.ref, GUIDE_WORDS, GUIDE, GUIDE_TEXT):
            return
        self._step(f"In iTop, an agent answers in {ticket.ref} with the file {GUIDE}: {_quoted(GUIDE_WORDS)}")
        ticket.logs[PUBLIC].append(Expected("", GUIDE_WORDS))

        def names() -> list[str]:
            parts = self._inbox.parts(self.conversation_id)
            return [
                file["name"] for part in parts if part["app_package_code"] for file in part["attachments"]
            ]

        wait_until(lambda: GUIDE in names(), f"the bridge to post the file {GUIDE}")
        wait_until(self._all_is_quiet, "all messages to be processed")
        if names().count(GUIDE) != 1:
            raise DemoError(f"The conversation has the file {GUIDE} {names().count(GUIDE)} times.")
        self._say("        the conversation has the file")

    def _wait_for_note(self, words: str, what: str) -> None:
        """Wait until the bridge has posted these words in the conversation."""
        began = time.monotonic()

        def is_posted() -> bool:
            parts = self._inbox.parts(self.conversation_id)
            return any(words in part["body"] for part in parts if part["app_package_code"] and part["body"])

        wait_until(is_posted, f"the bridge to post {_quoted(words)}")
        self._say(f"        {what} within {time.monotonic() - began:.1f} seconds")

    def _look_at_the_tickets(self) -> list[str]:
        self._say("")
        self._say("The tickets in iTop")
        complaints = []
        for expected in self._tickets:
            ticket = self._itop.ticket(expected.ref)
            self._say("")
            self._say(textwrap.indent(str(ticket), "  "))
            complaints += expected.complaints(ticket)
        return complaints

    @property
    def summary(self) -> str:
        counts = [f"{ticket.ref} ({sum(map(len, ticket.logs.values()))} entries)" for ticket in self._tickets]
        return " and ".join(counts)

    # --- Steps ---

    def _step(self, text: str) -> None:
        self._steps += 1
        self._say(f"  {self._steps:>2}.  {text}")

    def _show(self, panel: Panel, only: str = "") -> None:
        for line in str(panel).splitlines():
            if only in line:
                self._say(f"        | {line}")

    def _panel(self, admin_id: str) -> Panel:
        return Panel(self._inbox, self.conversation_id, admin_id)

    def _write_as_customer(self, text: str, *files: str) -> None:
        action = f"sends the file {files[0]}" if files else f"writes: {_quoted(text)}"
        self._step(f"{self._customer.name} {action}")
        self._inbox.write(self.conversation_id, author="contact", body=text, attachments=list(files))
        self._expect(PUBLIC, self._customer.name, text or files[0])

    def _write_as(self, teammate: str, text: str, *, note: bool = False) -> None:
        self._step(f"{teammate} {'notes' if note else 'replies'}: {_quoted(text)}")
        author_id = self._teammate if teammate == TEAMMATE else self._colleague
        self._inbox.write(self.conversation_id, author="admin", author_id=author_id, body=text, note=note)
        self._expect(PRIVATE if note else PUBLIC, teammate, text)

    def _expect(self, log: str, author: str, text: str) -> None:
        """Add an entry that each linked ticket must contain, and wait until it does."""
        entry = Expected(author, " ".join(text.split()))
        self._entries.append((log, entry))
        began = time.monotonic()
        for ticket in self._tickets:
            ticket.logs[log].append(entry)
            self._wait_for_log(ticket, log)
        if self._tickets:
            names = " and ".join(ticket.ref for ticket in self._tickets)
            name = "public" if log == PUBLIC else "private"
            seconds = time.monotonic() - began
            self._say(f"        in the {name} log of {names} within {seconds:.1f} seconds")

    def _wait_for_log(self, ticket: ExpectedTicket, log: str) -> None:
        count = len(ticket.logs[log])
        wait_until(
            lambda: len(self._itop.ticket(ticket.ref).logs[log]) >= count,
            f"the message to arrive in the {log} of {ticket.ref}",
        )

    def _wait_for_post(self, text: str) -> None:
        """Wait until the bridge has posted its message about the newest ticket, and print the message."""
        expected_count = len(self._tickets)  # one message per ticket so far

        def posted() -> list[str]:
            return [
                re.sub(r"<[^>]*>", "", part["body"])
                for part in self._inbox.parts(self.conversation_id)
                if part["app_package_code"] and part["body"]
            ]

        wait_until(lambda: len(posted()) >= expected_count, "the bridge to write into the conversation")
        self._say(f"        {text}: {_quoted(posted()[-1])}")

    def _all_is_quiet(self) -> bool:
        """Return whether no event or message is waiting."""
        # An event with a reason code does not count: the bridge keeps it until it knows whether it is its own post.
        received = WebhookEvent.objects.filter(state=WebhookEvent.State.RECEIVED)
        return not received.filter(reason_code="").exists() and not Delivery.objects.waiting().exists()


def _is_by(entry: LogEntry, author: str) -> bool:
    """Return whether the author wrote the entry. True for the author ""."""
    if author in ("", entry.user_login.removesuffix(" (Intercom)")):
        return True
    # If the bridge's account may not set the author of an entry, the entry's text begins with the author.
    return text_of(entry).startswith(f"{author} (Intercom)")


def _is_created(panel: Panel) -> bool:
    """Return whether the ticket was created. If the panel has stopped waiting for iTop, click “Check again”."""
    if panel.headline.endswith(" created"):
        return True
    if panel.can_press("Check again"):
        panel.press("Check again")
        return panel.headline.endswith(" created")
    raise DemoError(f"The ticket was not created. The panel shows:\n{panel}")


def _pick(panel: Panel, label: str, *preferred: str) -> str:
    """Choose an option of a field and return its text. The field is a dropdown, or an item that opens a list.

    Return "" if there is no such field.
    """
    if panel.has_field(label):
        return panel.choose(label, *preferred)
    if panel.has_item(label):
        panel.press_item(label)
        chosen = panel.first_item
        panel.press(chosen)
        return chosen
    return ""


def _quoted(text: str) -> str:
    return f"“{' '.join(text.split())}”"
