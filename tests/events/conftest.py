from __future__ import annotations

import pytest

from intercom_bridge.models import TicketLink, Workspace
from sandbox.intercom import Intercom

from .rows import linked_ticket


@pytest.fixture
def link(workspace: Workspace, intercom: Intercom) -> TicketLink:
    """Return the link of a ticket with Alice's conversation in the stand-in for Intercom."""
    workspace.access_token = intercom.token
    workspace.save()
    conversation = intercom.conversation_of("Alice Martin")
    return linked_ticket(workspace, conversation.id, linked_by="Ada Reyes")
