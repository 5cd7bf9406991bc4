"""The conversation so far, for a ticket that is linked to it late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import Conversation, Delivery, Posting, Ticket, TicketLink

from .intake import deliver_together, may_be_our_echo
from .message import PRIVATE, PUBLIC, keep, order_of
from .transcript import MOST_ENTRIES, Transcript

Entry = tuple[Part, str]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What is to be copied into a ticket's logs, in order, and the older messages that a log has no room for."""

    entries: tuple[Entry, ...]
    too_old: tuple[Entry, ...]

    @classmethod
    def of(cls, conversation: Conversation | None, ticket: Ticket | None, messages: tuple[Part, ...]) -> Copy:
        """Without our own posts, and without what an earlier link of this ticket has brought into it already.

        `conversation` and `ticket` are None when we have never seen them.
        """
        if conversation is not None:
            messages = tuple(part for part in messages if not _is_ours(conversation, part))
            entries = Transcript.of(messages, skip_ids=Posting.objects.part_ids_in(conversation)).entries
        else:
            entries = Transcript.of(messages).entries
        there = _keys_there(conversation, ticket)
        wanted = [entry for entry in entries if _key(entry) not in there]
        room = {_key(entry) for log in (PUBLIC, PRIVATE) for entry in _newest(wanted, log)}
        return cls(
            entries=tuple(entry for entry in wanted if _key(entry) in room),
            too_old=tuple(entry for entry in wanted if _key(entry) not in room),
        )

    def count(self, log: str) -> int:
        return sum(1 for _, to in self.entries if to == log)

    def into(self, link: TicketLink) -> None:
        """Makes them waiting deliveries of a link on which everything counts. To be called in its transaction."""
        parts = [part for part, _ in self.entries]
        self._take_back(link)
        deliver_together(link, parts)
        if self.too_old:
            # What has no room is not to come in as a gap.
            last = self.too_old[-1][0]
            link.since_part_at, link.since_part_order = last.created_at, order_of(last.id)
            link.save(update_fields=["since_part_at", "since_part_order"])

    def _take_back(self, link: TicketLink) -> None:
        """Those that an earlier link, or a pause, had left out."""
        left_out = Delivery.objects.filter(
            ticket=link.ticket, conversation=link.conversation, state=Delivery.State.SKIPPED
        )
        keys = set(left_out.values_list("kind", "part_id"))
        for part, log in self.entries:
            if _key((part, log)) in keys:
                one = left_out.filter(kind=part.kind, part_id=part.id)
                one.update(log=log, part=keep(part), cleaned_at=None)
                one.write_after_all()


def _is_ours(conversation: Conversation, part: Part) -> bool:
    code = conversation.workspace.app_package_code
    return bool(code and part.app_package_code == code) or may_be_our_echo(conversation, part)


def _keys_there(conversation: Conversation | None, ticket: Ticket | None) -> set[tuple[str, str]]:
    """What has a delivery already that is, or will be, in the ticket, or that somebody has to look at."""
    if conversation is None or ticket is None:
        return set()
    deliveries = Delivery.objects.filter(ticket=ticket, conversation=conversation)
    return set(deliveries.exclude(state=Delivery.State.SKIPPED).values_list("kind", "part_id"))


def _key(entry: Entry) -> tuple[str, str]:
    return entry[0].kind, entry[0].id


def _newest(entries: Sequence[Entry], log: str) -> Sequence[Entry]:
    return [entry for entry in entries if entry[1] == log][-MOST_ENTRIES:]
