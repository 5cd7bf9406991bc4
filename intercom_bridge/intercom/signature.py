r"""Verify that Intercom sent a body, by the two kinds of signatures that it uses.

Both are HMACs of the raw body, with the app's client secret as the key. Canvas Kit uses SHA-256, as hex digits.
Webhooks use SHA-1, as hex digits after `sha1=`. Do not sign a body that was parsed and encoded again: its bytes differ,
because Intercom writes `<` as `\u003c`. Neither signature covers a time, so neither prevents replays.
https://developers.intercom.com/docs/canvas-kit/ and https://developers.intercom.com/docs/webhooks/
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

CANVAS_HEADER: Final = "X-Body-Signature"
WEBHOOK_HEADER: Final = "X-Hub-Signature"


def canvas_signature(body: bytes, secret: str) -> str:
    """Return the value that X-Body-Signature must have. For an empty secret, return "", which never matches."""
    return _digest(body, secret, "sha256")


def webhook_signature(body: bytes, secret: str) -> str:
    """Return the value that X-Hub-Signature must have. For an empty secret, return "", which never matches."""
    digest = _digest(body, secret, "sha1")
    return f"sha1={digest}" if digest else ""


def match_signature(given: str, expected: Mapping[str, str]) -> str:
    """Return the name of the expected signature that equals the given one, "" if none does.

    `given` may be any string, `expected` are signatures by name. An empty signature never matches. All signatures are
    compared, each in constant time, so the response time reveals neither whether one matched nor which.
    """
    given_bytes = _encode(given)
    matching_name = ""
    for name, signature in expected.items():
        is_equal = hmac.compare_digest(given_bytes, _encode(signature))
        if is_equal and signature:
            matching_name = name
    return matching_name


def _digest(body: bytes, secret: str, algorithm: str) -> str:
    # Anyone can sign with an empty secret: a workspace without a secret must refuse every request.
    if not secret:
        return ""
    return hmac.new(secret.encode(), body, getattr(hashlib, algorithm)).hexdigest()


def _encode(text: str) -> bytes:
    # compare_digest only accepts ASCII strings, and a header may contain anything.
    return text.encode("utf-8", "surrogatepass")
