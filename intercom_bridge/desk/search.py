"""Any ticket that the workspace serves: by its reference, or by words of its title."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count

from intercom_bridge.models import TicketLink
from itop_client import Found, ItopRefused, UnknownAttribute, containing, quote

from .desk import Desk, TicketRow, is_read_from

PAGE = 10
MOST_CHARACTERS = 100
MOST_WORDS = 8
# References are padded with zeros, to six digits in a stock iTop.
MOST_DIGITS = 10
# What the ticket is called in a query; a scope's own query hardly calls anything so.
ALIAS = "the_ticket"

_REFERENCE = re.compile(r"(?:([A-Za-z]{1,10})-?)?0*(\d{1,10})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Results:
    """One page of what was found; `pages` counts them all, and is 0 when nothing was looked for."""

    words: str
    rows: tuple[TicketRow, ...] = ()
    page: int = 1
    pages: int = 0


def find_tickets(desk: Desk, words: str, page: int) -> Results:
    """A page of the tickets with this reference, or with all of these words in their title; one call.

    Raises OutOfScope, NobodyFound, ItopError.
    """
    words = " ".join(words[:MOST_CHARACTERS].split())
    person = desk.person()
    if not words:
        return Results(words="")
    found = _ask(desk, words, page)
    if not found.objects and found.total and page > 1:
        # There were more when the page before was shown.
        page = _pages(found)
        found = _ask(desk, words, page)
    links = desk.links()
    served = [ticket for ticket in found if desk.scope.has_ticket(ticket, person)]
    return Results(
        words=words,
        rows=tuple(desk.row(ticket, person, links) for ticket in served),
        page=page,
        pages=_pages(found),
    )


def _pages(found: Found) -> int:
    return max(1, -(-found.total // PAGE))


def _ask(desk: Desk, words: str, page: int, *, scoped: bool = True) -> Found:
    """With the scope in the query, so that every page is full."""
    profile = desk.profile
    subtitles = {*desk.subtitle_codes()} - desk.missing_codes()
    fields = desk.row_codes() | subtitles
    conditions = [matching(words, title=profile.code("title"))]
    scope = desk.scope.of_tickets(ALIAS, desk.person()) if scoped else ""
    if scope:
        conditions.append(scope)
    try:
        return desk.client.get(
            profile.ticket_class,
            f"SELECT {profile.ticket_class} AS {ALIAS} WHERE {' AND '.join(conditions)}",
            fields=sorted(fields),
            limit=PAGE,
            page=page,
            deadline=desk.deadline.remaining(),
        )
    except UnknownAttribute as refusal:
        # A profile that names an attribute which this iTop lacks costs the subtitles, not the list.
        if lacks := {code for code in subtitles if is_read_from(code, refusal.attribute)}:
            desk.learn_missing(lacks)
            return _ask(desk, words, page, scoped=scoped)
        if not scope:
            raise
    except ItopRefused:
        if not scope:
            raise
    # A scope that iTop understands by itself and not within another query: each ticket found is asked about.
    return _ask(desk, words, page, scoped=False)


def matching(words: str, *, title: str) -> str:
    """The condition: all of the words in the title, or the reference, however many zeros it is written with."""
    wanted = words.split()[:MOST_WORDS]
    in_title = " AND ".join(f"{ALIAS}.{title} LIKE {containing(word)}" for word in wanted)
    reference = _REFERENCE.fullmatch(words.replace(" ", ""))
    if reference is None:
        return f"({in_title})"
    letters, digits = reference.groups()
    numbers = [digits.zfill(length) for length in range(len(digits), MOST_DIGITS + 1)]
    if letters:
        spelled = [f"{letters}{dash}{number}" for dash in ("-", "") for number in numbers]
        is_it = f"{ALIAS}.ref IN ({', '.join(map(quote, spelled))})"
    else:
        # Of any class: what stands before the dash is for iTop to know.
        is_it = " OR ".join(
            [f"{ALIAS}.ref LIKE {quote(f'%-{number}')}" for number in numbers]
            + [f"{ALIAS}.ref IN ({', '.join(map(quote, numbers))})"]
        )
    return f"({is_it} OR ({in_title}))"


def other_conversations(desk: Desk, ticket_ids: Iterable[int]) -> dict[int, int]:
    """How many conversations but this one each of these tickets is linked to; without those of none."""
    links = TicketLink.objects.filter(
        ticket__itop=desk.itop,
        ticket__ticket_class=desk.profile.ticket_class,
        ticket__object_id__in=list(ticket_ids),
    ).exclude(conversation=desk.conversation())
    counted = links.order_by().values_list("ticket__object_id").annotate(n=Count("pk"))
    return dict(counted)
