"""The teammates of a workspace: in whose name the bridge posts what agents do in iTop."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.client import CALL_SECONDS, IntercomAuthenticationError, IntercomRejectedError
from intercom_bridge.intercom.payloads import Admin
from intercom_bridge.models import EventRules, Workspace

from .cached import cached

log = structlog.get_logger(__name__)


def teammates(
    workspace: Workspace, *, is_fresh: bool = False, deadline: float = CALL_SECONDS
) -> Sequence[Admin]:
    """Return the workspace's teammates, as Intercom returned them within the last hour, or now if `is_fresh`.

    Raise IntercomError, or SecretDecryptionError if the access token cannot be decrypted.
    """
    key = f"intercom-admins:{workspace.pk}"
    return cached(key, lambda: intercom_client(workspace).admins(deadline=deadline), is_fresh=is_fresh)


def teams(workspace: Workspace) -> Sequence[Admin]:
    """Return the workspace's teams (id and name), at most an hour old. Raise as `teammates`."""
    return cached(f"intercom-teams:{workspace.pk}", lambda: intercom_client(workspace).teams())


def author_of(
    workspace: Workspace,
    rules: EventRules,
    email: str,
    *,
    is_fresh: bool = False,
    deadline: float = CALL_SECONDS,
) -> str:
    """Return the id of the teammate in whose name a message is posted.

    This is the teammate with the agent's e-mail address, or else the one that the rules name, or else the owner of the
    access token. If Intercom no longer has the named teammate, store this in the rules. Raise as `teammates`.
    """
    try:
        found = teammates(workspace, is_fresh=is_fresh, deadline=deadline)
    except (IntercomAuthenticationError, IntercomRejectedError):
        # The token may lack the permission to read teammates.
        found, is_there = (), bool(rules.post_as_admin_id)
    else:
        is_there = any(admin.id == rules.post_as_admin_id for admin in found)
        if rules.post_as_admin_id:
            _note_post_as(rules, is_there=is_there)
    same = [admin.id for admin in found if email and admin.email.casefold() == email.casefold()]
    if len(same) == 1:
        return same[0]
    if is_there:
        return rules.post_as_admin_id
    key = f"intercom-token-owner:{workspace.pk}"
    return cached(key, lambda: intercom_client(workspace).me(deadline=deadline).admin_id, is_fresh=is_fresh)


def _note_post_as(rules: EventRules, *, is_there: bool) -> None:
    """Store since when Intercom no longer has the teammate that the rules name."""
    if is_there == (rules.post_as_missing_since is None):
        return
    rules.post_as_missing_since = None if is_there else timezone.now()
    EventRules.objects.filter(pk=rules.pk, post_as_admin_id=rules.post_as_admin_id).update(
        post_as_missing_since=rules.post_as_missing_since
    )
    if not is_there:
        log.warning("post_as.missing", workspace=rules.workspace.workspace_id, admin=rules.post_as_admin_id)
