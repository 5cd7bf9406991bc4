"""Find the teammate in whose name the bridge posts what an agent did in iTop."""

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
    workspace: Workspace, *, refresh: bool = False, deadline: float = CALL_SECONDS
) -> Sequence[Admin]:
    """Return the workspace's teammates. The answer may be an hour old unless `refresh`.

    Raise IntercomError, or SecretDecryptionError if the access token cannot be decrypted.
    """
    key = f"intercom-admins:{workspace.pk}"
    return cached(key, lambda: intercom_client(workspace).admins(deadline=deadline), refresh=refresh)


def teams(workspace: Workspace) -> Sequence[Admin]:
    """Return the workspace's teams with id and name. The answer may be an hour old. Raise as `teammates` does."""
    return cached(f"intercom-teams:{workspace.pk}", lambda: intercom_client(workspace).teams())


def author_of(
    workspace: Workspace,
    rules: EventRules,
    email: str,
    *,
    refresh: bool = False,
    deadline: float = CALL_SECONDS,
) -> str:
    """Return the id of the teammate in whose name a message is posted.

    This is the teammate with the e-mail address `email`. If there is none or `email` is "", it is the teammate that the
    rules name, or else the owner of the access token. If Intercom no longer has the teammate that the rules name, store
    this in the rules. Raise as `teammates` does.
    """
    try:
        admins = teammates(workspace, refresh=refresh, deadline=deadline)
    except (IntercomAuthenticationError, IntercomRejectedError):
        # The token may lack the permission to read teammates. Then trust the rules.
        admins, has_named_teammate = (), bool(rules.post_as_admin_id)
    else:
        has_named_teammate = any(admin.id == rules.post_as_admin_id for admin in admins)
        if rules.post_as_admin_id:
            _store_whether_missing(rules, is_missing=not has_named_teammate)
    with_email = [admin.id for admin in admins if email and admin.email.casefold() == email.casefold()]
    if len(with_email) == 1:
        return with_email[0]
    if has_named_teammate:
        return rules.post_as_admin_id
    key = f"intercom-token-owner:{workspace.pk}"
    return cached(key, lambda: intercom_client(workspace).me(deadline=deadline).admin_id, refresh=refresh)


def _store_whether_missing(rules: EventRules, *, is_missing: bool) -> None:
    """Store since when Intercom no longer has the teammate that the rules name, or None if it has this teammate."""
    was_missing = rules.post_as_missing_since is not None
    if is_missing == was_missing:
        return
    rules.post_as_missing_since = timezone.now() if is_missing else None
    # An admin may have named another teammate in the meantime.
    EventRules.objects.filter(pk=rules.pk, post_as_admin_id=rules.post_as_admin_id).update(
        post_as_missing_since=rules.post_as_missing_since
    )
    if is_missing:
        log.warning("post_as.missing", workspace=rules.workspace.workspace_id, admin=rules.post_as_admin_id)
