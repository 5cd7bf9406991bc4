"""Move the links of a conversation that was merged into another one.

Intercom adds a part about the merge to both conversations, in about the same second, but does not say which other
conversation was merged. So the bridge finds the other one by the time of its part, or the teammate names it.
"""

import datetime as dt
import re
from collections.abc import Iterable
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

# Intercom creates the two parts about a merge one after the other, so their times may differ this much.
SAME_MERGE_SECONDS = 2
MOVED_HERE_NOTE = gettext_noop(
    "{teammate} moved ticket {ticket} here from conversation {other}, which was merged into this one."
)
MOVED_AWAY_NOTE = gettext_noop(
    "{teammate} moved ticket {ticket} to conversation {other}, which this one was merged into."
)

_ID = re.compile(r"[0-9]{1,30}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A merge of conversations after which links can be moved.

    is_merged_away: this conversation has links, and was merged into another one.
    sources: the conversations that have links, and were merged into this one.
    """

    is_merged_away: bool = False
    sources: tuple[Conversation, ...] = ()


class NotMergedError(Exception):
    """The two conversations were not merged, or Intercom does not have the one that the teammate named."""


def find_merge(context: PanelContext) -> Merge | None:
    """Return the merge after which links can be moved, or None. Do not ask Intercom."""
    payload = context.request.conversation
    conversation = find_conversation(context)
    if conversation is not None:
        is_merged_away = bool(payload.merged_away_at or conversation.merged_away_at)
        if is_merged_away and conversation.links.exists():
            return Merge(is_merged_away=True)
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
        source for source in merged_away if _is_same_merge(source.merged_away_at, payload.merged_in_at)
    )
    return Merge(sources=sources) if sources else None


def move_links_here(context: PanelContext, source_pk: int) -> list[Ticket]:
    """Move the links of a conversation that was merged into this one, and return their tickets.

    Raise NotMergedError or OutdatedScreenError.
    """
    merge = find_merge(context)
    sources = merge.sources if merge else ()
    source = next((source for source in sources if source.pk == source_pk), None)
    if source is None:
        raise NotMergedError
    claim_version(context)
    return _move_links(context, source, context.request.conversation.id)


def conversation_id_in(text: str) -> str:
    """Return the ID in a text that is a conversation's ID or URL, or "". It is the last number of the URL's path."""
    path = re.split("[?#]", text.strip(), maxsplit=1)[0]
    return next((segment for segment in reversed(path.split("/")) if _ID.fullmatch(segment)), "")


def move_links_away(context: PanelContext, target: str) -> list[Ticket]:
    """Move the links of this conversation to the one that it was merged into, and return their tickets.

    `target` is that conversation's ID or URL, as the teammate typed it. With an access token, the bridge asks Intercom
    whether the two were merged. Raise NotMergedError, OutdatedScreenError or IntercomError.
    """
    merge, source = find_merge(context), find_conversation(context)
    target_id = conversation_id_in(target)
    if merge is None or not merge.is_merged_away or source is None:
        raise NotMergedError
    if target_id in ("", source.conversation_id):
        raise NotMergedError
    source.learn_merged_away(context.request.conversation.merged_away_at)
    if context.workspace.access_token:
        seconds = min(FETCH_SECONDS, context.deadline.remaining())
        try:
            payload = intercom_client(context.workspace).conversation(target_id, deadline=seconds)
        except IntercomRejectedError as error:
            raise NotMergedError from error
        if not _is_same_merge(source.merged_away_at, payload.merged_in_at):
            raise NotMergedError
    claim_version(context)
    return _move_links(context, source, target_id)


def _is_same_merge(merged_away_at: int, merged_in_at: Iterable[int]) -> bool:
    """Return whether a conversation that was merged away belongs to one of another conversation's merges."""
    return any(abs(merged_away_at - at) <= SAME_MERGE_SECONDS for at in merged_in_at)


def _move_links(context: PanelContext, source: Conversation, target_id: str) -> list[Ticket]:
    """Move all links, and return their tickets.

    The source's waiting messages are still written. Of the target's messages, those after the merge are written.
    """
    moved = []
    since = dt.datetime.fromtimestamp(source.merged_away_at, dt.UTC)
    teammate = context.request.admin.name
    for link in TicketLink.objects.of_conversation(source):
        # Messages that arrived before the move go to the ticket through the old link.
        process_unprocessed(WebhookEvent.objects.unprocessed_of(link.ticket))
    with transaction.atomic():
        target = Conversation.objects.find_or_create(context.workspace, target_id)
        is_paused = TicketLink.objects.filter(conversation=target).are_paused()
        for link in TicketLink.objects.of_conversation(source):
            removal = remove_link(link, removed_by=teammate, is_moved=True)
            if removal is None:
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
                # The panel shows one switch for all tickets of a conversation, so the new one is paused too.
                new_link.switch(on=False, at=timezone.now().timestamp())
            deliver_since(new_link, since)
            report_after_merge(source, new_link)
            add_note(context, target, MOVED_HERE_NOTE, link.ticket, other=source.conversation_id)
            add_note(context, source, MOVED_AWAY_NOTE, link.ticket, other=target_id)
            moved.append(link.ticket)
    return moved
