"""The stand-in for Intercom stores files, and serves them from addresses that expire."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.intercom import Intercom, running_intercom
from sandbox.intercom.files import File, png
from tests.sandbox.test_intercom import call, reply

SHOT = File("shot.png", png(50, 20))


@pytest.fixture
def intercom() -> Iterator[Intercom]:
    with running_intercom(api_version="2.15") as running:
        yield running


def last_part(intercom: Intercom, conversation_id: str) -> dict[str, Any]:
    said = call(intercom, "GET", f"/conversations/{conversation_id}").json()
    return said["conversation_parts"]["conversation_parts"][-1]  # type: ignore[no-any-return]


def with_a_file(intercom: Intercom, file: File = SHOT) -> tuple[str, str]:
    """Return a conversation whose newest part has a file, and the file's address."""
    conversation = intercom.conversation_of("Alice Martin")
    intercom.write(conversation.id, body="See this", attachments=[file])
    return conversation.id, last_part(intercom, conversation.id)["attachments"][0]["url"]


def get(address: str, **headers: str) -> requests.Response:
    return requests.get(address, headers=headers, timeout=5, allow_redirects=False)


def test_a_file_is_served_without_a_token(intercom: Intercom) -> None:
    conversation_id, address = with_a_file(intercom)
    answer = get(address)
    assert (answer.status_code, answer.content) == (200, SHOT.content)
    assert answer.headers["Content-Type"] == "image/png"
    shown = last_part(intercom, conversation_id)["attachments"][0]
    assert {name: shown[name] for name in ("name", "content_type", "filesize", "width", "height")} == {
        "name": "shot.png",
        "content_type": "image/png",
        "filesize": len(SHOT.content),
        "width": 50,
        "height": 20,
    }
    assert get(address, Authorization="Bearer x").status_code == 400


def test_an_address_expires_after_thirty_minutes_and_reading_again_gives_a_fresh_one(
    intercom: Intercom,
) -> None:
    conversation_id, address = with_a_file(intercom)
    intercom.expire_addresses(29 * 60)
    assert get(address).status_code == 200
    intercom.expire_addresses(61)
    assert get(address).status_code == 403
    fresh = last_part(intercom, conversation_id)["attachments"][0]["url"]
    assert get(fresh).content == SHOT.content


@pytest.mark.parametrize(
    "change", [("expires=", "expires=9"), ("signature=", "signature=0"), ("/i/o/", "/i/o/x")]
)
def test_a_changed_address_is_refused(intercom: Intercom, change: tuple[str, str]) -> None:
    _, address = with_a_file(intercom)
    assert get(address.replace(*change)).status_code == 403


def test_a_pasted_picture_stands_in_the_html_and_is_a_marker_in_a_notification(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    part = intercom.write(conversation.id, body="It looks like this:", pictures=[SHOT], attachments=["a.txt"])
    found = re.search(r'<img src="([^"]+)">', last_part(intercom, conversation.id)["body"])
    assert found is not None
    assert get(found[1].replace("&amp;", "&")).content == SHOT.content
    intercom.webhooks.wait_until_sent(5)
    item = intercom.webhooks.log[-1].item["conversation_parts"]["conversation_parts"][0]
    assert item["id"] == part.id
    assert item["body"] == "It looks like this:\n\n[Image]\n[Attachment]"


def test_files_of_a_reply_become_files_of_the_part(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    file = {"content_type": "image/png", "data": base64.b64encode(SHOT.content).decode(), "name": "shot.png"}
    sent = reply("<p>See the file</p>", attachment_files=[file] * 10)
    answer = call(intercom, "POST", f"/conversations/{conversation.id}/reply", sent)
    assert answer.status_code == 200
    files = answer.json()["conversation_parts"]["conversation_parts"][-1]["attachments"]
    assert len(files) == 10
    assert get(files[9]["url"]).content == SHOT.content


GOOD = {"content_type": "text/plain", "data": "eA==", "name": "a.txt"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"attachment_files": [GOOD] * 11},
        {"attachment_files": [GOOD | {"data": "not base64"}]},
        {"attachment_files": [GOOD | {"data": "eA"}]},
        {"attachment_files": [GOOD | {"data": ""}]},
        {"attachment_files": [GOOD | {"name": None}]},
        {"attachment_files": [{"data": "eA==", "name": "a.txt"}]},
        {"attachment_files": ["a.txt"]},
        {"attachment_files": GOOD},
        {"attachment_files": [GOOD], "body": ""},
        {"attachment_files": [GOOD], "body": None},
    ],
)
def test_a_reply_with_wrong_files_is_refused(intercom: Intercom, wrong: dict[str, Any]) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    before = intercom.store.count_parts(conversation.id)
    answer = call(intercom, "POST", f"/conversations/{conversation.id}/reply", reply("<p>x</p>") | wrong)
    assert answer.status_code == 400
    assert answer.json()["type"] == "error.list"
    assert answer.json()["errors"][0]["code"] == "parameter_invalid"
    assert intercom.store.count_parts(conversation.id) == before


def test_the_faults_of_a_download(intercom: Intercom) -> None:
    _, address = with_a_file(intercom)
    for kind in ("cut_off", "drop_before"):
        intercom.faults.add(kind, path="/i/o/", count=1)
        with pytest.raises(requests.RequestException):
            get(address)
    intercom.faults.add("wrong_length", path="/i/o/", count=1)
    assert get(address).content == SHOT.content[:-10]
    intercom.faults.add("wrong_length", path="/i/o/", count=1, bytes=10)
    with pytest.raises(requests.RequestException):
        get(address)
    intercom.faults.add("no_length", path="/i/o/", count=1)
    answer = get(address)
    assert answer.content == SHOT.content and "Content-Length" not in answer.headers
    intercom.faults.add("redirect", path="/i/o/", count=1, location="http://10.0.0.1/")
    answer = get(address)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://10.0.0.1/")
    for kind, status in (("quarantined", 403), ("error", 502), ("html", 503)):
        intercom.faults.add(kind, path="/i/o/", count=1, status=status)
        assert get(address).status_code == status
    assert get(address).status_code == 200


def test_redaction_removes_words_and_files_and_is_notified(intercom: Intercom) -> None:
    conversation_id, address = with_a_file(intercom)
    part = last_part(intercom, conversation_id)
    sent = {
        "type": "conversation_part",
        "conversation_id": conversation_id,
        "conversation_part_id": part["id"],
    }
    assert call(intercom, "POST", "/conversations/redact", sent).status_code == 200
    redacted = last_part(intercom, conversation_id)
    assert (redacted["id"], redacted["redacted"], redacted["attachments"]) == (part["id"], True, [])
    assert redacted["body"] == "<p><i>This message was deleted</i></p>"
    assert get(address).status_code == 404
    intercom.webhooks.wait_until_sent(5)
    assert intercom.webhooks.log[-1].topic == "conversation_part.redacted"


def test_the_source_is_redacted_although_a_part_may_have_its_id(intercom: Intercom) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    intercom.store.add_part(
        conversation.id,
        part_type="comment",
        body="<p>stays</p>",
        author_type="user",
        author_id=conversation.contact_ids[0],
        part_id=conversation.source.id,
    )
    sent = {"type": "source", "conversation_id": conversation.id, "source_id": conversation.source.id}
    said = call(intercom, "POST", "/conversations/redact", sent).json()
    assert said["source"]["redacted"] is True
    assert "<p>stays</p>" in [part["body"] for part in said["conversation_parts"]["conversation_parts"]]
    assert call(intercom, "POST", "/conversations/redact", sent | {"source_id": "1"}).status_code == 404
