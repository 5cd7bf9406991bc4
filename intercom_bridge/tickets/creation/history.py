"""Queries for the ticket creations of a conversation."""

from intercom_bridge.models import TicketCreation, Workspace
from intercom_bridge.models.ticket_creation import TicketCreationQuerySet


def creations_in(workspace: Workspace, conversation_id: str) -> TicketCreationQuerySet:
    """Return all creations from this conversation, newest first."""
    creations: TicketCreationQuerySet = TicketCreation.objects.filter(
        conversation__workspace=workspace, conversation__conversation_id=conversation_id
    ).order_by("-pk")
    return creations


def created(creations: TicketCreationQuerySet) -> TicketCreationQuerySet:
    """Return those whose ticket exists and is still stored."""
    return creations.filter(state=TicketCreation.State.CREATED, ticket__isnull=False).select_related("ticket")


def named_by_itop(creations: TicketCreationQuerySet) -> frozenset[str]:
    """Return the attributes that iTop named when it rejected these creations."""
    rejected = creations.filter(state=TicketCreation.State.REFUSED).values_list("problems", flat=True)
    return frozenset(str(problem["attribute"]) for problems in rejected for problem in problems)
