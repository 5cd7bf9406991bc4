"""The guarantees of `exchange`, against a socket server that misbehaves."""

from __future__ import annotations

import gzip
import io
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import requests
import responses

from itop_client import http
from itop_client.http import (
    CertificateProblem,
    Deadline,
    HttpNoResponseError,
    HttpTooLargeError,
    HttpUnreachableError,
    Response,
    exchange,
    open_session,
)
from tests.ids import short_id

from .socket_server import Behaviour, SocketServer, certificate, http_response, serving

DEADLINE = 0.4
SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with open_session() as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_watchdog_is_left() -> Iterator[None]:
    yield
    assert http._current.watchdog is None


def post(session: requests.Session, url: str, *, deadline: float = DEADLINE, **more: object) -> Response:
    return exchange(
        session,
        "POST",
        url,
        deadline=deadline,
        headers={"Auth-Token": SECRET},
        data={"auth_pwd": SECRET},
        **more,  # type: ignore[arg-type]
    )


def assert_no_response(
    session: requests.Session, behave: Behaviour, *, deadline: float = DEADLINE
) -> HttpNoResponseError:
    with serving(behave) as server:
        with pytest.raises(HttpNoResponseError) as caught:
            post(session, server.url, deadline=deadline)
        assert not server.finished.is_set(), "the exchange waited for the server"
        assert len(server.requests) == 1, "a request was repeated"
    assert SECRET not in f"{caught.value!r} {caught.value}"
    return caught.value


def test_a_response_has_its_status_headers_and_body(session: requests.Session) -> None:
    with serving(
        lambda server, c: c.sendall(http_response(b"no", "X-Note: here", status="418 Teapot"))
    ) as server:
        response = post(session, server.url, deadline=5)
    assert (response.status, response.body, response.headers["x-note"]) == (418, b"no", "here")


def test_json_is_sent_as_json(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        exchange(session, "POST", server.url, deadline=5, json={"a": [1]})
    assert server.requests[0].endswith(b'{"a": [1]}')


def test_a_connection_is_reused(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        for _ in range(3):
            post(session, server.url, deadline=5)
        assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_that_was_idle_too_long_is_replaced(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_IDLE_SECONDS", 0.0)
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        for _ in range(2):
            post(session, server.url, deadline=5)
        assert server.connections == 2


def test_a_connection_closed_by_the_server_is_replaced(session: requests.Session) -> None:
    closed = threading.Event()

    def respond_and_disconnect(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(http_response(b"ok"))
        if server.connections == 1:
            connection.shutdown(socket.SHUT_RDWR)
            closed.set()

    with serving(respond_and_disconnect) as server:
        post(session, server.url, deadline=5)
        assert closed.wait(5)
        assert post(session, server.url, deadline=5).body == b"ok"
        assert (server.connections, len(server.requests)) == (2, 2)


def test_a_request_on_a_breaking_connection_is_not_repeated(session: requests.Session) -> None:
    def respond_once(server: SocketServer, connection: socket.socket) -> None:
        if len(server.requests) == 1:
            connection.sendall(http_response(b"ok"))
        else:
            server.drop(connection)

    with serving(respond_once) as server:
        post(session, server.url, deadline=5)
        with pytest.raises(HttpNoResponseError):
            post(session, server.url, deadline=5)
        assert len(server.requests) == 2


def test_a_server_that_drips_headers_does_not_get_past_the_deadline(session: requests.Session) -> None:
    assert_no_response(
        session, lambda server, c: server.drip(c, http_response(b"ok", "X-Long: " + "x" * 500))
    )


def test_a_server_that_drips_header_lines_does_not_get_past_the_deadline(session: requests.Session) -> None:
    assert_no_response(session, lambda server, c: server.drip(c, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 90))


def test_a_server_that_drips_its_body_does_not_get_past_the_deadline(session: requests.Session) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        head, _, _ = http_response(b"x" * 500).partition(b"xxx")
        connection.sendall(head)
        server.drip(connection, b"x" * 500)

    assert_no_response(session, drip)


def test_a_dripped_body_without_a_length_is_not_taken_for_a_whole_one(session: requests.Session) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
        server.drip(connection, b"x" * 500)

    assert_no_response(session, drip)


def test_a_dripped_chunked_body_does_not_get_past_the_deadline(session: requests.Session) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        server.drip(connection, b"1\r\nx\r\n" * 100)

    assert_no_response(session, drip)


def test_the_connection_is_closed_at_the_deadline(session: requests.Session) -> None:
    with serving(lambda server, c: server.drip(c, http_response(b"x" * 2000))) as server:
        with pytest.raises(HttpNoResponseError):
            post(session, server.url)
        assert server.disconnected.wait(5)


def test_a_response_after_the_deadline_does_not_count(session: requests.Session) -> None:
    assert_no_response(session, SocketServer.stall)


def test_a_connection_closed_before_the_response_is_no_response(session: requests.Session) -> None:
    failure = assert_no_response(session, lambda server, c: c.close(), deadline=5)
    assert "closed the connection without a response" in str(failure)


def test_a_connection_reset_before_the_response_is_no_response(session: requests.Session) -> None:
    assert_no_response(session, lambda server, c: server.drop(c), deadline=5)


def test_a_connection_closed_within_the_body_is_no_response(session: requests.Session) -> None:
    def half(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(http_response(b"x" * 100)[:-50])
        connection.close()

    assert_no_response(session, half, deadline=5)


def test_a_response_that_is_not_http_is_no_response(session: requests.Session) -> None:
    def chatter(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        connection.close()

    assert_no_response(session, chatter, deadline=5)


def test_a_body_that_is_too_large_is_no_response(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"x" * 1001))) as server:
        with pytest.raises(HttpNoResponseError, match="larger than 1000 bytes"):
            post(session, server.url, deadline=5, max_bytes=1000)
        assert len(post(session, server.url, deadline=5, max_bytes=1001).body) == 1001


def test_a_small_body_that_decompresses_to_a_large_one_is_no_response(session: requests.Session) -> None:
    packed = gzip.compress(b"\0" * 5_000_000)
    with (
        serving(lambda server, c: c.sendall(http_response(packed, "Content-Encoding: gzip"))) as server,
        pytest.raises(HttpNoResponseError, match="larger"),
    ):
        post(session, server.url, deadline=5, max_bytes=100_000)


class Pieces:
    """A body of `count` pieces of 10,000 bytes, produced while it is sent."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.produced = 0

    def __len__(self) -> int:
        return self.count * 10_000

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.count):
            self.produced += 1
            yield b"x" * 10_000


def test_a_body_that_is_produced_while_it_is_sent_has_a_length(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        exchange(session, "POST", server.url, deadline=5, data=Pieces(30))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"Content-Length: 300000" in head
    assert b"Transfer-Encoding" not in head
    assert body == b"x" * 300_000


def test_a_server_that_does_not_read_a_body_does_not_get_past_the_deadline(session: requests.Session) -> None:
    body = Pieces(10_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(HttpNoResponseError, match="within"):
            exchange(session, "POST", f"http://127.0.0.1:{port}/", deadline=DEADLINE, data=body)
    assert body.produced < body.count, "everything was sent"


def test_an_answer_before_the_end_of_the_body_is_returned(session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(http_response(b"", "Connection: close", status="413 Too Large"))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):  # as nginx does, so that the answer is not lost
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert exchange(session, "POST", url, deadline=5, data=Pieces(500)).status == 413
        thread.join(5)


def test_a_response_is_written_into_a_sink(session: requests.Session) -> None:
    received = io.BytesIO()
    with serving(lambda server, c: c.sendall(http_response(b"x" * 200_000))) as server:
        response = post(session, server.url, deadline=5, into=received)
    assert (response.status, response.body, received.getvalue()) == (200, b"", b"x" * 200_000)


def test_a_sink_is_not_given_more_than_the_limit(session: requests.Session) -> None:
    received = io.BytesIO()
    with (
        serving(lambda server, c: c.sendall(http_response(b"x" * 200_000))) as server,
        pytest.raises(HttpTooLargeError),
    ):
        post(session, server.url, deadline=5, into=received, max_bytes=100_000)
    assert len(received.getvalue()) <= 100_000


def test_what_a_sink_raises_reaches_the_caller(session: requests.Session) -> None:
    sink = Mock(write=Mock(side_effect=OSError(28, "No space left on device")))
    with (
        serving(lambda server, c: c.sendall(http_response(b"x"))) as server,
        pytest.raises(OSError, match="No space left"),
    ):
        post(session, server.url, deadline=5, into=sink)


def test_a_body_dripped_into_a_sink_does_not_get_past_the_deadline(session: requests.Session) -> None:
    with (
        serving(lambda server, c: server.drip(c, http_response(b"x" * 2000))) as server,
        pytest.raises(HttpNoResponseError, match="within"),
    ):
        post(session, server.url, into=io.BytesIO())


def test_a_refused_connection_is_unreachable(session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HttpUnreachableError, match="refused"):
        post(session, f"http://127.0.0.1:{port}/", deadline=5)


def test_a_host_that_does_not_exist_is_unreachable(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(HttpUnreachableError):
        post(session, "http://itop.example/", deadline=5)


def test_a_hanging_name_lookup_ends_at_the_deadline(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[object]:
        assert stop.wait(60), "the exchange waited for the lookup"
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(HttpUnreachableError):
        post(session, "http://itop.example/")
    stop.set()


def test_the_second_address_is_tried_if_the_first_is_dead(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (dead, ("127.0.0.1", server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)
        assert post(session, "http://itop.example/", deadline=5).body == b"ok"


@contextmanager
def never_accepting() -> Iterator[tuple[str, int]]:
    """Yield an address where connecting hangs: the kernel accepts connections only until the queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_server_that_never_accepts_is_unreachable_at_the_deadline(session: requests.Session) -> None:
    with never_accepting() as (host, port), pytest.raises(HttpUnreachableError):
        post(session, f"http://{host}:{port}/")


def test_a_hanging_address_leaves_time_for_the_next(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with never_accepting() as dead, serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        pair = (dead, ("127.0.0.1", server.port))
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in pair]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)
        assert post(session, "http://itop.example/", deadline=1).body == b"ok"


def test_not_even_a_get_is_repeated(session: requests.Session) -> None:
    with serving(lambda server, c: server.drop(c)) as server:
        with pytest.raises(HttpNoResponseError):
            exchange(session, "GET", server.url, deadline=5)
        assert (server.connections, len(server.requests)) == (1, 1)


def test_a_hanging_tls_handshake_is_unreachable_at_the_deadline(session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(HttpUnreachableError):
        post(session, f"https://127.0.0.1:{listener.getsockname()[1]}/")


def test_an_untrusted_certificate_is_unreachable(session: requests.Session, tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    with serving(lambda server, c: c.sendall(http_response(b"ok")), context) as server:
        with pytest.raises(HttpUnreachableError, match=r"(?i)certificate") as caught:
            post(session, server.url, deadline=5)
        assert caught.value.certificate_problem is CertificateProblem.SELF_SIGNED
        assert server.requests == []


def test_a_certificate_for_another_name_is_unreachable(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with serving(lambda server, c: c.sendall(http_response(b"ok")), context) as server:
        with pytest.raises(HttpUnreachableError) as caught:
            post(session, f"https://localhost:{server.port}/", deadline=5)
        assert caught.value.certificate_problem is CertificateProblem.WRONG_NAME


def test_a_dripping_tls_server_cannot_exceed_the_deadline(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))

    def ok_then_drip(server: SocketServer, connection: socket.socket) -> None:
        if len(server.requests) == 1:
            connection.sendall(http_response(b"ok"))
        else:
            server.drip(connection, http_response(b"x" * 500))

    with serving(ok_then_drip, context) as server:
        assert post(session, server.url, deadline=5).body == b"ok"
        with pytest.raises(HttpNoResponseError):
            post(session, server.url)
        assert not server.finished.is_set()
        assert (server.connections, len(server.requests)) == (1, 2)


def test_a_redirect_is_returned_and_not_followed(session: requests.Session) -> None:
    with serving(
        lambda server, c: c.sendall(http_response(b"", "Location: /there", status="302 Found"))
    ) as server:
        response = post(session, server.url, deadline=5)
        assert (response.status, response.headers["Location"], len(server.requests)) == (302, "/there", 1)
        assert session.post(server.url).status_code == 302, "redirects are off for the session"
        assert len(server.requests) == 2


def test_the_user_agent_can_be_chosen() -> None:
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        for session in (open_session(), open_session(user_agent="tester/1")):
            with session:
                post(session, server.url, deadline=5)
        assert b"User-Agent: itop-client\r\n" in server.requests[0]
        assert b"User-Agent: tester/1\r\n" in server.requests[1]


def test_a_deadline_is_shared_and_never_reaches_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("itop_client.http.time.monotonic", lambda: now)
    deadline = Deadline(5)
    now = 103.0
    assert deadline.remaining() == 2
    now = 110.0
    assert deadline.remaining() == 0.1


def test_cookies_are_neither_kept_nor_sent(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"ok", "Set-Cookie: itop=1; path=/"))) as server:
        for _ in range(2):
            post(session, server.url, deadline=5)
        assert len(session.cookies) == 0
        assert b"cookie" not in server.requests[1].lower()


def test_the_netrc_file_is_not_read(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        post(session, server.url, deadline=5)
    assert b"authorization" not in server.requests[0].lower()


def test_no_time_left_sends_nothing(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        with pytest.raises(HttpUnreachableError):
            post(session, server.url, deadline=0)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://127.0.0.1:1/", f"{SECRET}\nX-Evil: 1"),
        ("http://127.0.0.1:1/", f"{SECRET}\N{RIGHT SINGLE QUOTATION MARK}"),
        ("not an address", SECRET),
        ("ftp://itop.example/", SECRET),
        ("http://" + "a" * 70 + ".example/", SECRET),
        ("http://[::1/", SECRET),
    ],
    ids=short_id,
)
def test_an_invalid_request_is_unreachable_and_hides_secrets(
    session: requests.Session, url: str, token: str
) -> None:
    with pytest.raises(HttpUnreachableError) as caught:
        exchange(session, "POST", url, deadline=2, headers={"Auth-Token": token})
    assert SECRET not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_threads_share_a_session_with_their_own_deadlines(session: requests.Session) -> None:
    def respond_by_path(server: SocketServer, connection: socket.socket) -> None:
        if server.requests[-1].startswith(b"POST /slow"):
            server.stall(connection)
        else:
            connection.sendall(http_response(b"ok"))

    outcomes: list[str] = []

    def slow(url: str) -> None:
        try:
            post(session, f"{url}/slow")
        except HttpNoResponseError:
            outcomes.append("no response")

    with serving(respond_by_path) as server:
        threads = [threading.Thread(target=slow, args=(server.url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
            thread.join(0.01)
        for thread in threads:
            thread.join(5)
        assert outcomes == ["no response"] * 3
        assert post(session, f"{server.url}/fast", deadline=5).body == b"ok"


def test_nothing_secret_is_logged(session: requests.Session, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        post(session, server.url, deadline=5)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("failure", [requests.ReadTimeout("late"), requests.exceptions.ReadTimeout()])
def test_exchanges_can_be_faked_with_responses(session: requests.Session, failure: Exception) -> None:
    with responses.RequestsMock() as edge:
        edge.post("https://itop.example/x", body="fine", status=201)
        assert post(session, "https://itop.example/x").body == b"fine"
        edge.post("https://itop.example/refused", body=requests.ConnectionError("refused"))
        with pytest.raises(HttpUnreachableError):
            post(session, "https://itop.example/refused")
        edge.post("https://itop.example/late", body=failure)
        with pytest.raises(HttpNoResponseError):
            post(session, "https://itop.example/late")


def test_a_dead_proxy_is_unreachable(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(HttpUnreachableError):
        post(session, "https://itop.example/", deadline=5)


def test_a_proxy_that_refuses_the_tunnel_is_unreachable(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"", status="403 Forbidden"))) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(HttpUnreachableError):
            post(session, "https://itop.example/", deadline=5)
        assert SECRET.encode() not in server.requests[0]


def test_a_header_line_that_is_too_long_is_no_response(session: requests.Session) -> None:
    endless = http_response(b"", "X: " + "x" * 70_000)
    assert_no_response(session, lambda server, c: c.sendall(endless), deadline=5)


def test_a_thread_that_cannot_start_affects_one_exchange_only(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = http._DeadlineScheduler()
    expired = threading.Event()
    watchdog: Any = SimpleNamespace(stopped=False, expire=expired.set)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError):
            scheduler.add(time.monotonic(), watchdog)
    scheduler.add(time.monotonic(), watchdog)
    assert expired.wait(5)


def test_a_reused_connection_has_the_end_of_the_certificate_too(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with serving(lambda server, c: c.sendall(http_response(b"ok")), context) as server:
        ends = [post(session, server.url, deadline=5).certificate_end for _ in range(2)]
        assert server.connections == 1
    assert ends[0] == ends[1]
    assert ends[0] is not None
    assert 0 < ends[0] - time.time() <= 86_400


def test_without_tls_there_is_no_certificate(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(http_response(b"ok"))) as server:
        assert post(session, server.url, deadline=5).certificate_end is None
