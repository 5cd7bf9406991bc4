"""Guessing an admin's password: five times, then not for a quarter of an hour, and only whoever guesses."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from intercom_bridge.admin.login import MAX_WAITING, BusyError, PasswordChecks, password_checks
from intercom_bridge.middleware.client_ip import client_address, client_network
from intercom_bridge.models import Workspace
from tests.teammate import notify, part

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
PASSWORD = "s3cr3t-of-the-admin"
ATTACKER, ADMIN = "203.0.113.66", "198.51.100.7"


@pytest.fixture(autouse=True)
def admin() -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


def log_in(password: str, *, name: str = "root", through: str = "127.0.0.1", **headers: str) -> Any:
    return Client(REMOTE_ADDR=through).post(
        LOGIN,
        {"username": name, "password": password},
        headers={key.replace("_", "-"): value for key, value in headers.items()},
    )


def guess(times: int, **how: str) -> list[int]:
    return [log_in(f"s3cr3t-guess-{number}", **how).status_code for number in range(times)]


def test_after_five_wrong_passwords_the_right_one_is_refused() -> None:
    assert guess(5, through=ATTACKER) == [200, 200, 200, 200, 429]
    answer = log_in(PASSWORD, through=ATTACKER)
    assert answer.status_code == 429
    assert "_auth_user_id" not in answer.client.session


def test_the_lockout_page_says_what_happened_and_what_to_do() -> None:
    guess(5, through=ATTACKER)
    text = log_in(PASSWORD, through=ATTACKER).content.decode()
    for phrase in (
        "5 failed login attempts",
        "other users can still log in",
        "Wait 15 minutes",
        "axes_reset",
        '<a href="/admin/">Intercom and iTop</a>',
    ):
        assert phrase in text
    assert PASSWORD not in text


def test_a_lockout_ends_after_fifteen_minutes_despite_further_attempts(time_machine: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    time_machine.move_to(now, tick=False)
    guess(5, through=ATTACKER)
    time_machine.move_to(now + dt.timedelta(minutes=14), tick=False)
    assert log_in(PASSWORD, through=ATTACKER).status_code == 429
    time_machine.move_to(now + dt.timedelta(minutes=15, seconds=1), tick=False)
    assert log_in(PASSWORD, through=ATTACKER).status_code == 302


def test_a_successful_login_resets_the_count() -> None:
    guess(4, through=ADMIN)
    assert log_in(PASSWORD, through=ADMIN).status_code == 302
    assert guess(4, through=ADMIN) == [200] * 4


def test_other_users_are_not_locked_out() -> None:
    User.objects.create_superuser("ada", password=PASSWORD)
    guess(5, through=ATTACKER)
    assert log_in(PASSWORD, through=ADMIN).status_code == 302
    assert log_in(PASSWORD, through=ATTACKER, name="ada").status_code == 302


# Behind the proxy


def test_a_forged_header_does_not_evade_the_lockout() -> None:
    codes = [
        log_in("s3cr3t-guess", X_Forwarded_For=f"10.0.0.{number}, {ATTACKER}").status_code
        for number in range(5)
    ]
    assert codes == [200, 200, 200, 200, 429]


def test_a_forged_header_locks_no_other_user_out() -> None:
    guess(5, X_Forwarded_For=f"{ADMIN}, {ATTACKER}")
    assert log_in(PASSWORD, X_Forwarded_For=ADMIN).status_code == 302


def test_without_a_proxy_the_header_is_ignored() -> None:
    codes = [
        log_in("s3cr3t-guess", through=ATTACKER, X_Forwarded_For=f"198.51.100.{number}").status_code
        for number in range(5)
    ]
    assert codes[-1] == 429
    guess(5, through=ATTACKER, X_Forwarded_For=ADMIN)
    assert log_in(PASSWORD, through=ADMIN).status_code == 302


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("127.0.0.1", "1.1.1.1, 203.0.113.1", "203.0.113.1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:127.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("", "203.0.113.1", "203.0.113.1"),  # a socket file
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.1,", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.1:4711", "127.0.0.1"),
        ("10.0.0.9", "203.0.113.1", "10.0.0.9"),
    ],
)
def test_the_address_of_the_client_is_counted(peer: str, forwarded: str, address: str) -> None:
    request = RequestFactory().post(LOGIN, REMOTE_ADDR=peer, headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == address


def test_a_remote_proxy_must_be_configured(settings: Any) -> None:
    from ipaddress import ip_network

    request = RequestFactory().post(LOGIN, REMOTE_ADDR="10.0.0.9", headers={"X-Forwarded-For": "203.0.113.1"})
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/24")]
    assert client_address(request) == "203.0.113.1"


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:3::6", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("203.0.113.1", "203.0.113.1"),
    ],
)
def test_an_ipv6_address_is_counted_with_its_network(peer: str, network: str) -> None:
    assert client_network(RequestFactory().post(LOGIN, REMOTE_ADDR=peer)) == network


def test_another_address_of_the_same_network_does_not_evade_the_lockout() -> None:
    codes = [log_in("s3cr3t-guess", through=f"2001:db8::{number}").status_code for number in range(1, 6)]
    assert codes[-1] == 429
    assert log_in(PASSWORD, through="2001:db8::99").status_code == 429
    assert log_in(PASSWORD, through="2001:db8:0:1::99").status_code == 302


# Spellings of a user name


def test_another_spelling_of_the_name_does_not_evade_the_lockout() -> None:
    names = ("root", "ROOT", "Root", "rooT", "\uff52\uff4f\uff4f\uff54")
    codes = [log_in("s3cr3t-guess", name=name, through=ATTACKER).status_code for name in names]
    assert codes == [200, 200, 200, 200, 429]
    assert log_in(PASSWORD, through=ATTACKER).status_code == 429


def test_a_successful_login_resets_the_count_of_a_name_with_capitals() -> None:
    User.objects.create_superuser("Ada", password=PASSWORD)
    guess(4, name="Ada")
    assert log_in(PASSWORD, name="Ada").status_code == 302
    assert guess(4, name="Ada") == [200] * 4


def test_full_width_letters_are_not_the_ascii_letters() -> None:
    assert log_in(PASSWORD, name="\uff52\uff4f\uff4f\uff54").status_code == 200
    assert log_in(PASSWORD).status_code == 302


# Many at once


def test_passwords_are_checked_one_at_a_time() -> None:
    checks, running, most = PasswordChecks(), [], []

    def check() -> None:
        try:
            with checks.one_at_a_time():
                running.append(1)
                most.append(len(running))
                everyone_has_asked.wait(2)
                running.pop()
        except BusyError:
            refused.append(1)
            if len(refused) == 16 - 1 - MAX_WAITING:
                everyone_has_asked.set()

    refused: list[int] = []
    everyone_has_asked = threading.Event()
    threads = [threading.Thread(target=check) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) == 1 + MAX_WAITING and len(refused) == 16 - len(most)


def test_after_a_check_the_process_rests_as_long_as_it_took() -> None:
    checks = PasswordChecks()
    with checks.one_at_a_time():
        time.sleep(0.1)
    began = time.monotonic()
    with checks.one_at_a_time():
        assert time.monotonic() - began > 0.08


def test_an_attempt_that_was_refused_because_of_others_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def busy() -> Iterator[None]:
        raise BusyError
        yield

    with monkeypatch.context() as patched:
        patched.setattr(password_checks, "one_at_a_time", busy)
        for _ in range(6):
            response = log_in(PASSWORD, through=ADMIN)
            assert (
                response.status_code == 200 and "Too many people are logging in" in response.content.decode()
            )
    assert log_in(PASSWORD, through=ADMIN).status_code == 302


# And the rest of the service


def test_webhooks_do_not_query_the_login_attempts(workspace: Workspace, client: Client) -> None:
    guess(5)
    with CaptureQueriesContext(connection) as queries:
        assert notify(client, part(1, "<p>x</p>")).status_code == 200
    asked = " ".join(one["sql"] for one in queries.captured_queries)
    assert "axes_" not in asked and "auth_user" not in asked and "django_session" not in asked


def test_no_password_is_stored_not_even_a_wrong_one() -> None:
    guess(3)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM axes_accessattempt")
        kept = repr(cursor.fetchall())
    assert "root" in kept and "s3cr3t" not in kept


def test_without_a_client_address_all_logins_are_counted_together() -> None:
    assert guess(6, through="")[4:] == [429, 429]
