"""The attributes that the PHP extension gave to iTop's tickets: kept in step where they are, never needed."""

from __future__ import annotations

from typing import Any

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom.api import conversation_url
from intercom_bridge.models import Conversation, TicketLink, Workspace
from itop_client import ItopRefused, UnknownAttribute

ATTRIBUTES = ("intercom_ref", "intercom_url", "intercom_sync_activated")
DEADLINE_SECONDS = 10.0


def attribute_codes(workspace: Workspace) -> tuple[str, ...]:
    """The three codes in this workspace's data model: conversation id, its address, whether it syncs."""
    return tuple(workspace.profile.code(name) for name in ATTRIBUTES)


def attributes_of(conversation: Conversation, *, sync_on: bool) -> dict[str, Any]:
    """What the three attributes say of a ticket that is linked to this conversation; {} where iTop has none."""
    workspace = conversation.workspace
    if workspace.itop.has_intercom_attributes is False:
        return {}
    url = conversation_url(workspace.region, workspace.workspace_id, conversation.conversation_id)
    values = (conversation.conversation_id, url, "yes" if sync_on else "no")
    return dict(zip(attribute_codes(workspace), values, strict=True))


def bring_in_step(link: TicketLink) -> None:
    """Tells iTop which conversation the ticket is linked to now, and its sync. Harmless to repeat.

    Raises ItopError when it has to be done later.
    """
    fields = attributes_of(link.conversation, sync_on=link.sync_on)
    ticket = link.ticket
    if fields:
        try:
            itop_client(ticket.itop).update(
                ticket.ticket_class,
                ticket.object_id,
                fields,
                comment="Intercom: linked conversation",
                deadline=DEADLINE_SECONDS,
            )
        except UnknownAttribute:
            ticket.itop.learn(has_intercom_attributes=False)
        except ItopRefused:
            # A ticket that is gone or an attribute of another type: nothing that a repeat would mend.
            pass
    TicketLink.objects.filter(pk=link.pk, sync_on=link.sync_on).update(in_step=True)
