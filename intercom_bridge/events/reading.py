"""Read linked tickets from iTop, all of one class with one call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from django.utils import timezone

from intercom_bridge.models import (
    CachedAnswer,
    ItopInstance,
    Ticket,
    TicketProfile,
    TicketSnapshot,
    Workspace,
)
from intercom_bridge.models.event_rules import Action, FileAction
from itop_client import Client, ItopObject, UnknownAttributeError, ids, quote

from .compare import DATE_FORMAT, LAST_UPDATE, attribute_codes

DEADLINE_SECONDS = 15.0
# Reading begins this long before the highest `last_update`: iTop may not commit saves in the order of their dates.
OVERLAP = dt.timedelta(seconds=120)
# The end of summer time sets iTop's clock back, so a later save can have an earlier `last_update`. For some time after
# that, reading begins earlier by as much.
SET_BACK_BY = dt.timedelta(hours=1)
READ_EARLIER_FOR = dt.timedelta(hours=3)
# An attribute that a class lacks is asked for again after this time, because the data model may have changed.
MISSING_SECONDS = 24 * 3600.0


class TicketReader:
    """Reads tickets of one class. It reads the attributes of all profiles, which may use different codes."""

    def __init__(self, itop: ItopInstance, client: Client, ticket_class: str) -> None:
        self.itop, self.client, self.ticket_class = itop, client, ticket_class
        profiles = TicketProfile.objects.filter(workspaces__itop=itop, ticket_class=ticket_class)
        # If no workspace uses this class any more, read the attributes of an unsaved profile with the defaults.
        self.profiles = list(profiles.distinct().order_by("pk")) or [TicketProfile(ticket_class=ticket_class)]
        # A workspace that never changed its rules has None for both actions, which means the defaults. Private entries
        # are not reported by default, so None does not count there. Files are, so None counts.
        actions = Workspace.objects.filter(itop=itop).values_list(
            "event_rules__private_entry", "event_rules__files"
        )
        self.wants_private = any(private not in (None, Action.NOTHING) for private, _files in actions)
        self.wants_files = any(files != FileAction.NOTHING for _private, files in actions)
        self._cache_key = f"attributes that {ticket_class} does not have"
        cached = CachedAnswer.objects.fresh(itop, self._cache_key, MISSING_SECONDS)
        self._missing: set[str] = set(cached.value) if cached else set()

    def profile_of(self, ticket: Ticket) -> TicketProfile:
        """Return the profile of the workspace that linked the ticket first."""
        if len(self.profiles) == 1:
            return self.profiles[0]
        linked = TicketProfile.objects.filter(
            ticket_class=self.ticket_class, workspaces__conversations__links__ticket=ticket
        )
        return linked.order_by("workspaces__conversations__links__pk").first() or self.profiles[0]

    def codes(self, profile: TicketProfile) -> dict[str, str]:
        """Return the `attribute_codes` of this profile, without attributes that the ticket's class lacks."""
        codes = attribute_codes(profile, private=self.wants_private)
        return {name: code for name, code in codes.items() if code not in self._missing}

    def changed(self, snapshots: Sequence[TicketSnapshot], newest: str) -> list[ItopObject]:
        """Return the tickets that may have changed since they were last read.

        Also return those that are to be read in any case: their `seen_until` is "". `newest` is the highest
        `last_update` that was read from this iTop. Raise ItopError.
        """
        seen_until = [snapshot.seen_until for snapshot in snapshots if snapshot.seen_until]
        if not seen_until or LAST_UPDATE in self._missing:
            return self.read(snapshots)
        # A sweep lowers `newest` if iTop's clock was set back.
        since = self._since(min([*seen_until, newest]))
        if not since:
            return self.read(snapshots)
        condition = f"t.last_update >= {quote(since)}"
        in_any_case = [snapshot.ticket.object_id for snapshot in snapshots if not snapshot.seen_until]
        if in_any_case:
            condition = f"({condition} OR t.id IN ({ids(in_any_case)}))"
        return self.read(snapshots, condition)

    def read(self, snapshots: Iterable[TicketSnapshot], condition: str = "") -> list[ItopObject]:
        """Return these tickets with all attributes of a snapshot. Raise ItopError.

        If there is an OQL condition, leave out the tickets that do not meet it.
        """
        codes = {code for profile in self.profiles for code in self.codes(profile).values()}
        return self._get(snapshots, codes, condition)

    def states(self, snapshots: Sequence[TicketSnapshot]) -> list[ItopObject]:
        """Return these tickets with status and `last_update` only. Raise ItopError."""
        return self._get(snapshots, [LAST_UPDATE, *(profile.code("status") for profile in self.profiles)])

    def _get(
        self, snapshots: Iterable[TicketSnapshot], codes: Iterable[str], condition: str = ""
    ) -> list[ItopObject]:
        """Return the tickets that iTop has, with these attributes.

        iTop rejects a request that names an attribute which the class lacks. Then leave that attribute out, also in
        later reads.
        """
        ticket_ids = ids(snapshot.ticket.object_id for snapshot in snapshots)
        query = f"SELECT {self.ticket_class} AS t WHERE t.id IN ({ticket_ids})"
        if condition:
            query += f" AND {condition}"
        while True:
            fields = sorted({"id", *codes} - self._missing)
            try:
                return list(
                    self.client.get(self.ticket_class, query, fields=fields, deadline=DEADLINE_SECONDS)
                )
            except UnknownAttributeError as error:
                # The error names the attribute that the class lacks and, in `known`, usually all that it has.
                existing = error.known or fields
                unknown = {code for code in fields if code == error.attribute or code not in existing}
                unknown.discard("id")
                if not unknown:
                    raise
                self._missing |= unknown
                CachedAnswer.objects.store(self.itop, self._cache_key, sorted(self._missing))

    def _since(self, newest: str) -> str:
        """Return the lowest `last_update` of the tickets to read, which is a little before `newest`.

        Return "" if `newest` is not a time, as before the first read.
        """
        try:
            time = dt.datetime.strptime(newest, DATE_FORMAT)  # noqa: DTZ007 - only compared with iTop's times
        except ValueError:
            return ""
        time -= OVERLAP
        if self._has_summer_time_just_ended():
            time -= SET_BACK_BY
        return time.strftime(DATE_FORMAT)

    def _has_summer_time_just_ended(self) -> bool:
        now = timezone.localtime(timezone=self.itop.zone)
        before = timezone.localtime(timezone.now() - READ_EARLIER_FOR, self.itop.zone)
        return now.utcoffset() < before.utcoffset()  # type: ignore[operator]  # these times are aware
