"""People who write: several clients in one conversation, each notification delivered twice, in shuffled order."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from sandbox.demo_processes import DemoTrouble

from .children import Trouble
from .stage import Stage
from .tally import Said

CLIENTS = 4
# So many at a time are written, held back by Intercom, and sent in shuffled order.
HANDFUL = 5
# Each fifth message is a note, which goes to the private log.
NOTE_EVERY = 5


class Talk:
    """`messages` by each client, over about `seconds`. `said` grows while it goes on."""

    def __init__(self, stage: Stage, *, messages: int, seconds: float) -> None:
        self.stage = stage
        self.said: list[Said] = []
        self._messages = messages
        self._pause = seconds / messages
        self._name = f"{random.randrange(36**4):x}"
        self._trouble: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Talk:
        self._thread.start()
        return self

    @property
    def goes_on(self) -> bool:
        return not self._done.is_set()

    @property
    def share(self) -> float:
        """How much of it was said, from 0 to 1."""
        return len(self.said) / (CLIENTS * self._messages)

    def wait(self, seconds: float = 300.0) -> Talk:
        """Until all was said. Raises Trouble when that fails or takes longer."""
        if not self._done.wait(seconds):
            raise Trouble(f"The clients did not finish writing within {seconds:.0f} seconds.")
        if self._trouble is not None:
            raise Trouble(f"The clients could not write: {self._trouble}") from self._trouble
        return self

    def _run(self) -> None:
        try:
            inbox = self.stage.inbox()
            with ThreadPoolExecutor(CLIENTS) as pool:
                for first in range(0, self._messages, HANDFUL):
                    numbers = range(first, min(first + HANDFUL, self._messages))
                    inbox.webhooks(hold=True)
                    for one in [pool.submit(self._write, client, numbers) for client in range(CLIENTS)]:
                        one.result()
                    inbox.webhooks(release="shuffled")
        except (requests.RequestException, DemoTrouble, OSError) as error:
            self._trouble = error
        finally:
            self._done.set()

    def _write(self, client: int, numbers: range) -> None:
        inbox = self.stage.inbox()
        for number in numbers:
            token = f"chaos-{self._name}-{client}-{number}"
            part = inbox.write(
                self.stage.conversation_id,
                author="contact" if client % 2 else "admin",
                body=f"Message {token}. It is <really> & truly urgent!",
                note=client % 2 == 0 and number % NOTE_EVERY == 0,
            )
            self.said.append(Said(token, int(part["id"]), int(part["created_at"])))
            time.sleep(self._pause * random.uniform(0.2, 1.2))
