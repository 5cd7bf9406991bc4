"""Find the client's IP address behind a proxy. Failed log-ins are counted by this address, and log lines contain it."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

# Stands in for the address if a connection over a Unix socket has no X-Forwarded-For. Failed log-ins without any
# address would not be counted.
UNKNOWN = "0.0.0.0"  # noqa: S104


def client_address(request: HttpRequest) -> str:
    return address_from(request.META)


def address_from(environ: Mapping[str, str]) -> str:
    """Return the address of the client that sent the request with this WSGI environment.

    If the peer is one of TRUSTED_PROXIES, return the last address in X-Forwarded-For, which the proxy has added. The
    addresses before that come from the client and may be forged. Otherwise, or without a valid last address, return the
    address of the peer.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    if not _is_trusted_proxy(peer):
        return peer
    last_forwarded = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")[-1]
    forwarded_address = _parse_address(last_forwarded)
    return str(forwarded_address or peer or UNKNOWN)


def client_network(request: HttpRequest) -> str:
    """Return the address by which failed log-ins are counted.

    It is the client's IPv4 address, or the first address of its IPv6 network /64. A provider assigns each customer at
    least a /64, so one client has many IPv6 addresses.
    """
    text = client_address(request)
    address = _parse_address(text)
    if not isinstance(address, IPv6Address):
        return str(address or text)
    return str(ip_network((int(address), 64), strict=False).network_address)


def _is_trusted_proxy(peer: str) -> bool:
    # A connection over a Unix socket has no address. It comes from the proxy on the same machine.
    if not peer:
        return True
    address = _parse_address(peer)
    return address is not None and any(address in network for network in settings.TRUSTED_PROXIES)


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, or None if the text is not an address. An IPv4 address within IPv6 becomes IPv4."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
