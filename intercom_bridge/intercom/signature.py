r"""Verify that Intercom sent a body, by the two kinds of signatures it uses.

Both are HMACs with the app's client secret over the raw bytes of the body. Parsing and encoding the body again would
change the bytes (Intercom writes `<` as `\u003c`). Canvas Kit signs with SHA-256, in hex. Webhooks sign with SHA-1, in
hex after `sha1=`. Neither signature covers a time, so neither prevents replays.
https://developers.intercom.com/docs/canvas-kit/ and https://developers.intercom.com/docs/webhooks/
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

CANVAS_HEADER: Final = "X-Body-Signature"
WEBHOOK_HEADER: Final = "X-Hub-Signature"


def canvas_signature(body: bytes, secret: str) -> str:
    """Return the value that X-Body-Signature must have. For an empty secret it is "", which never matches."""
    return _digest(body, secret, "sha256")


def webhook_signature(body: bytes, secret: str) -> str:
    """Return the value that X-Hub-Signature must have. For an empty secret it is "", which never matches."""
    digest = _digest(body, secret, "sha1")
    return f"sha1={digest}" if digest else ""


def match_signature(given: str, expected: Mapping[str, str]) -> str:
    """Return the name of the matching signature, or "" if none matches. An empty signature never matches.

    All are compared, each in constant time, so that the time taken reveals nothing, not even which of several secrets
    matched. `given` may be any string.
    """
    given_bytes = _encode(given)
    match = ""
    for name, signature in expected.items():
        is_equal = hmac.compare_digest(given_bytes, _encode(signature)) and bool(signature)
        match = name if is_equal else match
    return match


def _digest(body: bytes, secret: str, algorithm: str) -> str:
    # Anyone can sign with an empty secret: a workspace without a secret must refuse every request.
    if not secret:
        return ""
    return hmac.new(secret.encode(), body, getattr(hashlib, algorithm)).hexdigest()


def _encode(text: str) -> bytes:
    # compare_digest only accepts ASCII strings, and a header may contain anything.
    return text.encode("utf-8", "surrogatepass")
