"""The stand-in's conversations change as Intercom's do: state, assignee, attributes, merges and deletions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.intercom import Intercom, running_intercom
from sandbox.intercom.seed import ADA, FIRST_LINE, SAM

from .bridge import Bridge, running_bridge
from .test_intercom import call, reply


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with running_bridge() as running:
        yield running


@pytest.fixture
def intercom(bridge: Bridge) -> Iterator[Intercom]:
    with running_intercom(bridge_url=bridge.url, attributes=("iTop ticket", "iTop status")) as running:
        yield running


@pytest.fixture
def conversation_id(intercom: Intercom) -> str:
    return intercom.conversation_of("Alice Martin").id


def change(intercom: Intercom, conversation_id: str, kind: str, **data: Any) -> requests.Response:
    body = {"message_type": kind, "admin_id": ADA.id} | data
    return call(intercom, "POST", f"/conversations/{conversation_id}/parts", body)


def code_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def newest_notification(intercom: Intercom) -> tuple[str, dict[str, Any]]:
    event = intercom.webhooks.log[-1]
    return event.topic, event.item


def test_teammates_and_teams_are_listed(intercom: Intercom) -> None:
    admins = call(intercom, "GET", "/admins").json()
    assert admins["type"] == "admin.list"
    assert [(admin["id"], admin["email"]) for admin in admins["admins"]] == [
        (ADA.id, ADA.email),
        (SAM.id, SAM.email),
    ]
    teams = call(intercom, "GET", "/teams").json()
    assert [team["name"] for team in teams["teams"]] == ["First line", "Second line"]


def test_a_teammate_who_left_is_not_listed_and_cannot_write(intercom: Intercom, conversation_id: str) -> None:
    intercom.write(conversation_id, author="admin", author_id=SAM.id, body="bye")
    intercom.store.remove_admin(SAM.id)
    assert [admin["id"] for admin in call(intercom, "GET", "/admins").json()["admins"]] == [ADA.id]
    answer = call(
        intercom, "POST", f"/conversations/{conversation_id}/reply", reply("<p>x</p>", admin_id=SAM.id)
    )
    assert code_of(answer) == (404, "admin_not_found")
    parts = call(intercom, "GET", f"/conversations/{conversation_id}").json()["conversation_parts"]
    assert parts["conversation_parts"][-1]["author"]["name"] == SAM.name


@pytest.mark.parametrize(
    ("kind", "data", "state", "topic"),
    [
        ("close", {"type": "admin"}, "closed", "conversation.admin.closed"),
        ("open", {}, "open", "conversation.admin.opened"),
        ("snoozed", {"snoozed_until": int(time.time()) + 3600}, "snoozed", "conversation.admin.snoozed"),
    ],
)
def test_a_change_of_state_is_a_part_of_the_app_and_a_notification(
    intercom: Intercom, conversation_id: str, kind: str, data: dict[str, Any], state: str, topic: str
) -> None:
    said = change(intercom, conversation_id, kind, **data).json()
    assert (said["state"], said["open"]) == (state, state != "closed")
    assert said["snoozed_until"] == data.get("snoozed_until")
    assert newest_notification(intercom)[0] == topic
    (part,) = newest_notification(intercom)[1]["conversation_parts"]["conversation_parts"]
    assert part["part_type"] == kind
    assert part["app_package_code"]


def test_an_assignment_opens_a_closed_conversation_only(intercom: Intercom, conversation_id: str) -> None:
    said = change(intercom, conversation_id, "assignment", type="admin", assignee_id=SAM.id).json()
    assert said["admin_assignee_id"] == int(SAM.id)
    assert newest_notification(intercom)[0] == "conversation.admin.assigned"
    change(intercom, conversation_id, "close", type="admin")
    said = change(intercom, conversation_id, "assignment", type="team", assignee_id=FIRST_LINE.id).json()
    assert (said["state"], said["team_assignee_id"]) == ("open", int(FIRST_LINE.id))
    assert newest_notification(intercom)[0] == "conversation.admin.open.assigned"
    part = said["conversation_parts"]["conversation_parts"][-1]
    assert part["part_type"] == "assign_and_reopen"
    assert part["assigned_to"] == {"type": "team", "id": FIRST_LINE.id}
    assert (
        change(intercom, conversation_id, "assignment", type="admin", assignee_id="0").json()[
            "admin_assignee_id"
        ]
        is None
    )


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        ("shout", {}, (400, "parameter_invalid")),
        ("open", {"admin_id": ""}, (400, "parameter_not_found")),
        ("open", {"admin_id": "1"}, (404, "admin_not_found")),
        ("close", {}, (400, "parameter_invalid")),
        ("snoozed", {"snoozed_until": 1}, (400, "parameter_invalid")),
        ("assignment", {"type": "admin"}, (400, "parameter_not_found")),
        ("assignment", {"type": "user", "assignee_id": "1"}, (400, "parameter_invalid")),
        ("assignment", {"type": "team", "assignee_id": "1"}, (404, "assignee_not_found")),
    ],
)
def test_an_incomplete_change_is_refused(
    intercom: Intercom, conversation_id: str, kind: str, data: dict[str, Any], error: tuple[int, str]
) -> None:
    before = intercom.store.count_parts(conversation_id)
    assert code_of(change(intercom, conversation_id, kind, **data)) == error
    assert intercom.store.count_parts(conversation_id) == before


def test_only_the_customer_opens_a_closed_conversation_by_writing(
    intercom: Intercom, conversation_id: str
) -> None:
    change(intercom, conversation_id, "close", type="admin")
    path = f"/conversations/{conversation_id}/reply"
    assert call(intercom, "POST", path, reply("<p>x</p>", message_type="note")).json()["state"] == "closed"
    assert call(intercom, "POST", path, reply("<p>x</p>")).json()["state"] == "closed"
    intercom.write(conversation_id, body="still broken")
    assert intercom.store.conversation(conversation_id).state == "open"


def test_a_comment_ends_the_snoozing_and_a_note_does_not(intercom: Intercom, conversation_id: str) -> None:
    change(intercom, conversation_id, "snoozed", snoozed_until=int(time.time()) + 3600)
    path = f"/conversations/{conversation_id}/reply"
    assert call(intercom, "POST", path, reply("<p>x</p>", message_type="note")).json()["state"] == "snoozed"
    assert call(intercom, "POST", path, reply("<p>x</p>")).json()["state"] == "open"


def test_a_deleted_conversation_is_not_found_and_its_notification_has_only_its_id(
    intercom: Intercom, conversation_id: str
) -> None:
    assert call(intercom, "DELETE", f"/conversations/{conversation_id}").json()["deleted"] is True
    assert newest_notification(intercom) == (
        "conversation.deleted",
        {"type": "conversation", "conversation_id": conversation_id},
    )
    assert code_of(call(intercom, "GET", f"/conversations/{conversation_id}")) == (404, "not_found")
    answer = call(intercom, "POST", f"/conversations/{conversation_id}/reply", reply("<p>x</p>"))
    assert code_of(answer) == (404, "not_found")
    listing = call(intercom, "GET", "/conversations/deleted", **{"Intercom-Version": "2.16"}).json()
    assert [one["id"] for one in listing["data"]] == [conversation_id]
    assert code_of(call(intercom, "GET", "/conversations/deleted")) == (400, "intercom_version_invalid")


def test_a_merged_conversation_is_closed_and_takes_no_messages(
    intercom: Intercom, conversation_id: str
) -> None:
    into = intercom.conversation_of("Bob Durand").id
    path = f"/conversations/{conversation_id}/merge"

    def merge(merge_into: str, path: str = path, version: str = "2.16") -> requests.Response:
        data = {"merge_into_conversation_id": merge_into}
        return call(intercom, "POST", path, data, **{"Intercom-Version": version})

    assert code_of(merge(into, version="2.15")) == (400, "intercom_version_invalid")
    assert code_of(merge("1")) == (422, "merge_failed")
    assert code_of(merge(conversation_id)) == (422, "merge_failed")
    count = len(intercom.webhooks.log)
    assert merge(into).json()["id"] == into
    assert len(intercom.webhooks.log) == count
    assert call(intercom, "GET", f"/conversations/{conversation_id}").json()["state"] == "closed"
    answer = call(intercom, "POST", f"/conversations/{conversation_id}/reply", reply("<p>x</p>"))
    assert answer.status_code == 422
    assert code_of(merge(into)) == (422, "merge_failed")


def test_values_can_be_set_only_of_attributes_that_exist_once(
    intercom: Intercom, conversation_id: str
) -> None:
    path = f"/conversations/{conversation_id}"

    def put(**values: object) -> requests.Response:
        return call(intercom, "PUT", path, {"custom_attributes": values})

    answer = put(**{"iTop ticket": "R-000012", "iTop status": "New"})
    assert answer.json()["custom_attributes"] == {"iTop ticket": "R-000012", "iTop status": "New"}
    assert put(**{"iTop status": None}).json()["custom_attributes"]["iTop status"] is None
    assert code_of(put(**{"iTop ticket": 12})) == (400, "parameter_invalid")
    assert code_of(put(elsewhere="x")) == (400, "parameter_invalid")
    # Notifications have no topic for attributes.
    assert intercom.webhooks.log == []
    intercom.store.add_attribute("iTop ticket")
    assert code_of(put(**{"iTop ticket": "R-000013"})) == (400, "INVALID_PARAMETER")


def test_attributes_are_listed_by_all_versions_and_created_from_2_16_on(intercom: Intercom) -> None:
    def names() -> list[str]:
        listed = call(intercom, "GET", "/data_attributes?model=conversation").json()["data"]
        return [one["name"] for one in listed]

    assert names() == ["iTop ticket", "iTop status"]
    new = {"name": "Site", "data_type": "string"}
    assert code_of(call(intercom, "POST", "/conversations/attributes", new)) == (
        400,
        "intercom_version_invalid",
    )
    version = {"Intercom-Version": "2.16"}
    created = call(intercom, "POST", "/conversations/attributes", new, **version).json()
    assert (created["type"], created["name"]) == ("conversation_attribute", "Site")
    assert names() == ["iTop ticket", "iTop status", "Site"]
    assert code_of(call(intercom, "POST", "/conversations/attributes", new, **version)) == (
        400,
        "parameter_invalid",
    )
    path = f"/conversations/attributes/{created['id']}"
    assert call(intercom, "DELETE", path, **version).json()["archived"] is True
    assert names() == ["iTop ticket", "iTop status"]
    assert code_of(call(intercom, "GET", "/conversations/attributes/1", **version)) == (
        404,
        "conversation_attribute_not_found",
    )


def test_a_post_of_the_app_can_be_notified_before_its_answer(
    intercom: Intercom, bridge: Bridge, conversation_id: str
) -> None:
    intercom.faults.add("notify_first", path="/reply", count=1, seconds=5)
    call(intercom, "POST", f"/conversations/{conversation_id}/reply", reply("<p>x</p>", message_type="note"))
    # Nothing waits here: when the answer comes, the notification has come.
    (received,) = bridge.of("/webhooks/intercom")
    assert received.data["topic"] == "conversation.admin.noted"
    (part,) = received.data["data"]["item"]["conversation_parts"]["conversation_parts"]
    assert part["app_package_code"]
