"""Download one file of a message from Intercom to a temporary file. Only allowed hosts are contacted.

Anybody who writes a message can put an address into it, so an address is not trusted:

- Only https on port 443 and only listed hosts are allowed: those of the workspace's region
  (https://www.intercom.com/help/en/articles/3894, img-src and media-src) and those that an admin added. Host names are
  compared in their normalized form. User names, encoded hosts, and IP addresses in any spelling are refused.
- The host is looked up once. All addresses that it has must be public, and the bridge connects to one of them. TLS
  checks that the certificate is for the host's name.
- At most three redirects are followed, and each is checked in the same way. No credentials or cookies are sent.
- One deadline covers everything: waiting for a free slot, lookup, connection, TLS, and every byte.
- The bytes are counted while they are read, whatever Content-Length says. Compressed bodies are refused.

If HTTPS_PROXY is set, the connection goes through the proxy (CONNECT with the host's name), except for hosts in
NO_PROXY. Behind such a proxy there is often no other way out, and no DNS for outside hosts. The proxy looks the host
up, so the bridge cannot check the IP addresses. It still sends the request only after the server has shown a
certificate for the name of an allowed host, which a server in a private network does not have. Configure the proxy to
refuse private networks as well.

If the setting FILES_FROM_STAND_IN is on, the origin of INTERCOM_API_URL is allowed, too, whatever its scheme, port and
IP addresses. No environment variable sets it: it is on in settings.development and settings.testing, and off in
production.

    DownloadError                  retry  file_not_downloaded   network, TLS, an unexpected response
    ├── DownloadTimeoutError       retry  file_not_downloaded   the deadline passed
    ├── FileNotStoredError         retry  file_not_stored       FILES_DIR is full or not writable
    ├── AddressExpiredError        retry  file_not_downloaded   the conversation has a fresh address
    ├── HostRefusedError                  file_host_refused     `detail` is the host
    ├── AddressRefusedError               file_address_refused
    ├── FileQuarantinedError              file_quarantined      403, 404, 410, although the address is not expired
    ├── FileEmptyError                    file_empty
    ├── FileTooLargeError                 file_too_large
    └── FileTypeForbiddenError            file_type_forbidden   raised by `check_type`
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import http.client
import io
import ipaddress
import os
import re
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urljoin, urlsplit

import requests
from django.conf import settings
from urllib3.util import make_headers

from intercom_bridge import USER_AGENT
from intercom_bridge.models import Workspace
from intercom_bridge.models.reason import ReasonCode
from itop_client import RemoteError
from itop_client.http import Watchdog, look_up, open_socket

from .names import HEAD_BYTES, content_type_of, is_forbidden

MAX_REDIRECTS: Final = 3
CHUNK_BYTES: Final = 65_536
PREFIX: Final = "bridge-file-"
# A temporary file that is older than this was left by a process that was killed. No attempt takes so long.
ABANDONED_SECONDS: Final = 3600
MAX_ADDRESS: Final = 8192

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_AUTHORITY: Final = re.compile(r"(?P<host>[^:@\[\]%]+)(?::443)?")
# At least two labels. The last one begins with a letter, which excludes every spelling of an IPv4 address.
_HOST: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
# The characters of a path that are not percent-encoded.
_UNRESERVED: Final = "%/:@!$&'()*+,;=~-._"

_US_HOSTS: Final = (
    "downloads.intercomcdn.com",
    "uploads.intercomcdn.com",
    "uploads.intercomusercontent.com",
    "gifs.intercomcdn.com",
    "video-messages.intercomcdn.com",
    "static.intercomassets.com",
    "*.intercom-attachments.com",
    *(f"*.intercom-attachments-{number}.com" for number in range(1, 10)),
)
# All regions use the hosts of the US for files that the regions share, such as GIFs.
REGION_HOSTS: Final = {
    Workspace.Region.US: _US_HOSTS,
    Workspace.Region.EU: (
        *_US_HOSTS,
        "downloads.intercomcdn.eu",
        "uploads.intercomcdn.eu",
        "uploads.eu.intercomcdn.com",
        "static.intercomassets.eu",
        "*.intercom-attachments.eu",
    ),
    Workspace.Region.AU: (
        *_US_HOSTS,
        "downloads.au.intercomcdn.com",
        "uploads.au.intercomcdn.com",
        "static.au.intercomassets.com",
        "*.au.intercom-attachments.com",
    ),
}

# Networks that are not public, from https://www.iana.org/assignments/iana-ipv4-special-registry/ and
# iana-ipv6-special-registry/, and multicast. Python's `is_global` is not used, because it differs between versions.
_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's platform, reachable from inside only
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols, among them Teredo
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "3fff::/20",
        ),
    )
)
# In a network without IPv4, a resolver returns IPv4 addresses in this IPv6 network (RFC 6052).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class DownloadError(RemoteError):
    """The file was not downloaded."""

    code: ClassVar[str] = ReasonCode.FILE_NOT_DOWNLOADED.value
    summary = "The file could not be downloaded"
    may_have_run = False


class DownloadTimeoutError(DownloadError):
    """The deadline passed."""

    summary = "The download took too long"


class FileNotStoredError(DownloadError):
    """The file could not be written to settings.FILES_DIR, or not be read from it. `detail` is the system's reason."""

    code = ReasonCode.FILE_NOT_STORED.value
    summary = "The file could not be stored on the bridge's disk"


class AddressExpiredError(DownloadError):
    """The address has expired. Intercom returns a fresh one with the conversation."""

    summary = "The file's address has expired"


class HostRefusedError(DownloadError):
    """The host is not in the list. `detail` is its name."""

    code = ReasonCode.FILE_HOST_REFUSED.value
    summary = "Files are not downloaded from this host"
    retry = False


class AddressRefusedError(DownloadError):
    """The address is not an https URL with a host name, or the host has an IP address that is not public."""

    code = ReasonCode.FILE_ADDRESS_REFUSED.value
    summary = "The file's address is not allowed"
    retry = False


class FileQuarantinedError(DownloadError):
    """Intercom does not return the file, although its address has not expired."""

    code = ReasonCode.FILE_QUARANTINED.value
    summary = "Intercom does not return the file"
    retry = False


class FileEmptyError(DownloadError):
    """The file has no content."""

    code = ReasonCode.FILE_EMPTY.value
    summary = "The file is empty"
    retry = False


class FileTooLargeError(DownloadError):
    """The file has more bytes than allowed."""

    code = ReasonCode.FILE_TOO_LARGE.value
    summary = "The file is too large"
    retry = False


class FileTypeForbiddenError(DownloadError):
    """The workspace does not copy files of this type."""

    code = ReasonCode.FILE_TYPE_FORBIDDEN.value
    summary = "Files of this type are not copied"
    retry = False


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts from which files may be downloaded.

    names: normalized host names. "*.example.com" stands for all its subdomains, but not for example.com.
    origin: the scheme, host and port of a stand-in for Intercom, "" if there is none.
    """

    names: frozenset[str]
    origin: str = ""

    def includes(self, host: str) -> bool:
        if host in self.names:
            return True
        labels = host.split(".")
        wildcards = (".".join(["*", *labels[index:]]) for index in range(1, len(labels)))
        return any(wildcard in self.names for wildcard in wildcards)


@dataclass(frozen=True)
class Downloaded:
    """A downloaded file, which exists until the context of `download` ends.

    size: in bytes.
    content_type: determined from the name and the content.
    head: the first HEAD_BYTES bytes.
    """

    path: Path
    size: int
    content_type: str
    head: bytes = field(default=b"", repr=False)


@contextlib.contextmanager
def download(
    url: str, *, hosts: AllowedHosts, max_bytes: int, deadline: float, name: str
) -> Iterator[Downloaded]:
    """Download the file to a temporary file in settings.FILES_DIR, which is deleted when the context ends.

    The file must be complete `deadline` seconds from now. `name` helps to determine the type. Raise a DownloadError,
    which never contains the address, because the signature in the address is a credential.
    """
    try:
        descriptor, path = create_file()
    except OSError as error:
        raise FileNotStoredError(f"a temporary file could not be created: {_describe(error)}") from None
    try:
        try:
            with os.fdopen(descriptor, "wb") as file:
                received = _receive(url, hosts, max_bytes, deadline, file)
        except OSError as error:  # closing writes the last bytes, but the disk may be full
            raise FileNotStoredError(_describe(error)) from None
        yield Downloaded(
            path, received.size, content_type_of(name, received.head, received.declared), received.head
        )
    finally:
        path.unlink(missing_ok=True)


def check_type(file: Downloaded, *, name: str, types: str) -> None:
    """Raise FileTypeForbiddenError if the file has one of the forbidden `types` (see `is_forbidden`)."""
    if is_forbidden(name, file.content_type, file.head, types):
        raise FileTypeForbiddenError(file.content_type)


def allowed_hosts(workspace: Workspace) -> AllowedHosts:
    """Return the hosts from which this workspace's files may be downloaded."""
    names = set(REGION_HOSTS[Workspace.Region(workspace.region)])
    for entry in re.split(r"[\s,;]+", workspace.file_hosts):
        prefix = "*." if entry.startswith("*.") else ""
        # Ignore an entry that is not a host name.
        with contextlib.suppress(ValueError):
            names.add(prefix + normalize_host(entry.removeprefix(prefix)))
    return AllowedHosts(frozenset(names), _stand_in_origin())


def _stand_in_origin() -> str:
    if not settings.FILES_FROM_STAND_IN or not settings.INTERCOM_API_URL:
        return ""
    parts = urlsplit(settings.INTERCOM_API_URL)
    is_valid = parts.hostname and "@" not in parts.netloc
    return f"{parts.scheme}://{parts.netloc}" if is_valid else ""


def normalize_host(host: str) -> str:
    """Return the host's name in lower case, in ASCII (IDNA), without a trailing dot.

    Raise ValueError if it is an IP address or has only one label. Also raise it if the name contains characters that
    IDNA replaces, because another program might replace them differently.
    """
    host = host.lower().removesuffix(".")
    if not host.isascii():
        encoded = host.encode("idna")  # raises UnicodeError, which is a ValueError
        if encoded.decode("idna") != host:
            raise ValueError("the host name is not in its normalized form")
        host = encoded.decode("ascii")
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise ValueError("this is not a host name")
    return host


def expiry_of(url: str) -> dt.datetime | None:
    """Return when the address expires, from its parameter `expires` (Unix seconds), or None if it has none."""
    try:
        seconds = parse_qs(urlsplit(url).query, max_num_fields=50).get("expires", [""])[-1]
        if not re.fullmatch(r"[0-9]{1,11}", seconds):
            return None
        return dt.datetime.fromtimestamp(int(seconds), dt.UTC)
    except (ValueError, OverflowError):
        return None


class _Target(NamedTuple):
    """An address that has been checked and may be requested.

    path: includes the query.
    is_stand_in: the host's IP addresses need not be public.
    """

    scheme: str
    host: str
    port: int
    path: str
    url: str
    is_stand_in: bool = False


class _Received(NamedTuple):
    """What is known about a file after its last byte. `declared` is the response's Content-Type."""

    size: int
    head: bytes
    declared: str


def _check_address(url: str, hosts: AllowedHosts) -> _Target:
    """Return the address in the form that is requested. Raise AddressRefusedError or HostRefusedError."""
    url = url.strip(" \t\r\n")
    if len(url) > MAX_ADDRESS or _UNSAFE.search(url):
        raise AddressRefusedError("the address is too long or contains control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise AddressRefusedError("the address is not a URL") from None
    path = quote(parts.path or "/", safe=_UNRESERVED)
    if parts.query:
        path += "?" + quote(parts.query, safe=_UNRESERVED + "?")
    if hosts.origin and f"{parts.scheme}://{parts.netloc}" == hosts.origin:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return _Target(parts.scheme, parts.hostname or "", port, path, url, is_stand_in=True)
    if not parts.scheme:
        raise AddressRefusedError("the address has no scheme")
    if parts.scheme != "https":
        raise AddressRefusedError(f"the address begins with {parts.scheme[:20]}:")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        raise AddressRefusedError("the address contains a user name, another port than 443, or an IP address")
    try:
        host = normalize_host(authority["host"])
    except ValueError:
        raise AddressRefusedError("the address has no valid host name") from None
    if not hosts.includes(host):
        raise HostRefusedError(host)
    return _Target("https", host, 443, path, url)


def _receive(
    url: str, hosts: AllowedHosts, max_bytes: int, deadline: float, file: io.BufferedWriter
) -> _Received:
    """Write the file at this address, or at the end of its redirects, to `file`. Raise a DownloadError."""
    target = _check_address(url, hosts)
    watchdog = Watchdog(deadline)
    try:
        with _slot(watchdog):
            return _follow_redirects(target, hosts, max_bytes, file, watchdog)
    # `from None`: the libraries' errors may contain the address.
    except (DownloadError, OSError, ValueError, http.client.HTTPException) as error:
        if watchdog.expired or isinstance(error, TimeoutError):
            raise DownloadTimeoutError(f"not complete within {watchdog.seconds:g} s") from None
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(_describe(error)) from None
    finally:
        watchdog.stop()


def _follow_redirects(
    target: _Target, hosts: AllowedHosts, max_bytes: int, file: io.BufferedWriter, watchdog: Watchdog
) -> _Received:
    for _ in range(MAX_REDIRECTS + 1):
        with _connected(target, watchdog) as connected, _request(target, connected) as response:
            if response.status not in _REDIRECTS:
                _check_response(response, target)
                received = _save(response, file, max_bytes)
                if watchdog.expired:
                    # The watchdog closed the connection, so the file may be incomplete.
                    raise TimeoutError
                return received
            location = response.getheader("Location") or ""
        target = _check_address(_resolve(location, target), hosts)
    raise DownloadError(f"more than {MAX_REDIRECTS} redirects")


def _resolve(location: str, target: _Target) -> str:
    """Return the address that a redirect leads to. Raise AddressRefusedError if it is not a valid one."""
    # Check the location first, because urljoin would silently repair an invalid one.
    if not location or _UNSAFE.search(location):
        raise AddressRefusedError("a redirect is empty or contains control characters")
    try:
        return location if urlsplit(location).scheme else urljoin(target.url, location)
    except ValueError:
        raise AddressRefusedError("a redirect does not lead to a URL") from None


@contextlib.contextmanager
def _slot(watchdog: Watchdog) -> Iterator[None]:
    """Hold one of this process's slots for downloads. Raise TimeoutError if none becomes free before the deadline."""
    slots = _slots()
    if not slots.acquire(timeout=watchdog.remaining()):
        raise TimeoutError
    try:
        yield
    finally:
        slots.release()


@functools.cache
def _slots() -> threading.BoundedSemaphore:
    """Return the semaphore that limits the downloads at the same time in this process."""
    return threading.BoundedSemaphore(settings.FILE_DOWNLOADS)


@contextlib.contextmanager
def _connected(target: _Target, watchdog: Watchdog) -> Iterator[socket.socket]:
    """Connect to the target. Use the proxy that the environment names for it, and TLS if the scheme is https."""
    proxy = "" if target.is_stand_in else _proxy(target)
    connected = _connect_through(proxy, target, watchdog) if proxy else _connect(target, watchdog)
    try:
        if target.scheme == "https":
            connected = _tls_context(_authorities()).wrap_socket(
                connected,
                server_hostname=target.host,
                # A connection that is cut off must not look like the end of a file.
                suppress_ragged_eofs=False,
            )
        yield connected
    finally:
        connected.close()


def _connect(target: _Target, watchdog: Watchdog) -> socket.socket:
    """Connect without a proxy. Raise AddressRefusedError if any of the host's IP addresses is not public."""
    addresses = _look_up(target.host, target.port, watchdog)
    if not target.is_stand_in:
        for *_family, socket_address in addresses:
            ip_address = socket_address[0]
            if not _is_public(ip_address):
                raise AddressRefusedError(f"{target.host} is {ip_address}, which is not a public address")
    return open_socket(addresses, watchdog)


def _look_up(host: str, port: int, watchdog: Watchdog) -> list[Any]:
    """Return the host's addresses as socket.getaddrinfo does. Raise TimeoutError or DownloadError."""
    try:
        return look_up(host, port, watchdog.remaining())
    except TimeoutError:
        raise
    except (OSError, UnicodeError):
        raise DownloadError(f"the host {host} could not be looked up") from None


def _is_public(text: str) -> bool:
    """Return whether an IP address, as getaddrinfo returns it, is public."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        # The last 32 bits are the IPv4 address.
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if isinstance(address, ipaddress.IPv6Address):
        return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_V6)
    return not any(address in network for network in _NOT_PUBLIC)


def _proxy(target: _Target) -> str:
    """Return the address of the proxy that the environment names for the target, "" if there is none."""
    url = f"https://{target.host}/"
    return requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) or ""


def _connect_through(proxy: str, target: _Target, watchdog: Watchdog) -> socket.socket:
    """Connect to the target through an HTTP proxy, which looks its host up (RFC 9110, CONNECT)."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http" or not parts.hostname:
        raise DownloadError("HTTPS_PROXY is not the address of an HTTP proxy")
    connected = open_socket(_look_up(parts.hostname, parts.port or 80, watchdog), watchdog)
    try:
        headers = {}
        if parts.username:
            account = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = make_headers(proxy_basic_auth=account)
        authority = f"{target.host}:{target.port}"
        # Send CONNECT over a duplicate of the socket, because the end of the exchange may close the duplicate.
        with (
            connected.dup() as duplicate,
            _exchange(duplicate, "CONNECT", authority, authority, headers) as response,
        ):
            if not 200 <= response.status < 300:
                raise DownloadError(f"the proxy refused the connection with the status {response.status}")
    except BaseException:
        connected.close()
        raise
    return connected


def _authorities() -> str:
    """Return the file or directory of trusted certificate authorities.

    The environment variables are the same as for the connections to iTop and to Intercom's API.
    """
    environment = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return environment or requests.utils.DEFAULT_CA_BUNDLE_PATH


@functools.lru_cache(maxsize=4)
def _tls_context(authorities: str) -> ssl.SSLContext:
    if Path(authorities).is_dir():
        return ssl.create_default_context(capath=authorities)
    return ssl.create_default_context(cafile=authorities)


def _request(target: _Target, connected: socket.socket) -> http.client.HTTPResponse:
    """Request the target, and return the response. Its body is not read yet."""
    is_default_port = target.port == (443 if target.scheme == "https" else 80)
    authority = target.host if is_default_port else f"{target.host}:{target.port}"
    headers = {"Accept": "*/*", "Connection": "close"}
    return _exchange(connected, "GET", target.path, authority, headers)


def _exchange(
    connected: socket.socket, method: str, path: str, authority: str, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    """Send a request over an open connection, and return the response. Its body is not read yet.

    http.client adds the header `Accept-Encoding: identity`, which asks for an uncompressed body.
    """
    connection = http.client.HTTPConnection("unused")
    connection.sock = connected
    # Never connect to the host "unused".
    connection.auto_open = 0
    connection.request(method, path, headers={"Host": authority, "User-Agent": USER_AGENT, **headers})
    return connection.getresponse()


def _check_response(response: http.client.HTTPResponse, target: _Target) -> None:
    """Raise a DownloadError if the response does not contain the file uncompressed."""
    if response.status in (403, 404, 410):
        if _has_expired(target.url, response.getheader("Date")):
            raise AddressExpiredError
        # The address does not seem to have expired, so Intercom withholds the file, perhaps because of a virus.
        raise FileQuarantinedError(f"HTTP {response.status}")
    if response.status == 204:
        raise FileEmptyError
    if response.status != 200:
        raise DownloadError(f"HTTP {response.status}")
    if (response.getheader("Content-Encoding") or "identity").strip().lower() != "identity":
        raise DownloadError("the response is compressed")
    # http.client decodes only `chunked`. Without this header, there is nothing to decode.
    if (response.getheader("Transfer-Encoding") or "chunked").strip().lower() != "chunked":
        raise DownloadError("the response has an unknown encoding")


def _has_expired(url: str, date: str | None) -> bool:
    """Return whether the address has expired by our clock, or by the server's `date`, which may be missing."""
    expiry = expiry_of(url)
    now = dt.datetime.now(dt.UTC)
    # Ignore a date that is missing or invalid.
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        now = max(now, parsedate_to_datetime(date or "").astimezone(dt.UTC))
    return expiry is not None and expiry <= now


def _save(response: http.client.HTTPResponse, file: io.BufferedWriter, max_bytes: int) -> _Received:
    """Write the response's body to the file. Raise a DownloadError."""
    declared_size = response.length
    if declared_size is not None and declared_size > max_bytes:
        raise FileTooLargeError(f"{declared_size / 1_000_000:.1f} MB")
    size, head = 0, b""
    while chunk := response.read(min(CHUNK_BYTES, max_bytes + 1)):
        size += len(chunk)
        if size > max_bytes:
            raise FileTooLargeError
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
        try:
            file.write(chunk)
        except OSError as error:
            raise FileNotStoredError(_describe(error)) from None
    if declared_size is not None and size != declared_size:
        raise DownloadError("the connection was lost before the end of the file")
    if not size:
        raise FileEmptyError
    return _Received(size, head, response.getheader("Content-Type") or "")


def _describe(error: Exception) -> str:
    """Return the error's cause in the words of the operating system or TLS. These never contain the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate was not accepted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def create_file() -> tuple[int, Path]:
    """Create a temporary file that only this user can read. Return its open descriptor and its path. Raise OSError.

    Also delete old temporary files of processes that were killed.
    """
    directory = Path(settings.FILES_DIR)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _delete_abandoned(directory)
    descriptor, path = tempfile.mkstemp(prefix=PREFIX, dir=directory)
    return descriptor, Path(path)


def _delete_abandoned(directory: Path) -> None:
    for path in directory.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                path.unlink()
