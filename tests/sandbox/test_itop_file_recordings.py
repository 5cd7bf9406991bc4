"""Recorded exchanges about files, sent again to the stand-in: they must be answered as recorded.

What people did in the console and in the portal in between is done as it was. Files that were made without a recording
are inserted as they are listed in 275, whose order means nothing: most of its files have the same name in iTop.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.itop import Itop, files, running_itop, seed
from sandbox.itop.files import File
from tests.sandbox.test_itop_recordings import assert_same

RECORDINGS = Path(__file__).parents[1] / "recordings" / "itop-files"
FILES = {int(path.stem[:3]): json.loads(path.read_text("utf-8")) for path in RECORDINGS.glob("*.json")}
SECRETS = {"TOKEN": seed.TOKEN, "TOKEN_OF_AGENT_APP": seed.TOKENS["agent_app"], "PASSWORD": "Passw0rd!facts"}
MEGABYTE = 1024 * 1024
SECRET_OF_THE_CONSOLE = "83c310"
UNORDERED = (251, 275)
A_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
CONSOLE, PORTAL = "jverne", "alice.martin"
REPORT = File("report.txt", b"report", "text/plain")
ALONE = File("only-a-file.txt", b"alone", "text/plain")


class Replay:
    def __init__(self, itop: Itop) -> None:
        self.itop = itop
        self.answers: dict[int, dict[str, Any]] = {}

    def send(self, number: int) -> dict[str, Any]:
        form = FILES[number]["request"]["form"]
        text = json.dumps(form["json_data"]).replace("http://itop.example:8090", self.itop.url)
        form = {name: SECRETS.get(value, value) for name, value in form.items() if isinstance(value, str)}
        answer = requests.post(self.itop.rest_url, data=form | {"json_data": text}, timeout=10)
        assert answer.status_code == FILES[number]["status"]
        address = json.dumps(self.itop.url)[1:-1].replace("/", "\\/")
        found: dict[str, Any] = json.loads(answer.text.replace(address, "http:\\/\\/itop.example:8090"))
        return found

    def replay(self, first: int, last: int) -> None:
        for number in sorted(FILES):
            if first <= number <= last:
                self.answers[number] = self.send(number)


def console_entries(replay: Replay) -> None:
    """Write as the agent did before recording 226."""
    itop = replay.itop
    picture = FILES[228]["response"]["objects"]["InlineImage::1"]["fields"]["contents"]
    image = File(picture["filename"], base64.b64decode(picture["data"]), picture["mimetype"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "new_secret", lambda: SECRET_OF_THE_CONSOLE)
        itop.act(8, account=CONSOLE, entry="<p>From the console, with an image:</p>", pictures=[image])
    itop.act(8, account=CONSOLE, entry="<p>From the console, with a file</p>")
    itop.act(8, account=CONSOLE, entry="<p>From the console, with a file</p>", files=[REPORT])
    itop.act(8, account=CONSOLE, files=[ALONE])


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[int, dict[str, Any]]]:
    with running_itop(demo=False, window=0, post_max_size=32 * MEGABYTE, memory_limit=512 * MEGABYTE) as itop:
        replay, store = Replay(itop), itop.store
        store.set_number("Attachment", 1)
        store.insert("UserRequest", id=1016, ref="R-001016", title="Files", org_id=4, caller_id=40)
        console_entries(replay)
        replay.replay(226, 235)
        store.set_number("Attachment", 4)
        itop.act(8, account=PORTAL, entry="<p>from the portal</p>", files=[REPORT])
        row = store.load("Ticket", 1016)
        assert row is not None
        store.record_change(1010089, "2026-11-27 23:45:49", "Facts", 2, "webservice-rest")
        store.record_op("CMDBChangeOpCreate", 1010245, 1010089, row)
        replay.replay(243, 255)
        listed = FILES[275]["response"]["objects"].values()
        for number in (int(each["key"]) for each in listed):
            if store.load("Attachment", number) is None:
                values = {"user_id": 2, "item_class": "UserRequest", "item_id": 1016, "temp_id": ""}
                store.insert("Attachment", id=number, creation_date="2026-11-27 23:47:31", **values)
        for each in listed:
            store.update("Attachment", int(each["key"]), creation_date=each["fields"]["creation_date"])
        replay.replay(275, 276)
        limited(itop)
        replay.replay(277, 277)
        yield replay.answers


def limited(itop: Itop) -> None:
    """Add what recording 277 was made with: an account for one organization, and a file that names it."""
    user = itop.store.insert(
        "UserLocal", login="facts_other_org", password=SECRETS["PASSWORD"], status="enabled"
    )
    profiles = {row["name"]: row["id"] for row in itop.store.all("URP_Profiles")}
    for name in ("Support Agent", "REST Services User"):
        itop.store.insert("URP_UserProfile", userid=user["id"], profileid=profiles[name])
    itop.store.insert("URP_UserOrg", userid=user["id"], allowed_org_id=3)
    for number, organization in ((34, 0), (35, 3)):
        values = {"item_class": "UserRequest", "item_id": 1016, "item_org_id": organization}
        itop.store.insert("Attachment", id=number, **values)


def comparable(answer: dict[str, Any], number: int) -> dict[str, Any]:
    text = A_DATE.sub("<date>", json.dumps(answer))
    # Since the recordings, the console surrounds a picture with a figure, and notes its size in another place.
    text = re.sub(r' (style=\\"aspect-ratio:40/30|width=\\"40|height=\\"30)\\"', "", text)
    text = text.replace('<figure class=\\"image\\">', "<p>")
    answer = json.loads(text.replace("</figure>", "</p>"))
    if number in UNORDERED:
        answer["objects"] = dict(sorted(answer["objects"].items()))
    return answer


REPLAYED = [number for number in sorted(FILES) if number not in (256, 257, 258)]


@pytest.mark.parametrize("number", REPLAYED)
def test_files_are_answered_as_recorded(number: int, answers: dict[int, dict[str, Any]]) -> None:
    recorded, answered = FILES[number]["response"], answers[number]
    assert_same(comparable(recorded, number), comparable(answered, number), where=str(number))


def test_the_three_limits_of_a_body_are_answered_as_recorded() -> None:
    big = "A" * (9 * MEGABYTE)
    with running_itop(demo=False) as itop:
        form = {"version": "1.3", "json_data": big}
        header = requests.post(
            itop.rest_url, data=form, headers={"Auth-Token": seed.TOKEN}, timeout=20
        ).json()
        inside = requests.post(itop.rest_url, data=form | {"auth_token": seed.TOKEN}, timeout=20).json()
    assert header == FILES[256]["response"]
    assert inside == FILES[257]["response"]
    with running_itop(demo=False, post_max_size=32 * MEGABYTE, memory_limit=512 * MEGABYTE) as itop:
        request = FILES[258]["request"]["form"]["json_data"]
        request["fields"]["contents"]["data"] = base64.b64encode(bytes(16 * MEGABYTE)).decode()
        form = {"version": "1.3", "json_data": json.dumps(request), "auth_token": seed.TOKEN}
        packet = requests.post(
            itop.rest_url, files={name: (None, text) for name, text in form.items()}, timeout=30
        )
    assert packet.json() == FILES[258]["response"]
