"""What people have at hand, a reference, an id, a person, and the rows it leads to: always by an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Model, Q, QuerySet, Value
from django.db.models.functions import Upper
from django.db.models.lookups import Exact
from django.http import HttpRequest

from intercom_bridge.models import (
    Conversation,
    Participant,
    PersonMatch,
    Submission,
    Ticket,
    TicketLink,
    Workspace,
)

from .base import ModelAdmin

# Of each, the newest: no one reads on.
MOST_FOUND = 1000

WHAT_IS_FOUND = (
    "A ticket's reference, a conversation's id; or a person: the whole name, the e-mail address, the id in iTop or in "
    "Intercom."
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the words that were typed lead to. `conversations` are those of that id and those of that person."""

    words: str
    tickets: tuple[int, ...]
    conversations: tuple[int, ...]
    workspaces: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.tickets or self.conversations)

    def here(self) -> Q:
        """Rows with a ticket and a conversation."""
        return Q(ticket__in=self.tickets) | Q(conversation__in=self.conversations)

    def talks(self) -> list[int]:
        """The conversations, and those that are linked to the tickets."""
        linked = TicketLink.objects.filter(ticket__in=self.tickets).values_list("conversation_id", flat=True)
        return [*self.conversations, *linked[:MOST_FOUND]]


def look_up(words: str) -> Found:
    workspaces = tuple(Workspace.objects.order_by().values_list("pk", flat=True))
    # The index begins with the workspace.
    named = Conversation.objects.filter(workspace__in=workspaces, conversation_id=words)
    return Found(
        words=words,
        tickets=_newest(Ticket.objects.filter(ref__in={words, words.upper()})),
        conversations=(*_newest(named), *_conversations_of_person(words)),
        workspaces=workspaces,
    )


def people(words: str) -> QuerySet[PersonMatch]:
    """Those whom the words name in full."""
    known = PersonMatch.objects.order_by("-pk")
    if "@" in words:
        return known.filter(Exact(Upper("email"), Upper(Value(words))))
    if words.isascii() and words.isdigit():
        # Longer ones are no ids, and of thousands of digits Python makes no number.
        return known.filter(person_id=int(words)) if len(words) < 19 else known.none()
    return known.filter(Exact(Upper("name"), Upper(Value(words))))


def _conversations_of_person(words: str) -> tuple[int, ...]:
    known = list(people(words).values_list("contact_id", "itop", "person_id")[:MOST_FOUND])
    contacts = {words, *(contact for contact, _, _ in known)}
    took_part = Participant.objects.filter(contact_id__in=contacts).order_by("-pk")
    found = tuple(took_part.values_list("conversation_id", flat=True)[:MOST_FOUND])
    # Also those whose contact we were not told of: there the person is the caller of a ticket.
    persons = {(itop, person) for _, itop, person in known}
    created = Submission.objects.filter(caller_id__in={person for _, person in persons}).order_by("-pk")
    callers = created.values_list("conversation_id", "conversation__workspace__itop", "caller_id")[
        :MOST_FOUND
    ]
    return (*found, *(conversation for conversation, itop, person in callers if (itop, person) in persons))


def _newest(rows: QuerySet[Any]) -> tuple[int, ...]:
    return tuple(rows.order_by("-pk").values_list("pk", flat=True)[:MOST_FOUND])


class FindingAdmin(ModelAdmin):
    """A list that is searched by `finding`, instead of by looking for words in columns of several tables."""

    # Only so that Django shows the field.
    search_fields = ("pk",)
    search_help_text = WHAT_IS_FOUND

    def finding(self, found: Found) -> Q:
        """Which rows these are."""
        return found.here()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        words = " ".join(search_term.replace("\x00", "").strip('"').split())
        return (queryset.filter(self.finding(look_up(words))) if words else queryset), False
