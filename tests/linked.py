"""A conversation that is linked to a ticket, as the panel and the worker leave it, stored without running them.

Hundreds of tests begin with such a link. `sync/test_linked.py` compares its rows with those of a real one.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.utils import timezone

from intercom_bridge.events.compare import attribute_codes, compare
from intercom_bridge.intercom.payloads import CanvasRequest
from intercom_bridge.models import (
    Conversation,
    ItopPoll,
    Participant,
    PersonMatch,
    Ticket,
    TicketLink,
    TicketProfile,
    TicketSnapshot,
    Workspace,
)
from intercom_bridge.sync.extension_attributes import attributes_of
from intercom_bridge.tickets.conversation import last_position
from intercom_bridge.tickets.people.evidence import Evidence
from intercom_bridge.tickets.version import KEY as VERSION
from itop_client import Client
from sandbox.intercom.workspace import OUR_APP
from sandbox.itop import Itop

from .teammate import Teammate

# The stand-in's person with the email address of the contact.
ALICE_IN_ITOP = {
    "how": "email",
    "person_id": 40,
    "name": "Alice Martin",
    "email": "alice.martin@acme.example",
    "org_id": 4,
    "org_name": "Acme Corp",
}


def store_link(teammate: Teammate, itop: Itop, ref: str) -> TicketLink:
    """Store the link of the teammate's conversation, whose contact is Alice, to a UserRequest of the stand-in."""
    request = CanvasRequest.parse(teammate.base_request())
    workspace = Workspace.objects.select_related("itop", "profile").get()
    workspace.learn_attributes(exist=True)
    workspace.client_secret_used_at = timezone.now()
    if workspace.access_token:
        # Learned from the note about the link.
        workspace.app_package_code = OUR_APP
    workspace.save(update_fields=["client_secret_used_at", "app_package_code"])
    conversation = Conversation.objects.create(
        workspace=workspace, conversation_id=request.conversation.id, panel_version=1
    )
    Participant.objects.record(conversation, request.contact_ids)
    PersonMatch.objects.create(
        workspace=workspace,
        itop=workspace.itop,
        contact_id=request.contact.id,
        evidence=str(Evidence.of(request.contact, workspace)),
        matched_at=timezone.now(),
        **ALICE_IN_ITOP,
    )
    ticket = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=int(ref.removeprefix("R-")), ref=ref
    )
    at, order = last_position(request.conversation)
    link = TicketLink.objects.create(
        conversation=conversation,
        ticket=ticket,
        linked_by=teammate.admin["name"],
        since_part_at=at,
        since_part_order=order,
        attributes_synced=True,
    )
    itop.store.update(ticket.ticket_class, ticket.object_id, **attributes_of(conversation, sync_on=True))
    _follow(ticket, workspace.profile, itop)
    # The screen with the outcome, without its components.
    teammate.canvas = {"content": {"components": []}, "stored_data": {VERSION: conversation.panel_version}}
    return link


def _follow(ticket: Ticket, profile: TicketProfile, itop: Itop) -> None:
    """Store what a first poll stores."""
    codes = attribute_codes(profile, private=False)
    client = Client(itop.url, token=itop.token)
    found = client.get(
        ticket.ticket_class,
        f"SELECT UserRequest AS t WHERE t.id = {ticket.object_id}",
        fields=sorted(set(codes.values())),
    ).objects[0]
    now = timezone.now()
    read: dict[str, Any] = compare(TicketSnapshot(ticket=ticket), found, profile, codes).new_values
    TicketSnapshot.objects.create(
        ticket=ticket,
        first_read_at=now,
        read_at=now,
        seen_until=read["last_update"],
        files=[],
        files_read_at=now,
        active_at=now,
        poll_at=now + dt.timedelta(seconds=15),
        **{"entries": {"public_log": []}} | read,
    )
    ItopPoll.objects.create(
        itop=ticket.itop,
        due_at=now + dt.timedelta(seconds=15),
        polled_at=now,
        succeeded_at=now,
        swept_at=now,
        newest_update=read["last_update"],
    )
