"""The teammate's questions to iTop: who is this person, which tickets are there, open this one, link it."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import Count, Max
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom.payloads import CanvasRequest
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopAnswer,
    Notification,
    PersonMatch,
    Posting,
    Ticket,
    TicketLink,
    Workspace,
)
from intercom_bridge.sync.extension import attribute_codes
from intercom_bridge.sync.message import order_of
from itop_client import Client, Found, ItopObject, Query, UnknownAttribute, ids, parse, quote

# A verdict on the scope, and who a contact is, cost no call for so long.
REMEMBERED_SECONDS = 600.0
SERVICES_SECONDS = 300.0
MOST_TICKETS = 200
MOST_CHOICES = 500

_EVERYBODY = re.compile(r"SELECT\s+`?(Organization|Person|Contact)`?", re.IGNORECASE)
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_ACCOUNT_CLASSES = ("User", "UserInternal", "UserLocal", "UserLDAP", "UserExternal", "UserToken")


class DeskError(Exception):
    """Something a teammate has to be told; the panel has a screen for each."""


class NobodyFound(DeskError):
    """No Person of iTop, or several, fit the contact. `candidates` says how many."""

    def __init__(self, candidates: int, email: str) -> None:
        super().__init__(f"{candidates} persons fit")
        self.candidates = candidates
        self.email = email


class OutOfScope(DeskError):
    """The person, or the ticket, is not among those whom this workspace serves."""


class TicketGone(DeskError):
    """iTop has no such ticket (any more)."""


class Deadline:
    """The wall time left for one answer, shared by all the calls it takes."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds, never below a tenth: a call with no time left fails as one that iTop did not answer."""
        return max(0.1, self._end - time.monotonic())


@dataclass(frozen=True, kw_only=True)
class Person:
    id: int
    name: str
    email: str
    org_id: int
    org_name: str
    how: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TicketRow:
    """A ticket in a list. `status` "" means that iTop no longer has it."""

    ticket_class: str
    id: int
    ref: str
    status: str
    subtitle: str
    is_linked: bool
    is_ongoing: bool


@dataclass(frozen=True, kw_only=True)
class SyncStatus:
    """How the messages of a conversation stand: counts by state, and when the last written one was sent."""

    on: bool
    written: int = 0
    waiting: int = 0
    failed: int = 0
    paused: int = 0
    last_at: dt.datetime | None = None
    last_failure: str = ""


@dataclass(frozen=True, kw_only=True)
class TicketView:
    """A ticket as the panel shows it: (code, value) of each attribute that can be shown."""

    row: TicketRow
    title: str
    attributes: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    other_conversations: int
    backoffice_url: str


@dataclass(frozen=True)
class Choice:
    id: str
    label: str


class Desk:
    """Bound to one workspace and one click. Methods raise ItopError when iTop cannot answer."""

    def __init__(self, workspace: Workspace, request: CanvasRequest, deadline: Deadline) -> None:
        self.workspace = workspace
        self.itop = workspace.itop
        self.profile = workspace.profile
        self.request = request
        self.deadline = deadline
        self._person: Person | None = None

    @property
    def client(self) -> Client:
        return itop_client(self.itop)

    # Who is it?

    def person(self) -> Person:
        """The contact's Person, known to be served by this workspace. Raises NobodyFound, OutOfScope."""
        if self._person is None:
            person = self._remembered_person() or self._find_person()
            if not self._serves(person):
                raise OutOfScope(f"{person.name} is not in the scope of {self.workspace}")
            self._person = person
        return self._person

    def _evidence(self) -> str:
        contact = self.request.contact
        attributes = contact.custom_attributes
        return "|".join(
            str(part)[:100]
            for part in (
                attributes.get("itop_contact_class") or "",
                attributes.get("itop_contact_id") or "",
                contact.email.strip().casefold(),
            )
        )

    def _remembered_person(self) -> Person | None:
        since = timezone.now() - dt.timedelta(seconds=REMEMBERED_SECONDS)
        match = PersonMatch.objects.filter(
            workspace=self.workspace,
            contact_id=self.request.contact.id,
            evidence=self._evidence(),
            matched_at__gte=since,
        ).first()
        if match is None or not set(self._scope_attributes()) <= set(match.attributes):
            return None
        return Person(
            id=match.person_id,
            name=match.name,
            email=match.email,
            org_id=match.org_id,
            org_name=match.org_name,
            how=match.how,
            attributes=match.attributes,
        )

    def _find_person(self) -> Person:
        """By the contact's itop_contact_id, else by e-mail if exactly one Person has it: one call for both."""
        contact = self.request.contact
        email = contact.email.strip()
        person_id = _positive(contact.custom_attributes.get("itop_contact_id"))
        stated_class = str(contact.custom_attributes.get("itop_contact_class") or "Person")
        conditions = []
        if person_id and _CLASS.fullmatch(stated_class):
            conditions.append(f"p.id = {person_id}")
        if email:
            conditions.append(f"p.email = {quote(email)}")
        if not conditions:
            raise NobodyFound(0, email)
        wanted = self._scope_attributes()
        found = self.client.get(
            "Person",
            f"SELECT Person AS p WHERE {' OR '.join(conditions)}",
            fields=("id", "friendlyname", "email", "org_id", "org_name", "status", *wanted),
            limit=50,
            deadline=self.deadline.remaining(),
        )
        by_id = [
            one
            for one in found
            if one.id == person_id and stated_class in (one.class_name, "Person", "Contact")
        ]
        # iTop compares as its database's collation does, where é equals e; an address is meant to the letter.
        by_email = [
            one for one in found if one.text("email").strip().casefold() == email.casefold() and email
        ]
        if len(by_email) > 1:
            by_email = [one for one in by_email if one.text("status") != "inactive"] or by_email
        if by_id:
            return self._remember(by_id[0], PersonMatch.How.ATTRIBUTES, wanted)
        if len(by_email) != 1:
            raise NobodyFound(len(by_email), email)
        return self._remember(by_email[0], PersonMatch.How.EMAIL, wanted)

    def _remember(self, found: ItopObject, how: str, wanted: tuple[str, ...]) -> Person:
        person = Person(
            id=found.id,
            name=found.text("friendlyname"),
            email=found.text("email"),
            org_id=found.integer("org_id"),
            org_name=found.text("org_name"),
            how=how,
            attributes={code: found.text(code) for code in wanted},
        )
        if self.request.contact.id:
            PersonMatch.objects.update_or_create(
                workspace=self.workspace,
                contact_id=self.request.contact.id[:64],
                defaults={
                    "evidence": self._evidence(),
                    "how": how,
                    "person_id": person.id,
                    "name": person.name[:255],
                    "email": person.email[:320],
                    "org_id": person.org_id,
                    "org_name": person.org_name[:255],
                    "attributes": dict(person.attributes),
                    "matched_at": timezone.now(),
                },
            )
        return person

    # The scope

    def _scope_attributes(self) -> tuple[str, ...]:
        """What the scope wants to know of the end user's contact beside its id."""
        names = parse(self.workspace.scope).placeholders
        return tuple(sorted(name.split("->", 1)[1] for name in names if "->" in name))

    def _scope(self, person: Person) -> Query:
        """The scope with the end user filled in: iTop would put the API account's contact."""
        known = {"org_id": person.org_id, "email": person.email, **person.attributes}
        values: dict[str, str | int] = {f"current_contact->{code}": value for code, value in known.items()}
        return parse(self.workspace.scope).fill({"current_contact_id": person.id, **values})

    def _serves(self, person: Person) -> bool:
        scope = self._scope(person)
        if scope.class_name == "Organization":
            return self._holds(scope, "id", person.org_id)
        if scope.class_name in ("Person", "Contact"):
            return self._holds(scope, "id", person.id)
        if scope.class_name in _ACCOUNT_CLASSES:
            return self._holds(scope, "contactid", person.id)
        return self._holds(scope)

    def _holds(self, scope: Query, attribute: str = "", value: int = 0) -> bool:
        """Whether the scope, narrowed to one object, finds anything. Kept for ten minutes."""
        if _EVERYBODY.fullmatch(str(scope).strip()) and attribute == "id":
            return value > 0
        query = scope.narrow(attribute, value) if attribute else scope
        question = f"scope: {query}"
        answer = ItopAnswer.objects.fresh(self.itop, question, REMEMBERED_SECONDS)
        if answer is None:
            found = self.client.get(
                query.class_name, str(query), fields=("id",), limit=1, deadline=self.deadline.remaining()
            )
            ItopAnswer.objects.keep(self.itop, question, found.total > 0)
            return found.total > 0
        return bool(answer.value)

    def _ticket_in_scope(self, ticket: ItopObject, person: Person) -> bool:
        """Its organization is served (scope on Organization), or its caller (on people), or it is the person's own."""
        org_id = ticket.integer(self.profile.code("org_id"))
        caller_id = ticket.integer(self.profile.code("caller_id"))
        scope = self._scope(person)
        if scope.class_name == "Organization":
            return org_id == person.org_id or self._holds(scope, "id", org_id)
        if scope.class_name in ("Person", "Contact"):
            return caller_id == person.id or self._holds(scope, "id", caller_id)
        if scope.class_name in _ACCOUNT_CLASSES:
            return caller_id == person.id or self._holds(scope, "contactid", caller_id)
        return org_id == person.org_id

    # Tickets

    def conversation(self) -> Conversation | None:
        return (
            Conversation.objects.filter(
                workspace=self.workspace, conversation_id=self.request.conversation.id
            )
            .select_related("workspace__itop", "workspace__profile")
            .first()
        )

    def links(self) -> list[TicketLink]:
        conversation = self.conversation()
        return list(TicketLink.objects.of_conversation(conversation)) if conversation else []

    def tickets(self) -> tuple[list[TicketRow], bool]:
        """The linked and the ongoing tickets of the person, newest first, in one call; True when there are more.

        Links that the PHP extension left in iTop are adopted on the way.
        """
        person = self.person()
        links = {link.ticket.object_id: link for link in self.links()}
        found = self._search(person, links)
        self._adopt(found, links, person)
        rows = [self._row(ticket, person, links) for ticket in found]
        seen = {row.id for row in rows}
        for object_id, link in links.items():
            if object_id not in seen and found.total <= MOST_TICKETS:
                rows.append(_gone_row(link.ticket))
        return rows, found.total > MOST_TICKETS

    def _search(self, person: Person, links: Mapping[int, TicketLink]) -> Found:
        code = self.profile.code
        mine = f"t.{code('caller_id')} = {person.id}"
        if self.profile.excluded_states:
            states = ", ".join(quote(state) for state in self.profile.excluded_states)
            mine = f"({mine} AND t.{code('status')} NOT IN ({states}))"
        conditions = [mine]
        fields = {"id", "friendlyname", code("status"), code("org_id"), code("caller_id")}
        if self.profile.subtitle_attribute:
            fields.add(self.profile.subtitle_attribute)
        if links:
            conditions.append(f"t.id IN ({ids(links)})")
        with_extension = self.itop.has_intercom_attributes is not False
        if with_extension:
            ref, _url, activated = attribute_codes(self.workspace)
            conditions.append(f"t.{ref} = {quote(self.request.conversation.id)}")
            fields |= {ref, activated}
        try:
            found = self.client.get(
                self.profile.ticket_class,
                f"SELECT {self.profile.ticket_class} AS t WHERE {' OR '.join(conditions)}",
                fields=sorted(fields),
                limit=MOST_TICKETS,
                deadline=self.deadline.remaining(),
            )
        except UnknownAttribute as refusal:
            if not with_extension or refusal.attribute not in attribute_codes(self.workspace):
                raise
            self.itop.learn(has_intercom_attributes=False)
            return self._search(person, links)
        if with_extension and self.itop.has_intercom_attributes is None:
            self.itop.learn(has_intercom_attributes=True)
        return found

    def _adopt(self, found: Found, links: dict[int, TicketLink], person: Person) -> None:
        if self.itop.has_intercom_attributes is not True:
            return
        ref, _url, activated = attribute_codes(self.workspace)
        for ticket in found:
            if ticket.id in links or ticket.text(ref) != self.request.conversation.id:
                continue
            if self._ticket_in_scope(ticket, person):
                sync_on = ticket.text(activated) == "yes"
                links[ticket.id] = self._link_row(ticket, linked_by="", sync_on=sync_on, in_step=True)[0]

    def _row(self, ticket: ItopObject, person: Person, links: Mapping[int, TicketLink]) -> TicketRow:
        code = self.profile.code
        status = ticket.text(code("status"))
        return TicketRow(
            ticket_class=ticket.class_name,
            id=ticket.id,
            ref=ticket.text("friendlyname") or f"{ticket.class_name} {ticket.id}",
            status=status,
            subtitle=ticket.text(self.profile.subtitle_attribute) if self.profile.subtitle_attribute else "",
            is_linked=ticket.id in links,
            is_ongoing=ticket.integer(code("caller_id")) == person.id
            and status not in self.profile.excluded_states,
        )

    def ticket(self, ticket_class: str, ticket_id: int) -> TicketView:
        """One ticket with the profile's attributes. Raises TicketGone, OutOfScope."""
        person = self.person()
        found, missing = self._get_ticket(ticket_class, ticket_id)
        if not self._ticket_in_scope(found, person):
            raise OutOfScope(f"{found.text('friendlyname')} is not in the scope of {self.workspace}")
        links = {link.ticket.object_id: link for link in self.links()}
        row = self._row(found, person, links)
        others = (
            TicketLink.objects.filter(
                ticket__itop=self.itop, ticket__ticket_class=found.class_name, ticket__object_id=found.id
            )
            .exclude(
                conversation__workspace=self.workspace,
                conversation__conversation_id=self.request.conversation.id,
            )
            .count()
        )
        shown = []
        for code in self.profile.details_attributes:
            if code in missing:
                continue
            value = found.fields.get(f"{code}_friendlyname", found.fields.get(code))
            if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
                shown.append((code, str(value)))
        return TicketView(
            row=row,
            title=found.text(self.profile.code("title")),
            attributes=tuple(shown),
            missing=missing,
            other_conversations=others,
            backoffice_url=self.itop.backoffice_url(found.class_name, found.id),
        )

    def _get_ticket(
        self, ticket_class: str, ticket_id: int, missing: tuple[str, ...] = ()
    ) -> tuple[ItopObject, tuple[str, ...]]:
        """The ticket, and those of the profile's attributes that its data model does not have."""
        if ticket_class != self.profile.ticket_class:
            raise TicketGone(f"{ticket_class} is not the class of this workspace's tickets")
        code = self.profile.code
        fields = {"id", "friendlyname", code("title"), code("status"), code("org_id"), code("caller_id")}
        for attribute in (*self.profile.details_attributes, self.profile.subtitle_attribute):
            if attribute and attribute not in missing:
                fields.add(attribute)
                if attribute.endswith("_id"):
                    fields.add(f"{attribute}_friendlyname")
        fields -= set(missing)
        try:
            found = self.client.get(
                ticket_class,
                f"SELECT {ticket_class} AS t WHERE t.id = {ticket_id}",
                fields=sorted(fields),
                deadline=self.deadline.remaining(),
            )
        except UnknownAttribute as refusal:
            named = refusal.attribute.removesuffix("_friendlyname")
            if named not in self.profile.details_attributes and named != self.profile.subtitle_attribute:
                raise
            return self._get_ticket(ticket_class, ticket_id, (*missing, named, f"{named}_friendlyname"))
        if not found.objects:
            raise TicketGone(f"{ticket_class} {ticket_id} is not in iTop")
        return found.objects[0], missing

    # Linking and syncing

    def link(self, ticket_class: str, ticket_id: int) -> tuple[Ticket, bool]:
        """Links the ticket to this conversation; False when it was linked already. Raises TicketGone, OutOfScope."""
        person = self.person()
        found, _missing = self._get_ticket(ticket_class, ticket_id)
        if not self._ticket_in_scope(found, person):
            raise OutOfScope(f"{found.text('friendlyname')} is not in the scope of {self.workspace}")
        link, is_new = self._link_row(found, linked_by=self.request.admin.name, sync_on=True, in_step=False)
        if is_new:
            self._note_link(link)
            Notification.objects.look_again(self.workspace, self.request.conversation.id, REMEMBERED_SECONDS)
        return link.ticket, is_new

    def _link_row(
        self, found: ItopObject, *, linked_by: str, sync_on: bool, in_step: bool
    ) -> tuple[TicketLink, bool]:
        ticket, _new = Ticket.objects.get_or_create(
            itop=self.itop,
            ticket_class=found.class_name,
            object_id=found.id,
            defaults={"ref": found.text("friendlyname")[:100]},
        )
        messages = self.request.conversation.messages
        last = max(((part.created_at, order_of(part.id)) for part in messages), default=(0, 0))
        return TicketLink.objects.get_or_create(
            conversation=Conversation.objects.known(self.workspace, self.request.conversation.id),
            ticket=ticket,
            defaults={
                "linked_by": linked_by[:200],
                "sync_on": sync_on,
                "in_step": in_step,
                "since_part_at": last[0],
                "since_part_order": last[1],
            },
        )

    def _note_link(self, link: TicketLink) -> None:
        if not self.request.admin.id:
            return
        ticket = link.ticket
        with translation.override(self.workspace.language):
            words = format_html(
                _("{teammate} linked ticket {ticket} to this conversation."),
                teammate=self.request.admin.name or _("A teammate"),
                ticket=format_html(
                    '<a href="{}">{}</a>',
                    self.itop.backoffice_url(ticket.ticket_class, ticket.object_id),
                    ticket.ref,
                ),
            )
        Posting.objects.create(
            conversation=link.conversation,
            admin_id=self.request.admin.id,
            is_note=True,
            body=format_html("<p>{}</p>", words),
        )

    def switch_sync(self, *, on: bool) -> None:
        """Pauses or resumes the sync of all tickets linked to this conversation."""
        conversation = self.conversation()
        if conversation is not None:
            TicketLink.objects.filter(conversation=conversation).exclude(sync_on=on).update(
                sync_on=on, in_step=False
            )

    def sync_status(self) -> SyncStatus | None:
        """How the sync of this conversation stands; None when no ticket is linked."""
        conversation = self.conversation()
        if conversation is None:
            return None
        links = TicketLink.objects.filter(conversation=conversation)
        on = [link.sync_on for link in links]
        if not on:
            return None
        status = SyncStatus(on=any(on))
        deliveries = Delivery.objects.filter(conversation=conversation)
        counts = deliveries.values_list("state").annotate(n=Count("pk"), last=Max("part_created_at"))
        for state, count, last in counts:
            if state == Delivery.State.WRITTEN:
                last_at = dt.datetime.fromtimestamp(last, self.workspace.zone)
                status = replace(status, written=count, last_at=last_at)
            elif state == Delivery.State.WAITING:
                status = replace(status, waiting=count)
            elif state == Delivery.State.FAILED:
                failure = deliveries.filter(state=state).order_by("-pk").first()
                status = replace(status, failed=count, last_failure=failure.reason if failure else "")
        return status

    # Choices of the create form

    def services(self, person: Person) -> list[Choice]:
        """The services that the person's organization has contracts for, by name. One call, then none for 5 minutes."""
        return self._choices(
            "Service",
            "SELECT Service AS s JOIN lnkCustomerContractToService AS l ON l.service_id = s.id "
            "JOIN CustomerContract AS cc ON l.customercontract_id = cc.id "
            f"WHERE cc.org_id = {person.org_id} AND s.status != 'obsolete'",
        )

    def subcategories(self, service_id: str, request_type: str = "") -> list[Choice]:
        """The subcategories of a service, of the chosen request type if one is chosen."""
        condition = f" AND sc.request_type = {quote(request_type)}" if request_type else ""
        return self._choices(
            "ServiceSubcategory",
            f"SELECT ServiceSubcategory AS sc WHERE sc.service_id = {_positive(service_id)} "
            f"AND sc.status != 'obsolete'{condition}",
        )

    def _choices(self, class_name: str, query: str) -> list[Choice]:
        answer = ItopAnswer.objects.fresh(self.itop, query, SERVICES_SECONDS)
        if answer is None:
            found = self.client.get(
                class_name,
                query,
                fields=("id", "friendlyname"),
                limit=MOST_CHOICES,
                deadline=self.deadline.remaining(),
            )
            value = sorted(
                ([str(one.id), one.text("friendlyname")] for one in found),
                key=lambda pair: pair[1].casefold(),
            )
            ItopAnswer.objects.keep(self.itop, query, value)
        else:
            value = answer.value
        return [Choice(id=one[0], label=one[1] or one[0]) for one in value]


def _gone_row(ticket: Ticket) -> TicketRow:
    return TicketRow(
        ticket_class=ticket.ticket_class,
        id=ticket.object_id,
        ref=ticket.ref,
        status="",
        subtitle="",
        is_linked=True,
        is_ongoing=False,
    )


def _positive(value: object) -> int:
    """The number that an id is, 0 for anything else."""
    text = str(value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
