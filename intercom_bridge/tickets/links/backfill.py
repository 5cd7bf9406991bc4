"""Copy the messages so far to a ticket that is linked to the conversation."""

from __future__ import annotations

from dataclasses import dataclass

from intercom_bridge.files.parts import restore_rows
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import Conversation, Delivery, FileToItop, Log, Ticket, TicketLink
from intercom_bridge.sync.intake import deliver_together, may_be_our_echo
from intercom_bridge.sync.message import order_of, part_to_json
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_conversation
from intercom_bridge.tickets.creation.transcript import MAX_ENTRIES, transcript_of

# A part and the name of its log.
Entry = tuple[Part, str]


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """The messages to copy to a ticket's logs, in order, and the older ones that exceed the size of a log."""

    entries: tuple[Entry, ...]
    too_old: tuple[Entry, ...]

    @classmethod
    def of(cls, context: PanelContext, ticket: Ticket | None, messages: tuple[Part, ...]) -> Backfill:
        """Select from `messages`, without our own posts and without messages that an earlier link has copied.

        `ticket` is None if there is no row for it.
        """
        conversation = find_conversation(context)
        if conversation is not None:
            messages = tuple(part for part in messages if not may_be_our_echo(conversation, part))
        copied = _copied_keys(conversation, ticket)
        entries = [entry for entry in transcript_of(context, messages).entries if _key(entry) not in copied]
        newest = [[entry for entry in entries if entry[1] == log][-MAX_ENTRIES:] for log in Log]
        fitting = {_key(entry) for of_log in newest for entry in of_log}
        return cls(
            entries=tuple(entry for entry in entries if _key(entry) in fitting),
            too_old=tuple(entry for entry in entries if _key(entry) not in fitting),
        )

    def count(self, log: str) -> int:
        return sum(1 for _part, entry_log in self.entries if entry_log == log)

    def write_to(self, link: TicketLink) -> None:
        """Create waiting deliveries for a link that accepts all messages. Call it in the link's transaction."""
        self._restore_skipped(link)
        deliver_together(link, [part for part, _log in self.entries])
        if self.too_old:
            # Otherwise reconciliation would add the messages that exceed the log.
            last_part = self.too_old[-1][0]
            link.since_part_at, link.since_part_order = last_part.created_at, order_of(last_part.id)
            link.save(update_fields=["since_part_at", "since_part_order"])

    def _restore_skipped(self, link: TicketLink) -> None:
        """Write the messages that an earlier link or a pause has skipped."""
        skipped = Delivery.objects.filter(
            ticket=link.ticket, conversation=link.conversation, state=Delivery.State.SKIPPED
        )
        keys = set(skipped.values_list("kind", "part_id"))
        for part, log in self.entries:
            if _key((part, log)) in keys:
                delivery = skipped.filter(kind=part.kind, part_id=part.id)
                delivery.update(log=log, part=part_to_json(part), cleaned_at=None)
                delivery.write_after_all()
                restore_rows(link, part, log)
        # The files of messages that stay skipped wait for these.
        FileToItop.objects.filter(ticket=link.ticket, conversation=link.conversation).restore_unlinked()


def _copied_keys(conversation: Conversation | None, ticket: Ticket | None) -> set[tuple[str, str]]:
    """Return the messages with a delivery that is in the ticket, will be, or has failed."""
    if conversation is None or ticket is None:
        return set()
    deliveries = Delivery.objects.filter(ticket=ticket, conversation=conversation)
    return set(deliveries.exclude(state=Delivery.State.SKIPPED).values_list("kind", "part_id"))


def _key(entry: Entry) -> tuple[str, str]:
    return entry[0].kind, entry[0].id
