"""The security of every signed address, including those of the PHP extension."""

from __future__ import annotations

import datetime as dt
import hmac
import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from intercom_bridge.intercom import signature
from intercom_bridge.intercom.signature import canvas_signature, webhook_signature
from intercom_bridge.models import Secret, WebhookEvent, Workspace
from intercom_bridge.models.webhook_event import DOCTOR_ID_PREFIX
from intercom_bridge.views import authentication
from tests.cases.signed_addresses import ADDRESSES, IDS, SignedAddress
from tests.teammate import SECRET


@pytest.fixture(params=ADDRESSES, ids=IDS)
def address(request: pytest.FixtureRequest) -> SignedAddress:
    address: SignedAddress = request.param
    return address


def post(path: str, raw: bytes, **headers: str) -> Any:
    return Client(enforce_csrf_checks=True).post(
        path,
        raw,
        content_type="application/json",
        headers={name.replace("_", "-"): v for name, v in headers.items()},
    )


def encode(body: Any) -> bytes:
    return json.dumps(body).encode()


def test_a_valid_signature_is_accepted_with_csrf_checks_on(workspace: Workspace, address: Any) -> None:
    path, header, sign, body, _name = address
    raw = encode(body())
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 200


def test_bad_signatures_and_unknown_workspaces_get_the_same_response(
    workspace: Workspace, address: Any
) -> None:
    path, header, sign, body, name = address
    raw = encode(body())
    good = sign(raw, SECRET)
    unknown = encode(body() | {name: "nobody99"})
    answers = [
        post(path, raw),
        post(path, raw, **{header: ""}),
        post(path, raw, **{header: sign(raw, "another secret")}),
        post(path, raw + b" ", **{header: good}),
        post(path, raw, **{header: f"{good},{good}"}),
        post(path, raw, **{header: good[:-1]}),
        post(path, raw, **{header: f"{good} "[1:]}),
        post(path, unknown, **{header: sign(unknown, SECRET)}),
        post(path, unknown),
        post(path, encode({}), **{header: sign(b"{}", SECRET)}),
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (401, b'{"detail":"The signature does not match."}')
    }
    assert WebhookEvent.objects.count() == 0


def test_the_other_kind_of_signature_is_refused(workspace: Workspace, address: Any) -> None:
    path, header, _sign, body, _name = address
    raw = encode(body())
    other = webhook_signature if header == "X-Body-Signature" else canvas_signature
    assert post(path, raw, **{header: other(raw, SECRET)}).status_code == 401


def test_a_previous_secret_is_accepted_until_its_date(
    workspace: Workspace, address: Any, time_machine: Any
) -> None:
    from django.utils import timezone

    path, header, sign, body, _name = address
    workspace.client_secret = "the-new-secret"
    workspace.previous_client_secret = SECRET
    workspace.previous_client_secret_until = timezone.now() + dt.timedelta(hours=1)
    workspace.save()
    raw = encode(body())
    for secret in ("the-new-secret", SECRET):
        assert post(path, raw, **{header: sign(raw, secret)}).status_code == 200
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3601))
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 401
    assert post(path, raw, **{header: sign(raw, "the-new-secret")}).status_code == 200


def test_the_last_use_of_each_secret_is_stored(workspace: Workspace, address: Any, time_machine: Any) -> None:
    path, header, sign, body, _name = address
    start = dt.datetime(2026, 11, 22, 14, 0, tzinfo=dt.UTC)
    workspace.client_secret = "the-new-secret"
    workspace.previous_client_secret = SECRET
    workspace.previous_client_secret_until = start + dt.timedelta(days=1)
    workspace.save()
    raw = encode(body())

    def used_at(minute: int, secret: str) -> list[Any]:
        time_machine.move_to(start + dt.timedelta(minutes=minute), tick=False)
        post(path, raw, **{header: sign(raw, secret)})
        row = Workspace.objects.get()
        times = (row.client_secret_used_at, row.previous_client_secret_used_at)
        return [when and (when - start) // dt.timedelta(minutes=1) for when in times]

    assert used_at(0, "somebody else's") == [None, None]
    assert used_at(1, SECRET) == [None, 1]
    assert used_at(5, "the-new-secret") == [5, 1]
    assert used_at(6, "the-new-secret") == [6, 1]


def test_a_ping_of_the_doctor_does_not_count_as_use_of_the_secret(workspace: Workspace, address: Any) -> None:
    """During a rotation, only requests of Intercom count."""
    path, header, sign, body, _name = address
    raw = encode(body() | {"id": f"{DOCTOR_ID_PREFIX}1"})
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 200
    assert Workspace.objects.get().client_secret_used_at is None


def test_the_use_of_a_secret_is_stored_once_per_minute(workspace: Workspace, time_machine: Any) -> None:
    time_machine.move_to(dt.datetime(2026, 11, 22, 14, 0, tzinfo=dt.UTC), tick=False)
    workspace.note_use("client_secret")
    with CaptureQueriesContext(connection) as queries:
        workspace.note_use("client_secret")
        time_machine.shift(59)
        workspace.note_use("client_secret")
    assert not queries.captured_queries
    time_machine.shift(2)
    with CaptureQueriesContext(connection) as queries:
        workspace.note_use("client_secret")
    assert len(queries.captured_queries) == 1


def test_a_workspace_without_a_secret_rejects_every_request(workspace: Workspace, address: Any) -> None:
    path, header, sign, body, _name = address
    workspace.client_secret = ""
    workspace.save()
    raw = encode(body())
    for secret in ("", "nobody signs with this"):
        assert post(path, raw, **{header: sign(raw, secret)}).status_code == 401


NONSENSE = [b"", b"nonsense", b"[]", b'"x"', b"null", b"{", b"\xff\xfe", b"[" * 100_000]


@pytest.mark.parametrize("raw", NONSENSE, ids=range(len(NONSENSE)))
def test_what_names_no_workspace_is_401(workspace: Workspace, address: Any, raw: bytes) -> None:
    path, header, sign, _body, _name = address
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 401


@pytest.mark.parametrize("form", ["[{}]", "{}]", "{}{}", "[" * 100_000 + "{}"], ids=range(4))
def test_what_is_signed_and_not_a_json_object_is_400(workspace: Workspace, address: Any, form: str) -> None:
    path, header, sign, body, _name = address
    raw = form.replace("{}", json.dumps(body())).encode()
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 400


def test_an_unsigned_body_is_never_parsed(
    workspace: Workspace, address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, header, sign, body, _name = address
    parsed: list[bytes] = []
    monkeypatch.setattr(authentication, "_parse", parsed.append)
    raw = encode(body() | {"filler": [{}] * 100_000})
    assert post(path, raw).status_code == 401
    assert post(path, raw, **{header: sign(raw, "another secret")}).status_code == 401
    assert not parsed


def test_a_workspace_named_elsewhere_in_the_body_does_not_sign_for_it(
    workspace: Workspace, address: Any
) -> None:
    """Only the id at the top level counts, even where two workspaces share their secret."""
    path, header, sign, body, name = address
    raw = encode(body() | {name: "nobody99", "more": {"app_id": workspace.workspace_id}})
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 401
    raw = encode({"more": {"app_id": "nobody99", "workspace_id": 7, "text": '"app_id": "x"'}} | body())
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 200


def test_a_body_over_ten_megabytes_is_413(workspace: Workspace, address: Any) -> None:
    path, header, sign, body, _name = address
    raw = encode(body() | {"filler": "x" * 10_500_000})
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 413


def test_a_large_body_below_the_limit_is_accepted(workspace: Workspace, address: Any) -> None:
    path, header, sign, body, _name = address
    raw = encode(body() | {"filler": "x" * 9_000_000})
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code == 200


def test_deep_nesting_in_a_signed_body_is_accepted(workspace: Workspace, address: Any) -> None:
    path, header, sign, body, _name = address
    raw = encode(body())[:-1] + b', "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert post(path, raw, **{header: sign(raw, SECRET)}).status_code in (200, 400)


def test_other_methods_are_rejected(workspace: Workspace, address: Any, client: Client) -> None:
    path = address[0]
    for method in ("get", "put", "patch", "delete", "options"):
        assert getattr(client, method)(path).status_code == 405


@pytest.mark.parametrize("path", [one[0] for one in ADDRESSES if one[1] == "X-Hub-Signature"])
def test_head_needs_no_signature_because_intercom_validates_the_address(client: Client, path: str) -> None:
    assert client.head(path).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "exec_module=itop-portal-base&exec_page=index.php",
        "exec_module=combodo-intercom-integration&exec_page=other.php",
        "exec_module=combodo-intercom-integration&exec_page=incoming-canvas-kits.php",
        "exec_module=combodo-intercom-integration&exec_page=incoming-canvas-kits.php&operation=nope",
    ],
)
def test_other_php_addresses_are_404(workspace: Workspace, query: str) -> None:
    assert post(f"/pages/exec.php?{query}", b"{}").status_code == 404


def test_few_large_bodies_are_read_at_once(
    workspace: Workspace, address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, header, sign, body, _name = address
    monkeypatch.setattr(authentication, "MAX_WAIT_SECONDS", 0.01)
    small = encode(body())
    large = encode(body() | {"padding": "x" * authentication.LARGE_BODY_BYTES})
    answers = []
    turns = [authentication._large_bodies.acquire(timeout=0) for _ in range(2)]
    try:
        assert turns == [True, True]
        for raw in (large, small):
            answers.append(post(path, raw, **{header: sign(raw, SECRET)}).status_code)
    finally:
        for _ in turns:
            authentication._large_bodies.release()
    assert answers == [503, 200]
    for secret, status in ((SECRET, 200), ("wrong", 401)) * 3:
        assert post(path, large, **{header: sign(large, secret)}).status_code == status


def test_an_unknown_workspace_takes_the_same_work_as_a_known_one(
    workspace: Workspace, address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, header, sign, body, name = address
    work: list[str] = []
    new, decrypt = hmac.new, Secret.reveal

    def counted_new(key: bytes, message: bytes, algorithm: Any) -> Any:
        if message:
            work.append(f"HMAC over {len(message)} bytes")
        return new(key, message, algorithm)

    def counted_reveal(secret: Secret) -> str:
        work.append(f"decryption of {len(secret.ciphertext) > 0}")
        return decrypt(secret)

    counting = SimpleNamespace(new=counted_new, compare_digest=hmac.compare_digest)
    monkeypatch.setattr(signature, "hmac", counting)
    monkeypatch.setattr(Secret, "reveal", counted_reveal)

    def refuse(workspace_id: str) -> list[str]:
        work.clear()
        raw = encode(body() | {name: workspace_id})
        wrong = sign(b"another body", "another secret")
        work.clear()
        with CaptureQueriesContext(connection) as queries:
            assert post(path, raw, **{header: wrong}).status_code == 401
        statements = [query["sql"].replace(workspace_id, "ID") for query in queries.captured_queries]
        return [*work, *statements]

    refuse("nobody98")  # creates the random secret
    known, unknown = refuse(workspace.workspace_id), refuse("nobody99")
    assert known == unknown
    assert len([step for step in known if step.startswith("HMAC")]) == 1
    assert len([step for step in known if step.startswith("SELECT")]) == 1
