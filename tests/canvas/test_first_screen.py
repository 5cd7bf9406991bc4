"""The first screen is at most 400 pixels high and has no primary button, whatever there is to say."""

from __future__ import annotations

import datetime as dt
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from intercom_bridge.canvas.components import FIRST_SCREEN_HEIGHT
from intercom_bridge.canvas.screens.home import first_screen
from intercom_bridge.desk import Person, SyncStatus, TicketRow
from intercom_bridge.desk.moving import Merge
from intercom_bridge.models import PersonMatch, Submission
from tests.canvas.schema import check_canvas

NAMES = (
    "",
    "Alice Martin",
    "Bartholomäus Maximilian von und zu Hohenlohe-Schillingsfürst the Third",
    "👩‍👩‍👧‍👦 🚀 Sam 🚀" * 8,
    "株式会社エイビーシーデザイン研究所の山田太郎" * 5,
    "الشركة العربية المحدودة للخدمات التقنية " * 5,
    "**Max** [Mark](https://evil.example/down) __Smith__ `x`" * 4,
    "a\nb\tc\x00\ud800",
    "W" * 255,
)
# Longer than any in English: other languages need more words.
LONG_NOTICE = (
    "Somebody has to enter our account there again. This is what it said on 24 septembre 2026 14:03, not now."
)
MERGE = Merge(away=True)
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=255))
counts = st.sampled_from((0, 1, 2, 11, 200, 99_999))


@st.composite
def statuses(draw: st.DrawFn) -> SyncStatus | None:
    refs = draw(st.one_of(st.just(()), st.lists(names, min_size=1, max_size=3).map(tuple)))
    if not refs:
        return None
    written, waiting, failed = draw(counts), draw(counts), draw(counts)
    on = draw(st.booleans())
    return SyncStatus(
        on=on,
        paused=refs[1:] if on and draw(st.booleans()) else (),
        refs=refs,
        total=written + waiting + failed,
        written=written,
        waiting=waiting,
        failed=failed,
        retriable=failed,
        left_out=draw(counts),
        last_at=dt.datetime(2026, 11, 22, 14, 3, tzinfo=dt.UTC) if written else None,
        last_failure=draw(names) if failed else "",
    )


def _rows(count: int) -> list[TicketRow]:
    return [
        TicketRow(
            ticket_class="UserRequest",
            id=number,
            ref=f"R-{number:06}",
            title="Screen flickers",
            status="new",
            subtitle="",
            is_linked=number % 2 == 0,
            is_ongoing=True,
        )
        for number in range(count)
    ]


@settings(max_examples=400, deadline=None)
@given(
    name=names,
    organization=names,
    how=st.sampled_from(PersonMatch.How.values),
    count=st.sampled_from((0, 1, 11, 200)),
    more=st.booleans(),
    status=statuses(),
    creation=st.sampled_from((None, "creating", "refused")),
    is_merged=st.booleans(),
    notice=st.sampled_from(("", LONG_NOTICE)),
)
def test_it_fits_whatever_there_is_to_say(
    name: str,
    organization: str,
    how: str,
    count: int,
    more: bool,
    status: SyncStatus | None,
    creation: str | None,
    is_merged: bool,
    notice: str,
) -> None:
    person = Person(id=40, name=name, email="", org_id=4, org_name=organization, how=how)
    submission = Submission(form_key="0123456789abcdef", state=creation) if creation else None
    merge = MERGE if is_merged else None
    canvas = first_screen(
        person, _rows(count), status, more=more, creation=submission, merge=merge, notice=notice
    )
    assert canvas.height() <= FIRST_SCREEN_HEIGHT
    check_canvas(json.loads(json.dumps(canvas.to_json())), first=True)
    ids = {one for component in canvas.components for one in component.ids()}
    assert ("home" if notice else "create") in ids
    assert creation is None or "creation:0123456789abcdef" in ids
    if status is not None:
        words = json.dumps(canvas.to_json(), ensure_ascii=False)
        assert "sync" in ids
        # Where there is no room for a button, the page behind the line on the sync has it.
        assert ("pause" if status.on else "resume") in ids or notice or is_merged
        assert (
            not status.failed or "try-again" in ids or ((creation or notice) and f"{status.failed} " in words)
        )
        assert not status.left_out or f"{status.left_out} " in words
