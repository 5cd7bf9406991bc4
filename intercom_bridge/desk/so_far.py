"""What was said in a conversation before a ticket is linked to it."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.deadline import Deadline
from intercom_bridge.intercom.payloads import Conversation
from intercom_bridge.models import Ticket, Workspace
from intercom_bridge.sync.copier import Copy
from intercom_bridge.sync.message import order_of

# Of the five seconds in all, Intercom gets so long to answer.
FETCH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class SoFar:
    """What linking a ticket could copy. `copy` None: Intercom did not hand over the conversation just now.

    `is_complete` False: Intercom has older messages than those, and hands over the newest only. `is_paused`: the sync
    of this conversation is, and would be for this ticket.
    """

    ref: str
    is_linked: bool
    copy: Copy | None
    is_complete: bool = True
    is_paused: bool = False


@dataclass(frozen=True, kw_only=True)
class Linked:
    """`is_new` False: it was linked already, and nothing was changed. `copied` messages are on their way.

    `is_paused`: what follows is left out.
    """

    ticket: Ticket
    is_new: bool
    is_paused: bool
    copied: int = 0


def whole_conversation(workspace: Workspace, conversation: Conversation, deadline: Deadline) -> Conversation:
    """The payload's conversation, or Intercom's own when the payload carries fewer parts than there are.

    Raises IntercomError, SecretUnreadable.
    """
    if conversation.is_complete or not workspace.access_token:
        return conversation
    seconds = min(FETCH_SECONDS, deadline.remaining())
    return intercom_client(workspace).conversation(conversation.id, deadline=seconds)


def last_position(conversation: Conversation) -> tuple[int, int]:
    """Of its last part, as a link's `since_part_at` and `since_part_order`; of a partial conversation, now."""
    positions = [(part.created_at, order_of(part.id)) for part in conversation.messages]
    if not conversation.is_complete:
        positions.append((int(timezone.now().timestamp()), 0))
    return max(positions, default=(0, 0))
