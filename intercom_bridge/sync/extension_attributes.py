"""Keep the ticket attributes of Combodo's PHP extension up to date, in iTops that have them.

The bridge replaces the extension. It does not need the attributes itself.
"""

from typing import Any

import structlog

from intercom_bridge.connections import itop_client
from intercom_bridge.models import Conversation, LinkRemoval, TicketLink, Workspace
from itop_client import ItopRejectedError, NoMatchError, UnknownAttributeError, quote

ATTRIBUTES = ("intercom_ref", "intercom_url", "intercom_sync_activated")
DEADLINE_SECONDS = 10.0

log = structlog.get_logger(__name__)


def attribute_codes(workspace: Workspace) -> tuple[str, ...]:
    """Return the attribute codes for the conversation id, its address, and whether the sync is on, in this order."""
    return tuple(workspace.profile.code(name) for name in ATTRIBUTES)


def attributes_of(conversation: Conversation, *, sync_on: bool) -> dict[str, Any]:
    """Return the attribute values for a ticket that is linked to this conversation, {} if iTop lacks the attributes."""
    workspace = conversation.workspace
    if not workspace.has_extension_attributes:
        return {}
    values = (conversation.conversation_id, conversation.url, "yes" if sync_on else "no")
    return dict(zip(attribute_codes(workspace), values, strict=True))


def detect_extension(workspace: Workspace) -> None:
    """Find out whether the profile's ticket class has the attributes, and save the answer in the workspace.

    Raise ItopError if iTop cannot answer now.
    """
    ref = attribute_codes(workspace)[0]
    ticket_class = workspace.profile.ticket_class
    try:
        # The query selects nothing: iTop rejects it if an attribute is unknown.
        itop_client(workspace.itop).get(
            ticket_class,
            f"SELECT {ticket_class} AS t WHERE t.id = 0 AND t.{ref} = ''",
            fields=("id", *attribute_codes(workspace)),
            limit=1,
            deadline=DEADLINE_SECONDS,
        )
    except UnknownAttributeError:
        workspace.learn_attributes(exist=False)
    else:
        workspace.learn_attributes(exist=True)


def push_link_attributes(link: TicketLink) -> None:
    """Write the ticket's newest link to its attributes in iTop, which hold only one, and mark `link` as synced.

    Can be repeated. Raise ItopError if iTop cannot do it now.
    """
    workspace, ticket = link.conversation.workspace, link.ticket
    if workspace.has_extension_attributes is None:
        detect_extension(workspace)
    newest = TicketLink.objects.linked_last(ticket) or link
    fields = attributes_of(newest.conversation, sync_on=newest.sync_on)
    if fields:
        try:
            itop_client(ticket.itop).update(
                ticket.ticket_class,
                ticket.object_id,
                fields,
                comment="Intercom: linked conversation",
                deadline=DEADLINE_SECONDS,
            )
        except ItopRejectedError as error:
            # The ticket was deleted, or an attribute has another type. A retry would not help.
            log.warning("link.push_rejected", ticket=ticket.ref, reason=error.detail)
    TicketLink.objects.filter(pk=link.pk, sync_on=link.sync_on).update(attributes_synced=True)


def push_link_removal(removal: LinkRemoval) -> None:
    """Write the ticket's newest remaining link to its attributes in iTop, or clear them. Can be repeated.

    Raise ItopError if iTop cannot do it now.
    """
    workspace, ticket = removal.conversation.workspace, removal.ticket
    if workspace.has_extension_attributes is None:
        detect_extension(workspace)
    newest = TicketLink.objects.linked_last(ticket)
    if newest is not None:
        push_link_attributes(newest)
    elif workspace.has_extension_attributes:
        _clear(removal)
    LinkRemoval.objects.filter(pk=removal.pk).update(attributes_synced=True)
    # The conversation may have been linked again while iTop was clearing the attributes.
    TicketLink.objects.filter(ticket=ticket, conversation=removal.conversation).update(
        attributes_synced=False
    )


def _clear(removal: LinkRemoval) -> None:
    """Clear the attributes, unless they name another conversation by now."""
    workspace, ticket = removal.conversation.workspace, removal.ticket
    ref, url, activated = attribute_codes(workspace)
    is_this_conversation = f"t.{ref} = {quote(removal.conversation.conversation_id)}"
    try:
        itop_client(ticket.itop).update(
            ticket.ticket_class,
            f"SELECT {ticket.ticket_class} AS t WHERE t.id = {ticket.object_id} AND {is_this_conversation}",
            {ref: "", url: "", activated: "no"},
            comment="Intercom: unlinked conversation",
            deadline=DEADLINE_SECONDS,
        )
    except NoMatchError:
        return
    except ItopRejectedError as error:
        log.warning("link_removal.push_rejected", ticket=ticket.ref, reason=error.detail)
