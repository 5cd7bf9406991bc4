"""Search records by a reference, an ID or a person. Every query uses an index."""

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

# The newest of each kind.
MAX_RESULTS = 1000


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Primary keys that belong to the text. `conversations` are those with that ID and those of that person."""

    text: str
    tickets: tuple[int, ...]
    conversations: tuple[int, ...]
    workspaces: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.tickets or self.conversations)

    def linked_conversations(self) -> list[int]:
        """Return the conversations, and those that are linked to the tickets."""
        linked = TicketLink.objects.filter(ticket__in=self.tickets).values_list("conversation_id", flat=True)
        return [*self.conversations, *linked[:MAX_RESULTS]]

    def conversation_ids(self) -> set[str]:
        """Return the Intercom IDs of the linked conversations, and the text itself."""
        rows = Conversation.objects.filter(pk__in=self.linked_conversations())
        return {self.text, *rows.values_list("conversation_id", flat=True)}


def look_up(text: str) -> SearchResult:
    """Return the rows for a ticket reference, a conversation ID, or a person's name, address or ID."""
    workspaces = tuple(Workspace.objects.order_by().values_list("pk", flat=True))
    # The index begins with the workspace.
    by_id = Conversation.objects.filter(workspace__in=workspaces, conversation_id=text)
    return SearchResult(
        text=text,
        tickets=_newest(Ticket.objects.filter(ref__in=reference_spellings(text))),
        conversations=(*_newest(by_id), *_conversations_of_person(text)),
        workspaces=workspaces,
    )


def find_people(text: str) -> QuerySet[PersonMatch]:
    """Return the matches with this e-mail address, iTop ID or name, or else those whose name contains the text."""
    matches = PersonMatch.objects.order_by("-pk")
    if "@" in text:
        return matches.filter(Exact(Upper("email"), Upper(Value(text))))
    if text.isascii() and text.isdigit():
        # Longer numbers do not fit a database column.
        return matches.filter(person_id=int(text)) if len(text) < 19 else matches.none()
    named = matches.filter(Exact(Upper("name"), Upper(Value(text))))
    # The first or the last name alone has no index, so it is looked for only if no one is called that.
    return named if named.exists() else matches.filter(name__icontains=text)


def _conversations_of_person(text: str) -> tuple[int, ...]:
    matches = list(find_people(text).values_list("contact_id", "itop", "person_id")[:MAX_RESULTS])
    contacts = {text, *(contact for contact, _, _ in matches)}
    participants = Participant.objects.filter(contact_id__in=contacts).order_by("-pk")
    found = tuple(participants.values_list("conversation_id", flat=True)[:MAX_RESULTS])
    # A conversation may lack its participants. Its ticket still names the person as caller.
    people = {(itop, person) for _, itop, person in matches}
    created = TicketCreation.objects.filter(caller_id__in={person for _, person in people}).order_by("-pk")
    callers = created.values_list("conversation_id", "conversation__workspace__itop", "caller_id")
    return (
        *found,
        *(conversation for conversation, itop, person in callers[:MAX_RESULTS] if (itop, person) in people),
    )


def _newest(rows: QuerySet[Any]) -> tuple[int, ...]:
    return tuple(rows.order_by("-pk").values_list("pk", flat=True)[:MAX_RESULTS])
