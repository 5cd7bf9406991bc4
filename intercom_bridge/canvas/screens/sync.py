"""How the sync of this conversation stands, and what can be done about what is not in iTop."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import (
    Button,
    Canvas,
    Component,
    DataTable,
    Field,
    Submit,
    Text,
    inert,
    shorten,
)
from intercom_bridge.desk import Desk, SyncDetails, SyncStatus
from intercom_bridge.reasons import told

from .parts import back_button, moment

REASON_LENGTH = 300


def how_the_sync_stands(desk: Desk) -> Canvas:
    details = desk.sync_details()
    components: list[Component] = [Text(text=_("How the sync stands"), style="header")]
    if details is None:
        components.append(Text(text=_("No ticket is linked to this conversation."), style="muted"))
    else:
        components += _told(details)
        components += [*failed_buttons(details.status), *left_out_buttons(details.status)]
        components.append(pause_button(details.status))
    return Canvas(components=(*components, back_button(click("home"))))


def _told(details: SyncDetails) -> list[Component]:
    status = details.status
    components: list[Component] = [
        Text(
            text=_("The sync is on: each new message goes into the linked tickets.")
            if status.on
            else _("The sync is paused: new messages are left out.")
        ),
        DataTable(items=_counts(status)),
    ]
    if details.itop_trouble:
        components.append(
            _trouble(_("iTop is in trouble, so messages wait: %(reason)s"), details.itop_trouble)
        )
    elif details.last_try:
        components.append(
            _trouble(_("What waits is tried again. The last time: %(reason)s"), details.last_try)
        )
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
    if status.left_out and status.on:
        components.append(Text(text=left_out_line(status.left_out)))
    if details.not_compared:
        components.append(
            _trouble(
                _("Intercom could not be asked whether a message is missing: %(reason)s"),
                details.not_compared,
            )
        )
    return components


def _trouble(sentence: str, reason: str) -> Text:
    return Text(text=sentence % {"reason": inert(shorten(told(reason), REASON_LENGTH))}, style="muted")


def _counts(status: SyncStatus) -> tuple[Field, ...]:
    rows = [Field(field=_("In iTop"), value=str(status.written))]
    if status.last_at is not None:
        rows.append(Field(field=_("The last of them"), value=moment(status.last_at)))
    for label, count in (
        (_("Waiting"), status.waiting),
        (_("Could not be written"), status.failed),
        (_("Left out by a pause"), status.left_out),
    ):
        if count:
            rows.append(Field(field=label, value=str(count)))
    return tuple(rows)


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
    if not status.failed:
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


def pause_button(status: SyncStatus) -> Button:
    if status.on:
        return Button(id=click("pause"), label=_("Pause the sync"), style="link", action=Submit())
    return Button(id=click("resume"), label=_("Resume the sync"), style="link", action=Submit())
