"""The teammate's questions to iTop: which tickets are there, open this one, link it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from intercom_bridge.connections import itop_client
from intercom_bridge.datamodel import TicketClass
from intercom_bridge.datamodel.known import ticket_class_of
from intercom_bridge.deadline import Deadline
from intercom_bridge.intercom.api import IntercomError
from intercom_bridge.intercom.payloads import CanvasRequest
from intercom_bridge.models import (
    Conversation,
    ItopAnswer,
    Notification,
    Participant,
    PersonMatch,
    Submission,
    Ticket,
    TicketLink,
    Unlinking,
    Workspace,
)
from intercom_bridge.models.delivery import LEFT_OUT
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.sync.copier import Copy
from intercom_bridge.sync.extension import attribute_codes
from intercom_bridge.sync.intake import deliver_since
from itop_client import Client, Found, ItopObject, UnknownAttribute, ids, quote

from .candidates import Candidates, likely, search
from .choices import Choices
from .creations import creations_in
from .errors import NobodyFound, OutOfScope, TicketGone, Why
from .known_tickets import TicketMemory
from .notes import leave_note
from .person import Person, ask_anew, person_by_id, pick, picked_as, undo_pick, who_is
from .scope import Scope
from .so_far import Linked, SoFar, last_position, whole_conversation
from .sync_status import RETRIABLE, SyncDetails, SyncStatus, left_out, of_linked, sync_details, sync_status

log = structlog.get_logger(__name__)

MOST_TICKETS = 200
# An attribute that a data model lacks may be added to it, or the profile be corrected.
MISSING_SECONDS = 600.0
LINKED_NOTE = gettext_noop("{teammate} linked ticket {ticket} to this conversation.")
# Messages that came in so long before a link are looked at again once it is there.
LOOK_AGAIN = dt.timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class TicketRow:
    """A ticket in a list. `status` "" means that iTop no longer has it."""

    ticket_class: str
    id: int
    ref: str
    title: str
    status: str
    subtitle: str
    is_linked: bool
    is_ongoing: bool


class Desk:
    """Bound to one workspace and one click. Methods raise ItopError when iTop cannot answer."""

    def __init__(self, workspace: Workspace, request: CanvasRequest, deadline: Deadline) -> None:
        self.workspace = workspace
        self.itop = workspace.itop
        self.profile = workspace.profile
        self.request = request
        self.deadline = deadline
        self._person: Person | None = None

    @cached_property
    def client(self) -> Client:
        """Raises SecretUnreadable when the account's token cannot be decrypted."""
        return itop_client(self.itop)

    @cached_property
    def scope(self) -> Scope:
        return Scope(self.workspace, self.client, self.deadline)

    @cached_property
    def ticket_class(self) -> TicketClass:
        """What is known of the profile's class."""
        return ticket_class_of(self.itop, self.profile.ticket_class)

    @cached_property
    def choices(self) -> Choices:
        return Choices(self.itop, self.client, self.deadline)

    def person(self) -> Person:
        """The contact's Person, known to be served by this workspace. Raises NobodyFound, OutOfScope."""
        if self._person is None:
            wanted = self.scope.attributes()
            person = who_is(self.request.contact, self.workspace, self.client, self.deadline, wanted)
            if not self.scope.serves(person):
                if person.how == PersonMatch.How.CHOSEN:
                    raise NobodyFound(Why.OUTSIDE, picked_by=person.picked_by)
                raise OutOfScope(f"{person.name} is not in the scope of {self.workspace}")
            self._person = person
        return self._person

    # Who is it?

    def likely_people(self, known: Iterable[int], *, without: int = 0) -> Candidates:
        """Among those whom the workspace serves, whom the contact may be: `known` are ids that speak for it."""
        return likely(self.request.contact, self.workspace, self.scope, known, without)

    def search_people(self, words: str) -> Candidates:
        """Among those whom the workspace serves."""
        return search(words, self.scope)

    def pick(self, person_id: int) -> Person:
        """Remembers that the contact is this person. Raises NobodyFound if iTop, or the scope, does not have them."""
        if not self.request.contact.id:
            raise NobodyFound(Why.NOTHING_TO_GO_BY)
        found = person_by_id(person_id, self.client, self.deadline, self.scope.attributes())
        if found is None:
            raise NobodyFound(Why.GONE)
        person = Person.of(found, wanted=self.scope.attributes())
        if not self.scope.serves(person):
            raise NobodyFound(Why.OUTSIDE)
        self._person = pick(person, self.request.contact, self.workspace, self.request.admin.name)
        return self._person

    def picked_as(self, person_id: int) -> Person | None:
        """The person as a teammate picked them for the contact; None when nobody did."""
        return picked_as(person_id, self.request.contact, self.workspace)

    def undo_pick(self, person_id: int) -> None:
        """Forgets that this person was picked, if somebody did."""
        undo_pick(person_id, self.request.contact, self.workspace)

    def ask_anew(self) -> None:
        """Has iTop asked at once who the contact is, whatever it just said."""
        ask_anew(self.request.contact, self.workspace)

    # Tickets

    def conversation(self) -> Conversation | None:
        return (
            Conversation.objects.filter(
                workspace=self.workspace, conversation_id=self.request.conversation.id
            )
            .select_related("workspace__itop", "workspace__profile")
            .first()
        )

    def creation_to_tell_of(self) -> Submission | None:
        """A press of Create in this conversation that is under way, or was refused when nobody was looking."""
        newest = creations_in(self.workspace, self.request.conversation.id)
        under_way = Q(state=Submission.State.CREATING)
        untold = Q(state=Submission.State.REFUSED, told=False)
        return newest.filter(under_way | untold).first()

    def links(self) -> dict[int, TicketLink]:
        """The links of this conversation, by the ticket's id in iTop."""
        conversation = self.conversation()
        if conversation is None:
            return {}
        links = TicketLink.objects.of_conversation(conversation).filter(
            ticket__itop=self.itop, ticket__ticket_class=self.profile.ticket_class
        )
        return {link.ticket.object_id: link for link in links}

    def tickets(self) -> tuple[list[TicketRow], bool]:
        """The linked and the ongoing tickets of the person, newest first, in one call; True when there are more.

        Soon after the last call there is none. Links that the PHP extension left in iTop are adopted on the way.
        """
        person = self.person()
        links = self.links()
        memory = self.memory(person)
        said = memory.fresh(links)
        if said is not None:
            return self.rows_now(said.rows, links), said.more
        asked_at = timezone.now()
        found = self._search(person, links)
        self._adopt(found, links, person)
        tickets = list(found)
        if found.total > MOST_TICKETS and links:
            # The linked ones may be older than the newest two hundred.
            listed = {ticket.id for ticket in tickets}
            tickets += [ticket for ticket in self._get_linked(links) if ticket.id not in listed]
        rows = [
            self.row(ticket, person, links) for ticket in tickets if self.scope.has_ticket(ticket, person)
        ]
        seen = {ticket.id for ticket in tickets}
        for object_id, link in links.items():
            is_gone = object_id not in seen
            if is_gone:
                rows.append(_gone_row(link.ticket))
            if is_gone is not (link.ticket.gone_at is not None):
                Ticket.objects.filter(pk=link.ticket_id).update(gone_at=timezone.now() if is_gone else None)
        memory.keep(rows, links, more=found.total > MOST_TICKETS, asked_at=asked_at)
        return rows, found.total > MOST_TICKETS

    def memory(self, person: Person) -> TicketMemory[TicketRow]:
        return TicketMemory(TicketRow, self.workspace, self.request.conversation.id, person)

    def rows_now(self, rows: Iterable[TicketRow], links: Mapping[int, TicketLink]) -> list[TicketRow]:
        """Kept rows: what iTop said of the tickets, and which of them are linked now."""
        return [replace(row, is_linked=row.id in links) for row in rows]

    def _search(self, person: Person, links: Mapping[int, TicketLink]) -> Found:
        code, missing = self.profile.code, self.missing_codes()
        mine = f"t.{code('caller_id')} = {person.id}"
        if self.profile.excluded_states:
            states = ", ".join(quote(state) for state in self.profile.excluded_states)
            mine = f"({mine} AND t.{code('status')} NOT IN ({states}))"
        conditions = [mine]
        lines = {code("title"), *self.subtitle_codes()} - missing
        fields = self.row_codes() | lines
        if links:
            conditions.append(f"t.id IN ({ids(links)})")
        if self.itop.has_intercom_attributes:
            ref, _url, activated = attribute_codes(self.workspace)
            conditions.append(f"t.{ref} = {quote(self.request.conversation.id)}")
            fields |= {ref, activated}
        try:
            return self.client.get(
                self.profile.ticket_class,
                f"SELECT {self.profile.ticket_class} AS t WHERE {' OR '.join(conditions)}",
                fields=sorted(fields),
                limit=MOST_TICKETS,
                deadline=self.deadline.remaining(),
            )
        except UnknownAttribute as refusal:
            # A profile that names an attribute which this iTop lacks costs the subtitles, not the list.
            lacks = {one for one in lines if is_read_from(one, refusal.attribute)}
            if not lacks:
                raise
            self.learn_missing(lacks)
            return self._search(person, links)

    def subtitle_codes(self) -> tuple[str, ...]:
        """What the subtitle is read from: of an external key the name, not the number."""
        code = self.profile.subtitle_attribute
        if code.endswith("_id"):
            return (f"{code}_friendlyname", code)
        return (code,) if code else ()

    def row_codes(self) -> set[str]:
        """What each ticket is asked for: its name, its state, and what decides who may see it."""
        code = self.profile.code
        return {"id", "friendlyname", code("status"), code("org_id"), code("caller_id")}

    def _get_linked(self, links: Mapping[int, TicketLink]) -> Found:
        return self.client.get(
            self.profile.ticket_class,
            f"SELECT {self.profile.ticket_class} AS t WHERE t.id IN ({ids(links)})",
            fields=sorted(self.row_codes()),
            deadline=self.deadline.remaining(),
        )

    def _adopt(self, found: Found, links: dict[int, TicketLink], person: Person) -> None:
        if not self.itop.has_intercom_attributes:
            return
        if Submission.objects.unfinished().filter(conversation=self.conversation()).exists():
            return  # It may be the very ticket that is being created, whose link is to be made by that.
        ref, _url, activated = attribute_codes(self.workspace)
        # What a teammate has unlinked here stays so, also while iTop has not been told yet.
        unlinked = Unlinking.objects.standing().filter(
            conversation=self.conversation(), ticket__itop=self.itop
        )
        unlinked_ids = set(unlinked.values_list("ticket__object_id", flat=True))
        for ticket in found:
            if (
                ticket.id in links
                or ticket.id in unlinked_ids
                or ticket.text(ref) != self.request.conversation.id
            ):
                continue
            if self.scope.has_ticket(ticket, person):
                sync_on = ticket.text(activated) == "yes"
                # What came before it is the PHP extension's work.
                since = last_position(self.request.conversation)
                link, is_new = self._link_row(
                    self._known_conversation(),
                    ticket,
                    linked_by="",
                    sync_on=sync_on,
                    in_step=True,
                    since=since,
                )
                links[ticket.id] = link
                if is_new:
                    Conversation.objects.filter(pk=link.conversation_id).compare_within(0)

    def row(self, ticket: ItopObject, person: Person, links: Mapping[int, TicketLink]) -> TicketRow:
        code = self.profile.code
        status = ticket.text(code("status"))
        return TicketRow(
            ticket_class=ticket.class_name,
            id=ticket.id,
            ref=ticket.text("friendlyname") or f"{ticket.class_name} {ticket.id}",
            title=ticket.text(code("title")),
            status=status,
            subtitle=next((text for code in self.subtitle_codes() if (text := ticket.text(code))), ""),
            is_linked=ticket.id in links,
            is_ongoing=ticket.integer(code("caller_id")) == person.id
            and status not in self.profile.excluded_states,
        )

    def get_ticket(
        self, ticket_class: str, ticket_id: int, *, more: Iterable[str] = ()
    ) -> tuple[ItopObject, frozenset[str]]:
        """The ticket with those of its attributes that decide who may see it, and `more` of them.

        And those of `more` that this iTop does not have; they are not asked for again for a while. Raises TicketGone,
        OutOfScope.
        """
        if ticket_class != self.profile.ticket_class:
            raise TicketGone(f"{ticket_class} is not the class of this workspace's tickets")
        person = self.person()
        always = self.row_codes() | {self.profile.code("title")}
        more = frozenset(more) - always
        missing = self.missing_codes() & more
        while True:
            try:
                found = self.client.get(
                    ticket_class,
                    f"SELECT {ticket_class} AS t WHERE t.id = {ticket_id}",
                    fields=sorted(always | (more - missing)),
                    deadline=self.deadline.remaining(),
                )
                break
            except UnknownAttribute as refusal:
                lacks = {code for code in more - missing if is_read_from(code, refusal.attribute)}
                if not lacks:
                    raise
                missing |= lacks
                self.learn_missing(lacks)
        if not found.objects:
            raise TicketGone(f"{ticket_class} {ticket_id} is not in iTop")
        ticket = found.objects[0]
        if not self.scope.has_ticket(ticket, person):
            raise OutOfScope(f"{ticket.text('friendlyname')} is not in the scope of {self.workspace}")
        return ticket, missing

    def missing_codes(self) -> frozenset[str]:
        """What a profile names and the class does not have, as iTop has said lately: it is not asked for again."""
        known = ItopAnswer.objects.fresh(self.itop, self._missing_question(), MISSING_SECONDS)
        return frozenset(known.value if known else ())

    def learn_missing(self, codes: Iterable[str]) -> None:
        ItopAnswer.objects.keep(self.itop, self._missing_question(), sorted(self.missing_codes() | {*codes}))

    def _missing_question(self) -> str:
        return f"attributes that {self.profile.ticket_class} does not have"

    # Linking and syncing

    def so_far(self, ticket_class: str, ticket_id: int) -> SoFar:
        """What linking the ticket could copy into it. Raises TicketGone, OutOfScope."""
        found, _missing = self.get_ticket(ticket_class, ticket_id)
        ref = found.text("friendlyname")
        if ticket_id in self.links():
            return SoFar(ref=ref, is_linked=True, copy=None)
        is_paused = TicketLink.objects.filter(conversation=self.conversation()).are_paused()
        ticket = Ticket.objects.filter(
            itop=self.itop, ticket_class=found.class_name, object_id=found.id
        ).first()
        try:
            whole = whole_conversation(self.workspace, self.request.conversation, self.deadline)
        except (IntercomError, SecretUnreadable) as trouble:
            log.warning("desk.conversation_not_had", error=type(trouble).__name__)
            return SoFar(ref=ref, is_linked=False, copy=None, is_paused=is_paused)
        copy = Copy.of(self.conversation(), ticket, whole.messages)
        return SoFar(ref=ref, is_linked=False, copy=copy, is_complete=whole.is_complete, is_paused=is_paused)

    def link(self, ticket_class: str, ticket_id: int, *, copy: bool) -> Linked:
        """Links the ticket to this conversation; `copy` has what was said so far written into it too.

        Raises TicketGone, OutOfScope, and with `copy` IntercomError when Intercom does not hand over the conversation:
        then nothing is linked.
        """
        found, _missing = self.get_ticket(ticket_class, ticket_id)
        if (link := self.links().get(ticket_id)) is not None:
            return Linked(ticket=link.ticket, is_new=False, is_paused=not link.sync_on)
        try:
            whole = whole_conversation(self.workspace, self.request.conversation, self.deadline)
        except (IntercomError, SecretUnreadable):
            if copy:
                raise
            whole = self.request.conversation
        copied = 0
        with transaction.atomic():
            known = self._known_conversation()
            is_paused = TicketLink.objects.filter(conversation=known).are_paused()
            link, is_new = self._link_row(
                known,
                found,
                linked_by=self.request.admin.name,
                sync_on=True,
                in_step=False,
                since=(0, 0) if copy else last_position(whole),
            )
            if is_new:
                if copy:
                    wanted = Copy.of(link.conversation, link.ticket, whole.messages)
                    wanted.into(link)
                    copied = len(wanted.entries)
                if is_paused and link.sync_on:
                    # After the copying, which was asked for: the pause is of what follows.
                    link.switch(on=False, at=timezone.now().timestamp())
                leave_note(self, link.conversation, LINKED_NOTE, link.ticket)
                since = timezone.now() - LOOK_AGAIN
                Notification.objects.look_again(self.workspace, self.request.conversation.id, since)
                deliver_since(link, since)
                Conversation.objects.filter(pk=link.conversation_id).compare_within(0)
        return Linked(ticket=link.ticket, is_new=is_new, is_paused=not link.sync_on, copied=copied)

    def _known_conversation(self) -> Conversation:
        """Its row, made if need be, with those who take part in it."""
        known = Conversation.objects.known(self.workspace, self.request.conversation.id)
        Participant.objects.note(known, self.request.contact_ids)
        return known

    def _link_row(
        self,
        conversation: Conversation,
        found: ItopObject,
        *,
        linked_by: str,
        sync_on: bool,
        in_step: bool,
        since: tuple[int, int],
    ) -> tuple[TicketLink, bool]:
        """The link, on which messages count that came after `since`; and whether it is a new one."""
        ticket, _new = Ticket.objects.get_or_create(
            itop=self.itop,
            ticket_class=found.class_name,
            object_id=found.id,
            defaults={"ref": found.text("friendlyname")[:100]},
        )
        return TicketLink.objects.get_or_create(
            conversation=conversation,
            ticket=ticket,
            defaults={
                "linked_by": linked_by[:200],
                "sync_on": sync_on,
                "in_step": in_step,
                "since_part_at": since[0],
                "since_part_order": since[1],
            },
        )

    def switch_sync(self, *, on: bool) -> None:
        """Pauses or resumes the sync of all tickets linked to this conversation."""
        conversation = self.conversation()
        if conversation is not None:
            now = timezone.now().timestamp()
            with transaction.atomic():
                # Locked: a second press must not write a second pause.
                for link in (
                    TicketLink.objects.filter(conversation=conversation)
                    .exclude(sync_on=on)
                    .select_for_update()
                ):
                    link.switch(on=on, at=now)
            if on:
                # What came meanwhile and whose notification was lost is to be offered too.
                Conversation.objects.filter(pk=conversation.pk).compare_within(0)

    def sync_status(self) -> SyncStatus | None:
        """How the sync of this conversation stands; None when no ticket is linked."""
        conversation = self.conversation()
        return sync_status(conversation) if conversation else None

    def sync_details(self) -> SyncDetails | None:
        """The same with what is behind it; None when no ticket is linked."""
        conversation = self.conversation()
        return sync_details(conversation) if conversation else None

    def try_again(self) -> None:
        """Puts the messages of this conversation that could not be written back among the waiting."""
        conversation = self.conversation()
        if conversation is not None:
            of_linked(conversation).filter(RETRIABLE).try_again()

    def write_left_out(self) -> None:
        """Has the messages written that a pause of the sync has left out."""
        conversation = self.conversation()
        if conversation is not None:
            left_out(conversation).write_after_all()

    def forget_left_out(self) -> None:
        """They stay left out, and nobody is asked again."""
        conversation = self.conversation()
        if conversation is not None:
            left_out(conversation).update(reason=LEFT_OUT)


def is_read_from(code: str, attribute: str) -> bool:
    """An external key's name goes with the key."""
    return code.removesuffix("_friendlyname") == attribute.removesuffix("_friendlyname")


def _gone_row(ticket: Ticket) -> TicketRow:
    return TicketRow(
        ticket_class=ticket.ticket_class,
        id=ticket.object_id,
        ref=ticket.ref,
        title="",
        status="",
        subtitle="",
        is_linked=True,
        is_ongoing=False,
    )
