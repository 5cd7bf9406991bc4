"""Bodies as no client of good will sends them, against the real web server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from intercom_bridge.intercom.signature import webhook_signature
from sandbox.itop import Itop
from tests.ops.conftest import migrated  # noqa: F401
from tests.ops.stage import Stage
from tests.teammate import SECRET, notification, part

pytestmark = pytest.mark.processes

BODY = json.dumps(notification(part(37358198700, "<p>x</p>"))).encode()


@pytest.fixture
def stage(tmp_path: Path, migrated: Path, itop: Itop) -> Iterator[Stage]:  # noqa: F811
    stage = Stage(tmp_path, migrated, itop.url)
    stage.start_web()
    yield stage
    stage.end()


def head(stage: Stage, *lines: str) -> bytes:
    host = urlsplit(stage.url).netloc
    fixed = (
        "POST /webhooks/intercom HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Connection: close",
    )
    signature = f"X-Hub-Signature: {webhook_signature(BODY, SECRET)}"
    return "\r\n".join((*fixed, signature, *lines, "", "")).encode()


def connect(stage: Stage) -> socket.socket:
    address = urlsplit(stage.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=20)


def send(stage: Stage, *pieces: bytes) -> int:
    """The status, 0 where the server just hangs up."""
    with connect(stage) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            line = connection.makefile("rb").readline()
        except ConnectionError:
            return 0
    return int(line.split()[1]) if line else 0


def received(stage: Stage) -> int:
    [(count,)] = stage.ask("SELECT COUNT(*) FROM intercom_bridge_notification")
    return int(count)


def test_only_a_body_whose_length_is_said_and_true_is_taken(stage: Stage) -> None:
    chunk = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    megabyte = f"{1 << 20:x}\r\n".encode() + b" " * (1 << 20) + b"\r\n"
    unwanted = {
        "without a length": (head(stage), BODY),
        "in chunks": (head(stage, "Transfer-Encoding: chunked"), chunk),
        "in chunks without end": (head(stage, "Transfer-Encoding: chunked"), *[megabyte] * 20, b"0\r\n\r\n"),
        "both": (head(stage, f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"), chunk),
        "two lengths": (head(stage, f"Content-Length: {len(BODY)}", "Content-Length: 5"), BODY),
        "a length that is none": (head(stage, "Content-Length: -1"), BODY),
        "a length beyond the limit": (head(stage, "Content-Length: 99999999999"), BODY),
        "a part of it signed": (head(stage, f"Content-Length: {len(BODY) - 2}"), BODY[:-2]),
    }
    answers = {how: send(stage, *pieces) for how, pieces in unwanted.items()}
    assert {how: status for how, status in answers.items() if status not in (0, 400, 401, 413)} == {}
    assert received(stage) == 0
    assert send(stage, head(stage, f"Content-Length: {len(BODY)}"), BODY) == 200
    assert received(stage) == 1


def test_one_who_never_finishes_keeps_nobody_else_waiting(stage: Stage) -> None:
    # Fewer than there are threads: the proxy, which hands over whole bodies only, keeps the rest away.
    slow = [connect(stage) for _ in range(3)]
    for connection in slow:
        connection.sendall(head(stage, f"Content-Length: {len(BODY)}") + BODY[:10])
    assert send(stage, head(stage, f"Content-Length: {len(BODY)}"), BODY) == 200
    for connection in slow:
        connection.close()
    assert received(stage) == 1
