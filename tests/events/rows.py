"""Rows for tests of what is posted: a linked ticket and its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from intercom_bridge.events.rules import plan
from intercom_bridge.models import (
    Conversation,
    EventRules,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketLink,
    Workspace,
)
from intercom_bridge.models.event_rules import rules_of

_numbers: Iterator[int] = count(1)


def linked_ticket(
    workspace: Workspace, conversation_id: str, object_id: int = 12, **fields: Any
) -> TicketLink:
    conversation = Conversation.objects.known(workspace, conversation_id)
    ticket, _is_new = Ticket.objects.get_or_create(
        itop=workspace.itop,
        ticket_class="UserRequest",
        object_id=object_id,
        defaults={"ref": f"R-{object_id:06}"},
    )
    return TicketLink.objects.create(conversation=conversation, ticket=ticket, **fields)


def event(link: TicketLink, kind: str, **fields: Any) -> TicketEvent:
    key = f"{kind}:{next(_numbers)}"
    return TicketEvent.objects.create(
        ticket=link.ticket, conversation=link.conversation, kind=kind, key=key, **fields
    )


def planned(*events: TicketEvent, **rules: Any) -> list[OutgoingMessage]:
    """Plan and save the messages about events, as `record` does it. `rules` are changes of the workspace's rules."""
    conversation = events[0].conversation
    conversation.refresh_from_db()
    if rules:
        EventRules.objects.update_or_create(workspace=conversation.workspace, defaults=rules)
    return saved(plan(events, conversation, rules_of(conversation.workspace)), events)


def saved(messages: Sequence[OutgoingMessage], events: Sequence[TicketEvent]) -> list[OutgoingMessage]:
    for message in messages:
        message.save()
    for row in events:
        row.message = row.message
        row.save(update_fields=["message", "reason_code", "reason_detail"])
    return list(messages)
