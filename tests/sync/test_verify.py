"""Verification: an entry that another save removed from the log is written again."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.intercom.html import to_log_html
from intercom_bridge.models import Delivery, ItopInstance, Ticket
from intercom_bridge.sync.verify import missing_from
from itop_client import Client as ItopClient
from itop_client import LogEntry
from sandbox.itop import Itop
from sandbox.itop.markup import sanitise
from sandbox.itop.seed import TOKENS
from tests.teammate import notify, part

Work = Callable[[], None]


def bodies(itop: Itop, ticket: Ticket) -> list[str]:
    return [entry["message"] for entry in itop.store.log(ticket.object_id)]


def three_minutes_later(work: Work) -> None:
    Ticket.objects.exclude(check_at=None).update(check_at=timezone.now())
    work()


def meet(itop: Itop, ticket: Ticket, ours: Callable[[], None], theirs: str, *, theirs_last: bool) -> None:
    """Let two writers read the same log, and one overwrite the change of the other."""
    agent = ItopClient(itop.url, user="admin", password="admin")
    read, go_on = threading.Event(), threading.Event()

    def save() -> None:
        change = {"public_log": theirs}
        agent.update(ticket.ticket_class, ticket.object_id, change, comment="Agent Smith saved")

    def wait_for_the_other() -> None:
        itop.pause = lambda: None
        read.set()
        go_on.wait(10)

    def save_in_between() -> None:
        itop.pause = lambda: None
        save()

    if not theirs_last:
        itop.pause = save_in_between
        ours()
        return
    itop.pause = wait_for_the_other
    saving = threading.Thread(target=save)
    saving.start()
    assert read.wait(10)
    ours()
    go_on.set()
    saving.join(10)


def test_an_entry_that_is_still_in_the_log_is_verified_once(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>a &amp; b<br>c</p>"), part(37358198351, "x < y\n\n😀 مرحبا"))
    work()
    ticket.refresh_from_db()
    assert ticket.check_at is not None
    itop.calls.clear()
    three_minutes_later(work)
    assert itop.calls == [("core/get", "UserRequest"), ("core/get", "CMDBChangeOpSetAttributeCaseLog")]
    assert set(Delivery.objects.values_list("state", "reason_code")) == {("written", "")}
    itop.calls.clear()
    three_minutes_later(work)
    assert itop.calls == []


def test_an_entry_that_an_agents_save_removed_is_written_again(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>ours</p>"))
    meet(itop, ticket, work, "theirs", theirs_last=True)
    assert "<p>ours</p>" not in bodies(itop, ticket)
    assert Delivery.objects.get().state == "written"
    three_minutes_later(work)
    delivery = Delivery.objects.get()
    assert delivery.state == "restored"
    assert "Agent Smith" in delivery.reason_detail
    assert bodies(itop, ticket)[-2:] == ["<p>theirs</p>", "<p>ours</p>"]
    three_minutes_later(work)
    assert bodies(itop, ticket).count("<p>ours</p>") == 1


@pytest.mark.parametrize("earlier", [0, 1, 6])
def test_an_account_that_may_not_read_the_history_proves_a_collision_by_searching_the_ticket(
    client: Client, ticket: Ticket, itop: Itop, work: Work, earlier: int
) -> None:
    ItopInstance.objects.update(token=TOKENS["agent_app"])
    for number in range(earlier):
        notify(client, part(37358198340 + number, f"<p>earlier {number}</p>"))
    work()
    notify(client, part(37358198350, "<p>ours</p>"))
    meet(itop, ticket, work, "theirs", theirs_last=True)
    assert not any("ours" in body for body in bodies(itop, ticket))
    three_minutes_later(work)
    delivery = Delivery.objects.get(part_id="37358198350")
    assert (delivery.state, delivery.reason_code) == ("restored", "overwritten")
    assert [("ours" in body) for body in bodies(itop, ticket)].count(True) == 1


@pytest.mark.parametrize("login", ["intercom_sync_app", "agent_app"])
def test_an_entry_that_is_missing_without_a_collision_is_only_reported(
    client: Client, ticket: Ticket, itop: Itop, work: Work, login: str
) -> None:
    ItopInstance.objects.update(token=TOKENS[login])
    notify(client, part(37358198350, "<p>ours</p>"))
    work()
    admin = ItopClient(itop.url, user="admin", password="admin")
    item = {"message": "<p>tidy</p>", "date": "2026-01-01 00:00:00"}
    admin.update(
        ticket.ticket_class, ticket.object_id, {"public_log": {"items": [item] * 9}}, comment="an admin"
    )
    three_minutes_later(work)
    delivery = Delivery.objects.get()
    assert (delivery.state, bodies(itop, ticket)) == ("written", ["<p>tidy</p>"] * 9)
    assert delivery.reason_code == "entry_missing"


def test_an_agents_entry_that_a_write_removed_is_reported_with_author_and_time(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>ours</p>"))
    meet(itop, ticket, work, "theirs", theirs_last=False)
    assert "<p>theirs</p>" not in bodies(itop, ticket)
    three_minutes_later(work)
    delivery = Delivery.objects.get()
    assert delivery.state == "written"
    assert (delivery.reason_code, delivery.reason_detail[:17]) == ("concurrent_save", "Agent Smith saved")


def test_a_verification_that_fails_is_repeated_later(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>ours</p>"))
    work()
    itop.faults.add("error500", count=1)
    three_minutes_later(work)
    ticket.refresh_from_db()
    assert ticket.check_at is not None and ticket.check_at > timezone.now()
    three_minutes_later(work)
    assert Delivery.objects.get().checked_at is not None


def test_a_wrong_time_zone_of_the_itop_restores_nothing(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    ticket.itop.time_zone = "America/New_York"
    ticket.itop.save()
    notify(client, part(37358198350, "<p>ours</p>"))
    work()
    three_minutes_later(work)
    assert set(Delivery.objects.values_list("state", "reason_code")) == {("written", "")}


def _delivery(pk: int, **item: Any) -> Delivery:
    return Delivery(
        pk=pk, item={"message": "<p>ok</p>", "date": "@1768031789", "user_id": 8, "user_login": ""} | item
    )


def _entry(**more: Any) -> LogEntry:
    values: dict[str, Any] = {
        "date": "2026-01-10 07:56:29",
        "user_login": "Alice",
        "user_id": 8,
        "message": "",
        "message_html": "<p>ok</p>",
    }
    return LogEntry(**(values | more))


def test_one_entry_counts_for_one_of_two_equal_deliveries() -> None:
    two = [_delivery(1), _delivery(2)]
    assert missing_from([_entry(), _entry()], two, dt.UTC) == set()
    assert len(missing_from([_entry()], two, dt.UTC)) == 1


def test_the_author_is_compared_by_account_or_else_by_name() -> None:
    assert missing_from([_entry(user_login="Alice M.")], [_delivery(1)], dt.UTC) == set()
    assert missing_from([_entry(user_id=9)], [_delivery(1)], dt.UTC)
    named = _delivery(1, user_id=0, user_login="Zoe (Intercom)")
    assert missing_from([_entry(user_id=0, user_login="Zoe (Intercom)")], [named], dt.UTC) == set()
    assert missing_from([_entry(user_id=0, user_login="Bob (Intercom)")], [named], dt.UTC)


@pytest.mark.parametrize(
    "body",
    [
        '<p>See <a href="https://de.wikipedia.org/wiki/Köln?a=|{}[]^\\\\">this page</a></p>',
        '<p>Call <a href="tel:+4930123456">our hotline</a></p>',
        '<p><a href="mailto:help+vip@acme.example">support</a></p>',
        '<p><a href="https://bücher.example/">books</a> <a href="http://x/">x</a></p>',
        "<h5>Step one: unplug it</h5><h6>fine print</h6><p>Then wait.</p>",
        '<ol start="3"><li>a</li><li value="9">b</li></ol>',
        "<p><s>a</s><strike>b</strike><sup>c</sup><mark>d</mark></p>",
        '<p><img src="https://files.example/a é[1].png" alt="x \'y\' &quot;z&quot;"></p>',
        '<p><img src="data:image/png;base64,AA"></p><video src="https://v.example/é"></video>',
        "<pre>  a\n\tb &amp;lt; c</pre><blockquote>d</blockquote><hr><table><tr><td>e<td></table>",
        "https://a.example/é?x=[1] and a@b.example, 2 < 3 & \u200b\u00a0👍🏽 e\u0301",
        "<p>" + "<b><p>x" * 50 + "</p>",
    ],
)
def test_an_entry_that_itop_sanitised_is_found(body: str) -> None:
    sent = to_log_html(body)
    stored = sanitise(sent)
    assert missing_from([_entry(message_html=stored)], [_delivery(1, message=sent)], dt.UTC) == set()


def test_an_address_that_was_sent_unencoded_or_that_itop_removed_does_not_count() -> None:
    for url in ("https://a.example/é b", "tel:+49", "https://é.example/"):
        sent = f'<p><a href="{url}">x</a></p>'
        entry = _entry(message_html=sanitise(sent))
        assert missing_from([entry], [_delivery(1, message=sent)], dt.UTC) == set()
    another = _entry(message_html='<p><a href="https://b.example/">x</a></p>')
    sent = '<p><a href="https://a.example/">x</a></p>'
    assert missing_from([another], [_delivery(1, message=sent)], dt.UTC)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_white_space_and_entities_do_not_affect_the_comparison(text: str) -> None:
    sent = to_log_html(text)
    if not sent:
        return
    read = sent.replace("<br>", "<br />\n").replace("&nbsp;", "\u00a0").replace("&quot;", '"')
    assert missing_from([_entry(message_html=read)], [_delivery(1, message=sent)], dt.UTC) == set()
