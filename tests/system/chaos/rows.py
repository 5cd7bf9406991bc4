"""Create the rows that an admin enters: `python -m tests.system.chaos.rows migrate`, or `... set-up JSON`."""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    import django

    django.setup()
    if sys.argv[1] == "migrate":
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    else:
        _set_up(json.loads(sys.argv[2]))


def _set_up(wanted: dict[str, Any]) -> None:
    """Create an iTop, a workspace, and conversations linked to tickets: {conversation id: [[ticket id, ref], ...]}.

    `contacts` are the customers of conversations: {conversation id: contact id}.
    """
    from intercom_bridge.models import Workspace
    from sandbox.demo_rows import set_up

    workspace = set_up(
        itop_url=wanted["itop_url"],
        itop_token=wanted["itop_token"],
        itop_name="Chaos",
        is_sandbox=wanted["is_sandbox"],
        time_zone=wanted["time_zone"],
    )
    # Every file has a copy to look for.
    workspace.copies_files_of_notes = True
    workspace.save()
    contacts = wanted.get("contacts", {})
    _link(workspace, wanted["links"], contacts)
    if wanted.get("second_workspace"):
        second = Workspace.objects.create(
            workspace_id=wanted["second_workspace"],
            name="Second",
            client_secret=workspace.client_secret,
            itop=workspace.itop,
            profile=workspace.profile,
        )
        _link(second, wanted["second_links"], contacts)


def _link(workspace: Any, links: dict[str, list[tuple[int, str]]], contacts: dict[str, str]) -> None:
    from intercom_bridge.models import Conversation, Participant, Ticket, TicketLink

    for conversation_id, tickets in links.items():
        conversation = Conversation.objects.create(workspace=workspace, conversation_id=conversation_id)
        Participant.objects.record(conversation, [contacts.get(conversation_id, "")])
        for object_id, ref in tickets:
            ticket, _new = Ticket.objects.get_or_create(
                itop=workspace.itop, ticket_class="UserRequest", object_id=object_id, defaults={"ref": ref}
            )
            TicketLink.objects.create(conversation=conversation, ticket=ticket, linked_by="Chaos")


if __name__ == "__main__":
    main()
