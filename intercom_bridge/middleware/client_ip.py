"""The client's IP address behind a proxy: failed log-ins are counted by it, and log lines contain it."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

# For a connection over a Unix socket without X-Forwarded-For: attempts without an address would not be counted.
UNKNOWN = "0.0.0.0"  # noqa: S104


def client_address(request: HttpRequest) -> str:
    """Return the address of the client that sent the request."""
    return address_from(request.META)


def address_from(environ: Mapping[str, str]) -> str:
    """Return the address of the client, from a WSGI environment.

    The last address in X-Forwarded-For was added by the proxy; those before it come from the client and may be
    forged. The header is ignored unless the peer is one of TRUSTED_PROXIES.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    if not _is_trusted_proxy(peer):
        return peer
    forwarded = _address(environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2])
    return str(forwarded) if forwarded else peer or UNKNOWN


def client_network(request: HttpRequest) -> str:
    """Return the address by which logins are counted: for IPv6, the first address of its /64.

    A provider assigns each customer at least a /64, so one client has many addresses.
    """
    text = client_address(request)
    address = _address(text)
    if not isinstance(address, IPv6Address):
        return str(address or text)
    return str(ip_network((int(address), 64), strict=False).network_address)


def _is_trusted_proxy(peer: str) -> bool:
    if not peer:
        return True
    address = _address(peer)
    return address is not None and any(address in network for network in settings.TRUSTED_PROXIES)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
