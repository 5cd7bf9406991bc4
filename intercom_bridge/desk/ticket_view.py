"""A ticket as the panel shows it."""

from __future__ import annotations

from dataclasses import dataclass

from intercom_bridge.intercom.api import conversation_url
from intercom_bridge.models import Conversation, TicketLink
from itop_client import ItopObject, LogEntry, read_log

from .desk import Desk, TicketRow

# Whether the profile names them or not: who works on it is what is asked first.
WHO_WORKS_ON_IT = ("agent_id", "team_id")
LAST_ENTRIES = 3
MOST_CONVERSATIONS = 10


@dataclass(frozen=True, kw_only=True)
class LinkedConversation:
    """A conversation that a ticket is linked to. `workspace` "": it is of the panel's own one."""

    id: str
    url: str
    is_this: bool = False
    workspace: str = ""


@dataclass(frozen=True, kw_only=True)
class Log:
    """The last entries of a log, newest first, and how many there are in all."""

    entries: tuple[LogEntry, ...] = ()
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class TicketView:
    """`attributes`: (code, value) of each that has a value; `missing`: those of the profile that iTop lacks."""

    row: TicketRow
    title: str
    attributes: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    public: Log
    private: Log
    conversations: tuple[LinkedConversation, ...]
    backoffice_url: str
    customer_url: str


def view_ticket(desk: Desk, ticket_class: str, ticket_id: int) -> TicketView:
    """One ticket, in one call with its logs. Raises TicketGone, OutOfScope, ItopError."""
    profile = desk.profile
    shown = tuple(dict.fromkeys((*profile.details_attributes, *WHO_WORKS_ON_IT)))
    logs = (profile.code("public_log"), profile.code("private_log"))
    names = (f"{code}_friendlyname" for code in shown if code.endswith("_id"))
    found, missing = desk.get_ticket(ticket_class, ticket_id, more=(*shown, *names, *logs))
    public, private = (_last_of(found, log) for log in logs)
    return TicketView(
        row=desk.row(found, desk.person(), desk.links()),
        title=found.text(profile.code("title")),
        attributes=tuple((code, value) for code in shown if (value := _value(found, code))),
        missing=tuple(code for code in profile.details_attributes if code in missing),
        public=public,
        private=private,
        conversations=linked_conversations(desk, found.class_name, found.id),
        backoffice_url=desk.itop.backoffice_url(found.class_name, found.id),
        customer_url=desk.itop.customer_url(found.class_name, found.id),
    )


def _value(ticket: ItopObject, code: str) -> str:
    """Of an external key the name; "" for one that is not set, and for what is no plain value."""
    named = f"{code}_friendlyname"
    return ticket.text(named if named in ticket.fields else code).strip()


def _last_of(ticket: ItopObject, log: str) -> Log:
    entries = read_log(ticket.fields.get(log))
    return Log(entries=tuple(reversed(entries[-LAST_ENTRIES:])), total=len(entries))


def linked_conversations(desk: Desk, ticket_class: str, ticket_id: int) -> tuple[LinkedConversation, ...]:
    """All conversations that the ticket is linked to: this one first, then the one linked last."""
    links = TicketLink.objects.filter(
        ticket__itop=desk.itop, ticket__ticket_class=ticket_class, ticket__object_id=ticket_id
    ).select_related("conversation__workspace")
    found = [_linked(desk, link.conversation) for link in links.order_by("-created_at", "-pk")]
    return tuple(sorted(found, key=lambda one: not one.is_this))


def _linked(desk: Desk, conversation: Conversation) -> LinkedConversation:
    workspace = conversation.workspace
    is_ours = workspace.pk == desk.workspace.pk
    return LinkedConversation(
        id=conversation.conversation_id,
        url=conversation_url(workspace.region, workspace.workspace_id, conversation.conversation_id),
        is_this=is_ours and conversation.conversation_id == desk.request.conversation.id,
        workspace="" if is_ours else str(workspace),
    )
