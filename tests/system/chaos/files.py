"""Files in both directions, with ordinary messages between them, and where they are in the end.

Customers and teammates attach files to messages in Intercom and paste pictures into the text; agents and customers add
files and pictures to the tickets on iTop's pages. *Sent* and *written* count each message, entry and file for each
ticket or conversation in which it has to be: a file is written if an Attachment of the ticket, or a file of a post in
the conversation, has exactly its bytes. A second one is *duplicated*. What is there and nobody sent, what came back to
where it was from, a wrong name, organization or date, and an entry that does not link its files are problems.

Entries that iTop itself lost to a concurrent save need not be reported, and neither do the pictures in them.
"""

from __future__ import annotations

import datetime as dt
import html
import itertools
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import requests

from sandbox.demo_processes import DemoError

from .children import SystemTestError
from .result import (
    Result,
    SentMessage,
    Ticket,
    TicketLogs,
    entry_tokens,
    inversions,
    tally,
    token_in,
    tokens_in,
)
from .samples import Sample, sample
from .stored import ItopFile, Post, StoredFiles, attachments_in, inline_images_in
from .testbed import TICKET_CLASS, Testbed

# The default of the stand-in.
ITOP_TIME_ZONE = "Europe/Paris"
WRITERS = 2
# Of how many messages or saves each has no file.
ORDINARY_EVERY = 3
MAX_FILES = 3
# Notifications are held back and sent in shuffled order, so many messages of each writer at a time.
BATCH = 3
KILOBYTE = 1024
# Every so many files are too large for the head start that a message gives its files.
LARGE_EVERY = 15
LARGE = 2300 * KILOBYTE
SECONDS = 30.0


@dataclass(frozen=True)
class Message:
    """A message in Intercom with its files; `pictures` are in its text."""

    sent: SentMessage
    conversation_id: str
    attached: tuple[Sample, ...]
    pictures: tuple[Sample, ...]

    @property
    def files(self) -> tuple[Sample, ...]:
        return (*self.attached, *self.pictures)


@dataclass(frozen=True)
class Save:
    """What a person saved on a page of iTop at once; `token` is that of the entry, or "" without one."""

    ticket: Ticket
    token: str
    attached: tuple[Sample, ...]
    pictures: tuple[Sample, ...]


class FileStory:
    """Write `files` files in each direction, over about `seconds` seconds."""

    def __init__(self, testbed: Testbed, *, files: int, seconds: float) -> None:
        self._testbed = testbed
        self._files = files
        self._pause = seconds * WRITERS / files
        self._name = f"{random.randrange(36**4):x}"
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._left = {"Intercom": files, "iTop": files}
        self.messages: list[Message] = []
        self.saves: list[Save] = []
        # What the last count did not find.
        self.missing: list[str] = []
        self._stored = StoredFiles(testbed.directory / "itop.sqlite3", testbed.directory / "intercom.sqlite3")
        self._zone = ZoneInfo(ITOP_TIME_ZONE)
        self._pool = ThreadPoolExecutor(WRITERS + 1)
        self._futures: list[Future[None]] = []

    def start(self) -> FileStory:
        self._futures = [self._pool.submit(self._write_messages)]
        self._futures += [self._pool.submit(self._save, number) for number in range(WRITERS)]
        self._pool.shutdown(wait=False)
        return self

    @property
    def is_running(self) -> bool:
        return not all(future.done() for future in self._futures)

    def wait(self) -> None:
        """Wait for the end. Raise SystemTestError if somebody could not write."""
        for future in self._futures:
            try:
                future.result(600)
            except (DemoError, requests.RequestException, OSError) as error:
                raise SystemTestError(f"Somebody could not write: {error}") from error

    def _take(self, side: str, count: int) -> list[int]:
        """Return the numbers of `count` new files, or of fewer if not so many are left to write."""
        with self._lock:
            taken = min(count, self._left[side])
            self._left[side] -= taken
            return [next(self._numbers) for _ in range(taken)]

    # --- In Intercom ---

    def _write_messages(self) -> None:
        inbox = self._testbed.inbox()
        with ThreadPoolExecutor(WRITERS) as pool:
            for batch in itertools.count():
                if not self._left["Intercom"]:
                    return
                inbox.webhooks(hold=True)
                try:
                    for future in [
                        pool.submit(self._write_batch, writer, batch * BATCH) for writer in range(WRITERS)
                    ]:
                        future.result()
                finally:
                    inbox.webhooks(release="shuffled")

    def _write_batch(self, writer: int, first: int) -> None:
        inbox = self._testbed.inbox()
        for count in range(first, first + BATCH):
            files = (
                [] if count % ORDINARY_EVERY == 0 else self._take("Intercom", random.randint(1, MAX_FILES))
            )
            split = random.randint(0, len(files))
            attached = tuple(sample(number, _size(number)) for number in files[:split])
            pictures = tuple(sample(number, _size(number), is_picture=True) for number in files[split:])
            token = f"chaos-{self._name}-i{writer}-{count}"
            conversation_id = random.choice(list(self._testbed.talks))
            part = inbox.write(
                conversation_id,
                author="contact" if writer else "admin",
                body=f"Message {token} with {len(files)} files.",
                note=not writer and count % 5 == 0,
                attachments=[file.to_json() for file in attached],
                pictures=[file.to_json() for file in pictures],
            )
            sent = SentMessage(token, int(part["id"]), int(part["created_at"]))
            self.messages.append(Message(sent, conversation_id, attached, pictures))
            time.sleep(self._pause * random.uniform(0.2, 1.8))

    # --- In iTop ---

    def _save(self, writer: int) -> None:
        """Save tickets as an agent or, with an odd number, as the customer in the portal."""
        page = "/pages/exec.php/object/edit/{}/{}" if writer % 2 else "/pages/UI.php?class={}&id={}"
        with requests.Session() as session:
            session.trust_env = False
            for count in itertools.count():
                if not self._left["iTop"]:
                    return
                ticket = random.choice(self._testbed.tickets)
                save = self._next_save(ticket, f"chaos-{self._name}-s{writer}-{count}", count)
                url = self._testbed.itop_url + page.format(TICKET_CLASS, ticket.id)
                answer = session.post(url, files=_form(save), timeout=SECONDS)
                if 'class="done"' not in answer.text:
                    raise DemoError(f"iTop refused {save.token or 'files'}: {answer.text[:600]}")
                self.saves.append(save)
                time.sleep(self._pause * random.uniform(0.2, 1.8))

    def _next_save(self, ticket: Ticket, token: str, count: int) -> Save:
        if count % ORDINARY_EVERY == 0:
            return Save(ticket, token, (), ())
        numbers = self._take("iTop", random.randint(1, MAX_FILES))
        if count % ORDINARY_EVERY == 1:
            return Save(ticket, "", tuple(sample(number, _size(number, most=1500)) for number in numbers), ())
        split = random.randint(0, len(numbers))
        attached = tuple(sample(number, _size(number, most=1500)) for number in numbers[:split])
        pictures = tuple(
            sample(number, _size(number, most=1500), is_picture=True) for number in numbers[split:]
        )
        return Save(ticket, token, attached, pictures)

    # --- Counting ---

    def count(self) -> Result:
        """Compare what both stand-ins have stored, as it is now, with what was sent."""
        result = Result()
        self.missing = []
        logs = {log.ticket.id: log for log in self._testbed.final_logs()}
        posts = {talk: self._stored.posts(talk) for talk in self._testbed.talks}
        self._count_messages(result, logs)
        self._count_attachments(result, logs)
        self._count_reported(result, logs, posts)
        self._count_posted(result, logs, posts)
        return result

    def count_order(self) -> Result:
        """Count the entries of messages that are out of order. This takes seconds; call it in the end."""
        result = Result()
        to_itop = [call for call in self._testbed.to_itop.calls if b"core%2Fupdate" in call.body]
        for log in self._testbed.final_logs():
            own = [message.sent for message in self.messages if log.ticket in self._tickets_of(message)]
            found = tally(own, [log], self._testbed.to_web.calls, to_itop)
            result.out_of_order += found.out_of_order
            result.restored += found.restored
        return result

    def _tickets_of(self, message: Message) -> list[Ticket]:
        return self._testbed.talks[message.conversation_id]

    def _talks_of(self, ticket: Ticket) -> list[str]:
        return [talk for talk, tickets in self._testbed.talks.items() if ticket in tickets]

    def _add(self, result: Result, times: int, what: str) -> None:
        """Count something that has to be in one place once, and is there so many times."""
        result.sent += 1
        result.written += times > 0
        result.duplicated += max(0, times - 1)
        if not times:
            self.missing.append(what)

    # From Intercom to iTop

    def _count_messages(self, result: Result, logs: dict[int, TicketLogs]) -> None:
        for message in self.messages:
            for ticket in self._tickets_of(message):
                times = len(_entries(logs[ticket.id], message.sent.token))
                self._add(result, times, f"{message.sent.token} in {ticket.ref}")

    def _count_attachments(self, result: Result, logs: dict[int, TicketLogs]) -> None:
        attachments, images = self._stored.attachments(), self._stored.inline_images()
        places: dict[tuple[int, str], list[ItopFile]] = defaultdict(list)
        for found in attachments.values():
            places[found.ticket_id, found.digest].append(found)
        for message in self.messages:
            for ticket, file in itertools.product(self._tickets_of(message), message.files):
                copies = places.pop((ticket.id, file.digest), [])
                self._add(result, len(copies), f"{file.name} of {message.sent.token} in {ticket.ref}")
                for copy in copies:
                    result.problems += self._wrong_copy(message, ticket, file, copy)
            for ticket in self._tickets_of(message):
                for entry in _entries(logs[ticket.id], message.sent.token):
                    result.problems += _wrong_links(message, ticket, entry, attachments, images)
        for save in self.saves:
            for file in save.attached:
                # Added by a person: once, and not once more by the service.
                result.duplicated += max(0, len(places.pop((save.ticket.id, file.digest), [])) - 1)
        ours = {ticket.id for ticket in self._testbed.tickets}
        result.problems += [
            f"An Attachment of ticket {ticket} is a file that nobody sent: {copies[0].name}"
            for (ticket, _digest), copies in places.items()
            if ticket in ours
        ]

    def _wrong_copy(self, message: Message, ticket: Ticket, file: Sample, copy: ItopFile) -> Iterable[str]:
        date = dt.datetime.fromtimestamp(message.sent.created_at, self._zone).strftime("%Y-%m-%d %H:%M:%S")
        wanted = {"name": file.name, "org_id": self._testbed.customer.org_id, "date": date}
        for field, value in wanted.items():
            if getattr(copy, field) != value:
                yield (
                    f"Attachment {copy.id} of {ticket.ref} ({message.sent.token}) has the {field} "
                    f"{getattr(copy, field)!r} and not {value!r}"
                )

    # From iTop to Intercom

    def _count_reported(
        self, result: Result, logs: dict[int, TicketLogs], posts: dict[str, list[Post]]
    ) -> None:
        tokens = {save.token for save in self.saves if save.token}
        for talk, tickets in self._testbed.talks.items():
            reported = [token for post in posts[talk] if post.is_ours for token in tokens_in(post.body)]
            times = Counter(reported)
            for ticket in tickets:
                wanted = [token for token in entry_tokens(logs[ticket.id]) if token in tokens]
                for token in wanted:
                    self._add(result, times.pop(token, 0), f"{token} in {talk}")
                result.out_of_order += inversions(reported, wanted)
            # Entries that iTop has lost since.
            result.duplicated += sum(count - 1 for count in times.values())
            allowed = {save.token for save in self.saves if save.ticket in tickets}
            if strange := set(reported) - allowed:
                result.problems.append(f"In {talk} was reported: {', '.join(sorted(strange))}")

    def _count_posted(
        self, result: Result, logs: dict[int, TicketLogs], posts: dict[str, list[Post]]
    ) -> None:
        found: dict[tuple[str, str], list[tuple[Post, str]]] = defaultdict(list)
        for talk, parts in posts.items():
            for post in parts:
                for name, digest in post.files if post.is_ours else ():
                    found[talk, digest].append((post, name))
        for save in self.saves:
            kept = save.token in entry_tokens(logs[save.ticket.id])
            for talk in self._talks_of(save.ticket):
                for file in (*save.attached, *save.pictures):
                    copies = found.pop((talk, file.digest), [])
                    if kept or file in save.attached or copies:
                        self._add(result, len(copies), f"{file.name} of {save.ticket.ref} in {talk}")
                    result.problems += _wrong_posts(save, file, copies)
        of_messages = {file.digest for message in self.messages for file in message.files}
        for (talk, digest), copies in found.items():
            what = "came back" if digest in of_messages else "was never sent to it"
            result.problems.append(f"In {talk} a file {what}: {copies[0][1]}")


def _form(save: Save) -> list[tuple[str, tuple[str | None, str | bytes, str]]]:
    """Return the fields of the form on a page of a ticket."""
    text = f"Somebody wrote {save.token}." if save.token else ""
    fields: list[tuple[str, tuple[str | None, str | bytes, str]]] = [
        ("text", (None, text, "text/plain")),
        ("action", (None, "answer" if save.token else "attach", "text/plain")),
    ]
    fields += [("files", (file.name, file.content, file.content_type)) for file in save.attached]
    return fields + [("pictures", (file.name, file.content, file.content_type)) for file in save.pictures]


def _size(number: int, most: int = LARGE // KILOBYTE) -> int:
    return min(most * KILOBYTE, LARGE) if number % LARGE_EVERY == 0 else random.randint(1, 60 * KILOBYTE)


def _entries(log: TicketLogs, token: str) -> list[str]:
    return [body for bodies in log.entries.values() for body in bodies if token_in(body) == token]


def _wrong_links(
    message: Message,
    ticket: Ticket,
    entry: str,
    attachments: dict[int, ItopFile],
    images: dict[int, ItopFile],
) -> Iterable[str]:
    """Yield a sentence for each file that an entry of the message neither shows, links nor names, and for others."""
    where = f"The entry of {message.sent.token} in {ticket.ref}"
    linked = [attachments.get(number) for number in attachments_in(entry)]
    shown = [images.get(number) for number in inline_images_in(entry)]
    digests = {file.digest for file in message.files}
    for target in (*linked, *shown):
        if target is None or target.ticket_id != ticket.id or target.digest not in digests:
            yield f"{where} links another file: {target}"
    reached = {target.digest for target in (*linked, *shown) if target is not None}
    text = html.unescape(re.sub(r"<[^>]*>", "", entry))
    for file in message.files:
        if file.digest not in reached and file.name not in text:
            yield f"{where} does not mention {file.name}"


def _wrong_posts(save: Save, file: Sample, copies: list[tuple[Post, str]]) -> Iterable[str]:
    for post, name in copies:
        # A picture in a text has a name of the service's.
        if file in save.attached and name != file.name:
            yield f"{file.name} of {save.ticket.ref} is named {name!r} in Intercom"
        if file in save.pictures and save.token not in post.body:
            yield f"The picture {file.name} of {save.ticket.ref} is not in the note of its text {save.token}"
