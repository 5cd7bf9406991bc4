"""Every recorded exchange with a real iTop, sent again to the stand-in in the recorded order.

Compared are the HTTP status, the content type, and the whole answer: code, message, the objects' keys,
the fields with their order and types, and the log entries. Ids and references must come out as recorded,
since the seed has the state of the recorded instance. Permitted differences are listed here, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.itop import running_itop, seed

RECORDINGS = Path(__file__).parents[1] / "recordings" / "itop"
FILES = sorted(RECORDINGS.glob("[0-9][0-9][0-9]-*.json"))
TOKENS = {
    "ITOP_USER_TOKEN_WITH_LAST_8_CHARS_CHANGED": seed.TOKEN[:-2] + "XX",
    "ITOP_USER_TOKEN": seed.TOKEN,
    "ITOP_TOKEN_OF_NOREST_APP": seed.TOKENS["norest_app"],
    "ITOP_TOKEN_OF_ADMINONLY_APP": seed.TOKENS["adminonly_app"],
    "ITOP_TOKEN_OF_PORTAL_APP": seed.TOKENS["portal_app"],
    "ITOP_TOKEN_OF_DISABLED_APP": seed.TOKENS["disabled_app"],
    "ITOP_TOKEN_OF_READER_APP": seed.TOKENS["reader_app"],
    "ITOP_TOKEN_OF_AGENT_APP": seed.TOKENS["agent_app"],
}
PASSWORDS = {"admin": "admin", "alice.martin": "Passw0rd!Alice", "jverne": "Passw0rd!agent"}
LEFT_OUT: dict[str, str] = {}
# The clock of the recorded instance while the calls were made; seeded objects bear earlier minutes, and
# are compared as they are.
MADE_DURING_THE_CALLS = re.compile(r"2026-11-22 13:\d\d:\d\d")
A_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
# The stand-in has a part of the classes, so it lists, and suggests, fewer.
KNOWN_CLASSES = re.compile(r"(Unknown class - .* expecting) \{.*\}, I would suggest to use '\w*'")


def send(url: str, name: str, request: dict[str, Any]) -> requests.Response:
    text = json.dumps(request)
    for masked, token in TOKENS.items():
        text = text.replace(f'{masked}"', f'{token}"')
    request = json.loads(text)
    if request["form"].get("auth_pwd") == "ITOP_PASSWORD":
        request["form"]["auth_pwd"] = "bad" if "wrong" in name else PASSWORDS[request["form"]["auth_user"]]
    form = {
        name: json.dumps(value) if isinstance(value, dict) else value
        for name, value in request["form"].items()
    }
    path = request["url_path"].split(" ")[0]
    if request["method"] == "GET":
        return requests.get(url + path, params=form, headers=request["headers"], timeout=10)
    return requests.post(url + path, data=form, headers=request["headers"], timeout=10)


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, requests.Response]]:
    with running_itop(demo=False) as itop:
        yield {
            path.stem: send(itop.url, path.stem, json.loads(path.read_text("utf-8"))["request"])
            for path in FILES
            if path.stem not in LEFT_OUT
        }


def assert_same(recorded: Any, answered: Any, where: str) -> None:
    assert type(recorded) is type(answered), f"{where}: {recorded!r} was recorded, {answered!r} answered"
    if isinstance(recorded, dict):
        assert list(recorded) == list(answered), where
        for name, value in recorded.items():
            assert_same(value, answered[name], f"{where} > {name}")
    elif isinstance(recorded, list):
        assert len(recorded) == len(answered), where
        for position, value in enumerate(recorded):
            assert_same(value, answered[position], f"{where} > {position}")
    elif isinstance(recorded, str) and MADE_DURING_THE_CALLS.fullmatch(recorded):
        assert A_DATE.fullmatch(answered), where
    elif isinstance(recorded, str):
        assert KNOWN_CLASSES.sub(r"\1", recorded) == KNOWN_CLASSES.sub(r"\1", answered), where
    else:
        assert recorded == answered, where


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_stand_in_responds_as_the_recorded_itop(
    path: Path, answers: dict[str, requests.Response]
) -> None:
    if path.stem in LEFT_OUT:
        pytest.skip(LEFT_OUT[path.stem])
    recorded, answered = json.loads(path.read_text("utf-8")), answers[path.stem]
    assert answered.status_code == recorded["status"]
    for name, value in recorded["response_headers"].items():
        if name != "Set-Cookie":
            assert answered.headers.get(name) == value
    assert "Set-Cookie" in answered.headers
    if recorded["response"] is None:
        assert answered.text == recorded["response_text"]
    else:
        assert_same(recorded["response"], answered.json(), path.stem)


def test_at_least_110_recordings_are_replayed() -> None:
    assert len([path for path in FILES if path.stem not in LEFT_OUT]) >= 110
