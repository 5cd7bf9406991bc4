"""The attributes that the PHP extension gave to iTop's tickets: kept in step where they are, never needed."""

from __future__ import annotations

from typing import Any

import structlog

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom.api import conversation_url
from intercom_bridge.models import Conversation, TicketLink, Unlinking, Workspace
from itop_client import ItopRefused, NoMatch, UnknownAttribute, quote

ATTRIBUTES = ("intercom_ref", "intercom_url", "intercom_sync_activated")
DEADLINE_SECONDS = 10.0

log = structlog.get_logger(__name__)


def attribute_codes(workspace: Workspace) -> tuple[str, ...]:
    """The three codes in this workspace's data model: conversation id, its address, whether it syncs."""
    return tuple(workspace.profile.code(name) for name in ATTRIBUTES)


def attributes_of(conversation: Conversation, *, sync_on: bool) -> dict[str, Any]:
    """What the three attributes say of a ticket that is linked to this conversation; {} where iTop has none."""
    workspace = conversation.workspace
    if not workspace.itop.has_intercom_attributes:
        return {}
    url = conversation_url(workspace.region, workspace.workspace_id, conversation.conversation_id)
    values = (conversation.conversation_id, url, "yes" if sync_on else "no")
    return dict(zip(attribute_codes(workspace), values, strict=True))


def learn(workspace: Workspace) -> None:
    """Finds out whether this iTop has the attributes. Raises ItopError when it cannot say now."""
    ref = attribute_codes(workspace)[0]
    ticket_class = workspace.profile.ticket_class
    try:
        itop_client(workspace.itop).get(
            ticket_class,
            f"SELECT {ticket_class} AS t WHERE t.id = 0 AND t.{ref} = ''",
            fields=("id", *attribute_codes(workspace)),
            limit=1,
            deadline=DEADLINE_SECONDS,
        )
    except UnknownAttribute:
        workspace.itop.learn(has_intercom_attributes=False)
    else:
        workspace.itop.learn(has_intercom_attributes=True)


def bring_in_step(link: TicketLink) -> None:
    """Tells iTop which conversation the ticket was linked to last, and its sync. Harmless to repeat.

    Raises ItopError when it has to be done later.
    """
    workspace, ticket = link.conversation.workspace, link.ticket
    if workspace.itop.has_intercom_attributes is None:
        learn(workspace)
    last = TicketLink.objects.linked_last(ticket) or link
    fields = attributes_of(last.conversation, sync_on=last.sync_on)
    if fields:
        try:
            itop_client(ticket.itop).update(
                ticket.ticket_class,
                ticket.object_id,
                fields,
                comment="Intercom: linked conversation",
                deadline=DEADLINE_SECONDS,
            )
        except ItopRefused as refusal:
            # A ticket that is gone, or an attribute of another type: nothing that a repeat would mend.
            log.warning("link.cannot_be_told", ticket=ticket.ref, reason=refusal.reason)
    TicketLink.objects.filter(pk=link.pk, sync_on=link.sync_on).update(in_step=True)


def tell_of_unlinking(unlinking: Unlinking) -> None:
    """Has iTop name the conversation that the ticket was linked to last of those that are left, or none.

    Harmless to repeat. Raises ItopError when it has to be done later.
    """
    workspace, ticket = unlinking.conversation.workspace, unlinking.ticket
    if workspace.itop.has_intercom_attributes is None:
        learn(workspace)
    last = TicketLink.objects.linked_last(ticket)
    if last is not None:
        bring_in_step(last)
    elif workspace.itop.has_intercom_attributes:
        _forget(unlinking)
    Unlinking.objects.filter(pk=unlinking.pk).update(in_step=True)
    # One that was made while iTop was forgetting it.
    TicketLink.objects.filter(ticket=ticket, conversation=unlinking.conversation).update(in_step=False)


def _forget(unlinking: Unlinking) -> None:
    workspace, ticket = unlinking.conversation.workspace, unlinking.ticket
    ref, url, activated = attribute_codes(workspace)
    # Only while it names this conversation: somebody may have linked another one in iTop.
    is_this_one = f"t.{ref} = {quote(unlinking.conversation.conversation_id)}"
    try:
        itop_client(ticket.itop).update(
            ticket.ticket_class,
            f"SELECT {ticket.ticket_class} AS t WHERE t.id = {ticket.object_id} AND {is_this_one}",
            {ref: "", url: "", activated: "no"},
            comment="Intercom: unlinked conversation",
            deadline=DEADLINE_SECONDS,
        )
    except NoMatch:
        return
    except ItopRefused as refusal:
        log.warning("unlinking.cannot_be_told", ticket=ticket.ref, reason=refusal.reason)
