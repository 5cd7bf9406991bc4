"""Move the links of a conversation that was merged into another one.

Intercom marks both conversations as merged, in parts of the same second, and does not say with which other one. The
pair is found by that second, or named by a teammate.
"""

import datetime as dt
import re
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from intercom_bridge.connections import intercom_client
from intercom_bridge.events.record import report_after_merge
from intercom_bridge.intercom.client import IntercomRejectedError
from intercom_bridge.models import Conversation, Ticket, TicketLink, WebhookEvent
from intercom_bridge.sync.intake import deliver_since, process_unprocessed
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import FETCH_SECONDS, find_conversation
from intercom_bridge.tickets.version import claim_version

from .notes import add_note
from .unlink import remove_link

# The two parts of a merge are created one after the other.
SAME_MERGE_SECONDS = 2
MOVED_HERE_NOTE = gettext_noop(
    "{teammate} moved ticket {ticket} here from conversation {other}, which was merged into this one."
)
MOVED_AWAY_NOTE = gettext_noop(
    "{teammate} moved ticket {ticket} to conversation {other}, which this one was merged into."
)

_ID = re.compile(r"(?:^|/)([0-9]{1,30})(?:[/?#].*)?\Z", re.ASCII | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """`away`: this conversation has links and was merged into another one.

    `sources`: conversations with links that were merged into this one.
    """

    away: bool = False
    sources: tuple[Conversation, ...] = ()


class NotMergedError(Exception):
    """The conversation was not merged with the one that was named, or Intercom does not have it."""


def find_merge(context: PanelContext) -> Merge | None:
    """Return the merge whose links can be moved, or None. Ask the database only."""
    payload = context.request.conversation
    conversation = find_conversation(context)
    if (
        conversation is not None
        and (payload.merged_away_at or conversation.merged_away_at)
        and conversation.links.exists()
    ):
        return Merge(away=True)
    if not payload.merged_in_at:
        return None
    merged_away = (
        Conversation.objects.filter(workspace=context.workspace, merged_away_at__gt=0, links__isnull=False)
        .exclude(conversation_id=payload.id)
        .select_related("workspace")
        .distinct()
        .order_by("pk")
    )
    sources = tuple(
        source
        for source in merged_away
        if any(_is_same_merge(source.merged_away_at, at) for at in payload.merged_in_at)
    )
    return Merge(sources=sources) if sources else None


def move_links_here(context: PanelContext, source_pk: int) -> list[Ticket]:
    """Move the links of a conversation that was merged into this one.

    Raise NotMergedError or OutdatedScreenError.
    """
    merge = find_merge(context)
    sources = merge.sources if merge else ()
    source = next((source for source in sources if source.pk == source_pk), None)
    if source is None:
        raise NotMergedError
    claim_version(context)
    return _move_links(context, source, context.request.conversation.id)


def move_links_away(context: PanelContext, target: str) -> list[Ticket]:
    """Move the links of this conversation to the one that it was merged into, named by ID or URL.

    If the workspace has an access token, Intercom confirms the merge. Raise NotMergedError, OutdatedScreenError or
    IntercomError.
    """
    merge, source = find_merge(context), find_conversation(context)
    found = _ID.search(target.strip())
    if merge is None or not merge.away or source is None or found is None:
        raise NotMergedError
    target_id = found[1]
    if target_id == source.conversation_id:
        raise NotMergedError
    source.learn_merged_away(context.request.conversation.merged_away_at)
    if context.workspace.access_token:
        seconds = min(FETCH_SECONDS, context.deadline.remaining())
        try:
            payload = intercom_client(context.workspace).conversation(target_id, deadline=seconds)
        except IntercomRejectedError as error:
            raise NotMergedError from error
        if not any(_is_same_merge(source.merged_away_at, at) for at in payload.merged_in_at):
            raise NotMergedError
    claim_version(context)
    return _move_links(context, source, target_id)


def _is_same_merge(at: int, other_at: int) -> bool:
    return abs(at - other_at) <= SAME_MERGE_SECONDS


def _move_links(context: PanelContext, source: Conversation, target_id: str) -> list[Ticket]:
    """Move all links. Waiting messages of the source are still written; the target's count from the merge on."""
    moved = []
    since = dt.datetime.fromtimestamp(source.merged_away_at, dt.UTC)
    teammate = context.request.admin.name
    for link in TicketLink.objects.of_conversation(source):
        # Notifications received before the move belong to the old link.
        process_unprocessed(WebhookEvent.objects.unprocessed_of(link.ticket))
    with transaction.atomic():
        target = Conversation.objects.find_or_create(context.workspace, target_id)
        is_paused = TicketLink.objects.filter(conversation=target).are_paused()
        for link in TicketLink.objects.of_conversation(source):
            if remove_link(link, removed_by=teammate, keep_waiting=True) is None:
                continue
            new_link, _is_new = TicketLink.objects.get_or_create(
                conversation=target,
                ticket=link.ticket,
                defaults={
                    "linked_by": teammate[:200],
                    "sync_on": link.sync_on,
                    "pauses": link.pauses,
                    "since_part_at": source.merged_away_at,
                    "since_part_order": 0,
                },
            )
            if is_paused and new_link.sync_on:
                # The panel has one switch for all tickets of a conversation.
                new_link.switch(on=False, at=timezone.now().timestamp())
            deliver_since(new_link, since)
            report_after_merge(source, new_link)
            add_note(context, target, MOVED_HERE_NOTE, link.ticket, other=source.conversation_id)
            add_note(context, source, MOVED_AWAY_NOTE, link.ticket, other=target_id)
            moved.append(link.ticket)
    return moved
