"""After a press of Create: the ticket, or that it is on its way."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Button, Canvas, Component, OpenUrl, Submit, Text, inert
from intercom_bridge.canvas.form import Form
from intercom_bridge.desk import Desk
from intercom_bridge.models import Submission, Ticket
from intercom_bridge.sync.message import PRIVATE, PUBLIC

from .parts import home_button, paused_line, ticket_button


def created(desk: Desk, submission: Submission, ticket: Ticket) -> Canvas:
    components: list[Component] = [
        Text(text=_("%(ticket)s is created") % {"ticket": inert(ticket.ref)}, style="header"),
        Text(text=" ".join((*_copied(submission), _what_follows(desk, ticket)))),
    ]
    if submission.note:
        components.append(Text(text=inert(submission.note), style="error"))
    if submission.admin_id:
        told = _("The customer gets a message with the ticket's link.")
        components.append(Text(text=told, style="muted"))
    if desk.profile.show_open_in_backoffice_button:
        url = desk.itop.backoffice_url(ticket.ticket_class, ticket.object_id)
        components.append(Button(id="open-in-itop", label=_("Open in iTop"), action=OpenUrl(url)))
    components += [
        ticket_button(ticket),
        home_button(),
    ]
    return Canvas(components=tuple(components), stored_data={"back": click("home")})


def _what_follows(desk: Desk, ticket: Ticket) -> str:
    link = desk.links().get(ticket.object_id)
    if link is not None and not link.sync_on:
        return paused_line()
    return _("New messages follow by themselves.")


def _copied(submission: Submission) -> list[str]:
    logs = [log for _kind, _id, _at, log, _author in submission.parts]
    public, private = logs.count(PUBLIC), logs.count(PRIVATE)
    sentences = []
    if public:
        sentences.append(
            ngettext(
                "%(count)d message was copied into its public log.",
                "%(count)d messages were copied into its public log.",
                public,
            )
            % {"count": public}
        )
    if private:
        sentences.append(
            ngettext(
                "%(count)d note was copied into its private log.",
                "%(count)d notes were copied into its private log.",
                private,
            )
            % {"count": private}
        )
    return sentences


def on_its_way(form: Form) -> Canvas:
    """iTop has not answered in time. The worker goes on; asking again, or pressing again, doubles nothing."""
    return Canvas(
        components=(
            Text(text=_("The ticket is on its way"), style="header"),
            Text(
                text=_(
                    "iTop has not answered yet. What you filled in is saved, and we go on trying until the ticket is "
                    "there. It is made once, however often you press."
                )
            ),
            Button(id=click("form", "status"), label=_("Look again"), action=Submit()),
            home_button(_("Home")),
        ),
        stored_data=form.stored(),
    )
