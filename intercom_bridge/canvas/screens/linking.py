"""Linking a ticket: whether to copy the conversation so far, and what came of it."""

from __future__ import annotations

import structlog
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Button, Canvas, Component, Submit, Text, inert
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.desk import Desk, Linked, SoFar
from intercom_bridge.desk.ticket_view import LinkedConversation, linked_conversations
from intercom_bridge.intercom.api import IntercomError, IntercomTokenRefused
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.sync.copier import Copy
from intercom_bridge.sync.message import PRIVATE, PUBLIC
from intercom_bridge.sync.transcript import MOST_ENTRIES

from .parts import back_button, home_button, paused_line, ticket_button
from .ticket import conversations

log = structlog.get_logger(__name__)

# What the question's buttons say, in their ids.
COPY, FROM_NOW_ON = "copy", "from-now-on"


def link(desk: Desk, ticket_class: str, ticket_id: int, choice: str, trail: Trail) -> Canvas:
    """Links it. If there is something to copy and no choice has been made, asks first."""
    if choice not in (COPY, FROM_NOW_ON):
        so_far = desk.so_far(ticket_class, ticket_id)
        linked = linked_conversations(desk, ticket_class, ticket_id)
        if not so_far.is_linked and (linked or so_far.copy is None or so_far.copy.entries):
            return _question(so_far, linked, ticket_class, ticket_id, trail)
        choice = FROM_NOW_ON
    try:
        return _linked(desk.link(ticket_class, ticket_id, copy=choice == COPY))
    except (IntercomError, SecretUnreadable) as trouble:
        log.warning("panel.nothing_to_copy_from", error=type(trouble).__name__, said=str(trouble)[:200])
        return _not_handed_over(trouble, ticket_class, ticket_id, trail)


def _question(
    so_far: SoFar,
    linked: tuple[LinkedConversation, ...],
    ticket_class: str,
    ticket_id: int,
    trail: Trail,
) -> Canvas:
    components: list[Component] = [
        Text(text=_("Link %(ticket)s") % {"ticket": inert(so_far.ref)}, style="header")
    ]
    if linked:
        already = ngettext(
            "It is already linked to %(count)d other conversation, whose messages go into its logs too.",
            "It is already linked to %(count)d other conversations, whose messages go into its logs too.",
            len(linked),
        ) % {"count": len(linked)}
        components += [Text(text=already), Text(text=conversations(linked), style="muted")]
    label = ""
    if so_far.copy is None:
        unknown = _(
            "Intercom did not hand over the conversation just now, so its messages are not counted here."
        )
        components.append(Text(text=unknown))
        label = _("Link and copy the messages so far")
    elif so_far.copy.entries:
        components += [Text(text=words) for words in _what_there_is(so_far.copy)]
        if not so_far.is_complete:
            newest = _("Intercom hands over only the newest part of so long a conversation.")
            components.append(Text(text=newest, style="muted"))
        label = _copy_label(so_far.copy)
    if label:
        components += [
            Text(text=_what_follows(so_far), style="muted"),
            Button(id=click("link", ticket_class, ticket_id, COPY), label=label, action=Submit()),
        ]
    components += [
        _from_now_on(ticket_class, ticket_id),
        back_button(click("ticket", ticket_class, ticket_id)),
    ]
    return Canvas(components=tuple(components), stored_data=trail.stored())


def _what_follows(so_far: SoFar) -> str:
    return paused_line() if so_far.is_paused else _("New messages follow by themselves either way.")


def _what_there_is(copy: Copy) -> list[str]:
    public, private = copy.count(PUBLIC), copy.count(PRIVATE)
    counts = []
    if public:
        counts.append(
            ngettext("%(count)d message for the public log", "%(count)d messages for the public log", public)
            % {"count": public}
        )
    if private:
        counts.append(
            ngettext("%(count)d note for the private log", "%(count)d notes for the private log", private)
            % {"count": private}
        )
    said = [_("This conversation so far: %(counts)s.") % {"counts": ", ".join(counts)}]
    if copy.too_old:
        said.append(
            ngettext(
                "A log in iTop holds about 300 entries, so only the newest %(most)d of each are copied: "
                "%(count)d older one is not.",
                "A log in iTop holds about 300 entries, so only the newest %(most)d of each are copied: "
                "%(count)d older ones are not.",
                len(copy.too_old),
            )
            % {"most": MOST_ENTRIES, "count": len(copy.too_old)}
        )
    return said


def _copy_label(copy: Copy) -> str:
    count = len(copy.entries)
    if copy.too_old:
        return _("Link and copy the newest %(count)d messages") % {"count": count}
    return ngettext(
        "Link and copy the %(count)d message so far", "Link and copy the %(count)d messages so far", count
    ) % {"count": count}


def _from_now_on(ticket_class: str, ticket_id: int) -> Button:
    return Button(
        id=click("link", ticket_class, ticket_id, FROM_NOW_ON), label=_("Link from now on"), action=Submit()
    )


def _linked(linked: Linked) -> Canvas:
    ticket = linked.ticket
    ref = inert(ticket.ref)
    if linked.is_new:
        title = _("%(ticket)s is linked") % {"ticket": ref}
    else:
        title = _("%(ticket)s was linked already") % {"ticket": ref}
    said = (
        paused_line()
        if linked.is_paused
        else _("From now on each new message of this conversation goes into its log.")
    )
    if linked.copied:
        on_their_way = ngettext(
            "%(count)d message of the conversation so far is on its way into its logs.",
            "%(count)d messages of the conversation so far are on their way into its logs.",
            linked.copied,
        ) % {"count": linked.copied}
        follows = paused_line() if linked.is_paused else _("New messages follow by themselves.")
        said = f"{on_their_way} {follows}"
    return Canvas(
        components=(
            Text(text=title, style="header"),
            Text(text=said),
            ticket_button(ticket),
            home_button(),
        ),
        stored_data={"back": click("home")},
    )


def _not_handed_over(
    trouble: IntercomError | SecretUnreadable, ticket_class: str, ticket_id: int, trail: Trail
) -> Canvas:
    what = _(
        "To copy the messages so far it has to be read whole, and Intercom did not give it to us just now. "
        "The ticket is not linked, and nothing was changed."
    )
    if isinstance(trouble, IntercomTokenRefused | SecretUnreadable):
        what = _(
            "To copy the messages so far it has to be read whole, and the workspace's access token does not serve for "
            "that; an admin has to renew it. The ticket is not linked, and nothing was changed."
        )
    return Canvas(
        components=(
            Text(text=_("Intercom did not hand over the conversation"), style="header"),
            Text(text=what, style="muted"),
            Button(id=click("link", ticket_class, ticket_id, COPY), label=_("Retry"), action=Submit()),
            _from_now_on(ticket_class, ticket_id),
            back_button(click("ticket", ticket_class, ticket_id)),
        ),
        stored_data=trail.stored(),
    )
