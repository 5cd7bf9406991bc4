"""Only who knows the client secret can have signed a body."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.intercom.signature import HEADERS, canvas_signature, webhook_signature, which

SECRET = "test-client-secret"
# Raw bytes, with Intercom's escapes: parsed and encoded again they would be others.
BODY = rb'{"workspace_id":"abcd1234","text":"\u003cp\u003ehi\u003c/p\u003e"}'


def test_the_signatures_of_a_known_body() -> None:
    assert (
        canvas_signature(BODY, SECRET) == "76d15b80b6b327d3272a96a2c518d812fcd0cc9247901cd2245988f000f535f7"
    )
    assert webhook_signature(BODY, SECRET) == "sha1=28e490a4fdb85542476ab5fa0bea42924ee54d9a"


def test_the_headers_are_intercoms() -> None:
    assert HEADERS.CANVAS == "X-Body-Signature"
    assert HEADERS.WEBHOOK == "X-Hub-Signature"


def test_either_secret_is_good_while_it_is_being_rotated() -> None:
    expected = {secret: canvas_signature(BODY, secret) for secret in ("new", "old")}
    assert which(canvas_signature(BODY, "old"), expected) == "old"
    assert which(canvas_signature(BODY, "new"), expected) == "new"
    assert which(canvas_signature(BODY, "older"), expected) == ""


def test_a_changed_byte_is_another_body() -> None:
    assert not which(canvas_signature(BODY + b" ", SECRET), {"one": canvas_signature(BODY, SECRET)})


def test_an_unset_secret_lets_nobody_in() -> None:
    forged = hmac.new(b"", BODY, "sha256").hexdigest()
    assert not which(forged, {"one": canvas_signature(BODY, "")})
    assert not which("", {"one": canvas_signature(BODY, "")})
    assert not which("", {"one": webhook_signature(BODY, "")})
    assert not which("sha1=", {"one": webhook_signature(BODY, "")})


def test_no_secret_at_all_lets_nobody_in() -> None:
    assert not which(canvas_signature(BODY, SECRET), {})


@given(st.text(st.characters()))
def test_any_string_may_be_given_as_a_signature(given_signature: str) -> None:
    assert not which(
        given_signature, {"one": canvas_signature(BODY, SECRET), "other": webhook_signature(BODY, SECRET)}
    )


def test_a_webhook_signature_needs_its_prefix() -> None:
    expected = {"one": webhook_signature(BODY, SECRET)}
    assert not which(webhook_signature(BODY, SECRET).removeprefix("sha1="), expected)


def test_all_expected_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest

    def compare(first: bytes, second: bytes) -> bool:
        compared.append(second)
        return real(first, second)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert which("a", {"first": "a", "second": "b", "third": "c"}) == "first"
    assert compared == [b"a", b"b", b"c"]
