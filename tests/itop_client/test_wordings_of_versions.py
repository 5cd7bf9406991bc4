"""Every version of iTop, and every language of the account, leads to the same errors.

The stand-in words its refusals as that version does in that language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import pytest

from itop_client import Client, InvalidValueError, ItopError
from sandbox.itop import Itop, running_itop
from sandbox.itop.datamodel import VERSIONS
from sandbox.itop.wording import LANGUAGES

# Long names fill the index of a log with few entries.
TOO_MANY = {"items": [{"message": "<p>x</p>", "user_id": 0, "user_login": "x" * 7_000}] * 10}
NEW = {"org_id": 4, "title": "A title", "description": "<p>x</p>"}

# What is sent, and the error: its class, its code, the attribute, and what is wrong with which attributes.
CREATIONS: Mapping[str, tuple[dict[str, Any], str, str, str, dict[str, str]]] = {
    "no title": ({"title": ""}, "InvalidValueError", "invalid_value", "title", {"title": "missing"}),
    "urgency 9": (
        {"urgency": "9"},
        "InvalidValueError",
        "invalid_value",
        "urgency",
        {"urgency": "not_allowed"},
    ),
    "a long title": (
        {"title": "x" * 300},
        "InvalidValueError",
        "invalid_value",
        "title",
        {"title": "too_long"},
    ),
    "two values": (
        {"title": "", "urgency": "9"},
        "InvalidValueError",
        "invalid_value",
        "title",
        {"title": "missing", "urgency": "not_allowed"},
    ),
    "a text of too many bytes": (
        {"description": "é" * 40_000},
        "InvalidValueError",
        "invalid_value",
        "description",
        {"description": "too_long"},
    ),
    "a full log": ({"private_log": TOO_MANY}, "LogFullError", "log_full", "private_log", {}),
    "an emoji": ({"title": "👍"}, "UnsupportedCharacterError", "unsupported_character", "title", {}),
}
UPDATES: Mapping[str, tuple[dict[str, Any], str, str, str, dict[str, str]]] = {
    "no title": ({"title": None}, "InvalidValueError", "invalid_value", "title", {"title": "missing"}),
    "urgency 9": (
        {"urgency": "9"},
        "InvalidValueError",
        "invalid_value",
        "urgency",
        {"urgency": "not_allowed"},
    ),
    "a key by name": (
        {"team_id": "Helpdesk"},
        "InvalidValueError",
        "invalid_value",
        "team_id",
        {"team_id": "no_such_object"},
    ),
    "a key by a name of two words": (
        {"team_id": "Second line"},
        "InvalidValueError",
        "invalid_value",
        "team_id",
        {"team_id": "no_such_object"},
    ),
    "a full log": ({"public_log": TOO_MANY}, "LogFullError", "log_full", "public_log", {}),
    "an emoji": (
        {"public_log": {"add_item": {"message": "<p>Thanks 👍, mysql_errno = 1213</p>"}}},
        "UnsupportedCharacterError",
        "unsupported_character",
        "public_log",
        {},
    ),
}
QUERIES: Mapping[str, tuple[str, str, str]] = {
    "SELECT UserRequest WHERE nope = 1": ("UnknownAttributeError", "rejected", "nope"),
    "SELECT UserRequest AS t WHERE t.nope = 'at 1 in'": ("UnknownAttributeError", "rejected", "nope"),
    "SELECT Nope": ("UnknownClassError", "rejected", ""),
    "SELECT UserRequest WHERE": ("InvalidQueryError", "rejected", ""),
    "SELECT UserRequest WHERE x.id = 1": ("InvalidQueryError", "rejected", ""),
    "Helpdesk": ("InvalidQueryError", "rejected", ""),
}
FAULTS: Mapping[str, tuple[str, str, str, dict[str, str]]] = {
    "check": ("CheckFailedError", "rejected", "", {}),
    "read_only": ("ItopPermissionError", "itop_not_allowed", "", {}),
    "maintenance": ("ItopUnavailableError", "itop_unavailable", "", {}),
}


@pytest.fixture(
    scope="module",
    params=product(VERSIONS, LANGUAGES),
    ids=lambda edition: "-".join(edition).replace(" ", "_"),
)
def itop(request: pytest.FixtureRequest) -> Iterator[Itop]:
    version, language = request.param
    with running_itop(version=version, language=language, character_set="utf8mb3", window=0) as running:
        yield running


def error_of(call: Callable[[], object]) -> tuple[str, str, str, dict[str, str]]:
    with pytest.raises(ItopError) as caught:
        call()
    error = caught.value
    problems = error.problems if isinstance(error, InvalidValueError) else ()
    kinds = {problem.attribute: problem.kind.value for problem in problems}
    return type(error).__name__, error.code, getattr(error, "attribute", ""), kinds


def test_a_refused_creation_is_recognised(itop: Itop) -> None:
    client = Client(itop.url, token=itop.token)
    errors = {
        case: error_of(partial(client.create, "UserRequest", NEW | sent, comment="x"))
        for case, (sent, *_expected) in CREATIONS.items()
    }
    assert errors == {case: tuple(expected) for case, (_sent, *expected) in CREATIONS.items()}


def test_a_refused_update_is_recognised(itop: Itop) -> None:
    client = Client(itop.url, token=itop.token)
    errors = {
        case: error_of(partial(client.update, "UserRequest", 1, sent, comment="x"))
        for case, (sent, *_expected) in UPDATES.items()
    }
    assert errors == {case: tuple(expected) for case, (_sent, *expected) in UPDATES.items()}


def test_a_bad_query_is_recognised(itop: Itop) -> None:
    client = Client(itop.url, token=itop.token)
    errors = {query: error_of(partial(client.get, "UserRequest", query))[:3] for query in QUERIES}
    assert errors == QUERIES


def test_a_bad_query_as_the_key_of_an_update_is_recognised(itop: Itop) -> None:
    client = Client(itop.url, token=itop.token)
    call = partial(client.update, fields={"title": "x"}, comment="x")
    errors = {query: error_of(partial(call, "UserRequest", query))[:3] for query in QUERIES}
    assert errors == QUERIES


@pytest.mark.parametrize("kind", FAULTS)
def test_a_write_that_the_instance_or_a_check_refuses_is_recognised(itop: Itop, kind: str) -> None:
    client = Client(itop.url, token=itop.token)
    itop.faults.add(kind, count=2)
    fields = {"public_log": "x"}
    calls = (
        lambda: client.update("UserRequest", 1, fields, comment="x"),
        lambda: client.create("UserRequest", NEW | fields, comment="x"),
    )
    assert [error_of(call) for call in calls] == [FAULTS[kind]] * 2


def test_the_origin_chat_exists_since_3_1(itop: Itop) -> None:
    def create() -> object:
        return Client(itop.url, token=itop.token).create("UserRequest", NEW | {"origin": "chat"}, comment="x")

    if itop.store.model.version < "3.1":
        expected = ("InvalidValueError", "invalid_value", "origin", {"origin": "not_allowed"})
        assert error_of(create) == expected
    else:
        assert create()
