"""A conversation that was merged into another one: its links go where the talk goes on.

Intercom says of both that they were merged, in parts of the same second, and of neither with which: the two are known
by that second, or by a teammate's saying so.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.api import IntercomRefused
from intercom_bridge.models import Conversation, Notification, Ticket, TicketLink
from intercom_bridge.sync.intake import deliver_since, take_in_all

from .desk import Desk
from .notes import leave_note
from .so_far import FETCH_SECONDS
from .unlinking import take_away

# The two parts of a merge are made one after the other.
SAME_MERGE_SECONDS = 2
MOVED_HERE_NOTE = gettext_noop(
    "{teammate} moved ticket {ticket} here from conversation {other}, which was merged into this one."
)
MOVED_AWAY_NOTE = gettext_noop(
    "{teammate} moved ticket {ticket} to conversation {other}, which this one was merged into."
)

_ID = re.compile(r"(?:^|/)([0-9]{1,30})(?:[/?#].*)?$", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """`away`: this conversation has links and was merged into another one. `sources`: such ones merged into this."""

    away: bool = False
    sources: tuple[Conversation, ...] = ()


class NotMerged(Exception):
    """The conversation that was named is not the one it was merged into, or Intercom has none of this id."""


def merge_of(desk: Desk) -> Merge | None:
    """None where there is nothing to be moved. Asks nobody."""
    payload = desk.request.conversation
    conversation = desk.conversation()
    if conversation is not None:
        conversation.learn_merged_away(payload.merged_away_at)
        if conversation.merged_away_at and conversation.links.exists():
            return Merge(away=True)
    sources = [
        source
        for source in _merged_away(desk)
        if any(_is_same(source.merged_away_at, at) for at in payload.merged_in_at)
    ]
    return Merge(sources=tuple(sources)) if sources else None


def _merged_away(desk: Desk) -> list[Conversation]:
    if not desk.request.conversation.merged_in_at:
        return []
    known = Conversation.objects.filter(workspace=desk.workspace, merged_away_at__gt=0, links__isnull=False)
    others = known.exclude(conversation_id=desk.request.conversation.id)
    return list(others.select_related("workspace").distinct().order_by("pk"))


def _is_same(one: int, other: int) -> bool:
    return abs(one - other) <= SAME_MERGE_SECONDS


def move_here(desk: Desk, source_pk: int) -> list[Ticket]:
    """Moves the links of a conversation that was merged into this one. Raises NotMerged."""
    merge = merge_of(desk)
    source = next((one for one in merge.sources if one.pk == source_pk), None) if merge else None
    if source is None:
        raise NotMerged
    return _move(desk, source, desk.request.conversation.id)


def move_away(desk: Desk, named: str) -> list[Ticket]:
    """Moves the links of this conversation to the one that it was merged into, named by id or address.

    Intercom is asked whether it was, where we have a token. Raises NotMerged, IntercomError.
    """
    merge, source = merge_of(desk), desk.conversation()
    found = _ID.search(named.strip())
    if (
        merge is None
        or not merge.away
        or source is None
        or found is None
        or found[1] == source.conversation_id
    ):
        raise NotMerged
    if desk.workspace.access_token:
        seconds = min(FETCH_SECONDS, desk.deadline.remaining())
        try:
            target = intercom_client(desk.workspace).conversation(found[1], deadline=seconds)
        except IntercomRefused as refusal:
            raise NotMerged from refusal
        if not any(_is_same(source.merged_away_at, at) for at in target.merged_in_at):
            raise NotMerged
    return _move(desk, source, found[1])


def _move(desk: Desk, source: Conversation, target_id: str) -> list[Ticket]:
    """What waits is still written; of the other conversation everything counts since the merge."""
    moved = []
    since = dt.datetime.fromtimestamp(source.merged_away_at, dt.UTC)
    for link in TicketLink.objects.of_conversation(source):
        # What has come in is for the link that there was.
        take_in_all(Notification.objects.unread_of(link.ticket), set())
    with transaction.atomic():
        target = Conversation.objects.known(desk.workspace, target_id)
        is_paused = TicketLink.objects.filter(conversation=target).are_paused()
        for link in TicketLink.objects.of_conversation(source):
            taken = take_away(link, by=desk.request.admin.name, keeps_waiting=True)
            if taken is None:
                continue
            new, _is_new = TicketLink.objects.get_or_create(
                conversation=target,
                ticket=link.ticket,
                defaults={
                    "linked_by": desk.request.admin.name[:200],
                    "sync_on": link.sync_on,
                    "pauses": link.pauses,
                    "since_part_at": source.merged_away_at,
                    "since_part_order": 0,
                },
            )
            if is_paused and new.sync_on:
                # It joins the tickets that are there: the panel has one switch for them.
                new.switch(on=False, at=timezone.now().timestamp())
            deliver_since(new, since)
            leave_note(desk, target, MOVED_HERE_NOTE, link.ticket, other=source.conversation_id)
            leave_note(desk, source, MOVED_AWAY_NOTE, link.ticket, other=target_id)
            moved.append(link.ticket)
        Notification.objects.look_again(desk.workspace, target_id, since)
        Conversation.objects.filter(pk=target.pk).compare_within(0)
    return moved
