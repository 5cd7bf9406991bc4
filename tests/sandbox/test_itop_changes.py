"""What people and REST clients do with a ticket, and what the stand-in for iTop writes down about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.itop import Itop, RefusalError, running_itop

TICKET = 8
AGENT, CUSTOMER = "jverne", "alice.martin"


@pytest.fixture
def itop() -> Iterator[Itop]:
    with running_itop(demo=False, window=0) as itop:
        yield itop


def test_a_save_in_the_console_is_one_interactive_change_with_the_name_of_the_agent(itop: Itop) -> None:
    itop.act(
        TICKET,
        account=AGENT,
        entry="<p>Done.</p>",
        stimulus="ev_resolve",
        values={"solution": "<p>New cable</p>", "resolution_code": "other"},
    )
    operations = itop.store.changes(TICKET)
    assert [(each["attcode"], each["oldvalue"], each["newvalue"]) for each in operations if each["newvalue"]][
        :2
    ] == [("operational_status", "ongoing", "resolved"), ("status", "assigned", "resolved")]
    assert {each["attcode"] for each in operations} >= {"status", "solution", "public_log"}
    (change,) = {each["change"] for each in operations}
    row = itop.store.load("CMDBChange", change)
    assert row is not None
    assert (row["userinfo"], row["user_id"], row["origin"]) == ("Jules Verne", 11, "interactive")
    newest = itop.store.log(TICKET)[-1]
    assert (newest["user_login"], newest["user_id"], newest["message"]) == (
        "Jules Verne",
        "11",
        "<p>Done.</p>",
    )


def test_the_portal_lets_customers_answer_and_reopen_and_no_more(itop: Itop) -> None:
    itop.act(TICKET, account=CUSTOMER, entry="<p>Thanks</p>")
    assert itop.store.log(TICKET)[-1]["user_id"] == "8"
    itop.act(3, account=CUSTOMER, stimulus="ev_reopen", entry="<p>Still broken</p>")
    assert (itop.store.load("Ticket", 3) or {})["status"] == "assigned"
    with pytest.raises(RefusalError, match="portal"):
        itop.act(TICKET, account=CUSTOMER, entry="<p>Psst</p>", log="private_log")
    with pytest.raises(RefusalError, match="portal"):
        itop.act(TICKET, account="layla.haddad", entry="<p>Not mine</p>")
