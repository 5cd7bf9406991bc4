"""At a press of Create: a colleague was faster, and made a ticket of this conversation."""

from __future__ import annotations

from django.utils import timezone
from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Button, Canvas, Submit, Text, inert, shorten
from intercom_bridge.canvas.form import Form
from intercom_bridge.desk import Desk
from intercom_bridge.models import Submission, Ticket

from .parts import moment

NAME_LENGTH = 80


def created_meanwhile(desk: Desk, form: Form, submission: Submission, ticket: Ticket) -> Canvas:
    """`form` is the one that was pressed; it knows of this creation now."""
    return Canvas(
        components=(
            Text(text=_("There is a ticket already"), style="header"),
            Text(text=_who(desk, submission, ticket)),
            Text(
                text=_("Yours is not created yet, and what you filled in is kept."),
                style="muted",
            ),
            Button(
                id=click("ticket", ticket.ticket_class, ticket.object_id),
                label=_("Open %(ticket)s") % {"ticket": ticket.ref},
                action=Submit(),
            ),
            Button(id=click("form", "submit"), label=_("Create anyway"), action=Submit()),
            Button(id=click("form", "show"), label=_("Back to the form"), style="link", action=Submit()),
        ),
        stored_data=form.stored() | {"back": click("form", "show")},
    )


def _who(desk: Desk, submission: Submission, ticket: Ticket) -> str:
    facts = {
        "ticket": inert(ticket.ref),
        "moment": moment(timezone.localtime(submission.created_at, desk.workspace.zone)),
    }
    if submission.admin_id and submission.admin_id == desk.request.admin.id:
        return _("You created %(ticket)s from this conversation on %(moment)s.") % facts
    name = inert(shorten(submission.admin_name, NAME_LENGTH)) or _("A teammate")
    return _("%(teammate)s created %(ticket)s from this conversation on %(moment)s.") % (
        facts | {"teammate": name}
    )
