"""A client outside of the service: a new TLS connection per request, with a verified certificate."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intercom_bridge.intercom.signature import webhook_signature
from sandbox.intercom import SECRET, WORKSPACE_ID

CONVERSATION = "215472621202693"
FIRST_PART = 37_358_198_350
BEGAN = 1_768_031_789
WEBHOOKS = "/webhooks/intercom"
# Longer than Intercom's five, because the duration of a restart depends on this machine.
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.12


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Caller:
    def __init__(self, host: str, http_port: int, https_port: int, authority: Path) -> None:
        self._host = host
        self._http_port = http_port
        self._https_port = https_port
        self._context = ssl.create_default_context(cafile=str(authority))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        tls: bool = True,
        seconds: float = 30.0,
    ) -> Answer:
        """Send a request. Raise OSError or http.client.HTTPException if there is no response."""
        with socket.create_connection(
            ("127.0.0.1", self._https_port if tls else self._http_port), timeout=seconds
        ) as plain:
            line = self._context.wrap_socket(plain, server_hostname=self._host) if tls else plain
            connection = http.client.HTTPConnection(self._host)
            connection.sock = line
            try:
                connection.request(
                    method, path, body, {"Host": self._host, "Connection": "close"} | (headers or {})
                )
                response = connection.getresponse()
                return Answer(response.status, response.headers, response.read())
            finally:
                line.close()

    def notify(self, raw: bytes, *, seconds: float = 30.0, secret: str = SECRET, **headers: str) -> Answer:
        """Send a signed notification."""
        signed = {"Content-Type": "application/json", "X-Hub-Signature": webhook_signature(raw, secret)}
        return self.ask("POST", WEBHOOKS, raw, signed | headers, seconds=seconds)


def text_of(number: int) -> str:
    return f"<p>Message {number:05}</p>"


def notification_id(number: int) -> str:
    return f"notif_production_check_{number:05}"


def message(number: int) -> bytes:
    """Return the notification of the message `number`."""
    author = {"type": "user", "id": "696205460674dbb9050aa7fd", "name": "Alice Martin", "email": ""}
    part = {
        "type": "conversation_part",
        "id": str(FIRST_PART + number),
        "part_type": "comment",
        "body": text_of(number),
        "created_at": BEGAN + number,
        "author": author,
        "attachments": [],
        "redacted": False,
        "app_package_code": None,
    }
    conversation: dict[str, Any] = {
        "type": "conversation",
        "id": CONVERSATION,
        "created_at": BEGAN,
        "source": {"type": "conversation", "id": "3381828792", "body": "", "author": author},
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": author["id"]}]},
        "conversation_parts": {
            "type": "conversation_part.list",
            "conversation_parts": [part],
            "total_count": 1,
        },
    }
    return json.dumps(
        {
            "type": "notification_event",
            "app_id": WORKSPACE_ID,
            "id": notification_id(number),
            "topic": "conversation.user.replied",
            "created_at": BEGAN + number,
            "data": {"type": "notification_event_data", "item": conversation},
        }
    ).encode()


@dataclass
class Traffic:
    """A customer who writes several times per second. A message without status 200 is lost."""

    caller: Caller
    sent: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE_SECONDS + 5)

    def _run(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            number = self.sent + 1
            began = time.monotonic()
            try:
                status = self.caller.notify(message(number), seconds=PATIENCE_SECONDS).status
                problem = "" if status == 200 else f"was answered {status}"
            except (OSError, http.client.HTTPException) as error:
                problem = f"got no answer ({error!r})"
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            if problem:
                self.lost.append(f"message {number} {problem} after {took:.1f} s")
            self.sent = number
