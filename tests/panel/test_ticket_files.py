"""The ticket's screen lists the files that the bridge knows: newest first, with sizes and links into iTop."""

from __future__ import annotations

import re
from typing import Any

import pytest

from intercom_bridge.models import (
    Conversation,
    FileToIntercom,
    FileToItop,
    ItopInstance,
    Ticket,
    TicketEvent,
    TicketLink,
    Workspace,
)
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate

LINK = re.compile(r"^\[(?P<name>[^\]]*)\]\((?P<url>[^)]*)\)(?: \((?P<size>[^)]*)\))?$")
NOTE = "The ticket may have further files in iTop."


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    store_link(teammate, itop, "R-000008")
    return teammate


def link() -> TicketLink:
    return TicketLink.objects.get(ticket__ref="R-000008")


def copied(number: int, **values: Any) -> FileToItop:
    """Store a file that was copied to R-000008 and has this id there."""
    defaults: dict[str, Any] = {
        "ticket": link().ticket,
        "conversation": link().conversation,
        "part_kind": "part",
        "part_id": str(number),
        "position": 0,
        "part_created_at": 1_768_999_000,
        "name": f"from Intercom {number}.txt",
        "size": 14,
        "state": "copied",
        "attachment_id": number,
    }
    return FileToItop.objects.create(**defaults | values)


def added(number: int, conversation: Conversation | None = None, **values: Any) -> FileToIntercom:
    """Store a file that somebody added to R-000008 in iTop and that has this id there."""
    event, _is_new = TicketEvent.objects.get_or_create(
        ticket=link().ticket,
        conversation=conversation or link().conversation,
        kind="file",
        key=f"file:{number}",
    )
    defaults: dict[str, Any] = {
        "event": event,
        "source": "attachment",
        "object_id": number,
        "name": f"from iTop {number}.txt",
        "size": 2_500_000,
        "state": "posted",
    }
    return FileToIntercom.objects.create(**defaults | values)


def lines(teammate: Teammate) -> list[str]:
    """Return the lines of the list of files."""
    components = teammate.open().send_click("ticket:UserRequest:8").components
    titles = [component.get("text") for component in components]
    if "Files" not in titles:
        return []
    place = titles.index("Files")
    assert components[place + 1]["type"] == "text" and titles[place + 2] == NOTE
    return str(titles[place + 1]).split("\n")


def names(teammate: Teammate) -> list[str]:
    return [found["name"] for line in lines(teammate) if (found := LINK.match(line))]


def test_a_ticket_without_known_files_has_no_list(linked: Teammate) -> None:
    assert lines(linked) == [] and NOTE not in linked.text


def test_the_files_of_both_directions_are_listed_newest_first_with_sizes_and_links(
    linked: Teammate, itop: Itop
) -> None:
    copied(31)
    added(33)
    # Copied after the others, although its message is older.
    copied(35, part_created_at=1_768_000_000, size=0)
    url = (
        f"{itop.url}/pages/ajax.document.php?operation=download_document&class=Attachment&field=contents&id="
    )
    assert lines(linked) == [
        f"[from Intercom 35.txt]({url}35)",
        f"[from iTop 33.txt]({url}33) (2.4\u00a0MB)",
        f"[from Intercom 31.txt]({url}31) (14\u00a0bytes)",
    ]


def test_ten_files_are_listed_and_the_others_counted(linked: Teammate) -> None:
    for number in range(1, 13):
        (copied if number % 2 else added)(number)
    found = lines(linked)
    assert len(found) == 11 and found[-1] == "and 2 more"
    assert names(linked)[0] == "from iTop 12.txt" and names(linked)[-1] == "from Intercom 3.txt"
    FileToIntercom.objects.all().delete()
    assert "more" not in "".join(lines(linked))


def test_a_file_that_was_posted_in_many_conversations_is_one_file(
    linked: Teammate, workspace: Workspace
) -> None:
    added(20)
    for number in range(12):
        row = Conversation.objects.create(workspace=workspace, conversation_id=f"9{number}")
        added(21, conversation=row)
    assert names(linked) == ["from iTop 21.txt", "from iTop 20.txt"]
    assert "more" not in "".join(lines(linked))


def test_what_is_not_a_file_of_this_ticket_or_has_no_name_any_more_is_not_listed(
    linked: Teammate, workspace: Workspace
) -> None:
    copied(40)
    FileToItop.objects.erase_content()
    added(41)
    FileToIntercom.objects.erase_content()
    # The message was being posted meanwhile.
    FileToIntercom.objects.update(name="from iTop 41.txt")
    copied(42, state="waiting", attachment_id=None)
    copied(43, state="failed", attachment_id=None)
    copied(44, state="removed")
    # The picture of a note, which the log shows.
    copied(45, attachment_id=None, inline_image_id=7)
    added(46, source="picture", name="picture-1.png")
    added(47, name="", state="waiting")
    other = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=9, ref="R-000009"
    )
    copied(48, ticket=other)
    namesake = Ticket.objects.create(
        itop=workspace.itop, ticket_class="Incident", object_id=8, ref="I-000008"
    )
    copied(49, ticket=namesake)
    elsewhere = ItopInstance.objects.create(name="Other", url="https://other.example", token="t")
    foreign = Ticket.objects.create(itop=elsewhere, ticket_class="UserRequest", object_id=8, ref="R-000008")
    copied(50, ticket=foreign)
    assert lines(linked) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("🚀 Übersicht 東京.pdf", "🚀 Übersicht 東京.pdf"),
        ("a [draft](https://evil.example).txt", "a (draft)(https://evil.example).txt"),
        ("**x**.txt", "*\u200b*x*\u200b*.txt"),
        ("two\nlines.txt", "two lines.txt"),
        ("", "a file"),
    ],
)
def test_names_are_displayed_as_they_are(linked: Teammate, name: str, shown: str) -> None:
    copied(60, name=name)
    (line,) = lines(linked)
    found = LINK.match(line)
    assert found and found["name"].strip("\u200b") == shown and found["url"].endswith("&id=60")


def test_ten_long_names_fit_the_panel(linked: Teammate) -> None:
    """A name of 200 characters is cut; the canvas is checked against Canvas Kit's limits on each click."""
    for number in range(1, 12):
        copied(number, name="漢" * 196 + ".pdf", size=10)
    assert all(len(name) <= 60 and name.endswith("…") for name in names(linked))
    assert len(names(linked)) == 10
    assert linked.offers("Back")


def test_the_panel_lists_files_in_its_own_language(linked: Teammate, workspace: Workspace) -> None:
    copied(1, size=2_500_000)
    workspace.language = "de"
    workspace.save()
    text = linked.open().send_click("ticket:UserRequest:8").text
    assert "Dateien" in text and "(2,4\u00a0MB)" in text
