"""One customer writes very many messages at once, while other conversations get one message per second.

The notifications are posted directly, because the stand-in for Intercom would be the bottleneck.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests

from sandbox.intercom import WORKSPACE_ID
from tests.system.notification import (
    ALICE,
    BRUNO,
    FIRST_CREATED_AT,
    FIRST_PART_ID,
    PATH,
    reply,
    signed_headers,
)

from .children import SystemTestError
from .result import SentMessage, Ticket, acknowledgement_times, writes
from .testbed import SECOND_WORKSPACE_ID, Testbed

FLOOD_CLIENTS = 4
# By how much the flood may delay the others' messages. It depends on the machine, so it is printed and not required.
WANTED_ADDED_SECONDS = 2.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Talk:
    """A conversation, its ticket, and what was sent in it."""

    workspace_id: str
    conversation_id: str
    ticket: Ticket
    author: dict[str, str]
    sent: list[SentMessage]


@dataclass(frozen=True)
class Delays:
    """The seconds from the acknowledgement of each message to the response to its write."""

    seconds: list[float]

    @property
    def max(self) -> float:
        return max(self.seconds)

    def __str__(self) -> str:
        p95 = statistics.quantiles(self.seconds, n=20, method="inclusive")[-1]
        return f"median {statistics.median(self.seconds):.2f}, p95 {p95:.2f}, max {self.max:.2f} s"


class Flood:
    """The flooded conversations, all of one customer, and two quiet ones: of the same workspace and of another one."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._url = testbed.to_web.url + PATH
        self.quiet = (
            Talk(WORKSPACE_ID, testbed.conversation_id, testbed.tickets[0], BRUNO, []),
            Talk(SECOND_WORKSPACE_ID, *testbed.second, BRUNO, []),
        )
        self.flooded = tuple(
            Talk(WORKSPACE_ID, conversation_id, ticket, ALICE, [])
            for conversation_id, ticket in testbed.others.items()
        )

    def measure(self, seconds: int, *, flood: int = 0) -> Delays:
        """Send one message per second in the quiet conversations, and `flood` messages in the others at once."""
        first = len(self.quiet[0].sent)
        threads = [threading.Thread(target=self._write, args=(talk, seconds)) for talk in self.quiet]
        for thread in threads:
            thread.start()
        turns = itertools.cycle(self.flooded)
        with ThreadPoolExecutor(FLOOD_CLIENTS) as pool:
            shares = [[next(turns) for _ in range(flood // FLOOD_CLIENTS)] for _ in range(FLOOD_CLIENTS)]
            list(pool.map(self._post_all, shares))
        for thread in threads:
            thread.join()
        tokens = [message.token for talk in self.quiet for message in talk.sent[first:]]
        return self._delays(tokens, patience=90.0)

    def _write(self, talk: Talk, seconds: int) -> None:
        with requests.Session() as session:
            for _ in range(seconds):
                began = time.monotonic()
                self._post(session, talk)
                time.sleep(max(0.0, began + 1 - time.monotonic()))

    def _post_all(self, talks: list[Talk]) -> None:
        with requests.Session() as session:
            for talk in talks:
                self._post(session, talk)

    def _post(self, session: requests.Session, talk: Talk) -> None:
        number = next(_numbers)
        token = f"chaos-flood-{talk.conversation_id[-4:]}-{number}"
        body = reply(
            talk.conversation_id,
            number,
            f"Message {token}: it is urgent!",
            workspace_id=talk.workspace_id,
            author=talk.author,
        )
        answer = session.post(self._url, data=body, headers=signed_headers(body), timeout=60)
        if answer.status_code != 200:
            raise SystemTestError(f"A notification was answered {answer.status_code}.")
        talk.sent.append(SentMessage(token, FIRST_PART_ID + number, FIRST_CREATED_AT + number))

    def _delays(self, tokens: list[str], *, patience: float) -> Delays:
        """Wait for the writes of these messages. What is not written counts as written now."""
        ends = time.monotonic() + patience
        while True:
            self._testbed.children.check()
            written = self.written()
            if all(token in written for token in tokens) or time.monotonic() > ends:
                break
            time.sleep(0.2)
        received = acknowledgement_times(self._testbed.to_web.calls)
        now = time.monotonic()
        return Delays([written.get(token, now) - received[token] for token in tokens])

    def written(self) -> dict[str, float]:
        """Return the time of the response to the write of each message, by its token."""
        # Reversed, so that the first of several writes counts.
        calls = reversed(writes(self._testbed.to_itop.calls))
        return {
            write.token: write.call.ended for write in calls if write.call.status == 200 and write.call.ended
        }

    def talks(self) -> Iterator[Talk]:
        yield from (*self.quiet, *self.flooded)
