"""Sign and send notifications, and repeat them a minute later if the bridge did not accept them.

This follows https://developers.intercom.com/docs/webhooks/webhook-notifications. The bridge has five seconds to
respond. Each 2xx is a success. 410 ends the subscription. After any other outcome, the notification is sent once more
after a minute; if that fails, too, it is lost. Intercom guarantees no order, and may send a notification twice. Tests
can cause both.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from .http_out import Outcome, send
from .shapes import encode

TIME_LIMIT_SECONDS = 5.0
SENDERS = 3


@dataclass
class WebhookEvent:
    """A notification. `state` is waiting, delivered, lost, held (see `Webhooks.hold`) or unsent (no subscription)."""

    id: str | None
    topic: str
    item: dict[str, Any]
    created_at: int
    state: str = "waiting"
    attempts: list[Outcome] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "topic": self.topic,
            "created_at": self.created_at,
            "state": self.state,
            "attempts": [
                {
                    "status": attempt.status,
                    "milliseconds": round(attempt.seconds * 1000),
                    "trouble": attempt.trouble,
                }
                for attempt in self.attempts
            ],
        }


class Webhooks:
    """Sends notifications in background threads. `address` is the bridge's webhook URL. If it is "", nothing is sent.

    `copies` is how often each notification is sent.
    """

    def __init__(self, *, address: str, workspace_id: str, secret: str, retry_seconds: float = 60.0) -> None:
        self.address = address
        self.workspace_id = workspace_id
        self.secret = secret
        self.retry_seconds = retry_seconds
        self.copies = 1
        self.is_subscribed = True
        self.log: list[WebhookEvent] = []
        self._held: list[WebhookEvent] | None = None
        self._due: list[tuple[float, int, WebhookEvent]] = []
        self._numbers = itertools.count()
        self._under_way = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    # --- For the workspace ---

    def notify(self, topic: str, item: dict[str, Any]) -> WebhookEvent:
        """Send a notification in the background, unless the subscription has ended."""
        name = None if topic == "ping" else f"notif_{uuid.uuid4()}"
        notification = WebhookEvent(id=name, topic=topic, item=item, created_at=int(time.time()))
        with self._changed:
            self.log.append(notification)
            if not self.address or not self.is_subscribed:
                notification.state = "unsent"
            elif self._held is not None:
                notification.state = "held"
                self._held.append(notification)
            else:
                for _ in range(self.copies):
                    self._schedule(notification, 0)
        return notification

    def ping(self) -> WebhookEvent:
        """Send the notification that "Send a test request" in Intercom's Developer Hub sends."""
        return self.notify("ping", {"type": "ping", "message": "something something interzen"})

    def validate(self) -> int:
        """Send the unsigned HEAD request with which Intercom checks the address. Return the status of the response."""
        return send("HEAD", self.address, None, {}, time_limit=TIME_LIMIT_SECONDS).status

    # --- For tests ---

    def redeliver(self, notification_id: str) -> WebhookEvent:
        """Send a notification again with the same id, as Intercom sometimes does. Raise LookupError."""
        with self._changed:
            found = next((event for event in self.log if event.id == notification_id), None)
            if found is None:
                raise LookupError(f"There is no notification {notification_id}")
            self._schedule(found, 0)
        return found

    def hold(self) -> None:
        """Send no notification until `release`."""
        with self._changed:
            self._held = self._held or []

    def release(self, order: str = "shuffled") -> None:
        """Send the held notifications one after the other. `order` is "in order", "reversed" or "shuffled"."""
        with self._changed:
            held, self._held = self._held or [], None
            if order == "reversed":
                held.reverse()
            elif order == "shuffled":
                random.shuffle(held)
            for position, notification in enumerate(held):
                notification.state = "waiting"
                for _ in range(self.copies):
                    self._schedule(notification, position * 0.02)

    def wait_until_sent(self, timeout: float = 10.0) -> bool:
        """Wait until nothing is being sent or due within a second. Return False after `timeout` seconds.

        Repetitions that are due later are not waited for.
        """

        def all_sent() -> bool:
            soon = time.monotonic() + 1
            return not self._under_way and not any(due <= soon for due, _, _ in self._due)

        with self._changed:
            return self._changed.wait_for(all_sent, timeout)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(TIME_LIMIT_SECONDS + 1)

    # --- Sending ---

    def _schedule(self, notification: WebhookEvent, seconds: float) -> None:
        heappush(self._due, (time.monotonic() + seconds, next(self._numbers), notification))
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and not (self._due and self._due[0][0] <= time.monotonic()):
                    wait = self._due[0][0] - time.monotonic() if self._due else None
                    self._changed.wait(wait)
                if self._stopped:
                    return
                notification = heappop(self._due)[2]
                self._under_way += 1
            outcome = self._deliver(notification)
            with self._changed:
                self._under_way -= 1
                self._settle(notification, outcome)
                self._changed.notify_all()

    def _settle(self, notification: WebhookEvent, outcome: Outcome) -> None:
        """Set the state after an attempt, and schedule the repetition if this was the first attempt that failed."""
        notification.attempts.append(outcome)
        if 200 <= outcome.status < 300:
            notification.state = "delivered"
        elif outcome.status == 410:
            self.is_subscribed = False
            notification.state = "lost"
        elif notification.state == "waiting" and len(notification.attempts) <= self.copies:
            # Each copy is repeated once.
            self._schedule(notification, self.retry_seconds)
        elif notification.state != "delivered":
            notification.state = "lost"

    def _deliver(self, notification: WebhookEvent) -> Outcome:
        body = encode(self._envelope(notification))
        signature = hmac.new(self.secret.encode(), body, hashlib.sha1).hexdigest()
        return send(
            "POST",
            self.address,
            body,
            {
                "Content-Type": "application/json",
                "User-Agent": "intercom-parrot-service-client/1.0",
                "X-Hub-Signature": f"sha1={signature}",
            },
            time_limit=TIME_LIMIT_SECONDS,
        )

    def _envelope(self, notification: WebhookEvent) -> dict[str, Any]:
        return {
            "type": "notification_event",
            "app_id": self.workspace_id,
            "data": {"type": "notification_event_data", "item": notification.item},
            "links": {},
            "id": notification.id,
            "topic": notification.topic,
            "delivery_status": "pending" if notification.id else None,
            "delivery_attempts": len(notification.attempts) + 1,
            "delivered_at": 0,
            "first_sent_at": notification.created_at,
            "created_at": notification.created_at,
            "self": None,
        }
