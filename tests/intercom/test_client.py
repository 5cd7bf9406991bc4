"""The client for Intercom's REST API: its requests, how it reads responses, and its errors."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import responses

from intercom_bridge.intercom.client import (
    REGIONS,
    IntercomAuthenticationError,
    IntercomClient,
    IntercomError,
    IntercomNoResponseError,
    IntercomRateLimitedError,
    IntercomRejectedError,
    IntercomUnavailableError,
    IntercomUnreachableError,
    conversation_url,
)
from intercom_bridge.intercom.payloads import Admin
from itop_client import http
from tests.ids import short_id
from tests.payloads import load

TOKEN = "dG9rOnNlY3JldC10b2tlbg=="
API = "https://api.intercom.io"
CONVERSATION = f"{API}/conversations/215472621202693"


@pytest.fixture
def client() -> IntercomClient:
    return IntercomClient(TOKEN)


def error_list(code: str, message: str = "") -> dict[str, Any]:
    return {
        "type": "error.list",
        "request_id": "b3c41080-1f0a-4a2c-a6d7-4c5f8e0f0a1b",
        "errors": [{"code": code, "message": message}],
    }


def sent() -> Any:
    return responses.calls[0].request


@responses.activate
def test_a_conversation_is_returned_completely(client: IntercomClient) -> None:
    responses.get(CONVERSATION, json=load("rest_conversation"))
    conversation = client.conversation("215472621202693")
    assert conversation.is_complete
    assert [message.part_type for message in conversation.messages] == [
        "source",
        "comment",
        "comment",
        "note",
        "close",
    ]
    assert sent().headers["Authorization"] == f"Bearer {TOKEN}"
    assert sent().headers["Intercom-Version"] == "2.14"
    assert sent().headers["Accept"] == "application/json"


@responses.activate
def test_a_conversation_is_opened_and_assigned_as_the_teammate(client: IntercomClient) -> None:
    responses.post(f"{CONVERSATION}/parts", json=load("rest_conversation"))
    client.open("215472621202693", admin_id="9608799")
    client.assign("215472621202693", admin_id="9608799", assignee_type="team", assignee_id="814865")
    assert [json.loads(call.request.body or "") for call in responses.calls] == [
        {"message_type": "open", "admin_id": "9608799"},
        {"message_type": "assignment", "type": "team", "admin_id": "9608799", "assignee_id": "814865"},
    ]


@responses.activate
def test_teammates_and_teams_are_listed(client: IntercomClient) -> None:
    ada = {"type": "admin", "id": "9608799", "name": "Ada Reyes", "email": "ada@acme.example"}
    responses.get(f"{API}/admins", json={"type": "admin.list", "admins": [ada, {"type": "admin"}, None]})
    responses.get(
        f"{API}/teams", json={"type": "team.list", "teams": [{"id": 814865, "name": "Second line"}]}
    )
    assert client.admins() == (Admin(id="9608799", name="Ada Reyes", email="ada@acme.example"),)
    assert client.teams() == (Admin(id="814865", name="Second line"),)


@responses.activate
def test_a_note_is_written_as_the_teammate_and_returned(client: IntercomClient) -> None:
    responses.post(f"{CONVERSATION}/reply", json=load("rest_conversation"))
    part = client.reply("215472621202693", admin_id="9608799", body="<p>see report</p>", note=True)
    assert json.loads(sent().body) == {
        "message_type": "note",
        "type": "admin",
        "admin_id": "9608799",
        "body": "<p>see report</p>",
    }
    assert part is not None
    assert (part.id, part.part_type) == ("37358198344", "note")


@responses.activate
def test_a_reply_returns_the_teammates_newest_part(client: IntercomClient) -> None:
    response = load("rest_conversation")
    parts = response["conversation_parts"]["conversation_parts"]
    own = {**parts[0], "id": "37358198400", "created_at": 1768033000, "part_type": "assignment"}
    other = {**own, "id": "37358198401", "created_at": 1768033001, "author": {"type": "admin", "id": "1"}}
    parts[:0] = [other, own]
    responses.post(f"{CONVERSATION}/reply", json=response)
    part = client.reply("215472621202693", admin_id="9608799", body="<p>x</p>", note=False)
    assert json.loads(sent().body)["message_type"] == "comment"
    assert part is not None and part.id == "37358198400"


@responses.activate
@pytest.mark.parametrize(
    "response", [{"type": "conversation", "id": "215472621202693"}, {}, {"type": "conversation", "id": 7}]
)
def test_a_post_that_intercom_accepted_is_posted_even_if_the_response_does_not_show_it(
    client: IntercomClient, response: dict[str, Any]
) -> None:
    responses.post(f"{CONVERSATION}/reply", json=response)
    assert client.reply("215472621202693", admin_id="9608799", body="<p>x</p>", note=True) is None


@responses.activate
def test_a_post_is_recognized_by_its_text_whatever_author_intercom_shows(client: IntercomClient) -> None:
    response = load("rest_conversation")
    parts = response["conversation_parts"]["conversation_parts"]
    bot = {**parts[0], "id": "37358198402", "body": "<p>see report</p>", "part_type": "comment"}
    parts.append({**bot, "author": {"type": "bot", "id": "9608700"}})
    responses.post(f"{CONVERSATION}/reply", json=response)
    part = client.reply("215472621202693", admin_id="9608799", body="<p>see report</p>", note=False)
    assert part is not None and part.id == "37358198402"


@responses.activate
def test_a_page_instead_of_json_may_be_a_proxys(client: IntercomClient) -> None:
    responses.post(f"{CONVERSATION}/reply", body="<html>Please log in</html>", content_type="text/html")
    with pytest.raises(IntercomUnavailableError) as caught:
        client.reply("215472621202693", admin_id="9608799", body="<p>x</p>", note=True)
    assert caught.value.may_have_run


@responses.activate
def test_the_token_identifies_its_workspace(client: IntercomClient) -> None:
    responses.get(f"{API}/me", json=load("rest_me"))
    me = client.me()
    assert (me.admin_id, me.workspace_id, me.region) == ("9608799", "abcd1234", "US")


@responses.activate
@pytest.mark.parametrize("response", [{}, {"app": None}, {"app": []}, {"app": {"id_code": None}}])
def test_a_response_without_a_workspace_is_intercoms_fault(client: IntercomClient, response: Any) -> None:
    responses.get(f"{API}/me", json=response)
    with pytest.raises(IntercomUnavailableError):
        client.me()


@responses.activate
@pytest.mark.parametrize(
    ("status", "body", "error", "retry", "may_have_run"),
    [
        (400, error_list("parameter_invalid"), IntercomRejectedError, False, False),
        (404, error_list("not_found"), IntercomRejectedError, False, False),
        (422, error_list("parameter_not_found"), IntercomRejectedError, False, False),
        (401, error_list("unauthorized"), IntercomAuthenticationError, False, False),
        (401, "no", IntercomAuthenticationError, False, False),
        (403, error_list("api_plan_restricted"), IntercomAuthenticationError, False, False),
        (408, error_list("request_timeout"), IntercomUnavailableError, True, True),
        (404, "<html>proxy</html>", IntercomUnavailableError, True, True),
        (429, error_list("rate_limit_exceeded"), IntercomRateLimitedError, True, False),
        (500, error_list("server_error"), IntercomUnavailableError, True, True),
        (503, "<html>maintenance</html>", IntercomUnavailableError, True, True),
        (302, "", IntercomUnavailableError, True, True),
        (200, "<html>hello</html>", IntercomUnavailableError, True, True),
        (200, "[]", IntercomUnavailableError, True, True),
        (200, "{}", IntercomUnavailableError, True, True),
        (200, "[" * 200_000, IntercomUnavailableError, True, True),
        (400, {"errors": "no"}, IntercomUnavailableError, True, True),
    ],
    ids=short_id,
)
def test_each_response_raises_the_matching_error(
    client: IntercomClient,
    status: int,
    body: Any,
    error: type[IntercomError],
    retry: bool,
    may_have_run: bool,
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    responses.get(CONVERSATION, body=text, status=status, headers={"Location": "https://evil.example/"})
    with pytest.raises(IntercomError) as caught:
        client.conversation("215472621202693")
    assert type(caught.value) is error
    assert caught.value.retry is retry
    assert caught.value.may_have_run is may_have_run
    assert caught.value.status == status
    assert TOKEN not in str(caught.value) + repr(caught.value)


@responses.activate
def test_a_rejection_has_intercoms_code_and_text(client: IntercomClient) -> None:
    responses.get(CONVERSATION, json=error_list("not_found", "Resource Not Found"), status=404)
    with pytest.raises(IntercomRejectedError, match="404 not_found: Resource Not Found") as caught:
        client.conversation("215472621202693")
    assert caught.value.intercom_code == "not_found"


@responses.activate
def test_a_rate_limit_has_its_reset_time(client: IntercomClient) -> None:
    until = int(time.time()) + 7
    headers = {"X-RateLimit-Reset": str(until)}
    responses.get(CONVERSATION, json=error_list("rate_limit_exceeded"), status=429, headers=headers)
    with pytest.raises(IntercomRateLimitedError) as caught:
        client.conversation("215472621202693")
    assert caught.value.until == until


@responses.activate
@pytest.mark.parametrize(
    "reset", [None, "", "soon", "-5", "1768032000", "99999999999", "9" * 400, "\xb2"], ids=short_id
)
def test_a_rate_limit_without_a_valid_reset_lasts_one_window(
    client: IntercomClient, reset: str | None
) -> None:
    headers = {} if reset is None else {"X-RateLimit-Reset": reset}
    responses.get(CONVERSATION, json=error_list("rate_limit_exceeded"), status=429, headers=headers)
    with pytest.raises(IntercomRateLimitedError) as caught:
        client.conversation("215472621202693")
    assert caught.value.until == pytest.approx(time.time() + 10, abs=3)


def test_a_missing_response_may_have_run(monkeypatch: pytest.MonkeyPatch, client: IntercomClient) -> None:
    def time_out(*args: Any, **kwargs: Any) -> Any:
        raise http.HttpNoResponseError("no complete response within 3 s")

    monkeypatch.setattr("intercom_bridge.intercom.client.exchange", time_out)
    with pytest.raises(IntercomNoResponseError, match="within 3 s") as caught:
        client.me()
    assert caught.value.retry
    assert caught.value.may_have_run


def test_an_unreachable_host_has_processed_nothing() -> None:
    client = IntercomClient(TOKEN, base_url="http://127.0.0.1:9")
    with pytest.raises(IntercomUnreachableError) as caught:
        client.me()
    assert caught.value.retry
    assert not caught.value.may_have_run
    assert TOKEN not in str(caught.value)


def test_a_call_may_have_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = []

    def respond(*args: Any, deadline: float, **kwargs: Any) -> http.Response:
        deadlines.append(deadline)
        return http.Response(200, {}, json.dumps(load("rest_me")).encode())

    monkeypatch.setattr("intercom_bridge.intercom.client.exchange", respond)
    client = IntercomClient(TOKEN)
    client.me()
    client.me(deadline=1.5)
    assert deadlines == [10, 1.5]


@pytest.mark.parametrize(
    "conversation_id", ["", "..", ".", "last", "1/../../me", "1?x=y", "1 2", "é", "1\n"], ids=short_id
)
def test_an_id_cannot_lead_to_another_address(client: IntercomClient, conversation_id: str) -> None:
    with pytest.raises(IntercomRejectedError):
        client.conversation(conversation_id)
    with pytest.raises(IntercomRejectedError):
        client.reply(conversation_id, admin_id="1", body="<p>x</p>", note=True)


@responses.activate
@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("US", "api.intercom.io"),
        ("EU", "api.eu.intercom.io"),
        ("au", "api.au.intercom.io"),
        ("XX", "api.intercom.io"),
    ],
)
def test_each_region_has_its_host(region: str, host: str) -> None:
    responses.get(f"https://{host}/me", json=load("rest_me"))
    assert IntercomClient(TOKEN, region=region).me().workspace_id == "abcd1234"


@responses.activate
def test_a_base_url_replaces_the_host() -> None:
    responses.get("http://127.0.0.1:8002/me", json=load("rest_me"))
    assert IntercomClient(TOKEN, region="EU", base_url="http://127.0.0.1:8002/").me().admin_id == "9608799"


def test_the_representation_contains_no_secret(client: IntercomClient) -> None:
    assert TOKEN not in repr(client)
    assert "api.intercom.io" in repr(client)


def test_conversation_urls_have_the_documented_form() -> None:
    assert conversation_url("US", "abcd1234", "215472621202693") == (
        "https://app.intercom.com/a/inbox/abcd1234/inbox/shared/all/conversation/215472621202693"
    )
    assert conversation_url("eu", "abcd1234", "1").startswith("https://app.eu.intercom.com/")
    assert conversation_url("", "a/b", "1").startswith("https://app.intercom.com/a/inbox/a%2Fb/")
    assert set(REGIONS) == {"US", "EU", "AU"}


@responses.activate
def test_a_redirect_is_not_followed_with_the_token(client: IntercomClient) -> None:
    elsewhere = responses.get("https://elsewhere.example/me", json=load("rest_me"))
    responses.get(f"{API}/me", status=302, headers={"Location": "https://elsewhere.example/me"})
    with pytest.raises(IntercomUnavailableError):
        client.me()
    assert elsewhere.call_count == 0


@pytest.mark.parametrize(("value", "verifies"), [(True, True), (False, False), ("yes", None), (None, None)])
@responses.activate
def test_identity_verification_is_unknown_unless_intercom_says_so(
    client: IntercomClient, value: object, verifies: bool | None
) -> None:
    me = load("rest_me")
    responses.get(f"{API}/me", json=me | {"app": me["app"] | {"identity_verification": value}})
    assert client.me().verifies_identities is verifies


@pytest.mark.parametrize(
    ("status", "code", "has"), [(200, "", True), (404, "not_found", False), (410, "contact_merged", False)]
)
@responses.activate
def test_a_merged_contact_no_longer_exists(client: IntercomClient, status: int, code: str, has: bool) -> None:
    responses.get(f"{API}/contacts/lead1", status=status, json=error_list(code) if code else {"id": "lead1"})
    assert client.has_contact("lead1") is has


@responses.activate
def test_a_contact_that_may_not_be_read_may_exist(client: IntercomClient) -> None:
    responses.get(f"{API}/contacts/lead1", status=403, json=error_list("api_plan_restricted"))
    with pytest.raises(IntercomAuthenticationError):
        client.has_contact("lead1")
    # This id would lead to another address.
    with pytest.raises(IntercomRejectedError):
        client.has_contact("../me")
