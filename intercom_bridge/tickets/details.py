"""A ticket with its attributes, its last log entries and its conversations."""

from collections.abc import Iterable, Set
from dataclasses import dataclass

from intercom_bridge.models import Conversation, TicketLink
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


@dataclass(frozen=True, kw_only=True)
class LinkedConversation:
    """A conversation that a ticket is linked to. `workspace` is "" for the panel's own workspace."""

    id: str
    url: str
    is_this: bool = False
    workspace: str = ""


@dataclass(frozen=True, kw_only=True)
class Log:
    """The last entries of a log, newest first, and the total number of entries."""

    entries: tuple[LogEntry, ...] = ()
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class TicketDetails:
    """`attributes`: (code, value) of each attribute that has a value; `missing`: those that iTop lacks."""

    row: TicketRow
    title: str
    attributes: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    public: Log
    private: Log
    conversations: tuple[LinkedConversation, ...]
    backoffice_url: str
    customer_url: str


def get_ticket(
    context: PanelContext, ticket_class: str, ticket_id: int, *, extra: Iterable[str] = ()
) -> tuple[ItopObject, Set[str]]:
    """Return a ticket in scope with the `extra` attributes, and those of them that this iTop lacks.

    Raise TicketNotFoundError, OutOfScopeError, PersonNotResolvedError, DefaultCallerError or ItopError.
    """
    if ticket_class != context.profile.ticket_class:
        raise TicketNotFoundError(f"{ticket_class} is not the ticket class of this workspace")
    person = find_caller(context).person
    always = row_codes(context) | {context.profile.code("title")}
    extra = frozenset((*extra, *owner_codes(context))) - always
    found, missing = get_tickets_by(context, f"t.id = {ticket_id}", fields=always, optional=extra)
    if not found.objects:
        raise TicketNotFoundError(f"{ticket_class} {ticket_id} is not in iTop")
    ticket = found.objects[0]
    if not has_ticket(context, ticket, person):
        raise OutOfScopeError(f"{ticket.text('friendlyname')} is not in the scope of {context.workspace}")
    return ticket, missing


def get_details(context: PanelContext, ticket_class: str, ticket_id: int) -> TicketDetails:
    """Return a ticket with its logs, in one query. Raise as `get_ticket` does."""
    profile = context.profile
    codes = tuple(dict.fromkeys((*profile.details_attributes, *ASSIGNEE_CODES)))
    logs = (profile.code("public_log"), profile.code("private_log"))
    names = (f"{code}_friendlyname" for code in codes if code.endswith("_id"))
    ticket, missing = get_ticket(context, ticket_class, ticket_id, extra=(*codes, *names, *logs))
    public, private = (_read_log(ticket, log) for log in logs)
    return TicketDetails(
        row=make_row(context, ticket, find_caller(context).person, find_links(context)),
        title=ticket.text(profile.code("title")),
        attributes=tuple((code, value) for code in codes if (value := _value(ticket, code))),
        missing=tuple(code for code in profile.details_attributes if code in missing),
        public=public,
        private=private,
        conversations=find_linked_conversations(context, ticket.class_name, ticket.id),
        backoffice_url=context.itop.backoffice_url(ticket.class_name, ticket.id),
        customer_url=context.itop.customer_url(ticket.class_name, ticket.id),
    )


def find_linked_conversations(
    context: PanelContext, ticket_class: str, ticket_id: int
) -> tuple[LinkedConversation, ...]:
    """Return all conversations that the ticket is linked to: this one first, then the newest link."""
    links = TicketLink.objects.filter(
        ticket__itop=context.itop, ticket__ticket_class=ticket_class, ticket__object_id=ticket_id
    ).select_related("conversation__workspace")
    found = [
        _linked_conversation(context, link.conversation) for link in links.order_by("-created_at", "-pk")
    ]
    return tuple(sorted(found, key=lambda linked: not linked.is_this))


def _value(ticket: ItopObject, code: str) -> str:
    """Return the name for an external key, and "" for an attribute without a value."""
    name = f"{code}_friendlyname"
    return ticket.text(name if name in ticket.fields else code).strip()


def _read_log(ticket: ItopObject, code: str) -> Log:
    entries = read_log(ticket.fields.get(code))
    return Log(entries=tuple(reversed(entries[-MAX_ENTRIES:])), total=len(entries))


def _linked_conversation(context: PanelContext, conversation: Conversation) -> LinkedConversation:
    workspace = conversation.workspace
    is_own_workspace = workspace.pk == context.workspace.pk
    return LinkedConversation(
        id=conversation.conversation_id,
        url=conversation.url,
        is_this=is_own_workspace and conversation.conversation_id == context.request.conversation.id,
        workspace="" if is_own_workspace else str(workspace),
    )
