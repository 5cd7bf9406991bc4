"""Screens after the create form was submitted: the ticket was created, is pending, or a colleague was faster."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.models import Log, Ticket, TicketCreation
from intercom_bridge.panel.click import FORM, HOME, BackLink, click_id
from intercom_bridge.panel.components import Canvas, escape_markdown
from intercom_bridge.panel.form.form import Form
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_links

from .parts import (
    button,
    by_whom,
    counted_texts,
    error_text,
    form_button,
    home_button,
    link_button,
    muted,
    no_message_button,
    open_in_itop_button,
    paragraph,
    paused_text,
    screen,
    several_tickets_text,
    ticket_button,
)


def ticket_created(context: PanelContext, creation: TicketCreation, ticket: Ticket) -> Canvas:
    link = find_links(context).get(ticket.object_id)
    if link is not None and not link.sync_on:
        sync_text = paused_text()
    else:
        sync_text = several_tickets_text(context) or _("New messages will be added automatically.")
    return screen(
        _("%(ticket)s created") % {"ticket": escape_markdown(ticket.ref)},
        paragraph(" ".join((*_copied_texts(creation), sync_text))),
        error_text(escape_markdown(creation.note)) if creation.note else None,
        muted(_announced_text(creation)) if creation.announce else None,
        open_in_itop_button(context, context.itop.backoffice_url(ticket.ticket_class, ticket.object_id)),
        ticket_button(ticket),
        home_button(),
        stored=BackLink().to_stored(),
    )


def _announced_text(creation: TicketCreation) -> str:
    if creation.announce_link:
        return _("The customer has been sent a link to the ticket.")
    return _("The customer has been sent the ticket's number.")


def creation_pending(form: Form) -> Canvas:
    """Return the screen that says that iTop has not responded yet. Meanwhile, the worker continues the creation."""
    return screen(
        _("The ticket is being created"),
        paragraph(
            _(
                "iTop has not responded yet. Your input is saved, and the bridge keeps trying. Only one "
                "ticket is created, however often you click."
            )
        ),
        button(click_id("form", "status"), _("Check again")),
        link_button(HOME, _("Home")),
        stored=form.to_stored(),
    )


def created_by_colleague(
    context: PanelContext, form: Form, creation: TicketCreation, ticket: Ticket
) -> Canvas:
    """Return the screen that names a ticket created meanwhile, and asks whether to create another one.

    The ticket was created from this conversation, by a colleague or by the teammate in another tab. The form already
    contains the id of `creation` as `seen_creation_id`, so submitting the form again does not lead to this screen.
    """
    facts = {
        "ticket": escape_markdown(ticket.ref),
        **by_whom(context, creation.admin_name, creation.created_at),
    }
    if creation.admin_id and creation.admin_id == context.request.admin.id:
        text = _("You created %(ticket)s from this conversation on %(moment)s.") % facts
    else:
        text = _("%(teammate)s created %(ticket)s from this conversation on %(moment)s.") % facts
    return screen(
        _("There is already a ticket"),
        paragraph(text),
        muted(_("Your ticket is not created yet. Your input is kept.")),
        button(
            click_id("ticket", ticket.ticket_class, ticket.object_id),
            _("Open %(ticket)s") % {"ticket": ticket.ref},
        ),
        button(click_id("form", "submit"), _("Create anyway")),
        no_message_button(context),
        form_button(),
        stored=form.to_stored() | BackLink(target=FORM).to_stored(),
    )


def _copied_texts(creation: TicketCreation) -> list[str]:
    """Return texts about the messages and notes that were copied to the new ticket."""
    if creation.since_part_at:
        # The teammate chose not to copy the conversation so far.
        return [_("The messages so far were not copied.")]
    logs = [part["log"] for part in creation.parts]
    public, private = logs.count(Log.PUBLIC), logs.count(Log.PRIVATE)
    messages = ngettext(
        "%(count)d message was copied to the ticket's public log.",
        "%(count)d messages were copied to the ticket's public log.",
        public,
    )
    notes = ngettext(
        "%(count)d note was copied to the ticket's private log.",
        "%(count)d notes were copied to the ticket's private log.",
        private,
    )
    return counted_texts((public, messages), (private, notes))
