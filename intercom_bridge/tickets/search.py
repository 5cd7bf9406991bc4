"""Find any ticket in scope by its reference or by words of its title."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count

from intercom_bridge.models import TicketLink
from itop_client import Found, ItopRejectedError, containing, quote

from .context import PanelContext
from .conversation import find_conversation, find_links
from .people.match import find_person
from .query import get_tickets_by
from .rows import TicketRow, make_row, owner_codes, row_codes, subtitle_codes
from .scope import has_ticket, ticket_condition

PAGE_SIZE = 10
MAX_QUERY_LENGTH = 100
MAX_TERMS = 8
# iTop pads the number in a reference with zeros, by default to six digits. The search tries all lengths up to this.
MAX_DIGITS = 10
# The ticket's alias in a query. The scope becomes part of the query and must not use the same alias.
ALIAS = "the_ticket"

# A reference as people type it: R-000044, r44 or 44. The groups are the letters, and the number without zeros.
_REFERENCE = re.compile(r"(?:([A-Za-z]{1,10})-?)?0*(\d{1,10})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """One page of results. `page` is its number, from 1; `pages` is the number of pages, 0 for an empty query."""

    query: str
    rows: tuple[TicketRow, ...] = ()
    page: int = 1
    pages: int = 0


def search_tickets(context: PanelContext, query: str, page: int) -> SearchResults:
    """Return a page of the tickets whose reference is `query`, or whose title contains all words of `query`.

    Raise PersonNotResolvedError, OutOfScopeError or ItopError.
    """
    query = " ".join(query[:MAX_QUERY_LENGTH].split())
    person = find_person(context)
    if not query:
        return SearchResults(query="")
    found = _search(context, query, page)
    if not found.objects and found.total and page > 1:
        # The page does not exist any more: there were more results when the teammate saw the previous one.
        page = _count_pages(found)
        found = _search(context, query, page)
    links = find_links(context)
    in_scope = (ticket for ticket in found if has_ticket(context, ticket, person))
    rows = [make_row(context, ticket, person, links) for ticket in in_scope]
    return SearchResults(
        query=query,
        # The tickets of the person's own organization come first, because False sorts before True.
        rows=tuple(sorted(rows, key=lambda row: row.is_of_other_organization)),
        page=page,
        pages=_count_pages(found),
    )


def title_or_reference_condition(query: str, *, title: str) -> str:
    """Return OQL for the tickets whose title contains all words of `query`, or whose reference is `query`.

    `title` is the code of the title's attribute. The number of the reference may be typed with or without zeros, and
    the letters may be left out.
    """
    words = query.split()[:MAX_TERMS]
    in_title = " AND ".join(f"{ALIAS}.{title} LIKE {containing(word)}" for word in words)
    reference = _REFERENCE.fullmatch(query.replace(" ", ""))
    if reference is None:
        return f"({in_title})"
    letters, digits = reference.groups()
    if letters:
        by_reference = _reference_condition(_spellings(letters, digits))
    else:
        # The letters before the dash depend on the ticket's class, so any are accepted.
        numbers = _padded(digits)
        with_any_letters = [f"{ALIAS}.ref LIKE {quote(f'%-{number}')}" for number in numbers]
        by_reference = " OR ".join([*with_any_letters, _reference_condition(numbers)])
    return f"({by_reference} OR ({in_title}))"


def _reference_condition(references: Iterable[str]) -> str:
    return f"{ALIAS}.ref IN ({', '.join(map(quote, references))})"


def reference_spellings(text: str) -> list[str]:
    """Return `text`, and if it looks like a reference, all its spellings in iTop: for r-44 also R-44 and R-000044."""
    reference = _REFERENCE.fullmatch(text.replace(" ", ""))
    if reference is None or not reference[1]:
        return [text]
    return [text, *_spellings(reference[1].upper(), reference[2])]


def _padded(digits: str) -> list[str]:
    """Return the number padded with zeros to each possible length, up to MAX_DIGITS digits."""
    return [digits.zfill(length) for length in range(len(digits), MAX_DIGITS + 1)]


def _spellings(letters: str, digits: str) -> list[str]:
    """Return the reference with and without a dash, with each number of zeros."""
    return [f"{letters}{dash}{number}" for dash in ("-", "") for number in _padded(digits)]


def count_other_conversations(context: PanelContext, ticket_ids: Iterable[int]) -> dict[int, int]:
    """Return how many other conversations each ticket is linked to, by the ticket's id in iTop. Omit zeros."""
    links = TicketLink.objects.filter(
        ticket__itop=context.itop,
        ticket__ticket_class=context.profile.ticket_class,
        ticket__object_id__in=list(ticket_ids),
    ).exclude(conversation=find_conversation(context))
    return dict(links.order_by().values_list("ticket__object_id").annotate(count=Count("pk")))


def _count_pages(found: Found) -> int:
    return max(1, math.ceil(found.total / PAGE_SIZE))


def _search(context: PanelContext, query: str, page: int, *, with_scope: bool = True) -> Found:
    """Query iTop. The result may contain tickets outside the scope, if the scope cannot be part of the query."""
    conditions = [title_or_reference_condition(query, title=context.profile.code("title"))]
    scope = ticket_condition(context, ALIAS, find_person(context)) if with_scope else ""
    if scope:
        conditions.append(scope)
    try:
        return get_tickets_by(
            context,
            " AND ".join(conditions),
            alias=ALIAS,
            fields=row_codes(context),
            optional={*subtitle_codes(context), *owner_codes(context)},
            limit=PAGE_SIZE,
            page=page,
        )
    except ItopRejectedError:
        if not scope:
            raise
        # iTop accepts some scopes only on their own, not inside another query. The caller checks each ticket anyway.
        return _search(context, query, page, with_scope=False)
