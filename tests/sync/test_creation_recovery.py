"""A creation whose outcome was unknown is finished or rejected by the worker; it never stays pending for ever."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.models import CachedAnswer, TicketCreation, Workspace
from intercom_bridge.tickets.creation import attempt
from intercom_bridge.tickets.creation.transcript import (
    JOINT_ENTRIES,
    MAX_ENTRIES,
    authors_into_texts,
    replace_accounts,
)
from sandbox.itop import Itop
from tests.teammate import Teammate

Work = Callable[[], None]
ALICES_ACCOUNT = 8


def submit_form(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").click("Create ticket")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")


def use_token(workspace: Workspace, token: str) -> None:
    workspace.itop.refresh_from_db()
    workspace.itop.token = token
    workspace.itop.save()


def remember_alices_account() -> None:
    CachedAnswer.objects.filter(question__startswith="account of").update(value=ALICES_ACCOUNT)


def lose_first_request(itop: Itop, teammate: Teammate) -> None:
    itop.faults.add("drop_before", operation="core/create", count=1)
    submit_form(teammate)
    assert TicketCreation.objects.latest("pk").state == "creating"


def retry_in_worker(work: Work) -> TicketCreation:
    TicketCreation.objects.update(due_at=timezone.now())
    work()
    return TicketCreation.objects.latest("pk")


def entries_of_newest_ticket(itop: Itop) -> list[dict[str, Any]]:
    newest = max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"])
    return list(itop.store.log(newest["id"]))


def test_the_worker_creates_the_ticket_without_authors_if_the_account_is_not_administrator(
    teammate: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    submit_form(teammate)
    work()
    assert CachedAnswer.objects.filter(question__startswith="account of").exists()
    remember_alices_account()
    use_token(workspace, "token-of-agent-app")
    lose_first_request(itop, teammate)
    creation = retry_in_worker(work)
    assert creation.state == "created"
    assert "Alice Martin (Intercom)" in entries_of_newest_ticket(itop)[0]["message"]
    workspace.itop.refresh_from_db()
    assert workspace.itop.is_administrator is False


def test_the_worker_names_an_author_whose_account_was_removed(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    submit_form(teammate)
    work()
    itop.store.remove("UserLocal", ALICES_ACCOUNT)
    remember_alices_account()
    lose_first_request(itop, teammate)
    assert retry_in_worker(work).state == "created"
    assert entries_of_newest_ticket(itop)[0]["user_login"] == "Alice Martin (Intercom)"


def test_a_creation_that_the_account_may_not_make_is_rejected_and_frees_its_conversation(
    teammate: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    lose_first_request(itop, teammate)
    use_token(workspace, "token-of-reader-app")
    creation = retry_in_worker(work)
    assert (creation.state, creation.reason_code) == ("refused", "itop_not_allowed")
    use_token(workspace, itop.token)
    submit_form(teammate)
    assert TicketCreation.objects.latest("pk").state == "created"


def test_a_creation_whose_response_was_lost_is_found_even_if_the_account_lost_its_permission(
    teammate: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    itop.faults.add("drop_after", operation="core/create", count=1)
    submit_form(teammate)
    use_token(workspace, "token-of-reader-app")
    assert retry_in_worker(work).state == "created"


def test_a_creation_is_given_up_after_the_maximum_retry_time(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    lose_first_request(itop, teammate)
    itop.faults.add("maintenance", operation="core/create")
    TicketCreation.objects.update(created_at=timezone.now() - attempt.MAX_RETRY_TIME - dt.timedelta(hours=1))
    creation = retry_in_worker(work)
    assert (creation.state, creation.reason_code) == ("refused", "gave_up")
    assert creation.reason_detail


@pytest.mark.parametrize("kind", ["error500", "forbidden"])
def test_a_creation_that_itop_never_accepts_ends_and_frees_its_conversation(
    teammate: Teammate, itop: Itop, work: Work, kind: str
) -> None:
    lose_first_request(itop, teammate)
    itop.faults.add(kind, operation="core/create")
    for _ in range(attempt.MAX_UNCLASSIFIED_ATTEMPTS - 1):
        creation = retry_in_worker(work)
    assert (creation.state, creation.reason_code) == ("refused", "message_specific")
    itop.faults.clear()
    submit_form(teammate)
    assert TicketCreation.objects.latest("pk").state == "created"


def test_a_creation_waits_while_itop_cannot_be_read(teammate: Teammate, itop: Itop, work: Work) -> None:
    lose_first_request(itop, teammate)
    itop.faults.add("error500")
    for _ in range(2 * attempt.MAX_UNCLASSIFIED_ATTEMPTS):
        creation = retry_in_worker(work)
    assert creation.state == "creating"
    itop.faults.clear()
    assert retry_in_worker(work).state == "created"


@pytest.mark.parametrize("kind", ["check", "too_large"])
def test_a_refused_creation_ends_at_once_with_its_reason(teammate: Teammate, itop: Itop, kind: str) -> None:
    itop.faults.add(kind, operation="core/create")
    submit_form(teammate)
    assert TicketCreation.objects.get().state == "refused"
    assert "SQL" not in teammate.text
    itop.faults.clear()
    submit_form(teammate)
    assert TicketCreation.objects.latest("pk").state == "created"


# The stored entries, adapted


ENTRY = {"message": "<p>x</p>", "format": "html", "date": "@1", "user_id": 8, "user_login": ""}


def test_an_author_without_permission_to_set_it_becomes_the_heading_of_the_text() -> None:
    [item] = authors_into_texts([ENTRY], ["A <b>"])
    assert item == {"message": "<p><b>A &lt;b&gt; (Intercom)</b></p><p>x</p>", "format": "html", "date": "@1"}


def test_only_the_missing_accounts_are_replaced_by_names() -> None:
    other = ENTRY | {"user_id": 9}
    items = replace_accounts([ENTRY, other], ["Alice", "Bob"], missing={8})
    assert items == [ENTRY | {"user_id": 0, "user_login": "Alice (Intercom)"}, other]


@pytest.mark.parametrize("surplus", [1, 100])
def test_joint_entries_keep_their_text_and_the_others_their_authors(surplus: int) -> None:
    plain = MAX_ENTRIES - JOINT_ENTRIES
    names = [str(number) for number in range(MAX_ENTRIES + surplus)]
    joint = {"message": "<p>joint</p>", "user_id": 0, "user_login": "Earlier messages (Intercom)"}
    items = authors_into_texts([*[joint] * JOINT_ENTRIES, *[ENTRY] * plain], names)
    assert items[0] == {"message": "<p>joint</p>"}
    assert f"<b>{names[-1]} (Intercom)</b>" in items[-1]["message"]
    assert f"<b>{names[-plain]} (Intercom)</b>" in items[JOINT_ENTRIES]["message"]
