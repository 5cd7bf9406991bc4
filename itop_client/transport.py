"""One HTTP exchange that is over when its deadline says so.

A read time-out limits the wait for the next byte, so a server that drips bytes gets past it. Here the
deadline is wall time of the whole exchange: looking the name up, connecting, TLS, sending, headers and body.
When it passes, another thread shuts the socket down, which wakes whoever is reading from it. Nothing is sent twice.

    exchange() -> Answer         whatever the status
               -> Unreachable    certainly never processed: not one byte of the request was sent
               -> NoAnswer       sending began, and no complete answer came: it may have run, or may yet
"""

from __future__ import annotations

import heapq
import http.client
import itertools
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

# A connection idle for longer is not used again: a firewall may have forgotten it without telling either
# side, and a write sent into that void cannot be told from one that ran.
IDLE_SECONDS = 15.0
CHUNK_BYTES = 65_536
USER_AGENT = "intercom-itop-bridge"


class Unreachable(Exception):
    """No connection (refused, DNS, TLS, connect time-out): the request was certainly never processed."""


class NoAnswer(Exception):
    """Sending began, then: deadline, dropped connection, body too large. It may have been processed."""


@dataclass(frozen=True)
class Answer:
    """A complete answer. `headers` are looked up in any case; `body` is decompressed.

    `certificate_end`: until when the server's certificate is valid, in seconds since 1970; None without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_end: float | None = None


def open_session(*, pool_size: int = 32) -> requests.Session:
    """A session for `exchange`, to be shared by all threads: up to `pool_size` kept-alive connections a host.

    It keeps no cookie, follows no redirect, reads no netrc and repeats nothing. Proxies and authorities still
    come from the environment (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE).
    """
    session = _Session()
    adapter = _Adapter(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    deadline: float,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, str] | bytes | None = None,
    json: object = None,
    max_bytes: int = 20_000_000,
) -> Answer:
    """Sends one request, once, and answers the whole answer, whatever its status.

    `deadline` is in seconds from now, `max_bytes` limits the decompressed body. Raises Unreachable when
    nothing was sent and NoAnswer when sending began but no complete answer came in time. Neither's text holds
    a header or a body.
    """
    if deadline <= 0:
        raise Unreachable("no time was left to connect")
    watch = _Watch(deadline)
    _current.watch = watch
    try:
        try:
            response = session.request(
                method,
                url,
                headers=headers,
                data=data,
                json=json,
                timeout=deadline,
                allow_redirects=False,
                stream=True,
            )
            try:
                body = _read(response, max_bytes)
            finally:
                response.close()
        except NoAnswer:
            raise
        except requests.ReadTimeout:
            raise NoAnswer(f"no complete answer within {deadline:g} s") from None
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            # From None: what the libraries raise may carry the request, its headers or a header's value.
            if watch.over:
                raise watch.failure() from None
            if watch.sending:
                raise NoAnswer(f"the connection was lost before a complete answer: {_why(error)}") from None
            raise Unreachable(_why(error)) from None
        # Shut down by us, a body without a length looks as if it had ended.
        if watch.over:
            raise watch.failure()
        return Answer(response.status_code, response.headers, body, watch.certificate_end)
    finally:
        _current.watch = None
        watch.stop()


def _read(response: requests.Response, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(CHUNK_BYTES):
        size += len(part)
        if size > max_bytes:
            raise NoAnswer(f"the answer is larger than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


def _why(error: BaseException) -> str:
    """The reason in plain words, as the operating system or TLS gave it, without any value."""
    found = type(error).__name__
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.strerror:
            found = one.strerror
        elif isinstance(one, NameResolutionError):
            found = "the host's name could not be resolved"
        elif isinstance(one, ConnectTimeoutError) and not isinstance(one, NewConnectionError):
            found = "connecting took too long"
        elif isinstance(one, http.client.RemoteDisconnected):
            found = "the server closed the connection without answering"
        todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found


class _Watch:
    """The deadline of one exchange: shuts its socket down at the end, and knows whether sending began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sending = False
        self.over = False
        self.certificate_end: float | None = None
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self.stopped = False
        _alarms.add(self._end, self)

    def remaining(self) -> float:
        return max(self._end - time.monotonic(), 0.001)

    def attach(self, sock: socket.socket) -> None:
        # A handle of our own: TLS takes the connection's socket object over, a closed one's number is soon
        # somebody else's, and a connection that is closed may still be read from by its response.
        handle = socket.socket(fileno=socket.dup(sock.fileno()))  # type: ignore[attr-defined,unused-ignore]
        with self._lock:
            former, self._handle = self._handle, handle
            if self.over:
                _shut(handle)
        if former is not None:
            former.close()

    def failure(self) -> Unreachable | NoAnswer:
        if self.sending:
            return NoAnswer(f"no complete answer within {self.seconds:g} s")
        return Unreachable(f"no connection within {self.seconds:g} s")

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def expire(self) -> None:
        with self._lock:
            if self.stopped:
                return
            self.over = True
            if self._handle is not None:
                _shut(self._handle)


class _Alarms:
    """One thread that ends what is over its time.

    A timer, and so a thread, for each exchange would be started while many others want to run, and wait for its turn.
    """

    def __init__(self) -> None:
        self._forget()
        # A fork takes neither the thread along nor whoever holds the lock.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._due: list[tuple[float, int, _Watch]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, at: float, watch: _Watch) -> None:
        with self._changed:
            heapq.heappush(self._due, (at, next(self._numbers), watch))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                # It may be refused; then the next one tries again.
                thread.start()
                self._thread = thread
            elif self._due[0][2] is watch:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self._next().expire()

    def _next(self) -> _Watch:
        """Waits for the next one whose time is over; most have been stopped long before."""
        with self._changed:
            while True:
                while self._due and self._due[0][2].stopped:
                    heapq.heappop(self._due)
                if not self._due:
                    self._changed.wait()
                    continue
                left = self._due[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(left)


_alarms = _Alarms()


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was faster


class _Current(threading.local):
    """The watch of the exchange this thread is in: urllib3 has no way to hand one down to a connection."""

    watch: _Watch | None = None


_current = _Current()


class _WatchedConnection(HTTPConnection):
    _opening = False
    _used_at = 0.0
    _certificate_end: float | None = None

    @property
    def is_connected(self) -> bool:
        # Asked by the pool before it hands out a used connection; "no" makes it open a new one.
        return time.monotonic() - self._used_at < IDLE_SECONDS and super().is_connected

    def _new_conn(self) -> socket.socket:
        watch = _current.watch
        if watch is None:
            return super()._new_conn()
        addresses = self._resolve(watch)
        failure: OSError = OSError("the host's name has no address")
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                # A fair share each, so that one dead address does not take the time of the living one.
                sock.settimeout(watch.remaining() / (len(addresses) - index))
                if self.source_address:
                    sock.bind(self.source_address)
                sock.connect(address)
                sock.settimeout(watch.remaining())
                watch.attach(sock)
                return sock
            except OSError as error:
                failure = error
                sock.close()
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "connecting took too long") from failure
        raise NewConnectionError(self, str(failure)) from failure

    def _resolve(self, watch: _Watch) -> list[Any]:
        # getaddrinfo cannot be given a time-out; left alone, it ends by itself.
        found: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                found.put(list(socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)))
            except (OSError, UnicodeError) as error:
                found.put(error)

        threading.Thread(target=look_up, name="look-up", daemon=True).start()
        try:
            answer = found.get(timeout=watch.remaining())
        except queue.Empty:
            raise ConnectTimeoutError(self, "the look-up of the host's name took too long") from None
        if isinstance(answer, socket.gaierror):
            raise NameResolutionError(self.host, self, answer) from answer
        if isinstance(answer, (OSError, UnicodeError)):
            raise NewConnectionError(self, str(answer)) from answer
        return answer

    def connect(self) -> None:
        self._opening = True
        try:
            super().connect()
        finally:
            self._opening = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        watch = _current.watch
        if watch is not None and self.sock is not None:
            watch.attach(self.sock)
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        watch = _current.watch
        # While opening, what is sent is a word to the proxy.
        if watch is not None and not self._opening:
            watch.sending = True
            watch.certificate_end = self._certificate_end
        super().send(data)

    def getresponse(self) -> Any:
        self._used_at = time.monotonic()
        return super().getresponse()


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # The parsed form is empty for a certificate that nobody has verified.
        tls: Any = self.sock
        end = (tls.getpeercert() or {}).get("notAfter")
        self._certificate_end = float(ssl.cert_time_to_seconds(end)) if end else None


class _Pool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers["User-Agent"] = USER_AGENT
        self.auth = _no_authentication
        self._environment: dict[tuple[str, str], Any] = {}

    def merge_environment_settings(self, url: Any, *args: Any) -> Any:
        # A process's environment stays as it is, and reading it takes a third of an exchange's time.
        host = urlsplit(url)[:2]
        if host not in self._environment:
            self._environment[host] = super().merge_environment_settings(url, *args)
        return self._environment[host]

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def _no_authentication(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Being there is its work: without an `auth`, requests reads ~/.netrc.
    return request
