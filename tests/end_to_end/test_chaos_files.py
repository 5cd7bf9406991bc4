"""The count of the chaos scenario with files must recognize each kind of error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.system.chaos.files import FileStory, Message, Save
from tests.system.chaos.result import Result, SentMessage, Ticket, TicketLogs
from tests.system.chaos.samples import Sample, sample
from tests.system.chaos.stored import ItopFile, Post
from tests.system.chaos.testbed import Customer

TICKET = Ticket(7, "R-000007")
TALK = "215"
REPORT, SCREENSHOT = sample(1, 20), sample(2, 20, is_picture=True)
GUIDE, PLAN = sample(3, 20), sample(4, 20, is_picture=True)
SENT = SentMessage("chaos-a-i0-1", 11, 1_768_031_789)
LINK = "<a href='x?class=Attachment&amp;field=contents&amp;id={}'>a file</a>"
SHOWN = "<img src='x?operation=download_inlineimage&amp;id={}&amp;s=abc123'>"


@dataclass
class FakeTestbed:
    """What both stand-ins have at the end of a scenario in which nothing failed."""

    attachments: dict[int, ItopFile]
    images: dict[int, ItopFile]
    log: list[str]
    parts: list[Post]
    directory: Path = Path()
    customer: Customer = field(default_factory=lambda: Customer(40, 4, "Alice Martin", ""))
    tickets: list[Ticket] = field(default_factory=lambda: [TICKET])
    talks: dict[str, list[Ticket]] = field(default_factory=lambda: {TALK: [TICKET]})

    def final_logs(self) -> list[TicketLogs]:
        return [TicketLogs(TICKET, {"public_log": self.log, "private_log": []})]


class FakeStored:
    def __init__(self, testbed: FakeTestbed) -> None:
        self._testbed = testbed

    def attachments(self) -> dict[int, ItopFile]:
        return self._testbed.attachments

    def inline_images(self) -> dict[int, ItopFile]:
        return self._testbed.images

    def posts(self, _conversation_id: str) -> list[Post]:
        return self._testbed.parts


def stored(number: int, file: Sample, date: str = "2026-01-10 08:56:29") -> ItopFile:
    return ItopFile(number, TICKET.id, 4, file.name, file.digest, date)


def posted(number: int, body: str, *files: Sample) -> Post:
    return Post(number, 1, body, is_ours=True, files=tuple((file.name, file.digest) for file in files))


def good() -> FakeTestbed:
    return FakeTestbed(
        attachments={1: stored(1, REPORT), 2: stored(2, SCREENSHOT), 3: stored(3, GUIDE)},
        images={5: stored(5, SCREENSHOT), 6: stored(6, PLAN)},
        log=[
            f"<p>{SENT.token}</p>{LINK.format(1)}{SHOWN.format(5)}",
            f"<p>chaos-a-s0-1</p>{SHOWN.format(6)}",
        ],
        parts=[
            Post(1, 1, SENT.token, is_ours=False, files=((REPORT.name, REPORT.digest),)),
            posted(2, "chaos-a-s0-1", PLAN),
            posted(3, "A file was added", GUIDE),
        ],
    )


def counted(testbed: FakeTestbed) -> Result:
    story = FileStory(testbed, files=4, seconds=1)  # type: ignore[arg-type]
    story._stored = FakeStored(testbed)  # type: ignore[assignment]
    story.messages = [Message(SENT, TALK, (REPORT,), (SCREENSHOT,))]
    story.saves = [Save(TICKET, "chaos-a-s0-1", (), (PLAN,)), Save(TICKET, "", (GUIDE,), ())]
    return story.count()


def test_each_file_once_is_good() -> None:
    result = counted(good())
    assert result.problems == []
    # The message with two files in the ticket; an entry with a picture, and a file, in the conversation.
    assert (result.sent, result.written, result.duplicated) == (6, 6, 0)
    assert result.is_good


def test_a_file_that_is_named_with_a_link_to_the_ticket_is_good() -> None:
    testbed = good()
    testbed.log[0] = f"<p>{SENT.token}</p><a href='x'>{REPORT.name}, {SCREENSHOT.name}</a>"
    assert counted(testbed).is_good


def test_what_itop_lost_with_its_entry_need_not_be_posted() -> None:
    testbed = good()
    del testbed.log[1], testbed.parts[1]
    result = counted(testbed)
    assert (result.sent, result.is_good) == (4, True)


ERRORS: dict[str, Callable[[FakeTestbed], object]] = {
    "missing in iTop": lambda testbed: testbed.attachments.pop(2),
    "twice in iTop": lambda testbed: testbed.attachments.update({9: stored(9, REPORT)}),
    "broken in iTop": lambda testbed: testbed.attachments.update(
        {1: replace(testbed.attachments[1], digest="0")}
    ),
    "name": lambda testbed: testbed.attachments.update({1: replace(testbed.attachments[1], name="x.pdf")}),
    "organization": lambda testbed: testbed.attachments.update(
        {1: replace(testbed.attachments[1], org_id=0)}
    ),
    "date": lambda testbed: testbed.attachments.update({1: stored(1, REPORT, "2026-01-10 07:56:29")}),
    "returned to iTop": lambda testbed: testbed.attachments.update({9: stored(9, PLAN)}),
    "an agent's file returned": lambda testbed: testbed.attachments.update({9: stored(9, GUIDE)}),
    "not mentioned": lambda testbed: testbed.log.__setitem__(0, f"<p>{SENT.token}</p>{LINK.format(1)}"),
    "another file linked": lambda testbed: testbed.log.__setitem__(0, testbed.log[0] + LINK.format(3)),
    "another picture shown": lambda testbed: testbed.log.__setitem__(0, testbed.log[0] + SHOWN.format(6)),
    "entry written twice": lambda testbed: testbed.log.append(testbed.log[0]),
    "missing in Intercom": lambda testbed: testbed.parts.pop(),
    "twice in Intercom": lambda testbed: testbed.parts.append(posted(9, "Again", GUIDE)),
    "returned to Intercom": lambda testbed: testbed.parts.append(posted(9, "News", REPORT)),
    "picture without its text": lambda testbed: testbed.parts.extend(
        [posted(9, "A picture", PLAN), posted(10, "chaos-a-s0-1")] if testbed.parts.pop(1) else []
    ),
    "name in Intercom": lambda testbed: testbed.parts.__setitem__(
        2, replace(testbed.parts[2], files=(("file", GUIDE.digest),))
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_is_recognised(name: str) -> None:
    testbed = good()
    ERRORS[name](testbed)
    assert not counted(testbed).is_good
