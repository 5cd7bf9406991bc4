"""Who is at the other end of a log-in, behind the proxy."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest

# Of a peer behind a socket whose proxy names nobody. Without any address attempts would not be counted at all.
UNKNOWN = "0.0.0.0"  # noqa: S104


def client_address(request: HttpRequest) -> str:
    """The address that log-ins are counted by.

    The last one of X-Forwarded-For is what our proxy itself has seen; those before it are what the client wrote, and
    could be anything. From somebody who is none of TRUSTED_PROXIES the header is not believed at all.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    if not _is_our_proxy(peer):
        return peer
    forwarded = _address(request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2])
    return str(forwarded) if forwarded else peer or UNKNOWN


def _is_our_proxy(peer: str) -> bool:
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
