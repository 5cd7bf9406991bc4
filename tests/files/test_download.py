"""Downloads: from allowed hosts only, over a connection to the address that was checked, within limits.

Lookups and connections are replaced at the lowest level, in the `socket` module. The servers are real, on loopback.
"""

from __future__ import annotations

import datetime as dt
import gzip
import os
import socket
import ssl
import stat
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.files import download as module
from intercom_bridge.files.download import (
    AddressExpiredError,
    AddressRefusedError,
    AllowedHosts,
    DownloadError,
    DownloadTimeoutError,
    FileEmptyError,
    FileNotStoredError,
    FileQuarantinedError,
    FileTooLargeError,
    FileTypeForbiddenError,
    HostRefusedError,
    allowed_hosts,
    check_type,
    download,
    expiry_of,
    normalize_host,
)
from intercom_bridge.models import Workspace
from intercom_bridge.models.workspace import FORBIDDEN_FILE_TYPES
from tests.config.started import PRODUCTION, value_of
from tests.ids import short_id
from tests.itop_client.socket_server import Behaviour, SocketServer, http_response, serving
from tests.system.deployment.certificate import make_certificate

HOST = "downloads.intercomcdn.com"
PUBLIC = "8.8.4.4"
OTHER = "8.8.8.8"
SIGNATURE = "signature=5e0f3ac1"
URL = f"https://{HOST}/i/o/abc/1/shot.png?expires=4102444800&{SIGNATURE}"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
HOSTS = AllowedHosts(frozenset([HOST, "*.intercom-attachments-1.com", "other.example.com"]))


@dataclass
class Network:
    """What the names resolve to, and what was looked up and connected to. A connection leads to `port` on loopback."""

    names: dict[str, list[str]] = field(
        default_factory=lambda: {HOST: [PUBLIC], "other.example.com": [OTHER]}
    )
    lookups: list[str] = field(default_factory=list)
    connections: list[tuple[str, int]] = field(default_factory=list)
    port: int = 0
    refuses: set[str] = field(default_factory=set)

    def look_up(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.lookups.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in self.names[host]
        ]


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        made.connections.append((address[0], address[1]))
        if address[0] in made.refuses or not made.port:
            raise ConnectionRefusedError(111, "Connection refused")
        original(self, ("127.0.0.1", made.port))

    monkeypatch.setattr(socket, "getaddrinfo", made.look_up)
    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture(autouse=True)
def directory(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """Return the directory of temporary files, and check that none is left."""
    settings.FILES_DIR = tmp_path / "files"
    yield settings.FILES_DIR
    assert not list(settings.FILES_DIR.glob("*"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """Return a TLS context with a certificate for HOST, and the authority that signed it."""
    folder = tmp_path_factory.mktemp("certificate") / "made"
    authority = make_certificate(folder, HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    return context, authority


Serve = Callable[[Behaviour], SocketServer]


@pytest.fixture
def serve(
    network: Network, certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Serve]:
    """Return a function that starts a TLS server, to which all connections lead."""
    context, authority = certificate
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    stops: list[Callable[[], None]] = []

    def start(behave: Behaviour) -> SocketServer:
        server = SocketServer(behave, context)
        stops.append(server.stop)
        network.port = server.port
        return server

    yield start
    for stop in stops:
        stop()


def fetch(
    url: str = URL, *, hosts: AllowedHosts = HOSTS, max_bytes: int = 10_000, deadline: float = 20.0
) -> tuple[bytes, str]:
    with download(url, hosts=hosts, max_bytes=max_bytes, deadline=deadline, name="shot.png") as file:
        content = file.path.read_bytes()
        assert file.size == len(content)
        return content, file.content_type


def sends(data: bytes) -> Behaviour:
    def behave(_server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(data)
        connection.unwrap() if isinstance(connection, ssl.SSLSocket) else connection.shutdown(socket.SHUT_WR)

    return behave


HOSTILE = [
    "",
    "shot.png",
    "//downloads.intercomcdn.com/x",
    "/x",
    "http://downloads.intercomcdn.com/x",
    "HTTP://downloads.intercomcdn.com/x",
    "ftp://downloads.intercomcdn.com/x",
    "file:///etc/passwd",
    "file://downloads.intercomcdn.com/etc/passwd",
    "gopher://downloads.intercomcdn.com/x",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "https:downloads.intercomcdn.com/x",
    "https:///downloads.intercomcdn.com/x",
    "https://",
    "https://user@downloads.intercomcdn.com/x",
    "https://user:pass@downloads.intercomcdn.com/x",
    "https://downloads.intercomcdn.com@10.0.0.1/x",
    "https://10.0.0.1#@downloads.intercomcdn.com/",
    "https://10.0.0.1\\@downloads.intercomcdn.com/x",
    "https://downloads.intercomcdn.com\\.evil.example/x",
    "https://downloads.intercomcdn.com:80/x",
    "https://downloads.intercomcdn.com:8443/x",
    "https://downloads.intercomcdn.com:0443/x",
    "https://downloads.intercomcdn.com:/x",
    "https://downloads.intercomcdn.com:443:443/x",
    "https://downloads.intercomcdn.com:４４３/x",
    "https://127.0.0.1/x",
    "https://127.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0x7f.0.0.1/x",
    "https://0177.0.0.1/x",
    "https://017700000001/x",
    "https://127.0.0.1./x",
    "https://１２７.0.0.1/x",
    "https://①②⑦.0.0.1/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://8.8.8.8/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::ffff:7f00:1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://[fd00:ec2::254]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://[2002:7f00:1::]/x",
    "https://[v1.x]/x",
    "https://[::1/x",
    "https://localhost/x",
    "https://localhost./x",
    "https://metadata/x",
    "https://metadata.google.internal/x",
    "https://itop.internal.example/x",
    "https://evil.example/downloads.intercomcdn.com",
    "https://downloads.intercomcdn.com.evil.example/x",
    "https://evildownloads.intercomcdn.com/x",
    "https://sub.downloads.intercomcdn.com/x",
    "https://intercom-attachments-1.com/x",
    "https://evil-intercom-attachments-1.com/x",
    "https://x.intercom-attachments-1.com.evil.example/x",
    "https://127.0.0.1.nip.io/x",
    "https://%64ownloads.intercomcdn.com/x",
    "https://downloads%2eintercomcdn.com/x",
    "https://127.0.0.1%2f@downloads.intercomcdn.com/x",
    "https://downloads。intercomcdn。com/x",
    "https://ｄownloads.intercomcdn.com/x",
    "https://downloads.intercomcdn.com\u2024evil.example/x",
    "https://downloads.intercomcdn.\u200bcom/x",
    "https://downlo\u0430ds.intercomcdn.com/x",
    "https://downloads.intercomcdn.com../x",
    "https://.downloads.intercomcdn.com/x",
    "https://*.intercom-attachments-1.com/x",
    "https://downloads.intercomcdn.com\r\nX-Evil: 1/x",
    "https://downloads.intercomcdn.com/x\r\nHost: evil.example",
    "https://downloads.intercomcdn.com/x\0",
    "https://down\tloads.intercomcdn.com/x",
    "https://" + "a" * 300 + ".intercom-attachments-1.com/x",
    f"https://{HOST}/" + "x" * 9000,
]


@pytest.mark.parametrize("url", HOSTILE, ids=short_id)
def test_a_hostile_address_is_neither_looked_up_nor_connected_to(url: str, network: Network) -> None:
    assert len(HOSTILE) >= 40
    with pytest.raises((AddressRefusedError, HostRefusedError)) as caught:
        fetch(url)
    assert not caught.value.retry
    assert network.lookups == []
    assert network.connections == []


@pytest.mark.parametrize("url", HOSTILE, ids=short_id)
def test_a_redirect_to_a_hostile_address_is_not_followed(url: str, serve: Serve, network: Network) -> None:
    # A relative one would lead to the same host, and a line break is the end of the header.
    is_possible = "://" in url and "\r\n" not in url
    location = url.encode() if is_possible else b"https://evil.example/"
    server = serve(sends(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"))
    with pytest.raises((AddressRefusedError, HostRefusedError)):
        fetch()
    assert network.lookups == [HOST]
    assert network.connections == [(PUBLIC, 443)]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.8.9.10",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
@pytest.mark.parametrize("position", ["alone", "first", "last"])
def test_a_host_with_an_address_that_is_not_public_is_refused(
    address: str, position: str, network: Network
) -> None:
    network.names[HOST] = {"alone": [address], "first": [address, PUBLIC], "last": [PUBLIC, address]}[
        position
    ]
    with pytest.raises(AddressRefusedError, match=HOST):
        fetch()
    assert network.connections == []


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_connected_to(address: str, network: Network) -> None:
    network.names[HOST] = [address]
    with pytest.raises(DownloadError, match="refused"):
        fetch()
    assert network.connections == [(address, 443)]


def test_the_address_that_was_checked_is_the_one_connected_to(
    serve: Serve, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: every lookup after the first one returns a private address."""
    original = network.look_up

    def rebind(*arguments: Any, **more: Any) -> list[Any]:
        found = original(*arguments, **more)
        network.names[HOST] = ["127.0.0.1"]
        return found

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    serve(sends(http_response(PNG)))
    assert fetch()[0] == PNG
    assert network.connections == [(PUBLIC, 443)]
    assert network.lookups == [HOST]
    with pytest.raises(AddressRefusedError):
        fetch()
    assert network.connections == [(PUBLIC, 443)]


def test_a_redirect_that_rebinds_the_name_is_refused(serve: Serve, network: Network) -> None:
    def behave(server: SocketServer, connection: socket.socket) -> None:
        network.names[HOST] = ["10.0.0.1"]
        connection.sendall(http_response(b"", f"Location: https://{HOST}/again", status="302 Found"))

    serve(behave)
    with pytest.raises(AddressRefusedError, match=r"10\.0\.0\.1"):
        fetch()
    assert network.connections == [(PUBLIC, 443)]


def test_a_file_is_downloaded_with_a_bare_request(serve: Serve, directory: Path) -> None:
    server = serve(sends(http_response(PNG, "Set-Cookie: a=b")))
    with download(URL, hosts=HOSTS, max_bytes=10_000, deadline=20, name="shot.jpg") as file:
        assert file.path.parent == directory
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert (file.path.read_bytes(), file.size, file.content_type) == (PNG, len(PNG), "image/png")
    assert not file.path.exists()
    head = server.requests[0].decode().split("\r\n")
    assert head[0] == f"GET /i/o/abc/1/shot.png?expires=4102444800&{SIGNATURE} HTTP/1.1"
    names = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head[1:] if line}
    assert set(names) == {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert (names["host"], names["accept-encoding"]) == (HOST, "identity")


@pytest.mark.parametrize(
    "url",
    [
        "  HTTPS://Downloads.IntercomCDN.com.:443/i/ä b.png?x=ö#part",
        f"https://{HOST}:443/i/%C3%A4%20b.png?x=%C3%B6",
    ],
)
def test_an_address_is_normalized(url: str, serve: Serve, network: Network) -> None:
    server = serve(sends(http_response(PNG)))
    assert fetch(url)[0] == PNG
    assert server.requests[0].startswith(b"GET /i/%C3%A4%20b.png?x=%C3%B6 HTTP/1.1\r\n")
    assert network.lookups == [HOST]


def test_the_file_is_deleted_when_the_caller_fails(serve: Serve) -> None:
    serve(sends(http_response(PNG)))
    with (
        pytest.raises(ZeroDivisionError),
        download(URL, hosts=HOSTS, max_bytes=10_000, deadline=20, name="a") as file,
    ):
        raise ZeroDivisionError
    assert not file.path.exists()


def test_a_certificate_for_another_host_is_refused(serve: Serve) -> None:
    server = serve(sends(http_response(PNG)))
    with pytest.raises(DownloadError, match="certificate"):
        fetch("https://other.example.com/x")
    assert server.requests == []


def test_an_unknown_authority_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(sends(http_response(PNG)))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(DownloadError, match="certificate"):
        fetch()
    assert server.requests == []


def test_a_dead_address_is_followed_by_the_next(serve: Serve, network: Network) -> None:
    network.names[HOST] = [OTHER, PUBLIC]
    network.refuses = {OTHER}
    serve(sends(http_response(PNG)))
    assert fetch()[0] == PNG
    assert network.connections == [(OTHER, 443), (PUBLIC, 443)]


def test_a_host_without_an_address_is_tried_again_later(network: Network) -> None:
    network.names = {}
    with pytest.raises(DownloadError) as caught:
        fetch()
    assert (caught.value.retry, caught.value.code) == (True, "file_not_downloaded")


@pytest.mark.parametrize("redirects", [3, 4])
def test_at_most_three_redirects_are_followed(redirects: int, serve: Serve) -> None:
    def behave(server: SocketServer, connection: socket.socket) -> None:
        number = len(server.requests)
        answer = (
            http_response(b"", f"Location: /{number}", status="307 Temporary Redirect")
            if number <= redirects
            else http_response(PNG)
        )
        connection.sendall(answer)

    server = serve(behave)
    if redirects == 3:
        assert fetch()[0] == PNG
        assert server.requests[-1].startswith(b"GET /3 ")
    else:
        with pytest.raises(DownloadError, match="3 redirects"):
            fetch()
        assert len(server.requests) == 4


def test_a_body_as_large_as_the_limit_is_accepted(serve: Serve) -> None:
    serve(sends(http_response(b"x" * 200_000)))
    assert len(fetch(max_bytes=200_000)[0]) == 200_000


def test_a_length_above_the_limit_is_refused_before_the_body_is_read(serve: Serve) -> None:
    def announce(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(http_response(b"x" * 30_000)[:200])
        server.stall(connection)

    server = serve(announce)
    with pytest.raises(FileTooLargeError):
        fetch()
    assert not server.finished.is_set()


def test_a_chunked_body_above_the_limit_is_refused_while_it_is_read(serve: Serve) -> None:
    def endless(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not server.stopping.is_set():
            connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    server = serve(endless)
    with pytest.raises(FileTooLargeError):
        fetch()
    assert server.disconnected.wait(10)


def test_more_than_the_announced_length_is_not_read(serve: Serve) -> None:
    serve(sends(http_response(PNG) + b"x" * 50_000))
    assert fetch()[0] == PNG


def test_chunks_become_one_file(serve: Serve) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (PNG, b"y" * 5000)) + b"0\r\n\r\n"
    serve(sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body))
    assert fetch() == (PNG + b"y" * 5000, "image/png")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
    ],
)
def test_a_body_that_is_cut_off_is_not_a_file(head: bytes, serve: Serve) -> None:
    serve(sends(head + PNG))
    with pytest.raises(DownloadError) as caught:
        fetch()
    assert caught.value.retry


def test_a_body_without_a_length_ends_with_tls(serve: Serve) -> None:
    serve(sends(b"HTTP/1.1 200 OK\r\n\r\n" + PNG))
    assert fetch()[0] == PNG


def test_a_body_without_a_length_that_is_cut_off_is_not_a_file(serve: Serve) -> None:
    def cut(_server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
        connection.shutdown(socket.SHUT_RDWR)

    serve(cut)
    with pytest.raises(DownloadError):
        fetch()


@pytest.mark.parametrize(
    "header", ["Content-Encoding: gzip", "Content-Encoding: br", "Transfer-Encoding: gzip, chunked"]
)
def test_a_compressed_body_is_refused(header: str, serve: Serve) -> None:
    serve(sends(http_response(gzip.compress(b"0" * 5000), header)))
    with pytest.raises(DownloadError, match=r"compressed|encoding"):
        fetch()


def test_an_empty_file_is_recognised(serve: Serve) -> None:
    serve(sends(http_response(b"")))
    with pytest.raises(FileEmptyError):
        fetch()


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone"])
@pytest.mark.parametrize(
    ("query", "headers", "error"),
    [
        ("?expires=4102444800", (), FileQuarantinedError),
        ("", (), FileQuarantinedError),
        ("?expires=soon", (), FileQuarantinedError),
        ("?expires=1700000000", (), AddressExpiredError),
        # Our clock may be slow.
        ("?expires=4102444800", ("Date: Fri, 01 Jan 2100 00:00:01 GMT",), AddressExpiredError),
        ("?expires=4102444800", ("Date: nonsense",), FileQuarantinedError),
    ],
)
def test_a_refusal_means_quarantine_unless_the_address_has_expired(
    status: str, query: str, headers: tuple[str, ...], error: type[DownloadError], serve: Serve
) -> None:
    serve(sends(http_response(b"no", *headers, status=status)))
    with pytest.raises(error) as caught:
        fetch(f"https://{HOST}/x{query}")
    assert caught.value.retry is (error is AddressExpiredError)


@pytest.mark.parametrize(
    "status", ["206 Partial Content", "304 Not Modified", "401 Unauthorized", "429 Slow", "500 Oops"]
)
def test_another_status_is_tried_again_later(status: str, serve: Serve) -> None:
    serve(sends(http_response(b"no", status=status)))
    with pytest.raises(DownloadError, match=status[:3]) as caught:
        fetch()
    assert (type(caught.value), caught.value.retry) == (DownloadError, True)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 100, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200]
)
def test_what_is_not_http_is_no_file(answer: bytes, serve: Serve) -> None:
    serve(sends(answer))
    with pytest.raises(DownloadError):
        fetch()


def test_a_server_that_drips_does_not_get_past_the_deadline(serve: Serve) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(http_response(b"x" * 5000)[:100])
        server.drip(connection, b"x" * 5000)

    server = serve(drip)
    with pytest.raises(DownloadTimeoutError) as caught:
        fetch(deadline=0.5)
    assert (caught.value.retry, server.finished.is_set()) == (True, False)


def test_a_file_without_a_length_is_not_complete_because_the_deadline_passed(serve: Serve) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
        server.drip(connection, b"x" * 5000)

    server = serve(drip)
    with pytest.raises(DownloadTimeoutError):
        fetch(deadline=0.5)
    assert not server.finished.is_set()


def test_a_server_that_drips_its_headers_does_not_get_past_the_deadline(serve: Serve) -> None:
    server = serve(lambda server, c: server.drip(c, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 900))
    with pytest.raises(DownloadTimeoutError):
        fetch(deadline=0.5)
    assert not server.finished.is_set()


def test_a_lookup_that_hangs_does_not_get_past_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(30) and [])
    try:
        with pytest.raises(DownloadTimeoutError):
            fetch(deadline=0.2)
    finally:
        release.set()


def test_a_download_waits_for_a_slot_within_its_deadline(
    serve: Serve, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = threading.BoundedSemaphore(1)
    monkeypatch.setattr(module, "_slots", lambda: slots)
    serve(sends(http_response(PNG)))
    with slots, pytest.raises(DownloadTimeoutError):
        fetch(deadline=0.2)
    assert network.connections == []
    assert fetch()[0] == PNG
    # Neither a success nor a failure keeps the slot.
    network.names[HOST] = ["10.0.0.1"]
    with pytest.raises(AddressRefusedError):
        fetch()
    assert slots.acquire(blocking=False)


def test_no_error_contains_the_address(serve: Serve, network: Network) -> None:
    serve(sends(http_response(b"no", status="500 Oops")))
    failures: list[DownloadError] = []
    for url in (
        URL,
        URL.replace("com/", "com/\n"),
        URL.replace("https", "http"),
        URL.replace(HOST, "evil.example"),
    ):
        with pytest.raises(DownloadError) as caught:
            fetch(url)
        failures.append(caught.value)
    assert not any(SIGNATURE in f"{failure!r} {failure}" for failure in failures)
    assert all(failure.__cause__ is None for failure in failures)


def test_the_files_of_a_killed_process_are_deleted(serve: Serve, directory: Path) -> None:
    directory.mkdir()
    abandoned, others = directory / f"{module.PREFIX}old", directory / "of-another-program"
    for path in (abandoned, others):
        path.touch()
        os.utime(path, (1, 1))
    serve(sends(http_response(PNG)))
    fetch()
    assert not abandoned.exists()
    others.unlink()


def test_a_directory_that_cannot_be_used_is_an_error_of_the_download(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.FILES_DIR = tmp_path / "file" / "below"
    with pytest.raises(FileNotStoredError, match="temporary file"):
        fetch()


@pytest.mark.parametrize("size", [100, 3_000_000], ids=["when it is closed", "while it is written"])
def test_a_full_disk_is_an_error_of_the_download(
    size: int, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(sends(http_response(PNG + b"x" * size)))
    create = module.create_file

    def create_on_full_disk() -> tuple[int, Path]:
        descriptor, path = create()
        os.close(descriptor)
        return os.open("/dev/full", os.O_WRONLY), path

    monkeypatch.setattr(module, "create_file", create_on_full_disk)
    with pytest.raises(FileNotStoredError, match="No space left") as caught:
        fetch(max_bytes=4_000_000)
    assert caught.value.retry


def test_a_large_file_is_never_in_memory_as_a_whole(serve: Serve) -> None:
    size, part = 20_000_000, b"x" * 50_000

    def behave(_server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(part)):
            connection.sendall(part)

    serve(behave)
    tracemalloc.start()
    try:
        with download(URL, hosts=HOSTS, max_bytes=size, deadline=60, name="a.bin") as file:
            assert file.path.stat().st_size == file.size == size
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()


def test_through_a_proxy_the_name_is_tunnelled_and_the_certificate_is_checked(
    serve: Serve, network: Network, certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = certificate
    inside: list[bytes] = []

    def tunnel(_server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        secured = context.wrap_socket(connection, server_side=True)
        inside.append(secured.recv(65_536))
        secured.sendall(http_response(PNG))
        secured.close()

    serve(sends(b""))
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss@proxy.internal:3128")
    network.names = {"proxy.internal": ["10.0.0.9"]}
    with serving(tunnel) as proxy:
        network.port = proxy.port
        assert fetch()[0] == PNG
        with pytest.raises(DownloadError, match="certificate"):
            fetch("https://other.example.com/x")
        with pytest.raises(HostRefusedError):
            fetch("https://evil.example/x")
    assert proxy.requests[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n".encode())
    assert b"proxy-authorization: basic bwu6cebzcw==" in proxy.requests[0].lower()
    assert len(proxy.requests) == 2
    assert b"proxy" not in inside[0].lower()
    assert set(network.connections) == {("10.0.0.9", 3128)}


def test_a_host_of_no_proxy_is_checked_and_connected_to_directly(
    serve: Serve, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.internal:3128")
    monkeypatch.setenv("NO_PROXY", HOST)
    network.names[HOST] = ["10.0.0.1"]
    with pytest.raises(AddressRefusedError):
        fetch()


@pytest.mark.parametrize("proxy", ["https://proxy.internal:3128", "socks5://proxy.internal"])
def test_another_kind_of_proxy_is_an_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(DownloadError, match="HTTPS_PROXY"):
        fetch()


def test_the_stand_in_is_allowed_exactly_as_it_is(settings: Any, network: Network) -> None:
    with serving(sends(http_response(PNG))) as server:
        network.port = server.port
        network.names["127.0.0.1"] = ["127.0.0.1"]
        settings.INTERCOM_API_URL = server.url
        hosts = allowed_hosts(Workspace(region="US"))
        assert fetch(f"{server.url}/files/1?a=b", hosts=hosts)[0] == PNG
        assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in server.requests[0]
        network.connections.clear()
        for url in (
            f"https://127.0.0.1:{server.port}/x",
            f"http://127.0.0.1:{server.port + 1}/x",
            f"http://127.0.0.1:{server.port}@evil.example/x",
            f"http://a@127.0.0.1:{server.port}/x",
            f"http://localhost:{server.port}/x",
            f"http://127.1:{server.port}/x",
            f"http://127.0.0.1:0{server.port}/x",
            f"http://{HOST}/x",
        ):
            with pytest.raises((AddressRefusedError, HostRefusedError)):
                fetch(url, hosts=hosts)
        assert network.connections == []


@pytest.mark.parametrize("url", ["", "nonsense", "http://user@127.0.0.1:1", "http://"])
def test_an_address_without_an_origin_allows_nothing_more(url: str, settings: Any) -> None:
    settings.INTERCOM_API_URL = url
    assert allowed_hosts(Workspace(region="US")).origin == ""


def test_in_production_there_is_no_stand_in(settings: Any) -> None:
    settings.INTERCOM_API_URL = "http://127.0.0.1:8002"
    assert allowed_hosts(Workspace(region="US")).origin == "http://127.0.0.1:8002"
    settings.FILES_FROM_STAND_IN = False
    assert allowed_hosts(Workspace(region="US")).origin == ""


def test_no_environment_variable_allows_a_stand_in_in_production() -> None:
    variables = {"FILES_FROM_STAND_IN": "true", "INTERCOM_API_URL": "http://127.0.0.1:8002", "DEBUG": "true"}
    assert value_of("FILES_FROM_STAND_IN", "settings.production", **PRODUCTION, **variables) is False
    assert value_of("FILES_FROM_STAND_IN", "settings.development") is True


@pytest.mark.parametrize(
    ("region", "host", "is_allowed"),
    [
        ("US", "downloads.intercomcdn.com", True),
        ("US", "abc-1.intercom-attachments-9.com", True),
        ("US", "downloads.intercomcdn.eu", False),
        ("EU", "downloads.intercomcdn.eu", True),
        ("EU", "downloads.intercomcdn.com", True),
        ("EU", "abc.intercom-attachments.eu", True),
        ("EU", "downloads.au.intercomcdn.com", False),
        ("AU", "downloads.au.intercomcdn.com", True),
        ("AU", "a.au.intercom-attachments.com", True),
        ("US", "files.example.com", True),
        ("US", "a.b.cdn.example.org", True),
        ("US", "cdn.example.org", False),
        ("US", "xn--mller-kva.example", True),
        ("US", "10.0.0.1", False),
    ],
)
def test_hosts_are_those_of_the_region_and_of_the_workspace(region: str, host: str, is_allowed: bool) -> None:
    workspace = Workspace(
        region=region,
        file_hosts="Files.Example.com.\n*.cdn.example.org, müller.example\n10.0.0.1 *.com * localhost",
    )
    hosts = allowed_hosts(workspace)
    assert hosts.includes(host) is is_allowed
    assert not {"*.com", "*", "localhost"} & hosts.names


@given(st.text(max_size=60))
def test_any_text_is_a_normalized_host_or_refused(text: str) -> None:
    try:
        host = normalize_host(text)
    except ValueError:
        return
    assert normalize_host(host) == host
    assert host.isascii()


@given(
    st.one_of(
        st.text(max_size=80),
        st.text(max_size=40).map(lambda text: f"https://{text}/"),
        st.text(max_size=40).map(lambda text: f"https://{HOST}{text}"),
    )
)
def test_any_address_is_refused_or_leads_to_an_allowed_host(url: str) -> None:
    expiry_of(url)
    try:
        target = module._check_address(url, HOSTS)
    except (AddressRefusedError, HostRefusedError):
        return
    assert (target.scheme, target.host, target.port) == ("https", HOST, 443)
    assert target.path.isascii()
    assert target.path.isprintable()
    assert " " not in target.path


def test_the_expiry_of_an_address_is_read() -> None:
    assert expiry_of(URL) == dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    assert expiry_of(f"https://{HOST}/x?expires=-1") is None


def test_a_forbidden_type_is_recognised_by_its_content(serve: Serve) -> None:
    serve(sends(http_response(b"MZ\x90\0\x03\0\0\0" + b"\0" * 100)))
    with download(URL, hosts=HOSTS, max_bytes=1000, deadline=20, name="shot.png") as file:
        with pytest.raises(FileTypeForbiddenError) as caught:
            check_type(file, name="shot.png", types=FORBIDDEN_FILE_TYPES)
        check_type(file, name="shot.png", types="")
    assert caught.value.code == "file_type_forbidden"
