"""Read the linked tickets of one class: what is asked of iTop, and in as few calls as possible."""

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
OVERLAP = dt.timedelta(seconds=120)
# When summer time ends, an hour of local times repeats.
REPEATED = dt.timedelta(hours=1)
REPEATED_WITHIN = dt.timedelta(hours=3)
# Attributes that a class lacks are asked for again after this time.
MISSING_SECONDS = 24 * 3600.0


class TicketReader:
    """Reads tickets of a class. Profiles may give its attributes different codes, so all of them are read."""

    def __init__(self, itop: ItopInstance, client: Client, ticket_class: str) -> None:
        self.itop, self.client, self.ticket_class = itop, client, ticket_class
        profiles = TicketProfile.objects.filter(workspaces__itop=itop, ticket_class=ticket_class)
        self.profiles = list(profiles.distinct().order_by("pk")) or [TicketProfile(ticket_class=ticket_class)]
        # None for a workspace without a row, which has the defaults.
        wanted = Workspace.objects.filter(itop=itop).values_list(
            "event_rules__private_entry", "event_rules__files"
        )
        self.wants_private = any(private not in (None, Action.NOTHING) for private, _files in wanted)
        self.wants_files = any(files != FileAction.NOTHING for _private, files in wanted)
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
        """Return the attributes that are read for this profile, by the name of the snapshot's field or of the log."""
        codes = attribute_codes(profile, private=self.wants_private)
        return {name: code for name, code in codes.items() if code not in self._missing}

    def changed(self, snapshots: Sequence[TicketSnapshot], newest: str) -> list[ItopObject]:
        """Return the tickets that may have changed since they were read. Raise ItopError.

        `newest` is the highest `last_update` of this iTop.
        """
        read = [snapshot.seen_until for snapshot in snapshots if snapshot.seen_until]
        since = self._since(min([*read, newest])) if read and LAST_UPDATE not in self._missing else ""
        condition = ""
        if since:
            condition = f"t.last_update >= {quote(since)}"
            unread = [row.ticket.object_id for row in snapshots if not row.seen_until]
            condition = f"({condition} OR t.id IN ({ids(unread)}))" if unread else condition
        return self.read(snapshots, condition)

    def read(self, snapshots: Iterable[TicketSnapshot], condition: str = "") -> list[ItopObject]:
        """Return these tickets, those that meet the OQL condition if there is one. Raise ItopError."""
        codes = {code for profile in self.profiles for code in self.codes(profile).values()}
        return self._get(snapshots, codes, condition)

    def states(self, snapshots: Sequence[TicketSnapshot]) -> list[ItopObject]:
        """Return state and `last_update` of all these tickets that iTop has. Raise ItopError."""
        return self._get(snapshots, [LAST_UPDATE, *(profile.code("status") for profile in self.profiles)])

    def _get(
        self, snapshots: Iterable[TicketSnapshot], codes: Iterable[str], condition: str = ""
    ) -> list[ItopObject]:
        """Return the tickets. Leave out attributes that the class does not have, now and in later reads."""
        wanted = ids(snapshot.ticket.object_id for snapshot in snapshots)
        query = f"SELECT {self.ticket_class} AS t WHERE t.id IN ({wanted})"
        query += f" AND {condition}" if condition else ""
        while True:
            fields = sorted({"id", *codes} - self._missing)
            try:
                return list(
                    self.client.get(self.ticket_class, query, fields=fields, deadline=DEADLINE_SECONDS)
                )
            except UnknownAttributeError as error:
                known = error.known or fields
                unknown = {code for code in fields if code == error.attribute or code not in known} - {"id"}
                if not unknown:
                    raise
                self._missing |= unknown
                CachedAnswer.objects.store(self.itop, self._cache_key, sorted(self._missing))

    def _since(self, newest: str) -> str:
        """Return the `last_update` from which on changes may not have been read; "" if nothing is known."""
        try:
            time = dt.datetime.strptime(newest, DATE_FORMAT)  # noqa: DTZ007 - only compared with iTop's
        except ValueError:
            return ""
        now = timezone.now()
        offsets = [moment.astimezone(self.itop.zone).utcoffset() for moment in (now - REPEATED_WITHIN, now)]
        has_repeated = offsets[1] < offsets[0]  # type: ignore[operator]  # these times are aware
        return (time - OVERLAP - (REPEATED if has_repeated else dt.timedelta())).strftime(DATE_FORMAT)
