"""Rows for tests of what is posted: events of a linked ticket, and their messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from intercom_bridge.events.files import assign_files
from intercom_bridge.events.rules import plan
from intercom_bridge.models import EventRules, OutgoingMessage, TicketEvent, TicketLink
from intercom_bridge.models.event_rules import rules_of

_numbers: Iterator[int] = count(1)


def event(link: TicketLink, kind: str, **fields: Any) -> TicketEvent:
    key = f"{kind}:{next(_numbers)}"
    fields = {"is_by_agent": True} | fields
    return TicketEvent.objects.create(
        ticket=link.ticket, conversation=link.conversation, kind=kind, key=key, **fields
    )


def planned(*events: TicketEvent, **rules: Any) -> list[OutgoingMessage]:
    """Plan and save the messages about events, as `record` does it. `rules` are changes of the workspace's rules."""
    conversation = events[0].conversation
    conversation.refresh_from_db()
    if rules:
        EventRules.objects.update_or_create(workspace=conversation.workspace, defaults=rules)
    stored = rules_of(conversation.workspace)
    messages = saved(plan(events, conversation, stored), events)
    assign_files(events, messages, stored)
    return messages


def saved(messages: Sequence[OutgoingMessage], events: Sequence[TicketEvent]) -> list[OutgoingMessage]:
    for message in messages:
        message.save()
    for row in events:
        row.message = row.message
        row.save(update_fields=["message", "reason_code", "reason_detail"])
    return list(messages)
