"""The story that the demo plays: from a customer's first words to two tickets that hold the conversation."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from intercom_bridge.models import Delivery, Notification
from itop_client import LogEntry

from .demo_inbox import Inbox, Panel
from .demo_itop import LOGS, Customer, Itop, TicketAsItIs, words_of
from .demo_processes import DemoTrouble, wait_until

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


@dataclass(frozen=True)
class Expected:
    """An entry that a log has to hold."""

    author: str
    words: str


@dataclass
class ExpectedTicket:
    ref: str
    logs: dict[str, list[Expected]] = field(default_factory=lambda: {PUBLIC: [], PRIVATE: []})

    def complaints(self, ticket: TicketAsItIs) -> list[str]:
        """Sentences about what the ticket has and should not have, or the other way round; none if all is well."""
        found = []
        for log, expected in self.logs.items():
            entries = ticket.logs[log]
            if len(entries) != len(expected):
                found.append(
                    f"{self.ref}, {log}: {len(entries)} entries where there should be {len(expected)}."
                )
            for position, (entry, wanted) in enumerate(zip(entries, expected, strict=False), 1):
                if wanted.words not in words_of(entry):
                    found.append(
                        f"{self.ref}, {log}, entry {position}: “{words_of(entry)[:80]}” "
                        f"where “{wanted.words}” should be."
                    )
                elif not _is_by(entry, wanted.author):
                    found.append(
                        f"{self.ref}, {log}, entry {position}: written by {entry.user_login}, not by {wanted.author}."
                    )
        return found


class Story:
    """Plays it. `say` prints a line; the customer is a person of that iTop."""

    def __init__(self, inbox: Inbox, itop: Itop, customer: Customer, say: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._itop = itop
        self._customer = customer
        self._say = say
        self._steps = 0
        self._teammate = str(inbox.teammate(TEAMMATE)["id"])
        self._colleague = str(inbox.teammate(COLLEAGUE)["id"])
        self.conversation_id = ""
        # What was said so far, for the transcript; then the tickets that follow.
        self._said: list[tuple[str, Expected]] = []
        self._tickets: list[ExpectedTicket] = []

    def play(self) -> list[str]:
        """Tells the story, prints the tickets; answers complaints about what they hold. Raises DemoTrouble."""
        self._introduce()
        self._open_and_create()
        self._go_on_writing()
        self._link_a_second_ticket()
        self._pause_and_resume()
        self._deliver_twice()
        return self._look_at_the_tickets()

    # --- The chapters ---

    def _introduce(self) -> None:
        self._step("Intercom looks whether our webhook's address is there (HEAD), and pings it")
        status = self._inbox.webhooks(validate=True)["status"]
        if status != 200:
            raise DemoTrouble(f"The webhook's address answered HTTP {status} to HEAD")
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
        self._step(f"{TEAMMATE} opens the conversation; the panel answers in {panel.milliseconds} ms")
        self._show(panel)
        panel.press("Create a ticket")
        self._step(f"{TEAMMATE} presses “Create a ticket” and fills the form in")
        for line in self._fill_in(panel):
            self._say(f"        {line}")
        panel.press("Create the ticket")
        self._step(f"{TEAMMATE} presses “Create the ticket”; the panel answers in {panel.milliseconds} ms")
        wait_until(lambda: _is_created(panel), f"the ticket to be created; the panel reads:\n{panel}")
        self._show(panel)
        ticket = ExpectedTicket(panel.headline.split()[0])
        for log, entry in self._said:
            ticket.logs[log].append(entry)
        self._tickets.append(ticket)
        self._wait_for_post("The customer gets the ticket's link")

    def _fill_in(self, panel: Panel) -> Iterable[str]:
        """What a person would: keep what is there, choose what can be chosen."""
        yield f"Title: {panel.value('Title')}"
        service = _pick(panel, "Service", "Workplace")
        if service:
            yield f"Service: {service}"
        if panel.can_press("Show the choices of Service subcategory"):
            panel.press("Show the choices of Service subcategory")
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
        self._step(f"In iTop, a colleague has registered another ticket of the customer's: {ref}")
        panel = self._panel(self._colleague).open()
        panel.press("ongoing ticket")
        while not panel.can_press(ref):
            panel.press("Next")
        panel.press(ref)
        panel.press("Link to this conversation")
        self._step(f"{COLLEAGUE} finds it among the ongoing tickets and presses “Link to this conversation”")
        self._show(panel)
        panel.press("Link from now on")
        self._step(
            f"{COLLEAGUE} presses “Link from now on”: what was said about the laptop stays where it is"
        )
        self._show(panel)
        if ref not in panel.headline:
            raise DemoTrouble(f"Ticket {ref} was not linked. The panel reads:\n{panel}")
        self._tickets.append(ExpectedTicket(ref))
        self._wait_for_post("The teammates get a note about it")
        self._write_as_customer(BOTH)

    def _pause_and_resume(self) -> None:
        panel = self._panel(self._teammate).open().press("Pause the sync")
        self._step(f"{TEAMMATE} presses “Pause the sync”")
        self._show(panel, "sync")
        self._step(f"{self._customer.name} writes: {_quoted(WHILE_PAUSED)}")
        part = self._inbox.write(self.conversation_id, author="contact", body=WHILE_PAUSED)
        left_out = Delivery.objects.filter(part_id=part["id"], state=Delivery.State.SKIPPED)
        wait_until(lambda: left_out.count() == len(self._tickets), "the message to be left out")
        self._say("        left out of both tickets, and said so in the admin")
        panel.press("Resume the sync")
        self._step(f"{TEAMMATE} presses “Resume the sync”")
        self._show(panel, "left out")
        panel.press("Leave them out")
        self._step(f"{TEAMMATE} presses “Leave them out”")
        self._write_as(TEAMMATE, AFTERWARDS)
        self._write_as_customer(THANKS)

    def _deliver_twice(self) -> None:
        wait_until(self._all_is_quiet, "all messages to be handled")
        replied = [
            one
            for one in self._inbox.notifications()
            if one["topic"].endswith(("replied", "noted")) and one["id"]
        ]
        self._step(f"Intercom sends all {len(replied)} notifications once more, as it does now and then")
        for notification in replied:
            self._inbox.webhooks(redeliver=notification["id"])
        known = Notification.objects.filter(times_received__gte=2)
        wait_until(lambda: known.count() >= len(replied), "the notifications to arrive again")
        wait_until(self._all_is_quiet, "all messages to be handled")
        self._say("        each is known already: nothing is written twice")

    def _look_at_the_tickets(self) -> list[str]:
        self._say("")
        self._say("The tickets as iTop holds them")
        complaints = []
        for expected in self._tickets:
            ticket = self._itop.ticket(expected.ref)
            self._say("")
            self._say(textwrap.indent(str(ticket), "  "))
            complaints += expected.complaints(ticket)
        return complaints

    @property
    def summary(self) -> str:
        counts = [f"{one.ref} ({sum(map(len, one.logs.values()))} entries)" for one in self._tickets]
        return " and ".join(counts)

    # --- What the chapters are made of ---

    def _step(self, words: str) -> None:
        self._steps += 1
        self._say(f"  {self._steps:>2}.  {words}")

    def _show(self, panel: Panel, only: str = "") -> None:
        for line in str(panel).splitlines():
            if only in line:
                self._say(f"        | {line}")

    def _panel(self, admin_id: str) -> Panel:
        return Panel(self._inbox, self.conversation_id, admin_id)

    def _write_as_customer(self, words: str, *files: str) -> None:
        said = f"sends the file {files[0]}" if files else f"writes: {_quoted(words)}"
        self._step(f"{self._customer.name} {said}")
        self._inbox.write(self.conversation_id, author="contact", body=words, attachments=list(files))
        self._expect(PUBLIC, self._customer.name, words or files[0])

    def _write_as(self, teammate: str, words: str, *, note: bool = False) -> None:
        self._step(f"{teammate} {'notes' if note else 'replies'}: {_quoted(words)}")
        author_id = self._teammate if teammate == TEAMMATE else self._colleague
        self._inbox.write(self.conversation_id, author="admin", author_id=author_id, body=words, note=note)
        self._expect(PRIVATE if note else PUBLIC, teammate, words)

    def _expect(self, log: str, author: str, words: str) -> None:
        """What was said has to be in each ticket that follows; waits until it is."""
        entry = Expected(author, " ".join(words.split()))
        self._said.append((log, entry))
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

    def _wait_for_post(self, words: str) -> None:
        """Until the worker has said in the conversation what it has to say."""
        seen = len(self._tickets)

        def posted() -> list[str]:
            return [
                re.sub(r"<[^>]*>", "", part["body"])
                for part in self._inbox.parts(self.conversation_id)
                if part["app_package_code"]
            ]

        wait_until(lambda: len(posted()) >= seen, "the bridge to write into the conversation")
        self._say(f"        {words}: {_quoted(posted()[-1])}")

    def _all_is_quiet(self) -> bool:
        """Nothing is being handled. (One that waits to know whether it is our own post has a reason already.)"""
        received = Notification.objects.filter(verdict=Notification.Verdict.RECEIVED)
        return not received.filter(reason="").exists() and not Delivery.objects.waiting().exists()


def _is_by(entry: LogEntry, author: str) -> bool:
    """Under the author's own account or name; where the bridge's account may not set it, named in the text."""
    return entry.user_login.removesuffix(" (Intercom)") == author or words_of(entry).startswith(
        f"{author} (Intercom)"
    )


def _is_created(panel: Panel) -> bool:
    """iTop may take longer than a panel may: then there is a button to look again."""
    if panel.headline.endswith("is created"):
        return True
    if panel.can_press("Look again"):
        panel.press("Look again")
        return panel.headline.endswith("is created")
    raise DemoTrouble(f"The ticket was not created. The panel reads:\n{panel}")


def _pick(panel: Panel, label: str, *preferred: str) -> str:
    """One of the choices, wherever the form offers them: in the field, or on a page of their own."""
    if panel.has_field(label):
        return panel.choose(label, *preferred)
    if panel.has_item(label):
        panel.press_item(label)
        chosen = panel.first_item
        panel.press(chosen)
        return chosen
    return ""


def _quoted(words: str) -> str:
    return f"“{' '.join(words.split())}”"
