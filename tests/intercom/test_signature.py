"""Only someone who knows the client secret can sign a body."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.intercom.signature import (
    CANVAS_HEADER,
    WEBHOOK_HEADER,
    canvas_signature,
    match_signature,
    webhook_signature,
)

SECRET = "test-client-secret"
# Raw bytes with Intercom's escapes: parsing and encoding them again would change them.
BODY = rb'{"workspace_id":"abcd1234","text":"\u003cp\u003ehi\u003c/p\u003e"}'


def test_the_signatures_of_a_known_body() -> None:
    assert (
        canvas_signature(BODY, SECRET) == "76d15b80b6b327d3272a96a2c518d812fcd0cc9247901cd2245988f000f535f7"
    )
    assert webhook_signature(BODY, SECRET) == "sha1=28e490a4fdb85542476ab5fa0bea42924ee54d9a"
    assert (CANVAS_HEADER, WEBHOOK_HEADER) == ("X-Body-Signature", "X-Hub-Signature")


def test_both_secrets_are_accepted_during_a_rotation() -> None:
    expected = {secret: canvas_signature(BODY, secret) for secret in ("new", "old")}
    assert match_signature(canvas_signature(BODY, "old"), expected) == "old"
    assert match_signature(canvas_signature(BODY, "new"), expected) == "new"
    assert match_signature(canvas_signature(BODY, "older"), expected) == ""


def test_a_changed_byte_invalidates_the_signature() -> None:
    assert not match_signature(canvas_signature(BODY + b" ", SECRET), {"a": canvas_signature(BODY, SECRET)})


def test_an_empty_secret_matches_nothing() -> None:
    forged = hmac.new(b"", BODY, "sha256").hexdigest()
    assert not match_signature(forged, {"a": canvas_signature(BODY, "")})
    assert not match_signature("", {"a": canvas_signature(BODY, "")})
    assert not match_signature("", {"a": webhook_signature(BODY, "")})
    assert not match_signature("sha1=", {"a": webhook_signature(BODY, "")})


def test_without_secrets_nothing_matches() -> None:
    assert not match_signature(canvas_signature(BODY, SECRET), {})


@given(st.text(st.characters()))
def test_any_string_is_accepted_as_input(signature: str) -> None:
    expected = {"a": canvas_signature(BODY, SECRET), "b": webhook_signature(BODY, SECRET)}
    assert not match_signature(signature, expected)


def test_a_webhook_signature_needs_its_prefix() -> None:
    signature = webhook_signature(BODY, SECRET)
    assert not match_signature(signature.removeprefix("sha1="), {"a": signature})


def test_all_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare_digest = hmac.compare_digest

    def compare(first: bytes, second: bytes) -> bool:
        compared.append(second)
        return compare_digest(first, second)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert match_signature("a", {"first": "a", "second": "b", "third": "c"}) == "first"
    assert compared == [b"a", b"b", b"c"]
