"""The first screen is at most 400 pixels high and has no primary button, with any content."""

from __future__ import annotations

import datetime as dt
import json

from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.models import EventKind, PersonMatch, Ticket, TicketCreation, TicketEvent
from intercom_bridge.models.workspace import LANGUAGES
from intercom_bridge.panel.components import MAX_FIRST_SCREEN_HEIGHT, Text, estimated_height
from intercom_bridge.panel.screens.home import HomeScreen
from intercom_bridge.tickets.links.merge import Merge
from intercom_bridge.tickets.news import News
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.rows import TicketRow
from intercom_bridge.tickets.sync_status import SyncStatus

from .schema import check_canvas

NAMES = (
    "",
    "\x00 \ud800",
    "Alice Martin",
    "Bartholomäus Maximilian von und zu Hohenlohe-Schillingsfürst the Third",
    "👩‍👩‍👧‍👦 🚀 Sam 🚀" * 8,
    "株式会社エイビーシーデザイン研究所の山田太郎" * 5,
    "الشركة العربية المحدودة للخدمات التقنية " * 5,
    "**Max** [Mark](https://evil.example/down) __Smith__ `x`" * 4,
    "a\nb\tc\x00\ud800",
    "W" * 255,
)
# Longer than any English notice, because other languages need more characters.
LONG_NOTICE = (
    "An admin must enter the account there again. This is the data of 24 septembre 2026 14:03, not current."
)
LATE = dt.datetime(2026, 9, 24, 14, 3, tzinfo=dt.UTC)
MERGE = Merge(is_merged_away=True)
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=255))
counts = st.sampled_from((0, 1, 2, 11, 200, 99_999))


@st.composite
def statuses(draw: st.DrawFn) -> SyncStatus | None:
    refs = draw(st.one_of(st.just(()), st.lists(names, min_size=1, max_size=3).map(tuple)))
    if not refs:
        return None
    waiting, failed = draw(counts), draw(counts)
    on = draw(st.booleans())
    return SyncStatus(
        on=on,
        paused=refs[1:] if on and draw(st.booleans()) else (),
        waiting=waiting,
        failed=failed,
        retriable=failed,
        needs_other_ticket=bool(failed) and draw(st.booleans()),
        left_out=draw(counts),
        last_failure=draw(names) if failed else "",
    )


def _rows(count: int, linked: int, name: str) -> list[TicketRow]:
    return [
        TicketRow(
            ticket_class="UserRequest",
            id=number,
            ref=f"R-{number:06}",
            title=name,
            status=("new", "resolved", "closed", "")[number % 4],
            caller=name,
            organization=name,
            assignee=name,
            is_of_other_person=number % 3 == 0,
            is_of_other_organization=number % 5 == 0,
            is_linked=number < linked,
            is_ongoing=True,
        )
        for number in range(count)
    ]


@st.composite
def news(draw: st.DrawFn) -> News | None:
    if draw(st.booleans()):
        return None
    kind = draw(st.sampled_from((None, *EventKind.values)))
    author, after = draw(names), draw(names)
    event = (
        TicketEvent(kind=kind, author_name=author, after=after, ticket=Ticket(ref=draw(names)))
        if kind
        else None
    )
    return News(
        latest=event,
        happened_at=LATE if event else None,
        checked_at=draw(st.sampled_from((None, LATE))),
        problem=draw(st.sampled_from(("", "iTop cannot be reached."))),
        is_stopped=draw(st.booleans()),
    )


@given(
    language=st.sampled_from([code for code, _ in LANGUAGES]),
    name=names,
    organization=names,
    how=st.sampled_from(PersonMatch.How.values),
    count=st.sampled_from((0, 1, 11, 200)),
    linked=st.sampled_from((0, 1, 2, 3, 4, 200)),
    more=st.booleans(),
    status=statuses(),
    creation=st.sampled_from((None, "creating", "refused")),
    is_merged=st.booleans(),
    notice=st.sampled_from(("", LONG_NOTICE)),
    warning=st.sampled_from(("", "Not verified: the contact's name is Bartholomäus Maximilian.")),
    news=news(),
    closed=st.booleans(),
)
def test_the_home_screen_fits_with_any_content(
    language: str,
    name: str,
    organization: str,
    how: str,
    count: int,
    linked: int,
    more: bool,
    status: SyncStatus | None,
    creation: str | None,
    is_merged: bool,
    notice: str,
    warning: str,
    news: News | None,
    closed: bool,
) -> None:
    person = Person(id=40, name=name, email="", org_id=4, org_name=organization, how=how)
    submission = TicketCreation(form_key="0123456789abcdef", state=creation) if creation else None
    merge = MERGE if is_merged else None
    with translation.override(language):
        canvas = HomeScreen(
            person=person,
            rows=tuple(_rows(count, linked, organization)),
            has_more=more,
            status=status,
            creation=submission,
            merge=merge,
            notice=notice,
            warning=warning,
            news=news,
            closed_states=("new", "resolved", "closed") if closed else (),
        ).to_canvas()
        question = translation.gettext("Not this person?")
    text = json.dumps(canvas.to_json(), ensure_ascii=False)
    assert estimated_height(canvas.components) <= MAX_FIRST_SCREEN_HEIGHT
    check_canvas(json.loads(json.dumps(canvas.to_json())), first=True)
    ids = {component_id for component in canvas.components for component_id in component.ids()}
    assert ("home" if notice else "create") in ids
    assert creation is None or "creation:0123456789abcdef" in ids
    # The question stays, however little space there is.
    assert notice or question in text
    if status is not None:
        assert "sync" in ids
        is_crowded = notice or creation or is_merged or (warning and status.failed)
        assert status.on or "resume" in ids or is_crowded
        if status.failed and not (creation or notice or warning):
            first = canvas.components[0]
            assert isinstance(first, Text) and first.style == "error" and str(status.failed) in first.text
            assert ("find" if status.needs_other_ticket else "try-again") in ids
        if not (notice and warning):
            assert not status.failed or f"{status.failed} " in text
            assert not status.left_out or f"{status.left_out} " in text
