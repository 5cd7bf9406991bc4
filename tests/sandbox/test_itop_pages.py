"""On the pages of the stand-in for iTop, a visitor acts as the agent or as the customer of a ticket."""

from __future__ import annotations

import base64
import json
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import requests

from sandbox.demo_itop import Itop as DemoItop
from sandbox.demo_processes import DemoError
from sandbox.intercom.files import png
from sandbox.itop import Itop, seed
from sandbox.itop.pages import DONE
from sandbox.itop.store import Row
from tests.browser import browser_test, new_page, running_chromium
from tests.sandbox.test_inbox_page import IS_LOADED, paste

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
        ("assign", "", "assigned"),
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


# --- Files -------------------------------------------------------------------------------------------

REPORT = ("report.txt", b"all of it", "text/plain")
SHOT = ("shot.png", png(60, 30), "image/png")
DOWNLOAD = "/pages/ajax.document.php"


def submit(itop: Itop, page: str, action: str, text: str = "", **files: tuple[str, bytes, str]) -> str:
    form = {"action": action, "text": text}
    answer = requests.post(itop.url + page, data=form, files=files, timeout=10)
    assert answer.status_code == 200
    return answer.text


def attachments(itop: Itop) -> list[Row]:
    query = f"SELECT Attachment WHERE item_class = 'UserRequest' AND item_id = {TICKET}"
    return sorted(itop.store.find(query)[1], key=lambda row: int(row["id"]))


def added_by_people(itop: Itop) -> list[int]:
    query = (
        "SELECT a FROM Attachment AS a JOIN CMDBChangeOpAttachmentAdded AS o ON o.attachment_id = a.id "
        "JOIN CMDBChange AS c ON o.change = c.id WHERE a.item_class = 'UserRequest' AND "
        f"a.item_id IN ({TICKET}) AND c.origin != 'webservice-rest'"
    )
    return [int(row["id"]) for row in itop.store.find(query)[1]]


@pytest.mark.parametrize(("page", "contact"), [(AGENT_PAGE, 9), (CUSTOMER_PAGE, 40)])
def test_a_file_alone_leaves_a_line_and_does_not_move_the_ticket(itop: Itop, page: str, contact: int) -> None:
    before = itop.store.load("UserRequest", TICKET)
    assert before is not None
    itop.clock_offset = 60
    assert DONE in submit(itop, page, "attach", files=REPORT)
    (row,) = attachments(itop)
    assert (row["contact_id"], row["item_org_id"]) == (
        before["caller_id"] if contact == 40 else 9,
        before["org_id"],
    )
    assert row["creation_date"] == itop.store.now()
    assert itop.store.load("UserRequest", TICKET) == before
    assert added_by_people(itop) == [row["id"]]
    line = itop.store.changes(TICKET)[-1]
    assert line["finalclass"] == "CMDBChangeOpAttachmentAdded"


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        (AGENT_PAGE, ["CMDBChangeOpAttachmentAdded", "CMDBChangeOpSetAttributeCaseLog"]),
        (CUSTOMER_PAGE, ["CMDBChangeOpSetAttributeCaseLog", "CMDBChangeOpAttachmentAdded"]),
    ],
)
def test_a_file_with_an_entry_belongs_to_the_same_change(itop: Itop, page: str, kinds: list[str]) -> None:
    assert DONE in submit(itop, page, "answer", "See the report", files=REPORT)
    newest = itop.store.changes(TICKET)[-2:]
    assert [change["finalclass"] for change in newest] == kinds
    assert newest[0]["change"] == newest[1]["change"]


def test_a_picture_in_an_entry_is_shown_to_anybody_with_its_secret(itop: Itop) -> None:
    assert DONE in submit(itop, AGENT_PAGE, "answer", pictures=SHOT)
    message = itop.store.log(TICKET)[-1]["message"]
    (picture,) = itop.store.all("InlineImage")
    address = f"{itop.url}{DOWNLOAD}?operation=download_inlineimage&id={picture['id']}&s={picture['secret']}"
    assert message == (
        f'<figure class="image"><img style="aspect-ratio:60/30" src="{escape(address)}" width="60" height="30" '
        f'data-img-id="{picture["id"]}" data-img-secret="{picture["secret"]}"></figure>'
    )
    answer = requests.get(address, timeout=5)
    assert (answer.content, answer.headers["Content-Type"]) == (SHOT[1], "image/png")
    assert attachments(itop) == [] and added_by_people(itop) == []
    wrong = requests.get(address + "0", timeout=5)
    assert wrong.status_code == 200 and "text/html" in wrong.headers["Content-Type"]
    assert wrong.text.startswith("<p>Invalid secret for class 'InlineImage'")
    gone = requests.get(address.replace("&id=", "&id=9"), timeout=5)
    assert gone.status_code == 200 and "Invalid id" in gone.text


def test_a_file_is_opened_by_people_who_are_logged_in_and_by_no_token(itop: Itop) -> None:
    submit(itop, AGENT_PAGE, "attach", files=REPORT)
    address = f"{itop.url}{DOWNLOAD}?operation=download_document&class=Attachment&field=contents&id="
    address += str(attachments(itop)[0]["id"])
    for headers in ({}, {"Auth-Token": seed.TOKEN}):
        refused = requests.get(address, headers=headers, timeout=5)
        assert refused.status_code == 200 and "<title>iTop login</title>" in refused.text
    for page in (AGENT_PAGE, CUSTOMER_PAGE):
        browser = requests.Session()
        shown = browser.get(itop.url + page, timeout=5).text
        assert "report.txt</a>" in shown and "9 bytes" in shown
        answer = browser.get(address, timeout=5)
        assert answer.content == b"all of it"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="report.txt"'
    stranger = requests.Session()
    stranger.get(f"{itop.url}/pages/exec.php/object/edit/UserRequest/7", timeout=5)
    other = itop.store.update("UserRequest", TICKET, org_id=5)
    assert other["org_id"] == 5
    assert "Invalid id" in stranger.get(address, timeout=5).text


def test_a_file_over_the_limit_of_the_form_is_refused(itop: Itop) -> None:
    itop.upload_max_filesize = 5
    assert "nothing was saved" in submit(itop, AGENT_PAGE, "attach", files=REPORT)
    assert "Choose a file first" in submit(itop, AGENT_PAGE, "attach")
    itop.post_max_size = 100
    assert "The files have more than" in submit(itop, AGENT_PAGE, "attach", files=REPORT)
    assert attachments(itop) == []


def test_a_deleted_ticket_takes_its_attachments_and_leaves_its_pictures(itop: Itop) -> None:
    submit(itop, AGENT_PAGE, "answer", files=REPORT, pictures=SHOT)
    request = {"operation": "core/delete", "class": "UserRequest", "key": TICKET, "comment": "test"}
    form = {"version": "1.3", "json_data": json.dumps(request), "auth_token": seed.TOKEN}
    assert requests.post(itop.rest_url, data=form, timeout=10).json()["code"] == 0
    assert attachments(itop) == []
    assert len(itop.store.all("InlineImage")) == 1


def test_a_large_body_is_refused_by_each_limit(itop: Itop) -> None:
    itop.post_max_size = itop.operations.memory_limit = 50_000
    fields = {"item_class": "UserRequest", "item_id": TICKET, "item_org_id": 4}

    def create(size: int) -> requests.Response:
        contents = {"data": base64.b64encode(bytes(size)).decode(), "mimetype": "a/b", "filename": "x"}
        request = {"operation": "core/create", "class": "Attachment", "comment": "c", "output_fields": "id"}
        text = json.dumps(request | {"fields": fields | {"contents": contents}})
        parts = {"version": (None, "1.3"), "json_data": (None, text)}
        return requests.post(itop.rest_url, files=parts, headers={"Auth-Token": seed.TOKEN}, timeout=10)

    assert create(1_000).json()["code"] == 0
    full = create(6_000)
    assert full.status_code == 500 and "Allowed memory size of" in full.text and "'memory_limit'" in full.text
    assert create(40_000).json()["code"] == 2
    itop.max_body = 20_000
    assert create(40_000).status_code == 413
    assert len(attachments(itop)) == 1


class TestInABrowser:
    pytestmark = browser_test

    @pytest.mark.parametrize(
        ("page_address", "button"), [(AGENT_PAGE, "Answer publicly"), (CUSTOMER_PAGE, "Send")]
    )
    def test_a_picture_is_pasted_and_a_file_is_opened(
        self, itop: Itop, page_address: str, button: str
    ) -> None:
        with running_chromium() as browser, new_page(browser, itop.url) as page:
            page.goto(page_address)
            page.get_by_role("textbox").fill("It looks like this:")
            paste(page, "textarea", SHOT[1])
            page.get_by_label("Files", exact=True).set_input_files(
                [{"name": "report.bin", "mimeType": "application/octet-stream", "buffer": b"all of it"}]
            )
            page.get_by_role("button", name=button).click()
            page.locator(".entry img").wait_for()
            assert page.locator(".entry img").evaluate(IS_LOADED) == 60
            with page.expect_download() as started:
                page.get_by_role("link", name="report.bin").click()
            assert started.value.path().read_bytes() == b"all of it"


def test_the_demo_adds_a_file_as_an_agent_and_reads_it(itop: Itop) -> None:
    demo = DemoItop(itop.url, seed.TOKEN)
    row = itop.store.load("UserRequest", TICKET)
    assert row is not None
    assert demo.answer_with_file(row["ref"], "The guide", "guide.txt", b"all of it")
    assert demo.files(row["ref"]) == [b"all of it"]
    assert len(added_by_people(itop)) == 1
    assert itop.store.log(TICKET)[-1]["message"] == "<p>The guide</p>"
    itop.upload_max_filesize = 5
    with pytest.raises(DemoError):
        demo.answer_with_file(row["ref"], "The guide", "guide.txt", b"all of it")


class FirstPage(BaseHTTPRequestHandler):
    """Answers as a web server that returns the first page of a real iTop for every address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=UTF-8")
        self.end_headers()
        self.wfile.write(b"<html>iTop login</html>")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


def test_the_demo_adds_no_file_in_another_itop() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), FirstPage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        demo = DemoItop(f"http://127.0.0.1:{server.server_port}", seed.TOKEN)
        assert not demo.answer_with_file("R-000001", "The guide", "guide.txt", b"all of it")
        server.shutdown()
