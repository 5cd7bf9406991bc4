"""Unlink a ticket: the question, the result, and its button Undo."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.panel.click import Click, click_id
from intercom_bridge.panel.components import Canvas, escape_markdown
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_link
from intercom_bridge.tickets.links.unlink import count_unwritten, undo_unlink, unlink_ticket

from .parts import back_button, button, done_button, muted, paragraph, paused_text, screen, ticket_button


def unlink_screen(context: PanelContext, click: Click) -> Canvas:
    """Handle `unlink:<class>:<id>`, which asks for confirmation, and `unlink:<class>:<id>:yes`, which unlinks."""
    ticket_class, ticket_id = click.argument(0), click.number(1)
    if click.argument(2) == "yes":
        return _unlink(context, ticket_class, ticket_id)
    return _question(context, ticket_class, ticket_id)


def _question(context: PanelContext, ticket_class: str, ticket_id: int) -> Canvas:
    link = find_link(context, ticket_class, ticket_id)
    if link is None:
        return _not_linked(context)
    unwritten = count_unwritten(link)
    text = ngettext(
        "%(count)d message that is not in iTop yet will not be copied.",
        "%(count)d messages that are not in iTop yet will not be copied.",
        unwritten,
    )
    return screen(
        _("Unlink %(ticket)s") % {"ticket": escape_markdown(link.ticket.ref)},
        paragraph(_consequence()),
        paragraph(text % {"count": unwritten}) if unwritten else None,
        button(click_id("unlink", ticket_class, ticket_id, "yes"), _("Unlink")),
        back_button(click_id("ticket", ticket_class, ticket_id)),
    )


def _unlink(context: PanelContext, ticket_class: str, ticket_id: int) -> Canvas:
    """Unlink the ticket, and return a screen that can undo this."""
    removal = unlink_ticket(context, ticket_class, ticket_id)
    if removal is None:
        return _not_linked(context)
    left_out = len(removal.left_out)
    text = ngettext(
        "%(count)d message that was not in iTop yet is left out.",
        "%(count)d messages that were not in iTop yet are left out.",
        left_out,
    )
    return screen(
        _("%(ticket)s unlinked") % {"ticket": escape_markdown(removal.ticket.ref)},
        paragraph(_consequence()),
        paragraph(text % {"count": left_out}) if left_out else None,
        button(click_id("undo-unlink", removal.pk), _("Undo")),
        done_button(context),
    )


def relinked_screen(context: PanelContext, click: Click) -> Canvas:
    """Handle `undo-unlink:<id of the LinkRemoval>`: restore the link."""
    result = undo_unlink(context, click.number(0))
    if result is None:
        return _not_linked(context)
    text = _("The link is restored. Messages received in the meantime will be added.")
    if result.is_paused:
        text = paused_text()
    if result.copied:
        restored = ngettext(
            "%(count)d message that was left out will be copied.",
            "%(count)d messages that were left out will be copied.",
            result.copied,
        ) % {"count": result.copied}
        text = f"{text} {restored}"
    return screen(
        _("%(ticket)s linked again") % {"ticket": escape_markdown(result.ticket.ref)},
        paragraph(text),
        ticket_button(result.ticket),
        done_button(context),
    )


def _consequence() -> str:
    return _(
        "New messages of this conversation will no longer be copied to this ticket. Existing entries stay."
    )


def _not_linked(context: PanelContext) -> Canvas:
    return screen(
        _("This ticket is not linked"),
        muted(_("It is not linked to this conversation. Nothing was changed.")),
        done_button(context),
    )
