"""Several clients that write in one conversation. Each notification is delivered twice, in shuffled order."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from sandbox.demo_processes import DemoError

from .children import SystemTestError
from .result import SentMessage
from .testbed import Testbed

CLIENTS = 4
# The number of messages that Intercom holds back and then sends in shuffled order.
BATCH = 5
# Every fifth message is a note, for the private log.
NOTE_EVERY = 5


class Traffic:
    """Send `messages` messages per client over about `seconds` seconds; collect them in `sent`."""

    def __init__(self, testbed: Testbed, *, messages: int, seconds: float) -> None:
        self.testbed = testbed
        self.sent: list[SentMessage] = []
        self._messages = messages
        self._pause = seconds / messages
        self._name = f"{random.randrange(36**4):x}"
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Traffic:
        self._thread.start()
        return self

    @property
    def is_running(self) -> bool:
        return not self._done.is_set()

    @property
    def progress(self) -> float:
        """Return the fraction of messages that were sent, from 0 to 1."""
        return len(self.sent) / (CLIENTS * self._messages)

    def wait(self, seconds: float = 300.0) -> Traffic:
        """Wait until all messages are sent. Raise SystemTestError if that fails or takes longer."""
        if not self._done.wait(seconds):
            raise SystemTestError(f"The clients did not finish writing within {seconds:.0f} seconds.")
        if self._error is not None:
            raise SystemTestError(f"The clients could not write: {self._error}") from self._error
        return self

    def _run(self) -> None:
        try:
            inbox = self.testbed.inbox()
            with ThreadPoolExecutor(CLIENTS) as pool:
                for first in range(0, self._messages, BATCH):
                    numbers = range(first, min(first + BATCH, self._messages))
                    inbox.webhooks(hold=True)
                    for future in [pool.submit(self._write, client, numbers) for client in range(CLIENTS)]:
                        future.result()
                    inbox.webhooks(release="shuffled")
        except (requests.RequestException, DemoError, OSError) as error:
            self._error = error
        finally:
            self._done.set()

    def _write(self, client: int, numbers: range) -> None:
        inbox = self.testbed.inbox()
        for number in numbers:
            token = f"chaos-{self._name}-{client}-{number}"
            part = inbox.write(
                self.testbed.conversation_id,
                author="contact" if client % 2 else "admin",
                body=f"Message {token}. It is <really> & truly urgent!",
                note=client % 2 == 0 and number % NOTE_EVERY == 0,
            )
            self.sent.append(SentMessage(token, int(part["id"]), int(part["created_at"])))
            time.sleep(self._pause * random.uniform(0.2, 1.2))
