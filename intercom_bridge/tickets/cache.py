"""Lists of tickets as iTop last returned them: for a request soon after, and for when iTop does not answer."""

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

# A list is reused for this long, unless something was written to one of its tickets.
FRESH_SECONDS = 20.0
# Writing and caching are often the work of two machines, whose clocks may differ.
CLOCK_SKEW = dt.timedelta(seconds=2)


def find_fresh_list(context: PanelContext, person: Person, linked_ids: Collection[int]) -> TicketList | None:
    """Return the answer to the same query in this conversation, if nothing was written to its tickets since."""
    since = timezone.now() - dt.timedelta(seconds=FRESH_SECONDS)
    cached = _of_conversation(context, person).filter(at__gte=since).first()
    if cached is None:
        return None
    question = _query_digest(context, person, {*linked_ids, *_pending_ids(cached)})
    if cached.question != question or _was_written_since(context, cached):
        return None
    return _ticket_list(cached, linked_ids)


def find_last_list(context: PanelContext, person: Person, linked_ids: Collection[int]) -> TicketList | None:
    """Return the last list of this conversation, or else of another conversation of the person."""
    last = _of_conversation(context, person).first() or _of_person(context, person).order_by("-at").first()
    return _ticket_list(last, linked_ids) if last else None


def store_list(
    context: PanelContext,
    person: Person,
    tickets: TicketList,
    linked_ids: Iterable[int],
    changes: LinkChanges,
) -> None:
    """Cache a list. `linked_ids` are the linked tickets that iTop was asked for; `changes` are for the worker."""
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
    cached = _of_conversation(context, person)
    for last in cached:
        others = [other for other in last.rows if other["id"] != row.id]
        cached.filter(at=last.at).update(rows=[asdict(row), *others])


def store_merge(context: PanelContext, person: Person, changes: LinkChanges) -> None:
    """Add a merge to a cached list that has no other changes for the worker."""
    cached = _of_conversation(context, person).filter(link_changes__isnull=True)
    cached.update(link_changes=changes.to_json())


def _of_person(context: PanelContext, person: Person) -> CachedTicketsQuerySet:
    terms = _digest(_visibility(context, person))
    return CachedTickets.objects.filter(workspace=context.workspace, person_id=person.id, terms=terms)


def _of_conversation(context: PanelContext, person: Person) -> CachedTicketsQuerySet:
    return _of_person(context, person).filter(conversation_id=context.request.conversation.id[:64])


def _ticket_list(cached: CachedTickets, linked_ids: Collection[int]) -> TicketList:
    linked = {*linked_ids, *_pending_ids(cached)}
    rows = (TicketRow(**row) for row in cached.rows)
    return TicketList(
        rows=tuple(replace(row, is_linked=row.id in linked) for row in rows),
        has_more=cached.more,
        fetched_at=cached.at,
    )


def _pending_ids(cached: CachedTickets) -> frozenset[int]:
    return LinkChanges.from_json(cached.link_changes).adopted_ids


def _was_written_since(context: PanelContext, cached: CachedTickets) -> bool:
    return Delivery.objects.filter(
        ticket__itop=context.itop,
        ticket__ticket_class=context.profile.ticket_class,
        ticket__object_id__in=[row["id"] for row in cached.rows],
        written_at__gt=cached.at - CLOCK_SKEW,
    ).exists()


def _query_digest(context: PanelContext, person: Person, linked_ids: Iterable[int]) -> str:
    profile = context.profile
    return _digest(
        [
            *_visibility(context, person),
            sorted(linked_ids),
            profile.excluded_states,
            profile.subtitle_attribute,
            profile.attributes_mapping,
            context.workspace.has_intercom_attributes,
        ]
    )


def _visibility(context: PanelContext, person: Person) -> list[Any]:
    """Return the settings that decide which tickets may be shown: a change of them makes lists unusable."""
    workspace = context.workspace
    return [
        [column.name for column in fields(TicketRow)],
        [workspace.itop_id, workspace.itop.url, workspace.profile.ticket_class, workspace.scope],
        [person.id, person.org_id, dict(person.attributes)],
    ]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
