"""Send one HTTP request with a deadline for the whole exchange.

A read timeout limits only the wait for the next byte, so a server that sends single bytes can exceed it. Here the
deadline is wall-clock time for everything: name lookup, connecting, TLS, sending, headers and body. When it passes,
another thread shuts the socket down, which wakes up the thread that reads from it. No request is ever repeated.

`exchange` either returns the complete response, whatever its status, or raises:

- HttpUnreachableError: not one byte of the request was sent, so it was certainly never processed.
- HttpNoResponseError: sending began and no complete response came. The request may have been processed, or may still
  be.

Neither a body that is sent nor one that is received has to fit into memory: `data` may produce a body piece by piece,
and `into` takes the response's body piece by piece.
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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Protocol

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

# An idle connection is not reused after this time: a firewall may have dropped it without informing either side, and
# a write sent into it cannot be told apart from one that was executed.
MAX_IDLE_SECONDS = 15.0
MAX_RESPONSE_BYTES: Final = 20_000_000
CHUNK_BYTES: Final = 65_536
DEFAULT_USER_AGENT: Final = "itop-client"


class CertificateProblem(StrEnum):
    """Why a server's TLS certificate was not accepted."""

    EXPIRED = "expired"
    SELF_SIGNED = "self_signed"
    UNKNOWN_AUTHORITY = "unknown_authority"
    WRONG_NAME = "wrong_name"
    OTHER = "other"


# OpenSSL's X509_V_ERR_... codes: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_CERTIFICATE_PROBLEMS: Final = {
    10: CertificateProblem.EXPIRED,
    18: CertificateProblem.SELF_SIGNED,
    19: CertificateProblem.UNKNOWN_AUTHORITY,  # a self-signed authority in the chain
    20: CertificateProblem.UNKNOWN_AUTHORITY,
    62: CertificateProblem.WRONG_NAME,
    64: CertificateProblem.WRONG_NAME,  # an IP address
}


class HttpError(Exception):
    """There is no complete response.

    `certificate_problem` is set when the server's TLS certificate was not accepted.
    """

    certificate_problem: CertificateProblem | None = None


class HttpUnreachableError(HttpError):
    """No connection (refused, DNS, TLS, connect timeout): the request was certainly never processed."""

    def __init__(self, detail: str = "", *, certificate_problem: CertificateProblem | None = None) -> None:
        super().__init__(detail)
        self.certificate_problem = certificate_problem


class HttpNoResponseError(HttpError):
    """Sending began, then: deadline, dropped connection or body too large. The request may have been processed."""


class HttpTooLargeError(HttpNoResponseError):
    """The response's body is larger than the limit. Reading stopped, and the request was processed."""


class StreamedBody(Protocol):
    """A request body that is produced while it is sent. `len()` is its exact number of bytes."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class Sink(Protocol):
    """Takes a response's body piece by piece. What it raises ends the exchange and reaches the caller."""

    def write(self, data: bytes, /) -> object: ...


class Deadline:
    """The wall-clock time left for a piece of work, shared by all the calls that it makes."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, at least 0.1: a call with no time left fails as one without a response."""
        return max(0.1, self._end - time.monotonic())


@dataclass(frozen=True)
class Response:
    """A complete response. Names in `headers` ignore case; `body` is decompressed, and empty if a sink took it.

    `certificate_end` is the end of the server certificate's validity in seconds since 1970, None without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_end: float | None = None


def open_session(*, user_agent: str = DEFAULT_USER_AGENT, pool_size: int = 32) -> requests.Session:
    """Return a session for `exchange` that threads can share, with up to `pool_size` connections per host.

    It keeps no cookies, follows no redirects, does not read netrc and repeats nothing. Proxies and certificate
    authorities still come from the environment (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE).
    """
    session = _Session()
    session.headers["User-Agent"] = user_agent
    adapter = _Adapter(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def exchange(  # noqa: PLR0913 - the parts of an HTTP request
    session: requests.Session,
    method: str,
    url: str,
    *,
    deadline: float,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, str | bytes] | bytes | StreamedBody | None = None,
    json: object = None,
    max_bytes: int = MAX_RESPONSE_BYTES,
    into: Sink | None = None,
) -> Response:
    """Send one request, once, and return the complete response, whatever its status.

    `deadline` is in seconds from now; `max_bytes` limits the decompressed body. A body that is produced while it is
    sent has a Content-Length. With `into`, the response's body is written there, whatever the status: if an error is
    raised, a part of it may have been. Raise HttpUnreachableError if nothing was sent, HttpTooLargeError if the body
    is larger than `max_bytes`, and HttpNoResponseError if sending began but no complete response came in time. None
    of these errors contains a header or a body.
    """
    if deadline <= 0:
        raise HttpUnreachableError("no time was left to connect")
    watchdog = Watchdog(deadline)
    _current.watchdog = watchdog
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
            body = _read(response, max_bytes, into)
        finally:
            response.close()
        if watchdog.expired:
            raise TimeoutError
    except _SinkError as error:
        raise error.cause from None
    except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
        # `from None`: the libraries' exceptions may contain the request, its headers or a header's value.
        raise _failure(error, watchdog) from None
    finally:
        _current.watchdog = None
        watchdog.stop()
    return Response(response.status_code, response.headers, body, watchdog.certificate_end)


class _SinkError(Exception):
    """What a sink raised, kept apart from what the network raised: a full disk is no fault of the server."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _read(response: requests.Response, max_bytes: int, into: Sink | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_content(CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise HttpTooLargeError(f"the response is larger than {max_bytes} bytes")
        if into is None:
            chunks.append(chunk)
            continue
        try:
            into.write(chunk)
        except Exception as error:
            raise _SinkError(error) from error
    return b"".join(chunks)


def _failure(error: Exception, watchdog: Watchdog) -> HttpUnreachableError | HttpNoResponseError:
    if isinstance(error, requests.ReadTimeout) or (watchdog.expired and watchdog.sending):
        return HttpNoResponseError(f"no complete response within {watchdog.seconds:g} s")
    if watchdog.expired:
        return HttpUnreachableError(f"no connection within {watchdog.seconds:g} s")
    if watchdog.sending:
        return HttpNoResponseError(f"the connection was lost before a complete response: {_describe(error)}")
    return HttpUnreachableError(_describe(error), certificate_problem=_certificate_problem(error))


def _describe(error: Exception) -> str:
    """Return the cause as the operating system or TLS describes it, without any value."""
    description = type(error).__name__
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            description = cause.strerror
        elif isinstance(cause, NameResolutionError):
            description = "the host name could not be resolved"
        elif isinstance(cause, ConnectTimeoutError) and not isinstance(cause, NewConnectionError):
            description = "connecting took too long"
        elif isinstance(cause, http.client.RemoteDisconnected):
            description = "the server closed the connection without a response"
    return description


def _certificate_problem(error: Exception) -> CertificateProblem | None:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _CERTIFICATE_PROBLEMS.get(cause.verify_code, CertificateProblem.OTHER)
    return None


def _causes(error: Exception) -> Iterator[BaseException]:
    """Yield the error and every exception that it was raised from or that it wraps."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        cause = todo.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            todo += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


class Watchdog:
    """Shuts the socket of one exchange down at its deadline, and records whether sending began.

    After that, a body without a length looks as if it had ended: check `expired`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sending = False
        self.expired = False
        self.stopped = False
        self.certificate_end: float | None = None
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        _scheduler.add(self._end, self)

    def remaining(self) -> float:
        return max(self._end - time.monotonic(), 0.001)

    def attach(self, connected: socket.socket) -> None:
        # A duplicate, because TLS takes over the connection's socket object, the number of a closed socket is soon
        # reused, and a response may still read from a connection that is closed.
        duplicate = socket.socket(fileno=socket.dup(connected.fileno()))  # type: ignore[attr-defined,unused-ignore]
        with self._lock:
            previous, self._socket = self._socket, duplicate
            if self.expired:
                _shut_down(duplicate)
        if previous is not None:
            previous.close()

    def expire(self) -> None:
        with self._lock:
            if self.stopped:
                return
            self.expired = True
            if self._socket is not None:
                _shut_down(self._socket)

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            attached, self._socket = self._socket, None
        if attached is not None:
            attached.close()


def _shut_down(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side closed it first


def look_up(host: str, port: int, seconds: float) -> list[Any]:
    """Return what getaddrinfo returns, which has no timeout. Raise TimeoutError if it takes longer than this.

    A lookup that takes too long ends in its own thread.
    """
    results: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            results.put(error)

    threading.Thread(target=run, name="name-lookup", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def open_socket(
    addresses: list[Any], watchdog: Watchdog, options: Iterable[tuple[Any, ...]] = ()
) -> socket.socket:
    """Connect to the first of the addresses that answers, and let the watchdog watch the socket.

    `addresses` is the return value of `look_up`.


    Raise OSError.
    """
    failure: OSError = OSError("the host name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        candidate = socket.socket(family, kind, protocol)
        try:
            for option in options:
                candidate.setsockopt(*option)
            # Each address gets an equal share of the time, so that a dead one does not use up all of it.
            candidate.settimeout(watchdog.remaining() / (len(addresses) - index))
            candidate.connect(address)
            candidate.settimeout(watchdog.remaining())
            watchdog.attach(candidate)
            return candidate
        except OSError as error:
            failure = error
            candidate.close()
    raise failure


class _DeadlineScheduler:
    """One thread that expires watchdogs on time.

    A timer, and therefore a thread, per exchange would have to wait for its turn while many other threads run.
    """

    def __init__(self) -> None:
        self._reset()
        # A forked child inherits neither the thread nor the thread that holds the lock.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._heap: list[tuple[float, int, Watchdog]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, end: float, watchdog: Watchdog) -> None:
        with self._changed:
            heapq.heappush(self._heap, (end, next(self._numbers), watchdog))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="http-deadlines", daemon=True)
                thread.start()  # if the system refuses, the next call tries again
                self._thread = thread
            elif self._heap[0][2] is watchdog:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self._wait_for_next().expire()

    def _wait_for_next(self) -> Watchdog:
        with self._changed:
            while True:
                while self._heap and self._heap[0][2].stopped:  # most stop long before their deadline
                    heapq.heappop(self._heap)
                seconds = self._heap[0][0] - time.monotonic() if self._heap else None
                if seconds is not None and seconds <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(seconds)


_scheduler = _DeadlineScheduler()


class _Current(threading.local):
    """The watchdog of this thread's exchange: urllib3 cannot pass one down to a connection."""

    watchdog: Watchdog | None = None


_current = _Current()


class _WatchedConnection(HTTPConnection):
    _connecting = False
    _used_at = 0.0
    _certificate_end: float | None = None

    @property
    def is_connected(self) -> bool:
        # The pool checks this before it reuses a connection; False makes it open a new one.
        return time.monotonic() - self._used_at < MAX_IDLE_SECONDS and super().is_connected

    def _new_conn(self) -> socket.socket:
        watchdog = _current.watchdog
        if watchdog is None:
            return super()._new_conn()
        try:
            addresses = look_up(self._dns_host, self.port, watchdog.remaining())
            return open_socket(addresses, watchdog, self.socket_options or ())
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting took too long") from error
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, str(error)) from error

    def connect(self) -> None:
        self._connecting = True
        try:
            super().connect()
        finally:
            self._connecting = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        if _current.watchdog is not None and self.sock is not None:
            _current.watchdog.attach(self.sock)
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        # While connecting, only the CONNECT request to a proxy is sent.
        if _current.watchdog is not None and not self._connecting:
            _current.watchdog.sending = True
            _current.watchdog.certificate_end = self._certificate_end
        super().send(data)

    def getresponse(self) -> Any:
        self._used_at = time.monotonic()
        return super().getresponse()


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # The parsed certificate is empty if it was not verified.
        tls: Any = self.sock
        end = (tls.getpeercert() or {}).get("notAfter")
        self._certificate_end = float(ssl.cert_time_to_seconds(end)) if end else None


class _Pool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


_POOLS: Final = {"http": _Pool, "https": _TlsPool}


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
        self.auth = _no_authentication

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def _no_authentication(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request unchanged. Without an `auth`, requests would read ~/.netrc."""
    return request
