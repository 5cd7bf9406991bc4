"""Malformed request bodies, sent to the real web server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from intercom_bridge.intercom.signature import webhook_signature
from sandbox.itop import Itop
from tests.ops.processes import Instance, wait_until
from tests.teammate import SECRET, notification, part

pytestmark = pytest.mark.processes

BODY = json.dumps(notification(part(37358198700, "<p>x</p>"))).encode()


@pytest.fixture
def instance(tmp_path: Path, migrated: Path, itop: Itop) -> Iterator[Instance]:
    instance = Instance(tmp_path, migrated, itop.url)
    instance.start_web()
    yield instance
    instance.end()


def head(instance: Instance, *lines: str, signature: str = "") -> bytes:
    host = urlsplit(instance.url).netloc
    fixed = (
        "POST /webhooks/intercom HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Connection: close",
    )
    signed = f"X-Hub-Signature: {signature or webhook_signature(BODY, SECRET)}"
    return "\r\n".join((*fixed, signed, *lines, "", "")).encode()


def connect(instance: Instance) -> socket.socket:
    address = urlsplit(instance.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=20)


def send(instance: Instance, *pieces: bytes) -> int:
    """Return the status; 0 if the server closes the connection."""
    with connect(instance) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            line = connection.makefile("rb").readline()
        except ConnectionError:
            return 0
    return int(line.split()[1]) if line else 0


def received(instance: Instance) -> int:
    [(count,)] = instance.ask("SELECT COUNT(*) FROM intercom_bridge_webhookevent")
    return int(count)


def test_only_a_body_with_a_correct_length_is_accepted(instance: Instance) -> None:
    chunk = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    megabyte = f"{1 << 20:x}\r\n".encode() + b" " * (1 << 20) + b"\r\n"
    unwanted = {
        "without a length": (head(instance), BODY),
        "in chunks": (head(instance, "Transfer-Encoding: chunked"), chunk),
        "in chunks without end": (
            head(instance, "Transfer-Encoding: chunked"),
            *[megabyte] * 20,
            b"0\r\n\r\n",
        ),
        "both": (head(instance, f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"), chunk),
        "two lengths": (head(instance, f"Content-Length: {len(BODY)}", "Content-Length: 5"), BODY),
        "an invalid length": (head(instance, "Content-Length: -1"), BODY),
        "a length beyond the limit": (head(instance, "Content-Length: 99999999999"), BODY),
        "a truncated body": (head(instance, f"Content-Length: {len(BODY) - 2}"), BODY[:-2]),
    }
    answers = {how: send(instance, *pieces) for how, pieces in unwanted.items()}
    assert {how: status for how, status in answers.items() if status not in (0, 400, 401, 413)} == {}
    assert received(instance) == 0
    assert send(instance, head(instance, f"Content-Length: {len(BODY)}"), BODY) == 200
    assert received(instance) == 1


def test_a_client_that_never_finishes_does_not_delay_others(instance: Instance) -> None:
    # Fewer than there are threads: the proxy, which hands over whole bodies only, keeps the rest away.
    slow = [connect(instance) for _ in range(3)]
    for connection in slow:
        connection.sendall(head(instance, f"Content-Length: {len(BODY)}") + BODY[:10])
    assert send(instance, head(instance, f"Content-Length: {len(BODY)}"), BODY) == 200
    for connection in slow:
        connection.close()
    assert received(instance) == 1


def memory(instance: Instance) -> float:
    """Return the memory of the web server's processes in MB."""
    master = instance.children[-1].pid
    kilobytes = 0
    for file in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        except OSError:
            continue  # the process has ended
        if str(master) in (fields["Pid"].strip(), fields["PPid"].strip()):
            kilobytes += int(fields["VmRSS"].split()[0])
    return kilobytes / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_memory_of_large_unsigned_bodies_is_given_back(instance: Instance) -> None:
    size = 8 * 1024 * 1024
    body = b'{"app_id":"abcd1234","x":"' + b"x" * (size - 28) + b'"}'
    unsigned = head(instance, f"Content-Length: {size}", signature=f"sha1={'0' * 40}")
    before = memory(instance)
    statuses: list[int] = []
    for _ in range(5):
        senders = [
            threading.Thread(target=lambda: statuses.append(send(instance, unsigned, body))) for _ in range(4)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert set(statuses) <= {401, 503, 0} and 401 in statuses
    wait_until(lambda: memory(instance) < before + 40, "the memory to be given back", 5)
