"""Keep the conversation attributes “iTop ticket” and “iTop status” up to date.

Teammates use them in views and workflows of Intercom's inbox. If a conversation has several tickets, its attributes
show the one that was linked last. Intercom must have the attributes first: `create_missing` creates them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

import structlog
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Concat, Now
from django.utils import timezone, translation

from intercom_bridge.connections import intercom_client
from intercom_bridge.datamodel.lookup import ticket_class_of, value_label
from intercom_bridge.intercom.client import (
    CALL_SECONDS,
    IntercomAuthenticationError,
    IntercomError,
    IntercomRateLimitedError,
    IntercomRejectedError,
)
from intercom_bridge.models import Conversation, TicketLink, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.sync.writer import stopping

from .cached import HOUR, cached

log = structlog.get_logger(__name__)

TICKET: Final = "iTop ticket"
STATUS: Final = "iTop status"
DESCRIPTIONS: Final[Mapping[str, str]] = {
    TICKET: "The reference of the linked ticket in iTop. The iTop bridge updates it.",
    STATUS: "The status of the linked ticket in iTop. The iTop bridge updates it.",
}

# Conversations of a workspace that are updated before the worker turns to other work.
MAX_UPDATES_PER_TURN: Final = 50
# How long other workers leave a conversation alone. An update takes at most three calls.
CLAIM_SECONDS: Final = 4 * CALL_SECONDS
# The pause after an update found that the attributes or the access token are missing or refused.
MISSING_SECONDS: Final = 600.0
# The pause after any other error.
FAILED_SECONDS: Final = 60.0


def outdated_conversations() -> QuerySet[Conversation]:
    """Return the conversations whose attributes are out of date.

    Each has the annotation `expected`: the ticket's reference and status code, or "" if no ticket is linked. An update
    sets `shown_attributes` to this value.
    """
    links = TicketLink.objects.filter(conversation=OuterRef("pk"))
    ref_and_status = Concat("ticket__ref", Value(" "), "ticket__snapshot__status")
    newest = links.order_by("-created_at", "-pk").annotate(state=ref_and_status).values("state")[:1]
    has_or_had_ticket = Q(Exists(links)) | ~Q(shown_attributes="")
    return (
        Conversation.objects.filter(has_or_had_ticket, workspace__enabled=True, merged_away_at=0)
        .exclude(workspace__event_rules__updates_attributes=False)
        .annotate(expected=Coalesce(Subquery(newest), Value("")))
        .exclude(shown_attributes=F("expected"))
        # The status is still "" if the ticket was not read yet.
        .exclude(expected__endswith=" ")
        .select_related("workspace__itop", "workspace__profile")
    )


def outdated_workspaces() -> QuerySet[Workspace]:
    """Return the workspaces that have outdated conversations."""
    return Workspace.objects.filter(pk__in=outdated_conversations().order_by().values("workspace"))


def update_outdated(workspace: Workspace) -> float | None:
    """Update the attributes of up to MAX_UPDATES_PER_TURN conversations.

    Return for how many seconds the worker leaves the workspace alone: 0.0 if it can continue at once, or None for the
    queue's usual pause if no attribute was updated.
    """
    if not workspace.access_token:
        return MISSING_SECONDS
    updated = 0
    try:
        if not known_names(workspace):
            return MISSING_SECONDS
        outdated = outdated_conversations().filter(workspace=workspace).order_by("pk")
        for conversation in outdated[:MAX_UPDATES_PER_TURN]:
            if stopping.is_set():
                break
            updated += update_attributes(conversation)
    except IntercomRateLimitedError as error:
        return max(1.0, error.until - timezone.now().timestamp())
    except (IntercomError, SecretDecryptionError) as error:
        log.warning("attributes.postponed", workspace=workspace.workspace_id, error=type(error).__name__)
        return MISSING_SECONDS if isinstance(error, IntercomAuthenticationError) else FAILED_SECONDS
    return 0.0 if updated else None


def update_attributes(conversation: Conversation) -> bool:
    """Set the attributes to the ticket that was linked last, or clear them if none is linked.

    Return False if they still have to be set, for example because another worker is doing it. If Intercom rejects a
    value, such as one that is not an option of a list attribute, it is only sent again after the ticket has changed.
    Raise IntercomError or SecretDecryptionError.
    """
    rows = Conversation.objects.filter(pk=conversation.pk)
    is_free = Q(attributes_claimed_until=None) | Q(attributes_claimed_until__lt=Now())
    until = Now() + dt.timedelta(seconds=CLAIM_SECONDS)
    if not rows.filter(is_free).update(attributes_claimed_until=until):
        return False
    try:
        return _update_claimed(conversation)
    finally:
        rows.update(attributes_claimed_until=None)


def _update_claimed(conversation: Conversation) -> bool:
    """Update a conversation that this worker has claimed. For the result, see `update_attributes`."""
    outdated = outdated_conversations().filter(pk=conversation.pk).first()
    if outdated is None:
        # Another worker updated it before this one claimed it.
        return True
    names = known_names(outdated.workspace)
    values = {name: value for name, value in _values(outdated).items() if name in names}
    client = intercom_client(outdated.workspace)
    try:
        client.set_attributes(outdated.conversation_id, values)
    except IntercomRejectedError as error:
        # Somebody may have deleted or renamed an attribute. Then the next turn sends only those that exist. A 404
        # is about the conversation, not about an attribute.
        if error.status != 404 and known_names(outdated.workspace, refresh=True) != names:
            return False
        log.warning(
            "attributes.rejected", **outdated.log_fields, status=error.status, code=error.intercom_code
        )
    shown = outdated.expected  # type: ignore[attr-defined]  # an annotation
    Conversation.objects.filter(pk=outdated.pk).update(shown_attributes=shown)
    return True


def _values(conversation: Conversation) -> dict[str, str | None]:
    """Return the attributes' values by name. None clears an attribute."""
    link = TicketLink.objects.filter(conversation=conversation).order_by("created_at", "pk").last()
    if link is None:
        return {TICKET: None, STATUS: None}
    ticket, workspace = link.ticket, conversation.workspace
    ticket_class = ticket_class_of(workspace.itop, ticket.ticket_class)
    with translation.override(workspace.language):
        status = value_label(ticket_class, workspace.profile.code("status"), ticket.snapshot.status)
    return {TICKET: ticket.ref, STATUS: status}


def known_names(workspace: Workspace, *, refresh: bool = False) -> frozenset[str]:
    """Return the names of the two attributes, each only if Intercom has exactly one attribute with this name.

    Intercom rejects a name that two attributes have. The answer may be an hour old unless `refresh`. Raise
    IntercomError or SecretDecryptionError.
    """

    def ask() -> frozenset[str]:
        existing = intercom_client(workspace).conversation_attributes()
        return frozenset(name for name in DESCRIPTIONS if existing.count(name) == 1)

    def seconds(names: frozenset[str]) -> float:
        return HOUR if len(names) == len(DESCRIPTIONS) else MISSING_SECONDS

    return cached(f"intercom-conversation-attributes:{workspace.pk}", ask, seconds=seconds, refresh=refresh)


def create_missing(workspace: Workspace) -> list[str]:
    """Create the attributes that Intercom does not have. Return their names. Raise as `known_names` does."""
    client = intercom_client(workspace)
    existing = client.conversation_attributes()
    missing = [name for name in DESCRIPTIONS if name not in existing]
    for name in missing:
        client.create_conversation_attribute(name, DESCRIPTIONS[name])
    # The workers use the cached names.
    known_names(workspace, refresh=True)
    return missing
