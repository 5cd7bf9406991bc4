"""Find any ticket in scope by its reference or by words of its title."""

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
# References are padded with zeros, to six digits in a standard iTop.
MAX_DIGITS = 10
# The ticket's alias in a query. A scope is unlikely to use it too.
ALIAS = "the_ticket"

_REFERENCE = re.compile(r"(?:([A-Za-z]{1,10})-?)?0*(\d{1,10})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """One page of results. `pages` is their total number, or 0 for an empty query."""

    query: str
    rows: tuple[TicketRow, ...] = ()
    page: int = 1
    pages: int = 0


def search_tickets(context: PanelContext, query: str, page: int) -> SearchResults:
    """Return a page of the tickets with this reference, or with all of these words in their title.

    Raise PersonNotResolvedError, OutOfScopeError or ItopError.
    """
    query = " ".join(query[:MAX_QUERY_LENGTH].split())
    person = find_person(context)
    if not query:
        return SearchResults(query="")
    found = _search(context, query, page)
    if not found.objects and found.total and page > 1:
        # There were more results when the previous page was shown.
        page = _count_pages(found)
        found = _search(context, query, page)
    links = find_links(context)
    in_scope = (ticket for ticket in found if has_ticket(context, ticket, person))
    rows = [make_row(context, ticket, person, links) for ticket in in_scope]
    return SearchResults(
        query=query,
        # The person's own organization comes first.
        rows=tuple(sorted(rows, key=lambda row: row.is_of_other_organization)),
        page=page,
        pages=_count_pages(found),
    )


def title_or_reference_condition(query: str, *, title: str) -> str:
    """Return OQL: all of the words are in the title, or it is the reference, with any number of zeros."""
    terms = query.split()[:MAX_TERMS]
    in_title = " AND ".join(f"{ALIAS}.{title} LIKE {containing(term)}" for term in terms)
    reference = _REFERENCE.fullmatch(query.replace(" ", ""))
    if reference is None:
        return f"({in_title})"
    letters, digits = reference.groups()
    numbers = _padded(digits)
    if letters:
        spellings = _spellings(letters, digits)
        is_reference = f"{ALIAS}.ref IN ({', '.join(map(quote, spellings))})"
    else:
        # The letters before the dash depend on the class.
        is_reference = " OR ".join(
            [f"{ALIAS}.ref LIKE {quote(f'%-{number}')}" for number in numbers]
            + [f"{ALIAS}.ref IN ({', '.join(map(quote, numbers))})"]
        )
    return f"({is_reference} OR ({in_title}))"


def reference_spellings(text: str) -> list[str]:
    """Return the references that a person who types this may mean: R-000044 for r-44. Return [text] for others."""
    reference = _REFERENCE.fullmatch(text.replace(" ", ""))
    if reference is None or not reference[1]:
        return [text]
    return [text, *_spellings(reference[1].upper(), reference[2])]


def _padded(digits: str) -> list[str]:
    return [digits.zfill(length) for length in range(len(digits), MAX_DIGITS + 1)]


def _spellings(letters: str, digits: str) -> list[str]:
    return [f"{letters}{dash}{number}" for dash in ("-", "") for number in _padded(digits)]


def count_other_conversations(context: PanelContext, ticket_ids: Iterable[int]) -> dict[int, int]:
    """Return the number of other conversations that each ticket is linked to; tickets without any are left out."""
    links = TicketLink.objects.filter(
        ticket__itop=context.itop,
        ticket__ticket_class=context.profile.ticket_class,
        ticket__object_id__in=list(ticket_ids),
    ).exclude(conversation=find_conversation(context))
    return dict(links.order_by().values_list("ticket__object_id").annotate(n=Count("pk")))


def _count_pages(found: Found) -> int:
    return max(1, -(-found.total // PAGE_SIZE))


def _search(context: PanelContext, query: str, page: int, *, with_scope: bool = True) -> Found:
    """Query iTop. The scope is part of the query, so that every page is full."""
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
        # iTop understands some scopes on their own but not inside another query. The caller checks each ticket.
        return _search(context, query, page, with_scope=False)
