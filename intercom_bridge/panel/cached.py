"""Screens from the cache while iTop does not respond: the data, its age, and a Retry. They raise CacheMissError."""

from dataclasses import replace

from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.listing import get_cached_tickets
from intercom_bridge.tickets.people.match import find_cached_person

from .actions import home_screen, stored_form
from .click import BackLink, Click
from .components import Canvas
from .errors import PanelError, explain_cached
from .screens.parts import format_time, muted, retry_button
from .screens.ticket import cached_ticket_screen
from .screens.ticket_list import linked_tickets, ongoing_tickets


def home(context: PanelContext, _click: Click, error: PanelError) -> Canvas:
    tickets = get_cached_tickets(context)
    notice = explain_cached(error, format_time(tickets.fetched_at))
    return home_screen(context, find_cached_person(context), tickets, notice)


def linked(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    screen = linked_tickets(context, get_cached_tickets(context), click.number(0, 1))
    return _with_notice(context, screen, click, error)


def ongoing(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    person = find_cached_person(context)
    screen = ongoing_tickets(context, person, get_cached_tickets(context), click.number(0, 1))
    return _with_notice(context, screen, click, error)


def ticket(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    back = BackLink.parse(context.request.stored_data)
    tickets = get_cached_tickets(context)
    screen = cached_ticket_screen(context, tickets, click.argument(0), click.number(1), back)
    screen = replace(screen, stored_data={**screen.stored_data, **stored_form(context)})
    return _with_notice(context, screen, click, error)


def _with_notice(context: PanelContext, screen: Canvas, click: Click, error: PanelError) -> Canvas:
    """Add the notice below the title, and Retry above the way back."""
    notice = muted(explain_cached(error, format_time(get_cached_tickets(context).fetched_at)))
    title, *rest, way_back = screen.components
    return replace(screen, components=(title, notice, *rest, retry_button(str(click)), way_back))
