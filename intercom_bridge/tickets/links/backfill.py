"""Copy the earlier messages of a conversation to a ticket that is being linked to it."""

from __future__ import annotations

from dataclasses import dataclass

from intercom_bridge.files.parts import restore_files
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import Conversation, Delivery, FileToItop, Log, Ticket, TicketLink
from intercom_bridge.sync.intake import deliver_together, may_be_our_echo
from intercom_bridge.sync.message import order_of, part_to_json
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_conversation
from intercom_bridge.tickets.creation.transcript import MAX_ENTRIES, Entry, transcript_of


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """The messages to copy to a ticket's logs, and the older ones for which a log has no room. Both oldest first."""

    entries: tuple[Entry, ...]
    too_old: tuple[Entry, ...]

    @classmethod
    def of(cls, context: PanelContext, ticket: Ticket | None, messages: tuple[Part, ...]) -> Backfill:
        """Select from `messages` those that can be copied and that the ticket does not contain yet.

        `ticket` is None if the ticket never was linked to any conversation, so it has no row.
        """
        conversation = find_conversation(context)
        if conversation is not None:
            messages = tuple(part for part in messages if not may_be_our_echo(conversation, part))
        copied_keys = _copied_keys(conversation, ticket)
        missing = [
            entry for entry in transcript_of(context, messages).entries if _key(entry) not in copied_keys
        ]
        fitting_keys: set[tuple[str, str]] = set()
        for log in Log:
            log_entries = [entry for entry in missing if entry.log == log]
            fitting_keys.update(map(_key, log_entries[-MAX_ENTRIES:]))
        return cls(
            entries=tuple(entry for entry in missing if _key(entry) in fitting_keys),
            too_old=tuple(entry for entry in missing if _key(entry) not in fitting_keys),
        )

    def count(self, log: str) -> int:
        return sum(entry.log == log for entry in self.entries)

    def write_to(self, link: TicketLink) -> None:
        """Queue the messages for the link's ticket. Call it in the transaction that creates the link.

        The link's `since_part_at` must be 0. Otherwise it excludes earlier messages.
        """
        self._restore_skipped(link)
        deliver_together(link, [entry.part for entry in self.entries])
        if self.too_old:
            # The link now begins after these. Otherwise reconciliation would find them missing and write them.
            last_part = self.too_old[-1].part
            link.since_part_at, link.since_part_order = last_part.created_at, order_of(last_part.id)
            link.save(update_fields=["since_part_at", "since_part_order"])

    def _restore_skipped(self, link: TicketLink) -> None:
        """Queue again the messages that were skipped by a pause, or because the ticket was unlinked before."""
        skipped = Delivery.objects.filter(
            ticket=link.ticket, conversation=link.conversation, state=Delivery.State.SKIPPED
        )
        skipped_keys = set(skipped.values_list("kind", "part_id"))
        for entry in self.entries:
            if _key(entry) not in skipped_keys:
                continue
            part, log = entry
            delivery = skipped.filter(kind=part.kind, part_id=part.id)
            delivery.update(log=log, part=part_to_json(part), cleaned_at=None)
            delivery.write_after_all()
            restore_files(link, part, log)
        # Unlinking also skipped files of messages that the ticket contains. All files can be restored now, because a
        # file is never copied before its message.
        FileToItop.objects.filter(ticket=link.ticket, conversation=link.conversation).restore_unlinked()


def _copied_keys(conversation: Conversation | None, ticket: Ticket | None) -> set[tuple[str, str]]:
    """Return the kind and the id of each part that was or will be written to the ticket, or that failed."""
    if conversation is None or ticket is None:
        return set()
    deliveries = Delivery.objects.filter(ticket=ticket, conversation=conversation)
    return set(deliveries.exclude(state=Delivery.State.SKIPPED).values_list("kind", "part_id"))


def _key(entry: Entry) -> tuple[str, str]:
    """Return what identifies the message: a conversation's source and a reply can have the same id."""
    return entry.part.kind, entry.part.id
