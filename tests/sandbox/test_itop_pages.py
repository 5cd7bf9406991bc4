"""On the pages of the stand-in for iTop, a visitor acts as the agent or as the customer of a ticket."""

from __future__ import annotations

import pytest
import requests

from sandbox.itop import Itop
from sandbox.itop.pages import DONE

TICKET = 6
AGENT_PAGE = f"/pages/UI.php?operation=details&class=UserRequest&id={TICKET}"
CUSTOMER_PAGE = f"/pages/exec.php/object/edit/UserRequest/{TICKET}"


def click(itop: Itop, page: str, action: str, text: str = "") -> str:
    answer = requests.post(itop.url + page, data={"action": action, "text": text}, timeout=10)
    assert answer.status_code == 200
    return answer.text


def status(itop: Itop) -> str:
    row = itop.store.load("UserRequest", TICKET)
    assert row is not None
    return str(row["status"])


def test_an_agent_answers_notes_and_takes_a_ticket_through_its_life(itop: Itop) -> None:
    before = {log: len(itop.store.log(TICKET, log)) for log in ("public_log", "private_log")}
    assert DONE in click(itop, AGENT_PAGE, "answer", "First line\n\n<b>second</b>")
    assert DONE in click(itop, AGENT_PAGE, "note", "internal")
    public = itop.store.log(TICKET)[before["public_log"] :]
    assert [(entry["user_login"], entry["message"]) for entry in public] == [
        ("Jules Verne", "<p>First line</p><p>&lt;b&gt;second&lt;/b&gt;</p>")
    ]
    private = itop.store.log(TICKET, "private_log")[before["private_log"] :]
    assert [entry["message"] for entry in private] == ["<p>internal</p>"]
    for action, text, state in (
        ("assign", "", "assigned"),
        ("pending", "Waiting for a part", "pending"),
        ("resolve", "Replaced", "resolved"),
        ("reopen", "", "assigned"),
        ("resolve", "Replaced again", "resolved"),
        ("close", "", "closed"),
    ):
        assert DONE in click(itop, AGENT_PAGE, action, text), action
        assert status(itop) == state
    origins = {change["origin"] for change in itop.store.find("SELECT CMDBChange")[1][-8:]}
    assert origins == {"interactive"}


def test_the_pages_offer_only_what_the_state_allows(itop: Itop) -> None:
    page = requests.get(itop.url + AGENT_PAGE, timeout=10).text
    assert "Assign to me" in page and "Reopen" not in page
    refused = click(itop, AGENT_PAGE, "close")
    assert "nothing was saved" in refused and status(itop) == "pending"


def test_the_customer_answers_in_the_portal(itop: Itop) -> None:
    page = requests.get(itop.url + CUSTOMER_PAGE, timeout=10).text
    assert "Answer publicly" not in page and "Private" not in page
    assert DONE in click(itop, CUSTOMER_PAGE, "answer", "It works again")
    row = itop.store.load("UserRequest", TICKET)
    assert row is not None
    assert itop.store.log(TICKET)[-1]["user_login"] == itop.store.value(row, "caller_id_friendlyname")


@pytest.mark.parametrize("page", [AGENT_PAGE, CUSTOMER_PAGE])
def test_an_empty_text_is_refused(itop: Itop, page: str) -> None:
    before = len(itop.store.log(TICKET))
    assert "Write a text first." in click(itop, page, "answer", "  ")
    assert len(itop.store.log(TICKET)) == before
