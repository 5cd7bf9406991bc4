"""The admin: three kinds of rows to edit, and read-only records of messages, events and links."""

# Imported to register their admins.
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
