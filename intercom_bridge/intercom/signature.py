"""Whether Intercom sent a body: the two signatures it puts on what it sends.

Both are HMACs with the app's client secret over the raw bytes of the body; parsing and encoding it again
changes them (Intercom writes `<` as `\\u003c`). Canvas Kit signs with SHA-256, in hex; webhooks sign with
SHA-1, in hex behind `sha1=`. Neither signs a time, so neither says anything about replays.
https://developers.intercom.com/docs/canvas-kit/ and https://developers.intercom.com/docs/webhooks/
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final


class HEADERS:
    """Names of the request headers the signatures come in."""

    CANVAS: Final = "X-Body-Signature"
    WEBHOOK: Final = "X-Hub-Signature"


def canvas_signature(body: bytes, secret: str) -> str:
    """What X-Body-Signature has to be. An empty secret signs nothing: "", which is never taken."""
    return _digest(body, secret, "sha256")


def webhook_signature(body: bytes, secret: str) -> str:
    """What X-Hub-Signature has to be. An empty secret signs nothing: "", which is never taken."""
    digest = _digest(body, secret, "sha1")
    return f"sha1={digest}" if digest else ""


def which(given: str, expected: Mapping[str, str]) -> str:
    """The name of the expected signature that the given one is; "" when it is none of them.

    All of them are compared, each in constant time, so that the time taken tells nothing, not even which of
    several secrets it was. Any string may be given; "" matches nothing.
    """
    given_bytes = _bytes(given)
    found = ""
    for name, one in expected.items():
        is_this = hmac.compare_digest(given_bytes, _bytes(one)) and bool(one)
        found = name if is_this else found
    return found


def _digest(body: bytes, secret: str, algorithm: str) -> str:
    # Anybody can sign with an empty secret: a workspace whose secret was never set must refuse everybody.
    if not secret:
        return ""
    return hmac.new(secret.encode(), body, getattr(hashlib, algorithm)).hexdigest()


def _bytes(text: str) -> bytes:
    # compare_digest takes no string outside ASCII, and a header may hold anything.
    return text.encode("utf-8", "surrogatepass")
