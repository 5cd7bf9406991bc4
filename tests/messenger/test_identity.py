from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from unittest.mock import patch

import jwt
import pytest
import time_machine
from django.db import OperationalError, connections
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from intercom_bridge.models import (
    ItopInstance,
    Messenger,
    MessengerKey,
    MessengerNonce,
    Secret,
    TicketProfile,
    Workspace,
)
from sandbox.itop import Itop

from .questions import ADDRESS, SECRET, ask, question, settings_of, sign

ALICE = 40


def claims_of(settings: dict[str, Any], secret: str = SECRET) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(settings["intercom_user_jwt"], secret, algorithms=["HS256"])
    return claims


def test_a_person_in_scope_gets_a_signed_identity(
    messenger: Messenger, key: MessengerKey, itop: Itop
) -> None:
    settings = settings_of(ask(key, question(ALICE)))
    claims = claims_of(settings)
    assert settings["app_id"] == messenger.workspace.workspace_id
    assert settings["api_base"] == "https://api-iam.intercom.io"
    assert settings["language_override"] == "fr"
    assert claims["user_id"] == key.itop.user_id_of(ALICE)
    assert key.itop.person_of(claims["user_id"]) == ALICE
    assert (claims["name"], claims["email"]) == ("Alice Martin", "alice.martin@acme.example")
    assert (claims["itop_contact_class"], claims["itop_contact_id"]) == ("Person", ALICE)
    assert claims["company"]["name"] == "Acme Corp"
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60


@pytest.mark.parametrize(
    ("region", "host"),
    [("US", "api-iam.intercom.io"), ("EU", "api-iam.eu.intercom.io"), ("AU", "api-iam.au.intercom.io")],
)
def test_the_messenger_connects_to_the_workspaces_region(
    messenger: Messenger, key: MessengerKey, itop: Itop, region: str, host: str
) -> None:
    Workspace.objects.update(region=region)
    assert settings_of(ask(key, question(ALICE)))["api_base"] == f"https://{host}"


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"enabled": False}, {}),
        ({"pages": ["backoffice"]}, {}),
        ({"allowed_profiles": ["Support Agent"]}, {}),
        ({}, {"page": "another-portal"}),
        ({}, {"person": {"class": "Person", "id": 999_999}}),
    ],
    ids=["disabled", "another page", "without the profile", "unknown portal", "unknown person"],
)
def test_nobody_else_sees_the_messenger(
    messenger: Messenger, key: MessengerKey, itop: Itop, changes: dict[str, Any], asked: dict[str, Any]
) -> None:
    Messenger.objects.update(**changes)
    response = ask(key, question(ALICE, **asked))
    assert (response.status_code, response.json()["messenger"]) == (200, None)


def test_the_first_workspace_in_order_whose_scope_serves_the_person(
    messenger: Messenger, key: MessengerKey, itop: Itop
) -> None:
    Workspace.objects.update(scope="SELECT Organization WHERE name = 'Nobody here'")
    profile = TicketProfile.objects.get()
    for position, name in ((2, "later000"), (1, "sooner00")):
        other = Workspace.objects.create(workspace_id=name, itop=key.itop, profile=profile)
        Messenger.objects.create(
            workspace=other, enabled=True, api_secret=f"{name}-{SECRET}", position=position
        )
    settings = settings_of(ask(key, question(ALICE)))
    assert settings["app_id"] == "sooner00"
    assert claims_of(settings, f"sooner00-{SECRET}")["name"] == "Alice Martin"


def test_a_disabled_workspace_shows_no_messenger(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    Workspace.objects.update(enabled=False)
    assert ask(key, question(ALICE)).json()["messenger"] is None


def test_an_inactive_person_sees_no_messenger(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    itop.store.update("Person", ALICE, status="inactive")
    assert ask(key, question(ALICE)).json()["messenger"] is None


@pytest.mark.parametrize(
    "scope",
    [
        "SELECT Organization WHERE id = :current_contact->org_id",
        "SELECT Person WHERE id = :current_contact_id",
        "SELECT UserRequest WHERE caller_id = :current_contact_id",
    ],
)
def test_scopes_with_placeholders_mean_the_person_who_is_signed_in(
    messenger: Messenger, key: MessengerKey, itop: Itop, scope: str
) -> None:
    Workspace.objects.update(scope=scope)
    assert claims_of(settings_of(ask(key, question(ALICE))))["name"] == "Alice Martin"


def test_itop_is_asked_once_in_ten_minutes(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    began = timezone.now()
    itop.calls.clear()
    with time_machine.travel(began, tick=False) as clock:
        for seconds in (0, 60, 599):
            clock.move_to(began + dt.timedelta(seconds=seconds))
            settings_of(ask(key, question(ALICE)))
        assert len(itop.calls) == 1
        clock.move_to(began + dt.timedelta(seconds=601))
        settings_of(ask(key, question(ALICE)))
    assert len(itop.calls) == 2


def test_attributes_of_the_person_become_custom_attributes(
    messenger: Messenger, key: MessengerKey, itop: Itop
) -> None:
    Messenger.objects.update(
        person_attributes={"Function": "function", "No such": "not_an_attribute"},
        sends_company=False,
        sends_language=False,
    )
    itop.store.update("Person", ALICE, function='CEO </script> "quoted" 👍')
    claims = claims_of(settings_of(ask(key, question(ALICE))))
    assert claims["Function"] == 'CEO </script> "quoted" 👍'
    assert not {"No such", "company", "language_override"} & set(claims)


def test_control_characters_in_a_name_do_not_end_the_chat(
    messenger: Messenger, key: MessengerKey, itop: Itop
) -> None:
    # A portal user may edit their own name. PostgreSQL stores no NUL.
    Messenger.objects.update(person_attributes={"Function": "function"})
    itop.store.update("Person", ALICE, name="Mar\0tin", email="a\0@acme.example", function="C\0EO")
    claims = claims_of(settings_of(ask(key, question(ALICE))))
    assert (claims["name"], claims["email"], claims["Function"]) == ("Alice Martin", "a@acme.example", "CEO")


@pytest.mark.parametrize("name", ['O\'Neil "Bob"', "</script><script>alert(1)</script>", "مريم", "Zoë 👩‍💻"])
def test_names_arrive_unchanged(messenger: Messenger, key: MessengerKey, itop: Itop, name: str) -> None:
    itop.store.update("Person", ALICE, first_name="", name=name, email="")
    claims = claims_of(settings_of(ask(key, question(ALICE))))
    assert name in claims["name"]
    assert "email" not in claims


def test_the_next_secret_signs_from_its_date(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    messenger.next_api_secret = f"next-{SECRET}"
    messenger.next_api_secret_from = timezone.now() + dt.timedelta(minutes=1)
    messenger.save()
    claims_of(settings_of(ask(key, question(ALICE))))
    Messenger.objects.update(next_api_secret_from=timezone.now())
    claims_of(settings_of(ask(key, question(ALICE))), f"next-{SECRET}")


def test_a_question_is_answered_once(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    asked = json.dumps(question(ALICE)).encode()
    assert ask(key, asked).status_code == 200
    assert ask(key, asked).status_code == 401


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_question_is_valid_for_five_minutes(
    messenger: Messenger, key: MessengerKey, itop: Itop, minutes: int
) -> None:
    asked = question(ALICE, time=int(time.time()) + 60 * minutes)
    assert ask(key, asked).status_code == 401


def test_refusals_are_alike(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    other = MessengerKey.objects.create(itop=key.itop, secret="", expires_at=None)
    old = MessengerKey.objects.create(
        itop=key.itop, secret="expired", expires_at=timezone.now() - dt.timedelta(seconds=1)
    )
    answers = [
        ask(key, question(ALICE), secret="wrong"),
        ask(key, question(ALICE), key_id="0" * 32),
        ask(other, question(ALICE), secret="no question is signed with this"),
        ask(old, question(ALICE)),
        ask(key, b"[]"),
        ask(key, b"{" * 5000),
        ask(key, question(ALICE, nonce="short")),
        ask(key, question(ALICE, person={"class": "Person WHERE 1", "id": ALICE})),
        ask(key, question(0)),
    ]
    seen = {(answer.status_code, answer.content) for answer in answers}
    assert seen == {(401, b'{"detail":"The signature does not match."}')}


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Bridge-Key": "\0"},
        {"X-Bridge-Key": "{key}0"},
        {"X-Bridge-Key": "é" * 32},
        {"X-Bridge-Signature": ""},
        {"X-Bridge-Signature": "é" * 64},
        {"X-Bridge-Signature": "{signature},{signature}"},
        {"X-Bridge-Signature": "{upper}"},
    ],
)
def test_odd_headers_are_refused(
    messenger: Messenger, key: MessengerKey, client: Client, changes: dict[str, str]
) -> None:
    body = json.dumps(question(ALICE)).encode()
    signature = sign(body, key.secret.reveal())
    values = {"key": key.key_id, "signature": signature, "upper": signature.upper()}
    headers = {"X-Bridge-Key": "{key}", "X-Bridge-Signature": "{signature}"} | changes
    response = client.post(
        ADDRESS,
        data=body,
        content_type="application/json",
        headers={name: value.format(**values) for name, value in headers.items()},
    )
    assert (response.status_code, response.content) == (401, b'{"detail":"The signature does not match."}')


def test_an_unknown_key_costs_the_same_work_as_a_wrong_signature(
    messenger: Messenger, key: MessengerKey, django_assert_num_queries: Any
) -> None:
    asked = question(ALICE)
    for attempt in ({"secret": "wrong"}, {"key_id": "0" * 32}):
        work = patch.object(Secret, "reveal", autospec=True, side_effect=Secret.reveal)
        with work as reveal, django_assert_num_queries(1):
            assert ask(key, asked, **({"secret": "wrong"} | attempt)).status_code == 401
        assert reveal.call_count == 1


def test_a_body_without_a_possible_signature_is_not_read(
    messenger: Messenger, key: MessengerKey, client: Client
) -> None:
    with patch("intercom_bridge.views.messenger._body") as body:
        assert client.post(ADDRESS, data=b"x", content_type="application/json").status_code == 401
    body.assert_not_called()


def test_without_the_database_the_answer_is_unknown(messenger: Messenger, key: MessengerKey) -> None:
    with patch.object(MessengerKey.objects, "valid", side_effect=OperationalError):
        assert ask(key, question(ALICE)).status_code == 503


@pytest.mark.parametrize("encryption_keys", [[], ["no Fernet key"]])
def test_without_a_usable_encryption_key_questions_are_refused(
    messenger: Messenger, key: MessengerKey, settings: Any, encryption_keys: list[str]
) -> None:
    secret = key.secret.reveal()
    settings.FIELD_ENCRYPTION_KEYS = encryption_keys
    assert ask(key, question(ALICE), secret=secret).status_code == 401


def test_nothing_is_signed_without_a_secret(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    Messenger.objects.update(api_secret="")
    assert ask(key, question(ALICE)).status_code == 503


def at_once(times: int, act: Callable[[], Any]) -> list[Any]:
    """Return what several threads return, each with its own connection to the database."""
    barrier = Barrier(times)

    def run(_: int) -> Any:
        barrier.wait()
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


@pytest.mark.django_db(transaction=True)
def test_a_question_that_is_asked_many_times_at_once_is_answered_once(
    messenger: Messenger, key: MessengerKey, itop: Itop
) -> None:
    asked = json.dumps(question(ALICE)).encode()
    statuses = at_once(8, lambda: ask(key, asked).status_code)
    assert sorted(statuses) == [200] + [401] * 7


@pytest.mark.django_db(transaction=True)
def test_keys_that_are_made_at_once_are_at_most_two(workspace: Workspace) -> None:
    itop = workspace.itop
    assert len(set(at_once(6, lambda: MessengerKey.objects.current(itop).pk))) == 1
    at_once(6, lambda: MessengerKey.objects.rotate(itop, dt.timedelta(days=7)))
    assert MessengerKey.objects.count() == 2


def test_two_keys_are_valid_during_a_rotation(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    second = MessengerKey.objects.rotate(key.itop, dt.timedelta(days=7))
    assert settings_of(ask(key, question(ALICE))) and settings_of(ask(second, question(ALICE)))
    MessengerKey.objects.rotate(key.itop, dt.timedelta(days=7))
    assert ask(key, question(ALICE)).status_code == 401
    assert settings_of(ask(second, question(ALICE)))
    assert MessengerKey.objects.valid().count() == 2


def test_a_key_only_speaks_for_its_itop(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    other = ItopInstance.objects.create(name="Other", url=itop.url, token="t")
    asked = ask(MessengerKey.objects.current(other), question(ALICE))
    assert asked.json()["messenger"] is None


def test_without_itop_the_answer_is_unknown(messenger: Messenger, key: MessengerKey, itop: Itop) -> None:
    ItopInstance.objects.update(url="http://127.0.0.1:9")
    assert ask(key, question(ALICE)).status_code == 503


def test_old_nonces_are_deleted(messenger: Messenger, key: MessengerKey) -> None:
    old = MessengerNonce.objects.create(key=key, nonce="a" * 32, at=timezone.now() - dt.timedelta(hours=1))
    recent = timezone.now() - dt.timedelta(minutes=11)
    kept = MessengerNonce.objects.create(key=key, nonce="b" * 32, at=recent)
    for number in range(100):
        assert MessengerNonce.objects.use(key, f"{number:032}")
    left = set(MessengerNonce.objects.values_list("pk", flat=True))
    assert old.pk not in left and kept.pk in left


def test_the_rate_limit_is_per_itop(
    messenger: Messenger, key: MessengerKey, itop: Itop, settings: Any
) -> None:
    settings.MESSENGER_REQUESTS_PER_SECOND = 1
    with time_machine.travel(timezone.now(), tick=False):
        statuses = [ask(key, question(ALICE)).status_code for _ in range(12)]
    assert statuses[0] == 200 and statuses[-1] == 429
    other = ItopInstance.objects.create(name="Other", url=itop.url, token="t")
    assert ask(MessengerKey.objects.current(other), question(ALICE)).status_code == 200


@pytest.mark.parametrize("change", ["mac", "person", "instance"])
def test_a_user_id_cannot_be_made_up(key: MessengerKey, change: str) -> None:
    name, instance, person, mac = key.itop.user_id_of(ALICE).split("-")
    forged = {
        "mac": f"{name}-{instance}-{person}-{'0' * 24}",
        "person": f"{name}-{instance}-41-{mac}",
        "instance": f"{name}-00000000-{person}-{mac}",
    }
    assert key.itop.person_of(forged[change]) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(
        st.sampled_from(["time", "nonce", "page", "person", "profiles", "language"]), JSON, max_size=3
    )
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_signed_question_is_answered_or_refused(
    messenger: Messenger, key: MessengerKey, changes: dict[str, Any]
) -> None:
    assert ask(key, question(ALICE) | changes).status_code in (200, 401)
