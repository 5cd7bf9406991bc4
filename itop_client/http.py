"""Send one HTTP request with a deadline for the whole exchange.

A read timeout limits only the wait for the next byte, so a server that sends single bytes can take forever. Here the
deadline is wall-clock time for everything: name lookup, connecting, TLS, sending, headers and body. At the deadline,
another thread shuts the socket down. This wakes up the thread that reads from it. No request is ever repeated.

`exchange` either returns the complete response, whatever its status, or raises:

- HttpUnreachableError: not one byte of the request was sent, so the server certainly never processed it.
- HttpNoResponseError: sending began, but no complete response came. The server may have processed the request, or may
  still process it.

Large bodies need not fit into memory. `data` may be a StreamedBody, which produces the request's body piece by piece.
`into` is a Sink, which takes the response's body piece by piece.
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

# A connection that was idle for longer is not reused: a firewall may have dropped it without informing either side.
# Nobody could then know whether a write that was sent into the connection was executed.
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
    """The exchange ended without a complete response.

    `certificate_problem` is set when the server's TLS certificate was not accepted.
    """

    certificate_problem: CertificateProblem | None = None


class HttpUnreachableError(HttpError):
    """No connection (refused, DNS, TLS, connect timeout): the server certainly never processed the request."""

    def __init__(self, detail: str = "", *, certificate_problem: CertificateProblem | None = None) -> None:
        super().__init__(detail)
        self.certificate_problem = certificate_problem


class HttpNoResponseError(HttpError):
    """Sending began, but no complete response came. The server may have processed the request.

    Either the deadline passed, the connection was lost, or the response was too large.
    """


class HttpTooLargeError(HttpNoResponseError):
    """The response's body is larger than `max_bytes`, so it was not read to its end."""


class StreamedBody(Protocol):
    """A request body that is produced while it is sent. `len()` is its exact size in bytes (the Content-Length)."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class Sink(Protocol):
    """Takes a response's body piece by piece. An exception of `write` ends the exchange, and `exchange` raises it."""

    def write(self, data: bytes, /) -> object: ...


class Deadline:
    """A time limit (wall-clock) that several calls share."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, but at least 0.1: a call that starts too late then fails like any other timeout."""
        return max(0.1, self._end - time.monotonic())


@dataclass(frozen=True)
class Response:
    """A complete response.

    Names in `headers` are case-insensitive. `body` is decompressed; it is empty if a sink took the body.
    `certificate_end` is when the server's certificate expires, in seconds since 1970. It is None without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_end: float | None = None


def open_session(*, user_agent: str = DEFAULT_USER_AGENT, pool_size: int = 32) -> requests.Session:
    """Return a session for `exchange` that threads can share, with up to `pool_size` connections per host.

    It keeps no cookies, follows no redirects, does not read ~/.netrc and repeats no request. Proxies and certificate
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

    `deadline` is in seconds from now. `max_bytes` limits the response's decompressed body. With `into`, the body is
    written to this sink, whatever the status. After an error, the sink may have received a part of the body.

    Raise HttpUnreachableError if nothing was sent. Raise HttpNoResponseError if sending began but no complete response
    came in time, and its subclass HttpTooLargeError if the body is larger than `max_bytes`. The texts of these errors
    contain no header and no body.
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
            body = _read_body(response, max_bytes, into)
        finally:
            response.close()
        if watchdog.expired:  # the body may look complete although it was cut off at the deadline
            raise TimeoutError
    except _SinkError as error:
        raise error.cause from None
    except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
        # `from None`, because the libraries' exceptions may contain the request and its headers, and so a secret.
        raise _to_http_error(error, watchdog) from None
    finally:
        _current.watchdog = None
        watchdog.stop()
    return Response(response.status_code, response.headers, body, watchdog.certificate_end)


class _SinkError(Exception):
    """Wraps an exception of a sink, because it may be an OSError (a full disk) that is not an error of the network."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _read_body(response: requests.Response, max_bytes: int, into: Sink | None) -> bytes:
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


def _to_http_error(error: Exception, watchdog: Watchdog) -> HttpUnreachableError | HttpNoResponseError:
    if isinstance(error, requests.ReadTimeout) or (watchdog.expired and watchdog.sending_began):
        return HttpNoResponseError(f"no complete response within {watchdog.seconds:g} s")
    if watchdog.expired:
        return HttpUnreachableError(f"no connection within {watchdog.seconds:g} s")
    if watchdog.sending_began:
        return HttpNoResponseError(f"the connection was lost before a complete response: {_describe(error)}")
    return HttpUnreachableError(_describe(error), certificate_problem=_certificate_problem(error))


def _describe(error: Exception) -> str:
    """Return what the operating system or TLS says about the last known cause, without hosts, headers or values."""
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
            # urllib3 keeps a wrapped exception in `reason` or in `args`.
            todo += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


class Watchdog:
    """Shuts down the socket of one exchange at the deadline, and records the progress of the exchange.

    After the shutdown, a response without a Content-Length looks complete. `expired` shows that it is not.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sending_began = False
        self.expired = False
        self.stopped = False
        self.certificate_end: float | None = None
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        _scheduler.add(self._end, self)

    def remaining(self) -> float:
        """Return the seconds left, but never 0: a socket with the timeout 0 does not wait at all."""
        return max(self._end - time.monotonic(), 0.001)

    def attach(self, connected: socket.socket) -> None:
        """Watch this socket instead of the previous one."""
        # The watchdog needs a duplicate, because TLS replaces the connection's socket object. Besides, a connection may
        # be closed while a response still reads from it, and then another socket may get the closed socket's number.
        duplicate = socket.socket(fileno=socket.dup(connected.fileno()))  # type: ignore[attr-defined,unused-ignore]
        with self._lock:
            previous, self._socket = self._socket, duplicate
            if self.expired:
                _shut_down(duplicate)
        if previous is not None:
            previous.close()

    def expire(self) -> None:
        """Shut the socket down: the deadline has passed. The scheduler calls this."""
        with self._lock:
            if self.stopped:
                return
            self.expired = True
            if self._socket is not None:
                _shut_down(self._socket)

    def stop(self) -> None:
        """Stop watching: the exchange has ended. The connection stays open, because its socket was duplicated."""
        with self._lock:
            self.stopped = True
            duplicate, self._socket = self._socket, None
        if duplicate is not None:
            duplicate.close()


def _shut_down(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side closed it first


def look_up(host: str, port: int, seconds: float) -> list[Any]:
    """Return the addresses of a host as `socket.getaddrinfo` does. Raise TimeoutError after this many seconds.

    getaddrinfo has no timeout, so it runs in a thread of its own. After a TimeoutError, this thread continues until
    the lookup ends. Raise the OSError or UnicodeError of getaddrinfo.
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
    """Connect to the first address that accepts the connection, and let the watchdog watch the socket.

    `addresses` is the result of `look_up`. Raise the last address's OSError if none accepts the connection.
    """
    failure: OSError = OSError("the host name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        candidate = socket.socket(family, kind, protocol)
        try:
            for option in options:
                candidate.setsockopt(*option)
            # Each address gets an equal share of the time: an address that does not respond must not use up all of it.
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
    """Expires all watchdogs at their deadlines, in one thread.

    A threading.Timer per exchange would need a thread per exchange. With so many threads, a timer's thread would often
    run too late.
    """

    def __init__(self) -> None:
        self._reset()
        # A forked child has only the thread that forked. The scheduler's thread is missing there, and a lock that
        # another thread held would never be released.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Deadline (monotonic), number, watchdog. The number decides between equal deadlines: watchdogs have no order.
        self._heap: list[tuple[float, int, Watchdog]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, end: float, watchdog: Watchdog) -> None:
        with self._changed:
            heapq.heappush(self._heap, (end, next(self._numbers), watchdog))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="http-deadlines", daemon=True)
                thread.start()
                # Set only now: if the system allowed no thread (RuntimeError), the next call tries again.
                self._thread = thread
            elif self._heap[0][2] is watchdog:
                # This watchdog now expires first, so the thread must wait for it instead of another one.
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self._wait_for_next().expire()

    def _wait_for_next(self) -> Watchdog:
        with self._changed:
            while True:
                # Most exchanges end long before their deadline.
                while self._heap and self._heap[0][2].stopped:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._changed.wait()
                    continue
                end, _number, watchdog = self._heap[0]
                seconds = end - time.monotonic()
                if seconds <= 0:
                    heapq.heappop(self._heap)
                    return watchdog
                self._changed.wait(seconds)


_scheduler = _DeadlineScheduler()


class _Current(threading.local):
    """The watchdog of this thread's exchange. It is here because urllib3 cannot pass it down to a connection."""

    watchdog: Watchdog | None = None


_current = _Current()


class _WatchedConnection(HTTPConnection):
    """Gives its socket to the current watchdog, and records there when sending begins."""

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
        # What is sent while connecting is not the request, but only the CONNECT to a proxy.
        if _current.watchdog is not None and not self._connecting:
            _current.watchdog.sending_began = True
            _current.watchdog.certificate_end = self._certificate_end
        super().send(data)

    def getresponse(self) -> Any:
        self._used_at = time.monotonic()
        return super().getresponse()


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        tls: Any = self.sock
        # Python returns no certificate if it was not verified.
        certificate = tls.getpeercert() or {}
        end = certificate.get("notAfter")
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
        # For `response.next`, requests would read a redirect's whole body into memory, even with allow_redirects=False.
        return None


def _no_authentication(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request unchanged. If a session had no `auth`, requests would take one from ~/.netrc."""
    return request
