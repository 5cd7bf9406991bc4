"""A conversation that was merged: its links are moved to where the talk goes on."""

from __future__ import annotations

import structlog
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Button, Canvas, Component, Input, Item, Submit, Text, inert
from intercom_bridge.desk import Desk
from intercom_bridge.desk.moving import Merge, NotMerged, merge_of, move_away, move_here
from intercom_bridge.intercom.api import IntercomError
from intercom_bridge.models.encryption import SecretUnreadable

from .parts import back_button, home_button

log = structlog.get_logger(__name__)

# What is typed comes back under the id of its field.
FIELD = click("move-away")


def merge_item(merge: Merge) -> Item:
    if merge.away:
        title = _("Merged into another conversation")
    else:
        title = _("Another conversation was merged into this one")
    return Item(id=click("merged"), title=title, subtitle=_("Move its linked tickets"), action=Submit())


def merged(desk: Desk, problem: str = "", named: str = "") -> Canvas:
    """`named` is what was typed, to be corrected."""
    merge = merge_of(desk)
    components: list[Component] = []
    if merge is None:
        components.append(Text(text=_("There is nothing to be moved."), style="muted"))
    elif merge.away:
        components += [
            Text(text=_("Merged into another conversation"), style="header"),
            Text(
                text=_(
                    "This conversation was merged into another one: new messages come in there. Intercom does not say "
                    "into which. Open that one and move the linked tickets there, or name it here."
                )
            ),
            Input(
                id=FIELD,
                label=_("Id or address of the other conversation"),
                value=named,
                save_state="failed" if problem else "",
                action=Submit(),
            ),
        ]
    else:
        components.append(Text(text=_("Another conversation was merged into this one"), style="header"))
        if len(merge.sources) > 1:
            several = _(
                "Several were merged at the same time, and Intercom does not say which of them into this one. Move "
                "only what belongs here."
            )
            components.append(Text(text=several))
        for source in merge.sources:
            linked = list(source.links.values_list("ticket__ref", flat=True))
            refs = ", ".join(linked)
            said = _("Conversation %(conversation)s was merged into this one. Linked to it: %(tickets)s.")
            components += [
                Text(text=said % {"conversation": inert(source.conversation_id), "tickets": inert(refs)}),
                Button(
                    id=click("move-here", source.pk),
                    label=ngettext("Move the link", "Move the links", len(linked)),
                    action=Submit(),
                ),
            ]
    if problem:
        components.append(Text(text=problem, style="error"))
    return Canvas(components=(*components, back_button(click("home"))))


def moved_here(desk: Desk, source_pk: int) -> Canvas:
    try:
        tickets = move_here(desk, source_pk)
    except NotMerged:
        return merged(desk)
    return _moved([ticket.ref for ticket in tickets], _("They are linked to this conversation now."))


def moved_away(desk: Desk, named: str) -> Canvas:
    if not named:
        return merged(
            desk, _("Type the id of the other conversation, or paste its address from the browser.")
        )
    try:
        tickets = move_away(desk, named)
    except NotMerged:
        problem = _("This is not the conversation that this one was merged into. Nothing was changed.")
        return merged(desk, problem, named)
    except (IntercomError, SecretUnreadable) as trouble:
        log.warning("panel.merge_not_known", error=type(trouble).__name__, said=str(trouble)[:200])
        return merged(desk, _("Intercom could not be asked just now. Nothing was changed; try again."), named)
    return _moved([ticket.ref for ticket in tickets], _("They are linked to the other conversation now."))


def _moved(refs: list[str], where: str) -> Canvas:
    title = _("Moved: %(tickets)s") % {"tickets": inert(", ".join(refs))}
    said = _("Its new messages go into their logs from the merge on; what was waiting is still written.")
    return Canvas(components=(Text(text=title, style="header"), Text(text=f"{where} {said}"), home_button()))
