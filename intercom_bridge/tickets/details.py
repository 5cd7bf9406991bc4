"""A ticket with its attributes, its last log entries, its conversations, and the files that the bridge knows."""

from collections.abc import Iterable
from dataclasses import dataclass

from intercom_bridge.models import Conversation, FileToIntercom, FileToItop, ItopInstance, Ticket, TicketLink
from itop_client import ItopObject, LogEntry, read_log

from .context import PanelContext
from .conversation import find_links
from .errors import OutOfScopeError, TicketNotFoundError
from .people.caller import find_caller
from .query import get_tickets_by
from .rows import TicketRow, make_row, owner_codes, row_codes
from .scope import has_ticket

# Shown even if the profile does not name them: who works on a ticket is the most frequent question.
ASSIGNEE_CODES = ("agent_id", "team_id")
MAX_ENTRIES = 3
MAX_CONVERSATIONS = 10
MAX_FILES = 10


@dataclass(frozen=True, kw_only=True)
class Log:
    """The last entries of a log, newest first, and the total number of entries."""

    entries: tuple[LogEntry, ...] = ()
    total: int = 0


@dataclass(frozen=True)
class TicketFile:
    """A file of a ticket. `size` is in bytes, 0 if unknown; `url` is its address in iTop."""

    name: str
    size: int
    url: str


@dataclass(frozen=True, kw_only=True)
class TicketDetails:
    """`attributes`: (code, value) of each attribute that has a value; `missing`: those that iTop lacks.

    `link` links it to this conversation.
    """

    row: TicketRow
    attributes: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    public: Log
    private: Log
    other_conversations: tuple[Conversation, ...]
    link: TicketLink | None


def get_ticket(
    context: PanelContext, ticket_class: str, ticket_id: int, *, extra: Iterable[str] = ()
) -> ItopObject:
    """Return a ticket in scope, with those of the `extra` attributes that this iTop has.

    Raise TicketNotFoundError, OutOfScopeError, PersonNotResolvedError, DefaultCallerError or ItopError.
    """
    if ticket_class != context.profile.ticket_class:
        raise TicketNotFoundError(f"{ticket_class} is not the ticket class of this workspace")
    person = find_caller(context).person
    always = row_codes(context) | {context.profile.code("title")}
    extra = frozenset((*extra, *owner_codes(context))) - always
    found = get_tickets_by(context, f"t.id = {ticket_id}", fields=always, optional=extra)
    if not found.objects:
        raise TicketNotFoundError(f"{ticket_class} {ticket_id} is not in iTop")
    ticket = found.objects[0]
    if not has_ticket(context, ticket, person):
        raise OutOfScopeError(f"{ticket.text('friendlyname')} is not in the scope of {context.workspace}")
    return ticket


def get_details(context: PanelContext, ticket_class: str, ticket_id: int) -> TicketDetails:
    """Return a ticket with its logs, in one query. Raise as `get_ticket` does."""
    profile = context.profile
    codes = tuple(dict.fromkeys((*profile.details_attributes, *ASSIGNEE_CODES)))
    logs = (profile.code("public_log"), profile.code("private_log"))
    names = (f"{code}_friendlyname" for code in codes if code.endswith("_id"))
    ticket = get_ticket(context, ticket_class, ticket_id, extra=(*codes, *names, *logs))
    public, private = (_read_log(ticket, log) for log in logs)
    links = find_links(context)
    return TicketDetails(
        row=make_row(context, ticket, find_caller(context).person, links),
        attributes=tuple((code, value) for code in codes if (value := _value(ticket, code))),
        missing=tuple(code for code in profile.details_attributes if code not in ticket.fields),
        public=public,
        private=private,
        other_conversations=find_other_conversations(context, ticket.class_name, ticket.id),
        link=links.get(ticket.id),
    )


def find_other_conversations(
    context: PanelContext, ticket_class: str, ticket_id: int
) -> tuple[Conversation, ...]:
    """Return the other conversations that the ticket is linked to, of all workspaces, the newest link first."""
    links = TicketLink.objects.filter(
        ticket__itop=context.itop, ticket__ticket_class=ticket_class, ticket__object_id=ticket_id
    ).exclude(
        conversation__workspace=context.workspace,
        conversation__conversation_id=context.request.conversation.id,
    )
    newest_first = links.select_related("conversation__workspace").order_by("-created_at", "-pk")
    return tuple(link.conversation for link in newest_first)


def files_of_ticket(itop: ItopInstance, ticket_class: str, ticket_id: int) -> list[TicketFile]:
    """Return the files of a ticket whose names are known here, newest first, without asking iTop.

    iTop tells the name and size of a file only together with its content, so those that the bridge has not seen are
    missing: the ticket in iTop has them.
    """
    tickets = Ticket.objects.filter(itop=itop, ticket_class=ticket_class, object_id=ticket_id)
    # One file of the ticket has a row for each conversation and message that it was posted in.
    added = FileToIntercom.objects.filter(
        event__ticket__in=tickets, source=FileToIntercom.Source.ATTACHMENT, cleaned_at=None
    ).exclude(name="")
    copied = FileToItop.objects.filter(
        ticket__in=tickets, state=FileToItop.State.COPIED, attachment_id__isnull=False, cleaned_at=None
    )
    rows = [
        *added.order_by("pk").values_list("object_id", "name", "size"),
        *copied.values_list("attachment_id", "name", "size"),
    ]
    by_id = {
        number: TicketFile(name, size, itop.attachment_url(number)) for number, name, size in rows if number
    }
    return [by_id[number] for number in sorted(by_id, reverse=True)]


def _value(ticket: ItopObject, code: str) -> str:
    """Return the name for an external key, and "" for an attribute without a value."""
    name = f"{code}_friendlyname"
    return ticket.text(name if name in ticket.fields else code).strip()


def _read_log(ticket: ItopObject, code: str) -> Log:
    entries = read_log(ticket.fields.get(code))
    return Log(entries=tuple(reversed(entries[-MAX_ENTRIES:])), total=len(entries))
