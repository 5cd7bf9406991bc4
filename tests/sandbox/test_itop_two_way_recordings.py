"""Recorded exchanges about changes of tickets, sent again to the stand-in: they must be answered as recorded.

What people did in the console and in the portal in between, and calls without a recording, are done as they were.
The order of operations of one change, and of changes of one second, means nothing in iTop, so it is not compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from sandbox.itop import Itop, running_itop, seed
from tests.sandbox.test_itop_recordings import assert_same

RECORDINGS = Path(__file__).parents[1] / "recordings" / "itop-two-way"
FILES = sorted(RECORDINGS.glob("[0-9][0-9][0-9]-*.json"))
SECRETS = {
    "TOKEN": seed.TOKEN,
    "TOKEN_OF_AGENT_APP": seed.TOKENS["agent_app"],
    "TOKEN_OF_READER_APP": seed.TOKENS["reader_app"],
    "PASSWORD": "Passw0rd!facts",
}
START = datetime(2026, 11, 27, 23, 25, 34, tzinfo=ZoneInfo("Europe/Paris")).timestamp()
SECOND_OF = {201: 0, 202: 1, 203: 2, 204: 2, 205: 3, 206: 3, 207: 3, 208: 4, 209: 4, 210: 5, 211: 5}
A_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
CONSOLE, PORTAL = "jverne", "alice.martin"


class Replay:
    def __init__(self, itop: Itop) -> None:
        self.itop = itop
        self.answers: dict[str, dict[str, Any]] = {}

    def send(self, form: dict[str, Any]) -> dict[str, Any]:
        form = {name: SECRETS.get(value, value) for name, value in form.items() if isinstance(value, str)} | {
            "json_data": json.dumps(form["json_data"])
        }
        return requests.post(self.itop.rest_url, data=form, timeout=10).json()  # type: ignore[no-any-return]

    def replay(self, first: int, last: int) -> None:
        for path in FILES:
            number = int(path.stem[:3])
            if first <= number <= last:
                self.answers[path.stem] = self.send(json.loads(path.read_text("utf-8"))["request"]["form"])

    def call(self, operation: str, comment: str, **request: Any) -> None:
        request |= {"operation": f"core/{operation}", "class": "UserRequest", "comment": comment}
        answer = self.send({"version": "1.3", "json_data": request, "auth_token": "TOKEN"})
        assert answer["code"] == 0, answer

    def number_from(self, change: int, operation: int) -> None:
        self.itop.store.set_number("CMDBChange", change)
        self.itop.store.set_number("CMDBChangeOp", operation)


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, dict[str, Any]]]:
    clock = [START]
    with running_itop(demo=False, window=0, clock=lambda: clock[0]) as itop:
        replay = Replay(itop)
        itop.operations.pause = lambda: None
        store = itop.store
        store.insert(
            "Person", id=12, first_name="Anna", name="Gavalda", org_id=3, email="anna.gavalda@it.example"
        )
        store.update("Person", 9, email="jules.vernes@it.com")
        store.set_number("Ticket", 13)
        store.set_number("ref", 11)
        replay.number_from(70, 613)
        for number in range(201, 225):
            if number == 212:
                replay.number_from(81, 644)
                for title in ("A title", "Another title"):
                    replay.call("update", "Facts", key=7, fields={"title": title})
            clock[0] = START + SECOND_OF.get(number, 60)
            replay.replay(number, number)
        replay.number_from(83, 657)
        itop.act(8, account=CONSOLE, entry="<p>first</p>")
        itop.act(8, account=CONSOLE, entry="<p>second</p>")
        replay.number_from(85, 660)
        itop.act(8, account=CONSOLE, entry="<p>third</p>")
        replay.replay(225, 225)
        replay.number_from(87, 662)
        for _ in range(4):
            replay.call("update", "Facts", key=8, fields={"public_log": "<p>with a picture</p>"})
        for _ in range(3):
            itop.act(8, account=PORTAL, entry="<p>from the portal</p>")
        replay.replay(236, 237)
        replay.number_from(94, 670)
        new = {"org_id": 4, "caller_id": 40, "description": "<p>x</p>"}
        replay.call("create", "Facts", fields=new | {"title": "Order"})
        for number in range(16):
            replay.call("update", f"n{number:02d}", key=14, fields={"title": f"Title {number}"})
        replay.replay(238, 239)
        logs = {"public_log": {"items": [{"message": "a"}, {"message": "b"}]}, "private_log": "c"}
        replay.call("create", "Facts", fields=new | {"title": "Created with logs"} | logs)
        replay.replay(240, 240)
        for comment, entries in (
            ("replace", {"items": [{"message": "one"}]}),
            ("append", "two"),
            ("replace by four", {"items": [{"message": str(number)} for number in range(4)]}),
        ):
            replay.call("update", comment, key=15, fields={"public_log": entries})
        replay.replay(241, 241)
        before = store.load("Ticket", 15)
        clock[0] += 60
        replay.replay(242, 242)
        assert store.load("Ticket", 15) == before
        store.set_number("Ticket", 1017)
        store.set_number("ref", 1015)
        replay.call("create", "Facts", fields=new | {"title": "To be deleted"})
        replay.call("update", "Facts", key=1017, fields={"public_log": "gone soon"})
        replay.number_from(1010127, 1010348)
        replay.call("delete", "Facts: deleted", key=1017)
        replay.replay(265, 274)
        yield replay.answers


def comparable(answer: dict[str, Any], *, sort: bool) -> Any:
    answer = json.loads(A_DATE.sub("<date>", json.dumps(answer)))
    if sort and answer["objects"]:
        answer["objects"] = dict(sorted(answer["objects"].items()))
    return answer


def without_files(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out the operations of files, which the stand-in does not have, and pictures in the log of ticket 8."""
    objects = answer["objects"] or {}
    kept = {key: each for key, each in objects.items() if "AttachmentAdded" not in key}
    for each in kept.values():
        if each["key"] == "8" and "public_log" in each["fields"]:
            del each["fields"]["public_log"]["entries"][3:]
    message = re.sub(r"Found: \d+", f"Found: {len(kept)}", answer["message"] or "") or None
    return answer | {
        "objects": kept or None,
        "message": message if len(kept) < len(objects) else answer["message"],
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_changes_are_answered_as_recorded(path: Path, answers: dict[str, dict[str, Any]]) -> None:
    recorded = without_files(json.loads(path.read_text("utf-8"))["response"])
    answered = without_files(answers[path.stem])
    of_changes = any(key.startswith("CMDBChange") for key in recorded.get("objects") or {})
    assert_same(comparable(recorded, sort=of_changes), comparable(answered, sort=of_changes), where=path.stem)
    if of_changes:
        shown = [
            [each["fields"].get("change") for each in answer["objects"].values()]
            for answer in (recorded, answered)
        ]
        assert shown[0] == shown[1], "changes come in the order of their numbers as text"
