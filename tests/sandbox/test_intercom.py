"""The stand-in's REST answers as Intercom's documentation says."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.intercom import TOKEN, WORKSPACE_ID, Intercom, running_intercom
from sandbox.intercom.markup import from_text, normalise, to_text


@pytest.fixture
def intercom() -> Iterator[Intercom]:
    with running_intercom(long_conversation=True) as running:
        yield running


def call(intercom: Intercom, method: str, path: str, data: Any = None, **headers: str) -> requests.Response:
    known = {"Authorization": f"Bearer {TOKEN}", "Intercom-Version": "2.14"}
    return requests.request(method, intercom.url + path, json=data, headers=known | headers, timeout=5)


def reply(body: str, **others: Any) -> dict[str, Any]:
    return {"message_type": "comment", "type": "admin", "admin_id": "9608799", "body": body} | others


def test_me_returns_the_workspace_and_its_region(intercom: Intercom) -> None:
    me = call(intercom, "GET", "/me").json()
    assert me["app"]["id_code"] == WORKSPACE_ID
    assert me["app"]["region"] == "US"
    assert me["name"] == "Ada Reyes"


@pytest.mark.parametrize("given", ["", "Bearer wrong", TOKEN])
def test_a_wrong_token_is_refused(intercom: Intercom, given: str) -> None:
    answer = call(intercom, "GET", "/me", Authorization=given)
    assert answer.status_code == 401
    assert answer.json()["type"] == "error.list"
    assert answer.json()["errors"][0]["code"] == "unauthorized"


def test_a_conversation_has_its_500_newest_parts_and_their_total_count(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Bob Durand")
    for number in range(190):
        intercom.write(conversation.id, body=f"one more, {number}")
    said = call(intercom, "GET", f"/conversations/{conversation.id}").json()
    parts = said["conversation_parts"]
    assert len(parts["conversation_parts"]) == 500
    assert parts["total_count"] == 510
    assert "one more, 189" in parts["conversation_parts"][-1]["body"]
    assert said["source"]["body"].startswith('<p class="no-margin">')
    assert isinstance(said["statistics"]["first_contact_reply_at"], int)


def test_plain_text_is_returned_on_request(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    intercom.write(conversation.id, author="admin", html='<p>See <a href="https://a.example/x">this</a></p>')
    said = call(intercom, "GET", f"/conversations/{conversation.id}?display_as=plaintext").json()
    assert said["conversation_parts"]["conversation_parts"][-1]["body"] == "See this (https://a.example/x)"


def test_a_reply_is_normalised_marked_as_the_apps_and_returns_its_conversation(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    html = 'Ticket <a href="https://itop.example/1">R-1</a><script>alert(1)</script><p>is open</p>'
    answer = call(intercom, "POST", f"/conversations/{conversation.id}/reply", reply(html))
    assert answer.status_code == 200
    part = answer.json()["conversation_parts"]["conversation_parts"][-1]
    assert part["app_package_code"]
    assert part["author"] == {
        "id": "9608799",
        "type": "admin",
        "name": "Ada Reyes",
        "email": "ada.reyes@it.example",
        "from_ai_agent": False,
        "is_ai_answer": False,
    }
    assert part["body"] == (
        '<p class="no-margin">Ticket <a href="https://itop.example/1" rel="nofollow noopener noreferrer" '
        'target="_blank">R-1</a></p><p class="no-margin">is open</p>'
    )


def test_a_reply_can_be_a_note(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    path = f"/conversations/{conversation.id}/reply"
    answer = call(intercom, "POST", path, reply("<p>psst</p>", message_type="note"))
    assert answer.json()["conversation_parts"]["conversation_parts"][-1]["part_type"] == "note"


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"body": ""}, 400, "parameter_invalid"),
        ({"body": "<p> </p>"}, 400, "parameter_invalid"),
        ({"admin_id": ""}, 400, "parameter_not_found"),
        ({"admin_id": "1"}, 404, "admin_not_found"),
        ({"message_type": "shout"}, 400, "parameter_invalid"),
    ],
)
def test_an_incomplete_reply_is_refused_and_not_posted(
    intercom: Intercom, wrong: dict[str, Any], status: int, code: str
) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    before = intercom.store.count_parts(conversation.id)
    answer = call(intercom, "POST", f"/conversations/{conversation.id}/reply", reply("<p>x</p>") | wrong)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert intercom.store.count_parts(conversation.id) == before


def test_an_unknown_path_is_404_and_invalid_json_is_400(intercom: Intercom) -> None:
    assert call(intercom, "GET", "/conversations/1").status_code == 404
    assert call(intercom, "DELETE", "/me").status_code == 404
    assert call(intercom, "GET", "/me", Accept="text/html").status_code == 406
    assert call(intercom, "GET", "/me", **{"Intercom-Version": "9.9"}).status_code == 400
    conversation = intercom.conversation_of("Alice Martin")
    answer = requests.post(
        f"{intercom.url}/conversations/{conversation.id}/reply",
        data=b"{",
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=5,
    )
    assert answer.status_code == 400


def test_calls_beyond_the_rate_limit_get_429(intercom: Intercom) -> None:
    first = call(intercom, "GET", "/me")
    assert first.headers["X-RateLimit-Limit"] == "1666"
    assert int(first.headers["X-RateLimit-Remaining"]) < 1666
    assert int(first.headers["X-RateLimit-Reset"]) >= time.time() - 1
    intercom.calls_a_window = 0
    refused = call(intercom, "GET", "/me")
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["code"] == "rate_limit_exceeded"


def test_one_connection_serves_many_calls(intercom: Intercom) -> None:
    connection = http.client.HTTPConnection(intercom.url.removeprefix("http://"), timeout=5)
    connection.connect()
    sockets = set()
    for _ in range(3):
        connection.request("GET", "/me", headers={"Authorization": f"Bearer {TOKEN}"})
        sockets.add(connection.sock)
        assert connection.getresponse().read()
    assert len(sockets) == 1
    connection.close()


def test_faults_happen_on_demand(intercom: Intercom) -> None:
    def with_fault(**fault: Any) -> requests.Response:
        wanted = {"faults": [{"count": 1} | fault]}
        assert requests.post(f"{intercom.url}/sandbox/faults", json=wanted, timeout=5).status_code == 200
        return call(intercom, "GET", "/me")

    assert with_fault(kind="error", status=503).status_code == 503
    assert "<html>" in with_fault(kind="html", status=502).text
    with pytest.raises(requests.ConnectionError):
        with_fault(kind="drop_before")
    limited = with_fault(kind="rate_limited", seconds=0.3)
    assert limited.status_code == 429
    assert limited.headers["X-RateLimit-Remaining"] == "0"
    refused = requests.post(f"{intercom.url}/sandbox/faults", json={"faults": [{"kind": "?"}]}, timeout=5)
    assert refused.status_code == 400


def test_a_reply_whose_response_is_dropped_is_posted(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    before = intercom.store.count_parts(conversation.id)
    intercom.faults.add("drop_after", path="/reply", count=1)
    with pytest.raises(requests.ConnectionError):
        call(intercom, "POST", f"/conversations/{conversation.id}/reply", reply("<p>there</p>"))
    assert intercom.store.count_parts(conversation.id) == before + 1


def test_a_merge_is_a_part_in_both_conversations_and_neither_names_the_other(intercom: Intercom) -> None:
    ended, going_on = intercom.conversation_of("Alice Martin"), intercom.conversation_of("Bob Durand")
    answer = call(intercom, "POST", f"/sandbox/conversations/{ended.id}/merge", {"into": going_on.id})
    assert answer.status_code == 200
    last = [intercom.store.parts(merged.id)[-1] for merged in (ended, going_on)]
    assert [part.part_type for part in last] == [
        "merged_secondary_conversation",
        "merged_primary_conversation",
    ]
    assert last[0].created_at == last[1].created_at
    said = json.dumps(call(intercom, "GET", f"/conversations/{ended.id}").json())
    assert going_on.id not in said


@pytest.mark.parametrize("into", ["", "1", "itself"])
def test_an_invalid_merge_is_refused_and_changes_nothing(intercom: Intercom, into: str) -> None:
    ended = intercom.conversation_of("Alice Martin")
    before = intercom.store.count_parts(ended.id)
    said = {"into": ended.id if into == "itself" else into}
    assert call(intercom, "POST", f"/sandbox/conversations/{ended.id}/merge", said).status_code in (400, 404)
    assert intercom.store.count_parts(ended.id) == before


def test_data_survives_a_restart(tmp_path: Any) -> None:
    database = str(tmp_path / "intercom.sqlite3")
    with running_intercom(database=database, long_conversation=True) as intercom:
        conversation = intercom.conversation_of("Alice Martin")
        part = intercom.write(conversation.id, body="still here?")
        people = intercom.store.contacts()
    with running_intercom(database=database, long_conversation=True) as intercom:
        assert intercom.store.parts(conversation.id)[-1] == part
        assert intercom.store.conversations()[0].id == conversation.id
        assert intercom.store.contacts() == people


def test_a_source_and_a_part_can_have_the_same_id(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Bob Durand")
    assert conversation.source.id in {part.id for part in intercom.store.parts(conversation.id)}


def test_bodies_are_normalised() -> None:
    assert from_text("a\nb\n\nc <d>") == (
        '<p class="no-margin">a<br>b</p><p class="no-margin">c &lt;d&gt;</p>'
    )
    assert to_text(from_text("see https://a.example/b. Or not")) == "see https://a.example/b. Or not"
    assert normalise("<div><b>x</b></div><img src='javascript:1'><ul><li>y</ul>") == (
        '<p class="no-margin"><b>x</b></p><ul><li>y</li></ul>'
    )
    assert normalise("<p></p> <br>") == ""
    assert to_text('<p>a</p><p><img src="https://x/y.png"></p>') == "a\n\n[Image]"
