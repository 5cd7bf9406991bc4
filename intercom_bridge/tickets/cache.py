"""Cache the lists of tickets that iTop returns.

A list is used by the next requests of the same conversation, and while iTop does not respond.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, fields, replace
from typing import Any

from django.utils import timezone

from intercom_bridge.models import CachedTickets, Delivery
from intercom_bridge.models.cached_tickets import CachedTicketsQuerySet

from .context import PanelContext
from .links.adopt import LinkChanges
from .people.person import Person
from .rows import TicketList, TicketRow

# A list is fresh for this long, unless the bridge writes to one of its tickets.
FRESH_SECONDS = 20.0
# A worker writes to tickets, and a web process caches lists. Their machines' clocks may differ by this much.
CLOCK_SKEW = dt.timedelta(seconds=2)


def find_fresh_list(context: PanelContext, person: Person, linked_ids: Collection[int]) -> TicketList | None:
    """Return this conversation's list if it is at most FRESH_SECONDS old and still valid, or None.

    It is invalid if the query to iTop would be another one now, or if the bridge has written to one of its tickets.
    `linked_ids` are the ids in iTop of the tickets that are linked now.
    """
    since = timezone.now() - dt.timedelta(seconds=FRESH_SECONDS)
    cached = _of_conversation(context, person).filter(at__gte=since).first()
    if cached is None:
        return None
    current_digest = _query_digest(context, person, {*linked_ids, *_ids_to_adopt(cached)})
    if cached.question != current_digest or _was_written_since(context, cached):
        return None
    return _ticket_list(cached, linked_ids)


def find_last_list(context: PanelContext, person: Person, linked_ids: Collection[int]) -> TicketList | None:
    """Return this conversation's list of any age, or else the newest one from the person's other conversations."""
    cached = _of_conversation(context, person).first()
    if cached is None:
        cached = _of_person(context, person).order_by("-at").first()
    return _ticket_list(cached, linked_ids) if cached else None


def store_list(
    context: PanelContext,
    person: Person,
    tickets: TicketList,
    linked_ids: Iterable[int],
    changes: LinkChanges,
) -> None:
    """Cache a list, with the changes of links that the worker has to save."""
    CachedTickets.objects.update_or_create(
        workspace=context.workspace,
        person_id=person.id,
        conversation_id=context.request.conversation.id[:64],
        defaults={
            "terms": _digest(_visibility(context, person)),
            "question": _query_digest(context, person, {*linked_ids, *changes.adopted_ids}),
            "rows": [asdict(row) for row in tickets.rows],
            "more": tickets.has_more,
            "at": tickets.fetched_at,
            "link_changes": changes.to_json(),
        },
    )


def store_linked(context: PanelContext, person: Person, row: TicketRow) -> None:
    """Add a ticket that was just linked to the cached list, in case iTop does not respond to the next request."""
    lists = _of_conversation(context, person)
    for cached in lists:
        other_rows = [other for other in cached.rows if other["id"] != row.id]
        # Filtered by `at`, so that a list that another request has stored in the meantime is not changed.
        lists.filter(at=cached.at).update(rows=[asdict(row), *other_rows])


def store_merge(context: PanelContext, person: Person, changes: LinkChanges) -> None:
    """Add the merge of the conversation to its cached list, unless the list has other changes for the worker."""
    without_changes = _of_conversation(context, person).filter(link_changes__isnull=True)
    without_changes.update(link_changes=changes.to_json())


def _of_person(context: PanelContext, person: Person) -> CachedTicketsQuerySet:
    """Return the lists of the person, in any conversation, that may be shown under the present settings."""
    terms = _digest(_visibility(context, person))
    return CachedTickets.objects.filter(workspace=context.workspace, person_id=person.id, terms=terms)


def _of_conversation(context: PanelContext, person: Person) -> CachedTicketsQuerySet:
    """Return the person's list in this conversation: a queryset with one row at most."""
    return _of_person(context, person).filter(conversation_id=context.request.conversation.id[:64])


def _ticket_list(cached: CachedTickets, linked_ids: Collection[int]) -> TicketList:
    """Return the stored list, with the links as they are now."""
    current_ids = {*linked_ids, *_ids_to_adopt(cached)}
    rows = (TicketRow(**row) for row in cached.rows)
    return TicketList(
        rows=tuple(replace(row, is_linked=row.id in current_ids) for row in rows),
        has_more=cached.more,
        fetched_at=cached.at,
    )


def _ids_to_adopt(cached: CachedTickets) -> frozenset[int]:
    """Return the tickets that count as linked already, although the worker has not created their links yet."""
    return LinkChanges.from_json(cached.link_changes).adopted_ids


def _was_written_since(context: PanelContext, cached: CachedTickets) -> bool:
    return Delivery.objects.filter(
        ticket__itop=context.itop,
        ticket__ticket_class=context.profile.ticket_class,
        ticket__object_id__in=[row["id"] for row in cached.rows],
        written_at__gt=cached.at - CLOCK_SKEW,
    ).exists()


def _query_digest(context: PanelContext, person: Person, linked_ids: Iterable[int]) -> str:
    """Return a digest of everything that the query to iTop and its result depend on."""
    profile = context.profile
    return _digest(
        [
            *_visibility(context, person),
            sorted(linked_ids),
            profile.excluded_states,
            profile.subtitle_attribute,
            profile.attributes_mapping,
            context.workspace.has_extension_attributes,
        ]
    )


def _visibility(context: PanelContext, person: Person) -> list[Any]:
    """Return the settings that decide which tickets may be shown. After a change of these, old lists are not shown."""
    workspace = context.workspace
    return [
        # After an update of the bridge, a stored row may lack a field.
        [column.name for column in fields(TicketRow)],
        [workspace.itop_id, workspace.itop.url, workspace.profile.ticket_class, workspace.scope],
        [person.id, person.org_id, dict(person.attributes)],
    ]


def _digest(json_value: Any) -> str:
    return hashlib.sha256(json.dumps(json_value, sort_keys=True).encode()).hexdigest()
