"""How the sync of this conversation stands, and what can be done about what is not in iTop."""

from __future__ import annotations

import datetime as dt

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import (
    Button,
    Canvas,
    Component,
    DataTable,
    Field,
    List,
    Submit,
    Text,
    inert,
    shorten,
)
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.desk import Desk, SyncDetails, SyncStatus, TicketSync
from intercom_bridge.desk.moving import merge_of
from intercom_bridge.reasons import told

from .moving import merge_item
from .parts import back_button, link_button, merged_line, moment, paused_line

REASON_LENGTH = 300
# A name as iTop gives it is shorter; a profile may call tickets by their titles.
REF_LENGTH = 20
MOST_TICKETS = 20
# With a button each; once these are unlinked the next ones come.
MOST_GONE = 5


def how_the_sync_stands(desk: Desk) -> Canvas:
    details = desk.sync_details()
    merge = merge_of(desk)
    components: list[Component] = [Text(text=_("How the sync stands"), style="header")]
    if merge is not None:
        components.append(List(items=(merge_item(merge),)))
    if details is None:
        components.append(Text(text=_("No ticket is linked to this conversation."), style="muted"))
    else:
        is_merged = merge is not None and merge.away
        components += _told(details, is_merged=is_merged)
        components += [*failed_buttons(details.status), *left_out_buttons(details.status)]
        if not is_merged:
            components += switches(details.status)
    # What is pressed here is answered here.
    stored = Trail(back=click("sync")).stored()
    return Canvas(components=(*components, back_button(click("home"))), stored_data=stored)


def _told(details: SyncDetails, *, is_merged: bool) -> list[Component]:
    status = details.status
    components: list[Component] = [
        Text(text=_how_it_is(status, is_merged=is_merged)),
        *_lines(details.tickets),
    ]
    # With one ticket its line has said it all.
    if len(details.tickets) > 1 and (counts := _counts(status)):
        components.append(DataTable(items=counts))
    if details.itop_trouble:
        components.append(
            _trouble(_("iTop is in trouble, so messages wait: %(reason)s"), details.itop_trouble)
        )
    elif details.last_try:
        components.append(
            _trouble(_("What waits is tried again. The last time: %(reason)s"), details.last_try)
        )
    for ticket in details.gone[:MOST_GONE]:
        gone = _("%(ticket)s is no longer in iTop, so nothing can be written to it.")
        components += [
            Text(text=gone % {"ticket": inert(ticket.ref)}, style="error"),
            Button(
                id=click("unlink", ticket.ticket_class, ticket.object_id, "yes"),
                label=_("Unlink %(ticket)s") % {"ticket": ticket.ref},
                action=Submit(),
            ),
        ]
    for failure in details.failures:
        what = ngettext(
            "**%(ticket)s**: %(count)d message could not be written. %(reason)s",
            "**%(ticket)s**: %(count)d messages could not be written. %(reason)s",
            failure.messages,
        ) % {
            "ticket": inert(failure.ref),
            "count": failure.messages,
            "reason": inert(shorten(told(failure.reason), REASON_LENGTH)),
        }
        components.append(Text(text=what, style="error"))
    if status.left_out:
        components.append(Text(text=left_out_line(status.left_out)))
    if details.not_compared:
        components.append(
            _trouble(
                _("Intercom could not be asked whether a message is missing: %(reason)s"),
                details.not_compared,
            )
        )
    return components


def _how_it_is(status: SyncStatus, *, is_merged: bool) -> str:
    if is_merged:
        return merged_line()
    if not status.on:
        return paused_line()
    if not status.paused:
        return _("The sync is on: each new message goes into the linked tickets.")
    return _("The sync is on, but paused for %(tickets)s: new messages do not go into those.") % {
        "tickets": inert(", ".join(shorten(ref, REF_LENGTH) for ref in status.paused[:MOST_TICKETS]))
    }


def _trouble(sentence: str, reason: str) -> Text:
    return Text(text=sentence % {"reason": inert(shorten(told(reason), REASON_LENGTH))}, style="muted")


def _counts(status: SyncStatus) -> tuple[Field, ...]:
    return tuple(
        Field(field=label, value=str(count))
        for label, count in (
            (_("Waiting"), status.waiting),
            (_("Could not be written"), status.failed),
        )
        if count
    )


def _lines(tickets: tuple[TicketSync, ...]) -> list[Component]:
    """A line for each ticket: how many of the messages that should be in it are."""
    lines: list[Component] = [Text(text=inert(_line(one))) for one in tickets[:MOST_TICKETS]]
    rest = len(tickets) - MOST_TICKETS
    if rest > 0:
        more = ngettext("and %(count)d more ticket", "and %(count)d more tickets", rest) % {"count": rest}
        lines.append(Text(text=more, style="muted"))
    return lines


def _line(one: TicketSync) -> str:
    if not one.total:
        return _("No message for %(ticket)s yet") % {"ticket": shorten(one.ref, REF_LENGTH)}
    said = [written_of(one.written, one.total, (one.ref,))]
    if one.last_at is not None:
        said.append(last_on(one.last_at))
    if one.waiting:
        said.append(_("%(count)d waiting") % {"count": one.waiting})
    if one.failed:
        said.append(_("%(count)d could not be written") % {"count": one.failed})
    return ", ".join(said)


def written_of(written: int, total: int, refs: tuple[str, ...]) -> str:
    """How many of the messages that should be in the tickets are in each of them."""
    if len(refs) == 1:
        return ngettext(
            "%(written)d of %(total)d message in %(ticket)s",
            "%(written)d of %(total)d messages in %(ticket)s",
            total,
        ) % {"written": written, "total": total, "ticket": shorten(refs[0], REF_LENGTH)}
    return ngettext(
        "%(written)d of %(total)d message in %(count)d tickets",
        "%(written)d of %(total)d messages in %(count)d tickets",
        total,
    ) % {"written": written, "total": total, "count": len(refs)}


def last_on(when: dt.datetime) -> str:
    return _("the last on %(moment)s") % {"moment": moment(when)}


def left_out_line(count: int) -> str:
    return ngettext(
        "%(count)d message was left out while the sync was paused",
        "%(count)d messages were left out while the sync was paused",
        count,
    ) % {"count": count}


def failed_line(status: SyncStatus, length: int) -> str:
    """How many could not be written, and in so many characters (0: not here) why the last one could not."""
    if not length:
        return ngettext(
            "%(count)d message could not be written",
            "%(count)d messages could not be written",
            status.failed,
        ) % {"count": status.failed}
    return ngettext(
        "%(count)d message could not be written: %(reason)s",
        "%(count)d messages could not be written: %(reason)s",
        status.failed,
    ) % {"count": status.failed, "reason": inert(shorten(told(status.last_failure), length))}


def failed_buttons(status: SyncStatus) -> tuple[Component, ...]:
    if not status.retriable:
        return ()
    return (Button(id=click("try-again"), label=_("Try again"), style="link", action=Submit()),)


def left_out_buttons(status: SyncStatus) -> tuple[Component, ...]:
    """Offered once the sync is on again."""
    if not (status.left_out and status.on):
        return ()
    return (
        Button(id=click("write-left-out"), label=_("Write them now"), style="link", action=Submit()),
        Button(id=click("forget-left-out"), label=_("Leave them out"), style="link", action=Submit()),
    )


def switches(status: SyncStatus) -> list[Button]:
    """Pause while any is on, and Resume while any is not."""
    buttons = []
    if status.on:
        buttons.append(link_button(click("pause"), _("Pause the sync")))
    if not status.on or status.paused:
        buttons.append(link_button(click("resume"), _("Resume the sync")))
    return buttons


def pause_button(status: SyncStatus) -> Button:
    """The one of them that there is room for on the first screen."""
    return switches(status)[0]
