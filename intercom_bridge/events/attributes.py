"""Keep the conversation attributes “iTop ticket” and “iTop status” up to date, for views and workflows of the inbox.

A conversation with several tickets shows the one that was linked last. Attributes are only updated where they exist in
Intercom: `create_missing` creates them.
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

MAX_UPDATES_PER_TURN: Final = 50
# An update takes at most three calls.
CLAIM_SECONDS: Final = 4 * CALL_SECONDS
# Somebody may be creating them.
MISSING_SECONDS: Final = 600.0
FAILED_SECONDS: Final = 60.0


def outdated_conversations() -> QuerySet[Conversation]:
    """Return the conversations whose attributes do not show their ticket, annotated with the `expected` state."""
    links = TicketLink.objects.filter(conversation=OuterRef("pk"))
    state = Concat("ticket__ref", Value(" "), "ticket__snapshot__status")
    newest = links.order_by("-created_at", "-pk").annotate(state=state).values("state")[:1]
    return (
        Conversation.objects.filter(
            Q(Exists(links)) | ~Q(shown_attributes=""), workspace__enabled=True, merged_away_at=0
        )
        .exclude(workspace__event_rules__updates_attributes=False)
        .annotate(expected=Coalesce(Subquery(newest), Value("")))
        .exclude(shown_attributes=F("expected"))
        # A ticket that was not read yet.
        .exclude(expected__endswith=" ")
        .select_related("workspace__itop", "workspace__profile")
    )


def outdated_workspaces() -> QuerySet[Workspace]:
    """Return the workspaces with such conversations."""
    return Workspace.objects.filter(pk__in=outdated_conversations().order_by().values("workspace"))


def update_outdated(workspace: Workspace) -> float | None:
    """Update the attributes of some conversations. Return for how many seconds to leave the workspace alone."""
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
    """Let the attributes that exist show the ticket that was linked last, or nothing if none is linked.

    Return False if another worker is doing it. Raise IntercomError or SecretDecryptionError. What Intercom rejects,
    such as a value that is not an option of a list, is not repeated until the ticket changes.
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
    found = outdated_conversations().filter(pk=conversation.pk).first()
    if found is None:
        return True
    names = known_names(found.workspace)
    values = {name: value for name, value in _values(found).items() if name in names}
    client = intercom_client(found.workspace)
    try:
        client.set_attributes(found.conversation_id, values)
    except IntercomRejectedError as error:
        if error.status != 404 and known_names(found.workspace, is_fresh=True) != names:
            return False
        log.warning("attributes.rejected", **found.names, status=error.status, code=error.intercom_code)
    Conversation.objects.filter(pk=found.pk).update(shown_attributes=found.expected)  # type: ignore[attr-defined]
    return True


def _values(conversation: Conversation) -> dict[str, str | None]:
    link = TicketLink.objects.filter(conversation=conversation).order_by("created_at", "pk").last()
    if link is None:
        return {TICKET: None, STATUS: None}
    ticket, workspace = link.ticket, conversation.workspace
    ticket_class = ticket_class_of(workspace.itop, ticket.ticket_class)
    with translation.override(workspace.language):
        status = value_label(ticket_class, workspace.profile.code("status"), ticket.snapshot.status)
    return {TICKET: ticket.ref, STATUS: status}


def known_names(workspace: Workspace, *, is_fresh: bool = False) -> frozenset[str]:
    """Return which of the two attributes exist, and exactly once: Intercom rejects a name that two attributes have.

    This is at most an hour old, or what Intercom returns now if `is_fresh`. Raise IntercomError or
    SecretDecryptionError.
    """

    def ask() -> frozenset[str]:
        existing = intercom_client(workspace).conversation_attributes()
        return frozenset(name for name in DESCRIPTIONS if existing.count(name) == 1)

    def seconds(names: frozenset[str]) -> float:
        return HOUR if len(names) == len(DESCRIPTIONS) else MISSING_SECONDS

    return cached(f"intercom-conversation-attributes:{workspace.pk}", ask, seconds=seconds, is_fresh=is_fresh)


def create_missing(workspace: Workspace) -> list[str]:
    """Create those of the two that Intercom does not have, and return their names. Raise as `known_names` does."""
    client = intercom_client(workspace)
    existing = client.conversation_attributes()
    missing = [name for name in DESCRIPTIONS if name not in existing]
    for name in missing:
        client.create_conversation_attribute(name, DESCRIPTIONS[name])
    known_names(workspace, is_fresh=True)
    return missing
