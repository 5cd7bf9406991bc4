"""From a row to those beside it, and to what it is in iTop and in Intercom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Model, QuerySet
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from intercom_bridge.intercom.api import conversation_url
from intercom_bridge.models import Conversation, Ticket

NOTHING = "None."


def link(url: str, words: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, words)


def to_row(viewer: Any, row: Model, words: object = "") -> SafeString | str:
    """A link to the row's page, for who may open it."""
    shown = words or row
    if not _may_view(viewer, type(row)):
        return str(shown)
    meta = row._meta
    return link(reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk]), shown)


def to_list(viewer: Any, model: type[Model], words: object, **filters: object) -> SafeString | str:
    """A link to the list of the rows that are meant, for who may open it."""
    if not _may_view(viewer, model):
        return str(words)
    meta = model._meta
    return link(
        f"{reverse(f'admin:{meta.app_label}_{meta.model_name}_changelist')}?{urlencode(filters)}", words
    )


def to_counted(viewer: Any, rows: QuerySet[Any], field: str, **filters: object) -> SafeString | str:
    """How many there are in each state, each a link to them. `filters` are those of `rows` in an address."""
    counts = list(rows.order_by(field).values_list(field).annotate(count=Count("pk")))
    states = dict(rows.model._meta.get_field(field).choices)
    return lines(
        to_list(
            viewer, rows.model, f"{count} {states.get(state, state)}", **filters, **{f"{field}__exact": state}
        )
        for state, count in counts
    )


def lines(shown: Iterable[object]) -> SafeString | str:
    """One under the other."""
    return format_html_join("\n", "<div>{}</div>", ((one,) for one in shown)) or NOTHING


def to_itop(ticket: Ticket) -> SafeString:
    url = ticket.itop.backoffice_url(ticket.ticket_class, ticket.object_id)
    return link(url, f"{ticket.ticket_class} {ticket.ref}")


def to_intercom(conversation: Conversation) -> SafeString:
    workspace = conversation.workspace
    url = conversation_url(workspace.region, workspace.workspace_id, conversation.conversation_id)
    return link(url, conversation.conversation_id)


def _may_view(viewer: Any, model: type[Model]) -> bool:
    meta = model._meta
    return viewer is not None and bool(
        viewer.has_perm(f"{meta.app_label}.view_{meta.model_name}")
        or viewer.has_perm(f"{meta.app_label}.change_{meta.model_name}")
    )
