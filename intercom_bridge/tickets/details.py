"""One ticket for its screen: attributes, newest log entries, other conversations, and the files the bridge knows."""

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

# Always shown, even if the profile does not name them, because teammates ask most often who works on a ticket.
ASSIGNEE_CODES = ("agent_id", "team_id")
MAX_ENTRIES = 3
MAX_CONVERSATIONS = 10
MAX_FILES = 10


@dataclass(frozen=True, kw_only=True)
class Log:
    """The newest entries of a log, newest first. `total` is the number of all its entries."""

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
    """A ticket and what the ticket's screen shows about it.

    attributes: code and text of each attribute that has a value.
    missing: the codes that the profile names but iTop does not have.
    link: the link to this conversation, or None.
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
    """Return a ticket that is in scope, from iTop. `extra` are codes of further attributes, which iTop may lack.

    Raise TicketNotFoundError, OutOfScopeError, PersonNotResolvedError, DefaultCallerError or ItopError.
    """
    if ticket_class != context.profile.ticket_class:
        raise TicketNotFoundError(f"{ticket_class} is not the ticket class of this workspace")
    person = find_caller(context).person
    required = row_codes(context) | {context.profile.code("title")}
    optional = frozenset((*extra, *owner_codes(context))) - required
    found = get_tickets_by(context, f"t.id = {ticket_id}", fields=required, optional=optional)
    if not found.objects:
        raise TicketNotFoundError(f"{ticket_class} {ticket_id} is not in iTop")
    ticket = found.objects[0]
    if not has_ticket(context, ticket, person):
        raise OutOfScopeError(f"{ticket.text('friendlyname')} is not in the scope of {context.workspace}")
    return ticket


def get_details(context: PanelContext, ticket_class: str, ticket_id: int) -> TicketDetails:
    """Return a ticket with its logs. This takes one query to iTop. Raise the same errors as `get_ticket`."""
    profile = context.profile
    codes = tuple(dict.fromkeys((*profile.details_attributes, *ASSIGNEE_CODES)))
    public_code, private_code = profile.code("public_log"), profile.code("private_log")
    name_codes = (f"{code}_friendlyname" for code in codes if code.endswith("_id"))
    extra = (*codes, *name_codes, public_code, private_code)
    ticket = get_ticket(context, ticket_class, ticket_id, extra=extra)
    links = find_links(context)
    return TicketDetails(
        row=make_row(context, ticket, find_caller(context).person, links),
        attributes=tuple((code, text) for code in codes if (text := _text_of(ticket, code))),
        missing=tuple(code for code in profile.details_attributes if code not in ticket.fields),
        public=_read_log(ticket, public_code),
        private=_read_log(ticket, private_code),
        other_conversations=find_other_conversations(context, ticket.class_name, ticket.id),
        link=links.get(ticket.id),
    )


def find_other_conversations(
    context: PanelContext, ticket_class: str, ticket_id: int
) -> tuple[Conversation, ...]:
    """Return the ticket's conversations in all workspaces, except this one. The newest link comes first."""
    links = TicketLink.objects.filter(
        ticket__itop=context.itop, ticket__ticket_class=ticket_class, ticket__object_id=ticket_id
    ).exclude(
        conversation__workspace=context.workspace,
        conversation__conversation_id=context.request.conversation.id,
    )
    newest_first = links.select_related("conversation__workspace").order_by("-created_at", "-pk")
    return tuple(link.conversation for link in newest_first)


def files_of_ticket(itop: ItopInstance, ticket_class: str, ticket_id: int) -> list[TicketFile]:
    """Return the files of a ticket that the bridge has copied from or to Intercom, newest first. Do not ask iTop.

    Other files of the ticket are left out, because iTop returns a file's name and size only with its whole content.
    """
    tickets = Ticket.objects.filter(itop=itop, ticket_class=ticket_class, object_id=ticket_id)
    from_itop = FileToIntercom.objects.filter(
        event__ticket__in=tickets, source=FileToIntercom.Source.ATTACHMENT, cleaned_at=None
    ).exclude(name="")
    to_itop = FileToItop.objects.filter(
        ticket__in=tickets, state=FileToItop.State.COPIED, attachment_id__isnull=False, cleaned_at=None
    )
    rows = [
        *from_itop.order_by("pk").values_list("object_id", "name", "size"),
        *to_itop.values_list("attachment_id", "name", "size"),
    ]
    # By the attachment's id, because a file has a row for each message that it was posted with.
    files = {
        attachment_id: TicketFile(name, size, itop.attachment_url(attachment_id))
        for attachment_id, name, size in rows
        if attachment_id
    }
    return [files[attachment_id] for attachment_id in sorted(files, reverse=True)]


def _text_of(ticket: ItopObject, code: str) -> str:
    """Return an attribute's value as text: for an external key the object's name. Return "" if there is no value."""
    name_code = f"{code}_friendlyname"
    return ticket.text(name_code if name_code in ticket.fields else code).strip()


def _read_log(ticket: ItopObject, code: str) -> Log:
    entries = read_log(ticket.fields.get(code))
    newest_first = tuple(reversed(entries[-MAX_ENTRIES:]))
    return Log(entries=newest_first, total=len(entries))
