"""Find what a search text in the admin refers to: a ticket, a conversation or a person. The queries use indexes."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Upper
from django.db.models.lookups import Exact

from intercom_bridge.models import (
    Conversation,
    Participant,
    PersonMatch,
    Ticket,
    TicketCreation,
    TicketLink,
    Workspace,
)
from intercom_bridge.tickets.search import reference_spellings

# The most rows of each kind that a search considers. The newest are used.
MAX_RESULTS = 1000


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The primary keys of what a search text refers to. A result without tickets and conversations is false.

    `tickets` have the text as reference. `conversations` have the text as ID, or belong to a person whom the text
    names. `workspaces` are all workspaces, whatever the text is.
    """

    text: str
    tickets: tuple[int, ...]
    conversations: tuple[int, ...]
    workspaces: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.tickets or self.conversations)

    def linked_conversations(self) -> list[int]:
        """Return `conversations`, and the conversations that are linked to `tickets`."""
        linked = TicketLink.objects.filter(ticket__in=self.tickets).values_list("conversation_id", flat=True)
        return [*self.conversations, *linked[:MAX_RESULTS]]

    def conversation_ids(self) -> set[str]:
        """Return the Intercom IDs of `linked_conversations`, and the text itself, which may be such an ID."""
        conversations = Conversation.objects.filter(pk__in=self.linked_conversations())
        return {self.text, *conversations.values_list("conversation_id", flat=True)}


def look_up(text: str) -> SearchResult:
    """Return what a text refers to: a ticket reference, a conversation ID, or a person's name, e-mail address or ID."""
    workspaces = tuple(Workspace.objects.order_by().values_list("pk", flat=True))
    # Filter by workspace, although all are searched: the index on conversation IDs begins with the workspace.
    by_id = Conversation.objects.filter(workspace__in=workspaces, conversation_id=text)
    return SearchResult(
        text=text,
        tickets=_newest(Ticket.objects.filter(ref__in=reference_spellings(text))),
        conversations=(*_newest(by_id), *_conversations_of_person(text)),
        workspaces=workspaces,
    )


def find_people(text: str) -> QuerySet[PersonMatch]:
    """Return the matches of the persons with this e-mail address, iTop ID or name.

    If no person has exactly this name, return the matches of those whose name contains the text.
    """
    matches = PersonMatch.objects.order_by("-pk")
    if "@" in text:
        return matches.filter(Exact(Upper("email"), Upper(Value(text))))
    if text.isascii() and text.isdigit():
        # Longer numbers do not fit a database column.
        return matches.filter(person_id=int(text)) if len(text) < 19 else matches.none()
    exactly_named = matches.filter(Exact(Upper("name"), Upper(Value(text))))
    if exactly_named.exists():
        return exactly_named
    # A part of the name has no index, so this search is slower.
    return matches.filter(name__icontains=text)


def _conversations_of_person(text: str) -> tuple[int, ...]:
    """Return the conversations in which a person takes part, and those with a ticket created for the person.

    The text is the person's name, e-mail address or iTop ID, or an Intercom contact ID.
    """
    matches = list(find_people(text).values_list("contact_id", "itop", "person_id")[:MAX_RESULTS])
    contact_ids = {text, *(contact_id for contact_id, _, _ in matches)}
    participants = Participant.objects.filter(contact_id__in=contact_ids).order_by("-pk")
    conversations = list(participants.values_list("conversation_id", flat=True)[:MAX_RESULTS])
    # The participants of a conversation are not always stored, so search also by the callers of created tickets.
    people = {(itop, person_id) for _, itop, person_id in matches}
    creations = TicketCreation.objects.filter(caller_id__in={person_id for _, person_id in people})
    callers = creations.order_by("-pk").values_list(
        "conversation_id", "conversation__workspace__itop", "caller_id"
    )
    for conversation, itop, caller_id in callers[:MAX_RESULTS]:
        # The same ID is another person in another iTop.
        if (itop, caller_id) in people:
            conversations.append(conversation)
    return tuple(conversations)


def _newest(rows: QuerySet[Any]) -> tuple[int, ...]:
    return tuple(rows.order_by("-pk").values_list("pk", flat=True)[:MAX_RESULTS])
