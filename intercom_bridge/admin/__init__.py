"""The admin.

Workspaces, iTops, ticket profiles and Messengers are edited. Messages, events and links are read-only records.
"""

# Importing these modules registers their admins.
from . import (  # noqa: F401
    broadcasts,
    conversations,
    deliveries,
    files,
    itops,
    messengers,
    outgoing_messages,
    person_matches,
    profiles,
    ticket_creations,
    ticket_events,
    tickets,
    webhook_events,
    workspaces,
)
