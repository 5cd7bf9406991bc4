"""The exchange's promises, against a real server of bare sockets that misbehaves."""

from __future__ import annotations

import gzip
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

from itop_client import transport
from itop_client.transport import Answer, NoAnswer, Unreachable, exchange, open_session
from tests.itop_client.socket_server import Behaviour, SocketServer, answer, certificate, serving

DEADLINE = 0.4
LATE = 0.5  # how much later than its deadline an exchange may end on a busy machine
SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with open_session() as one:
        yield one


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert transport._current.watch is None
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for timer in timers:
        timer.join(1)
    assert not any(timer.is_alive() for timer in timers)


def post(session: requests.Session, url: str, *, deadline: float = DEADLINE, **more: object) -> Answer:
    return exchange(
        session,
        "POST",
        url,
        deadline=deadline,
        headers={"Auth-Token": SECRET},
        data={"auth_pwd": SECRET},
        **more,  # type: ignore[arg-type]
    )


def gives_no_answer(session: requests.Session, behave: Behaviour, *, deadline: float = DEADLINE) -> NoAnswer:
    with serving(behave) as server:
        before = time.monotonic()
        with pytest.raises(NoAnswer) as caught:
            post(session, server.url, deadline=deadline)
        assert time.monotonic() - before < deadline + LATE
        assert len(server.requests) == 1, "a request was repeated"
    assert SECRET not in f"{caught.value!r} {caught.value}"
    return caught.value


def test_an_answer_comes_whole_with_its_status_and_headers(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"no", "X-Note: here", status="418 Teapot"))) as server:
        given = post(session, server.url, deadline=5)
    assert (given.status, given.body, given.headers["x-note"]) == (418, b"no", "here")


def test_json_is_sent_as_json(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        exchange(session, "POST", server.url, deadline=5, json={"a": [1]})
    assert server.requests[0].endswith(b'{"a": [1]}')


def test_a_connection_is_used_again(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        for _ in range(3):
            post(session, server.url, deadline=5)
        assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "IDLE_SECONDS", 0.0)
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        for _ in range(2):
            post(session, server.url, deadline=5)
        assert server.connections == 2


def test_a_kept_connection_that_the_server_closed_meanwhile_is_replaced(session: requests.Session) -> None:
    closed = threading.Event()

    def answer_and_leave(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(answer(b"ok"))
        if server.connections == 1:
            connection.shutdown(socket.SHUT_RDWR)
            closed.set()

    with serving(answer_and_leave) as server:
        post(session, server.url, deadline=5)
        assert closed.wait(5)
        assert post(session, server.url, deadline=5).body == b"ok"
        assert (server.connections, len(server.requests)) == (2, 2)


def test_a_kept_connection_that_breaks_during_the_request_is_not_tried_again(
    session: requests.Session,
) -> None:
    def answer_once(server: SocketServer, connection: socket.socket) -> None:
        if len(server.requests) == 1:
            connection.sendall(answer(b"ok"))
        else:
            server.drop(connection)

    with serving(answer_once) as server:
        post(session, server.url, deadline=5)
        with pytest.raises(NoAnswer):
            post(session, server.url, deadline=5)
        assert len(server.requests) == 2


def test_a_server_that_drips_headers_does_not_get_past_the_deadline(session: requests.Session) -> None:
    gives_no_answer(session, lambda server, c: server.drip(c, answer(b"ok", "X-Long: " + "x" * 500)))


def test_a_server_that_drips_header_lines_does_not_get_past_the_deadline(session: requests.Session) -> None:
    gives_no_answer(session, lambda server, c: server.drip(c, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 90))


def test_a_server_that_drips_its_body_does_not_get_past_the_deadline(session: requests.Session) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        head, _, _ = answer(b"x" * 500).partition(b"xxx")
        connection.sendall(head)
        server.drip(connection, b"x" * 500)

    gives_no_answer(session, drip)


def test_a_dripped_body_without_a_length_is_not_taken_for_a_whole_one(session: requests.Session) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
        server.drip(connection, b"x" * 500)

    gives_no_answer(session, drip)


def test_a_dripped_chunked_body_does_not_get_past_the_deadline(session: requests.Session) -> None:
    def drip(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        server.drip(connection, b"1\r\nx\r\n" * 100)

    gives_no_answer(session, drip)


def test_the_server_sees_us_hang_up_at_the_deadline(session: requests.Session) -> None:
    with serving(lambda server, c: server.drip(c, answer(b"x" * 2000))) as server:
        with pytest.raises(NoAnswer):
            post(session, server.url)
        assert server.noticed.wait(5)


def test_an_answer_after_the_deadline_is_no_answer(session: requests.Session) -> None:
    def wait(server: SocketServer, connection: socket.socket) -> None:
        server.stopping.wait(10)

    gives_no_answer(session, wait)


def test_a_connection_closed_before_answering_is_no_answer(session: requests.Session) -> None:
    failure = gives_no_answer(session, lambda server, c: c.close(), deadline=5)
    assert "closed the connection without answering" in str(failure)


def test_a_connection_reset_before_answering_is_no_answer(session: requests.Session) -> None:
    gives_no_answer(session, lambda server, c: server.drop(c), deadline=5)


def test_a_connection_closed_within_the_body_is_no_answer(session: requests.Session) -> None:
    def half(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(answer(b"x" * 100)[:-50])
        connection.close()

    gives_no_answer(session, half, deadline=5)


def test_what_is_not_http_is_no_answer(session: requests.Session) -> None:
    def chatter(server: SocketServer, connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        connection.close()

    gives_no_answer(session, chatter, deadline=5)


def test_a_body_that_is_too_large_is_no_answer(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"x" * 1001))) as server:
        with pytest.raises(NoAnswer, match="larger than 1000 bytes"):
            post(session, server.url, deadline=5, max_bytes=1000)
        assert len(post(session, server.url, deadline=5, max_bytes=1001).body) == 1001


def test_a_small_body_that_unpacks_to_a_large_one_is_no_answer(session: requests.Session) -> None:
    packed = gzip.compress(b"\0" * 5_000_000)
    with (
        serving(lambda server, c: c.sendall(answer(packed, "Content-Encoding: gzip"))) as server,
        pytest.raises(NoAnswer, match="larger"),
    ):
        post(session, server.url, deadline=5, max_bytes=100_000)


def test_a_refused_connection_is_unreachable(session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match="refused"):
        post(session, f"http://127.0.0.1:{port}/", deadline=5)


def test_a_host_that_does_not_exist_is_unreachable(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(Unreachable):
        post(session, "http://itop.example/", deadline=5)


def test_a_look_up_that_hangs_does_not_get_past_the_deadline(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[object]:
        done.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    before = time.monotonic()
    with pytest.raises(Unreachable):
        post(session, "http://itop.example/")
    assert time.monotonic() - before < DEADLINE + LATE
    done.set()


def test_the_second_address_is_tried_when_the_first_is_dead(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in (dead, ("127.0.0.1", server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)
        assert post(session, "http://itop.example/", deadline=5).body == b"ok"


@contextmanager
def never_accepting() -> Iterator[tuple[str, int]]:
    """An address where connecting hangs: the kernel accepts for a listener only until its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_server_that_never_accepts_is_unreachable_by_the_deadline(session: requests.Session) -> None:
    with never_accepting() as (host, port):
        before = time.monotonic()
        with pytest.raises(Unreachable):
            post(session, f"http://{host}:{port}/")
        assert time.monotonic() - before < DEADLINE + LATE


def test_an_address_where_connecting_hangs_leaves_time_for_the_next(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with never_accepting() as dead, serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        pair = (dead, ("127.0.0.1", server.port))
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in pair]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)
        assert post(session, "http://itop.example/", deadline=1).body == b"ok"


def test_not_even_a_get_is_repeated(session: requests.Session) -> None:
    with serving(lambda server, c: server.drop(c)) as server:
        with pytest.raises(NoAnswer):
            exchange(session, "GET", server.url, deadline=5)
        assert (server.connections, len(server.requests)) == (1, 1)


def test_a_tls_handshake_that_hangs_is_unreachable_by_the_deadline(session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = time.monotonic()
        with pytest.raises(Unreachable):
            post(session, f"https://127.0.0.1:{listener.getsockname()[1]}/")
        assert time.monotonic() - before < DEADLINE + LATE


def test_a_certificate_that_nobody_vouches_for_is_unreachable(
    session: requests.Session, tmp_path: Path
) -> None:
    context, _ = certificate(tmp_path)
    with serving(lambda server, c: c.sendall(answer(b"ok")), context) as server:
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            post(session, server.url, deadline=5)
        assert server.requests == []


def test_a_server_that_drips_under_tls_does_not_get_past_the_deadline(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))

    def ok_then_drip(server: SocketServer, connection: socket.socket) -> None:
        if len(server.requests) == 1:
            connection.sendall(answer(b"ok"))
        else:
            server.drip(connection, answer(b"x" * 500))

    with serving(ok_then_drip, context) as server:
        assert post(session, server.url, deadline=5).body == b"ok"
        before = time.monotonic()
        with pytest.raises(NoAnswer):
            post(session, server.url)
        assert time.monotonic() - before < DEADLINE + LATE
        assert (server.connections, len(server.requests)) == (1, 2)


def test_a_redirect_is_an_answer_and_is_not_followed(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"", "Location: /there", status="302 Found"))) as server:
        given = post(session, server.url, deadline=5)
        assert (given.status, given.headers["Location"], len(server.requests)) == (302, "/there", 1)
        assert session.post(server.url).status_code == 302, "not even without exchange()"
        assert len(server.requests) == 2


def test_cookies_are_neither_kept_nor_sent(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"ok", "Set-Cookie: itop=1; path=/"))) as server:
        for _ in range(2):
            post(session, server.url, deadline=5)
        assert len(session.cookies) == 0
        assert b"cookie" not in server.requests[1].lower()


def test_the_netrc_file_is_not_read(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        post(session, server.url, deadline=5)
    assert b"authorization" not in server.requests[0].lower()


def test_no_time_left_sends_nothing(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        with pytest.raises(Unreachable):
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
)
def test_a_request_that_cannot_be_built_is_unreachable_and_tells_no_secret(
    session: requests.Session, url: str, token: str
) -> None:
    with pytest.raises(Unreachable) as caught:
        exchange(session, "POST", url, deadline=2, headers={"Auth-Token": token})
    assert SECRET not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_many_threads_share_a_session_and_each_keeps_its_own_deadline(session: requests.Session) -> None:
    def by_path(server: SocketServer, connection: socket.socket) -> None:
        if server.requests[-1].startswith(b"POST /slow"):
            server.stopping.wait(10)
        else:
            connection.sendall(answer(b"ok"))

    outcomes: list[str] = []

    def slow(url: str) -> None:
        try:
            post(session, f"{url}/slow")
        except NoAnswer:
            outcomes.append("no answer")

    with serving(by_path) as server:
        threads = [threading.Thread(target=slow, args=(server.url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
            thread.join(0.01)
        for thread in threads:
            thread.join(5)
        assert outcomes == ["no answer"] * 3
        assert post(session, f"{server.url}/fast", deadline=5).body == b"ok"


def test_nothing_secret_is_logged(session: requests.Session, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        post(session, server.url, deadline=5)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("failure", [requests.ReadTimeout("late"), requests.exceptions.ReadTimeout()])
def test_it_can_be_faked_with_responses(session: requests.Session, failure: Exception) -> None:
    with responses.RequestsMock() as edge:
        edge.post("https://itop.example/x", body="fine", status=201)
        assert post(session, "https://itop.example/x").body == b"fine"
        edge.post("https://itop.example/refused", body=requests.ConnectionError("refused"))
        with pytest.raises(Unreachable):
            post(session, "https://itop.example/refused")
        edge.post("https://itop.example/late", body=failure)
        with pytest.raises(NoAnswer):
            post(session, "https://itop.example/late")


def test_a_dead_proxy_is_unreachable(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(Unreachable):
        post(session, "https://itop.example/", deadline=5)


def test_a_proxy_that_refuses_the_tunnel_is_unreachable(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda server, c: c.sendall(answer(b"", status="403 Forbidden"))) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(Unreachable):
            post(session, "https://itop.example/", deadline=5)
        assert SECRET.encode() not in server.requests[0]


def test_a_line_too_long_in_the_headers_is_no_answer(session: requests.Session) -> None:
    endless = answer(b"", "X: " + "x" * 70_000)
    gives_no_answer(session, lambda server, c: c.sendall(endless), deadline=5)


def test_a_thread_that_cannot_be_started_costs_one_exchange_its_deadline_and_not_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarms = transport._Alarms()
    over = threading.Event()
    watch: Any = SimpleNamespace(stopped=False, expire=over.set)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError):
            alarms.add(time.monotonic(), watch)
    alarms.add(time.monotonic(), watch)
    assert over.wait(5)


def test_an_answer_tells_until_when_the_certificate_is_valid_on_a_used_connection_too(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with serving(lambda server, c: c.sendall(answer(b"ok")), context) as server:
        ends = [post(session, server.url, deadline=5).certificate_end for _ in range(2)]
        assert server.connections == 1
    assert ends[0] == ends[1]
    assert ends[0] is not None
    assert 0 < ends[0] - time.time() <= 86_400


def test_without_tls_there_is_no_certificate(session: requests.Session) -> None:
    with serving(lambda server, c: c.sendall(answer(b"ok"))) as server:
        assert post(session, server.url, deadline=5).certificate_end is None
