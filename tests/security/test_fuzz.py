"""Whatever is sent to whatever address: no 500, and nothing that takes long where iTop is not waited for."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from intercom_bridge.intercom.signature import canvas_signature, webhook_signature
from intercom_bridge.models import Workspace
from sandbox.itop import Itop
from settings.env import BASE_DIR
from tests.cases.signed_addresses import ADDRESSES, IDS, PHP
from tests.panel.schema import check_canvas
from tests.teammate import ADA, ALICE, SECRET, WORKSPACE, conversation, notification, part

OPENAPI = BASE_DIR / "docs" / "openapi.yaml"
DOCUMENTED: dict[str, Any] = yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))["paths"]
# Of the processor: how long it takes by the clock depends on what else the machine does.
SECONDS = 1.0
QUERIES = 60

DEFAULT = settings.default or settings()
FEW = settings(
    max_examples=max(1, DEFAULT.max_examples // 4),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["\x00", "\ud800", "‮", "R-000008", "'; SELECT 1", "<script>", "🖨️" * 20, "9" * 400])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
VERBS = (
    "home linked open ticket find link unlink undo-unlink who sync pause resume try-again write-left-out "
    "forget-left-out create form field text creation merged move-here move-away"
)
WORDS = "UserRequest submit show discard pick description yes 0 -1 6 " + "9" * 18
ARGUMENTS = st.lists(st.sampled_from(WORDS.split()) | st.text(max_size=9), max_size=4)
CLICKS = st.builds(
    lambda verb, more: ":".join([verb, *more]), st.sampled_from(VERBS.split()), ARGUMENTS
) | st.text(max_size=40)
# Those of a click, and from "id" on those of a notification.
PLACES = [
    tuple(place.split("."))
    for place in [
        "admin",
        "contact",
        "contact.email",
        "contact.custom_attributes",
        "conversation",
        "conversation.id",
        "conversation.source",
        "conversation.conversation_parts",
        "conversation.contacts",
        "component_id",
        "input_values",
        "current_canvas",
        "current_canvas.stored_data",
        "current_canvas.stored_data.form",
        "id",
        "topic",
        "type",
        "created_at",
        "data",
        "data.item",
        "data.item.conversation_parts",
    ]
]


def full(click: str) -> dict[str, Any]:
    """Return a request that is valid at any of the URLs."""
    return notification(part(37358198341, "<p>x</p>")) | {
        "workspace_id": WORKSPACE,
        # Copies: things are put into them.
        "admin": {**ADA},
        "contact": {**ALICE, "custom_attributes": {}},
        "conversation": conversation(),
        "component_id": click,
        "input_values": {},
        "current_canvas": {"stored_data": {"form": {"key": "k", "values": {"title": "x"}}}},
    }


def put(body: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    here = body
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    return body


def signed(raw: bytes, secret: str = SECRET) -> dict[str, str]:
    return {
        "X-Body-Signature": canvas_signature(raw, secret),
        "X-Hub-Signature": webhook_signature(raw, secret),
    }


def send(
    client: Client, method: str, path: str, raw: bytes = b"", headers: dict[str, str] | None = None
) -> Any:
    """Answered without a 500, without much work of the processor, and without many questions to the database."""
    began = time.thread_time()
    with CaptureQueriesContext(connection) as queries:
        answer: Any = client.generic(
            method, path, raw, content_type="application/json", headers=headers or signed(raw)
        )
    took = time.thread_time() - began
    assert answer.status_code < 500 or answer.status_code == 503, (method, path, raw[:500])
    assert took < SECONDS, f"{took:.2f} s of the processor: {method} {path}"
    assert len(queries) < QUERIES, f"{len(queries)} queries: {method} {path} {raw[:300]!r}"
    if answer.status_code == 200 and "canvas" in path:
        check_canvas(answer.json())
        assert "Internal error" not in answer.content.decode(), raw[:500]
    assert answer.status_code != 429
    return answer


@pytest.fixture(autouse=True)
def signatures_are_known(workspace: Workspace) -> None:
    pass


@pytest.mark.parametrize("path", [address.path for address in ADDRESSES], ids=IDS)
@FEW
@given(click=CLICKS, place=st.sampled_from(PLACES), value=JSON)
@example(
    click="form:submit",
    place=("current_canvas", "stored_data"),
    value={"form": {"key": "\x00", "values": {"title": []}}},
)
@example(click="find", place=("current_canvas", "stored_data"), value={"words": "\x00", "trail": [[[]]]})
def test_a_body_with_an_invalid_value_gets_a_response(
    client: Client, path: str, click: str, place: Any, value: Any
) -> None:
    raw = json.dumps(put(full(click), place, value)).encode()
    assert send(client, "POST", path, raw).status_code == 200


@pytest.mark.parametrize("path", [address.path for address in ADDRESSES], ids=IDS)
@FEW
@given(body=st.dictionaries(st.text(max_size=10), JSON, max_size=6))
def test_an_invalid_body_gets_a_response(client: Client, path: str, body: dict[str, Any]) -> None:
    raw = json.dumps(body | {"workspace_id": WORKSPACE, "app_id": WORKSPACE}).encode()
    assert send(client, "POST", path, raw).status_code == 200


@pytest.mark.parametrize("path", [address.path for address in ADDRESSES], ids=IDS)
@FEW
@given(raw=st.binary(max_size=200))
def test_a_body_that_is_not_json_is_refused(client: Client, path: str, raw: bytes) -> None:
    assert send(client, "POST", path, raw).status_code in (400, 401)


@pytest.mark.parametrize("path", [address.path for address in ADDRESSES], ids=IDS)
@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b'{"workspace_id": ' + b"9" * 1_000_000 + b"}",
        b'{"app_id": "' + b"a" * 5_000_000 + b'"}',
        b"\xff\xfe" + b"{\x00}\x00",
        b'{"workspace_id": NaN, "app_id": Infinity}',
        b'{"workspace_id": "\\ud800", "app_id": "\\u0000"}',
    ],
    ids=["lists", "objects", "a number", "a long name", "UTF-16", "NaN", "half a character"],
)
def test_a_malicious_body_is_refused_unsigned_and_signed(client: Client, path: str, bomb: bytes) -> None:
    for headers in (signed(bomb), {"X-Body-Signature": "x"}):
        assert send(client, "POST", path, bomb, headers).status_code in (400, 401)


@pytest.mark.parametrize(
    ("path", "places"),
    [("/canvas-kit/submit", PLACES[:14]), ("/webhooks/intercom", PLACES[14:])],
    ids=["canvas", "webhook"],
)
def test_a_malicious_signed_body_takes_little_time(
    client: Client, itop: Itop, path: str, places: list[tuple[str, ...]]
) -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    for place in places:
        for value in (deep, ["x"] * 20_000, {str(number): "x" for number in range(20_000)}, "x" * 1_000_000):
            raw = json.dumps(put(full("create"), place, value)).encode()
            assert send(client, "POST", path, raw).status_code == 200


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"]
PATHS = [address.path for address in ADDRESSES] + [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/pages/exec.php",
    "/admin/",
    "/admin/login/",
    "/admin/intercom_bridge/workspace/1/change/",
]
HEADERS = ["X-Body-Signature", "X-Hub-Signature", "Cookie", "Accept", "Accept-Language", "Authorization"]
HEADERS += ["X-Forwarded-For", "X-Request-ID"]


@FEW
@given(
    method=st.sampled_from(METHODS),
    path=st.sampled_from(PATHS) | st.text(max_size=30).map(lambda text: f"/{text}"),
    query=st.dictionaries(
        st.sampled_from(["exec_page", "exec_module", "operation", "next", "q"]), st.text(max_size=20)
    ),
    raw=st.binary(max_size=50),
    host=st.sampled_from(["testserver", "a b", "[", "x" * 300]),
    headers=st.dictionaries(
        st.sampled_from(HEADERS), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
    ),
)
def test_every_method_path_and_header_gets_a_response(
    client: Client,
    method: str,
    path: str,
    query: dict[str, str],
    raw: bytes,
    host: str,
    headers: dict[str, str],
) -> None:
    asked = urlencode({key: value.encode("utf-8", "replace") for key, value in query.items()})
    send(client, method, f"{path}{'&' if '?' in path else '?'}{asked}", raw, {**headers, "Host": host})


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        (path, method, mode)
        for path, methods in DOCUMENTED.items()
        for method in methods
        # What takes no values takes no wrong ones.
        for mode in (["positive", "negative"] if method == "post" else ["positive"])
    ],
)
def test_the_service_conforms_to_openapi_yaml(client: Client, path: str, method: str, mode: str) -> None:
    """docs/openapi.yaml: what may be sent is taken, and what comes back is said there."""
    # Imported here, because the import takes a second.
    import schemathesis

    operation = schemathesis.openapi.from_path(OPENAPI)[path][method]
    responses = DOCUMENTED[path][method]["responses"]
    is_positive = mode == "positive"

    @FEW
    @given(case=operation.as_strategy(schemathesis.GenerationMode(mode)))
    def conforms(case: Any) -> None:
        body = case.body if isinstance(case.body, dict) else {}
        for name in ("workspace_id", "app_id"):
            if name in body:
                body[name] = WORKSPACE
        raw = json.dumps(body).encode() if method == "post" else b""
        values = {key: str(value).encode("utf-8", "replace") for key, value in (case.query or {}).items()}
        answer = send(client, method.upper(), f"{case.formatted_path}?{urlencode(values)}", raw)
        if is_positive:
            assert str(answer.status_code) in responses

    conforms()


def test_openapi_yaml_names_every_address_outside_the_admin() -> None:
    from intercom_bridge.urls import urlpatterns

    named = set(DOCUMENTED)
    assert named == {re.sub(r"<\w+:(\w+)>", r"{\1}", f"/{one.pattern}") for one in urlpatterns}
    assert PHP.partition("?")[0] in named
