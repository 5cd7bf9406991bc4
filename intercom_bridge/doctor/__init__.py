"""Live checks of iTop, Intercom and this service, which `manage.py check` cannot make. Each finding says what to do.

Nothing is changed in iTop or Intercom; two test files are uploaded to iTop and deleted at once. Here, a signed ping
leaves one row in the webhook events, and facts about an iTop (for example whether its account is an Administrator) are
stored as usual.
"""

from collections.abc import Iterable, Iterator

from intercom_bridge.models import ItopInstance, Workspace
from itop_client import Deadline

from . import intercom, itop, service, unsaved
from .finding import Finding, Level, exit_status, overall, summary
from .probe import PAGE_SECONDS
from .service import NO_DATABASE

__all__ = [
    "NO_DATABASE",
    "PAGE_SECONDS",
    "Finding",
    "Level",
    "examine",
    "examine_everything",
    "examine_itop",
    "examine_service",
    "examine_unsaved",
    "exit_status",
    "overall",
    "summary",
]


def examine(workspace: Workspace, seconds: float | None = None) -> Iterator[Finding]:
    """Check a workspace: its secrets, Intercom, PUBLIC_URL, and what it needs from its iTop.

    With `seconds`, skip the checks of iTop for which no time is left.
    """
    findings = _examine_workspace(workspace, _deadline(seconds))
    return _without_secrets(findings, [workspace], [workspace.itop])


def examine_itop(instance: ItopInstance, seconds: float | None = None) -> Iterator[Finding]:
    """Check an iTop, for all workspaces that use it."""
    workspaces = list(instance.workspaces.select_related("itop", "profile"))
    return _without_secrets(itop.examine(instance, workspaces, _deadline(seconds)), workspaces, [instance])


def examine_service() -> Iterator[Finding]:
    """Check the service itself: everything that belongs to no workspace and no iTop."""
    return service.examine()


def examine_unsaved(workspace: Workspace) -> Iterator[Finding]:
    """Check a new, unsaved workspace: its access token, its iTop and its scope."""
    return _without_secrets(unsaved.examine(workspace), [workspace], [workspace.itop])


def examine_everything() -> Iterator[Finding]:
    """Check everything. Raise DatabaseError after the checks that do not need the database."""
    yield from examine_service()
    for instance in ItopInstance.objects.all():
        yield from examine_itop(instance)
    for workspace in Workspace.objects.select_related("itop", "profile"):
        yield from _without_secrets(intercom.examine(workspace), [workspace], [workspace.itop])


def _examine_workspace(workspace: Workspace, deadline: Deadline | None) -> Iterator[Finding]:
    yield from intercom.examine(workspace)
    yield from itop.examine(workspace.itop, [workspace], deadline)


def _deadline(seconds: float | None) -> Deadline | None:
    return None if seconds is None else Deadline(seconds)


def _without_secrets(
    findings: Iterator[Finding], workspaces: Iterable[Workspace], itops: Iterable[ItopInstance]
) -> Iterator[Finding]:
    """Redact stored secrets: findings quote remote systems, which may repeat what was sent to them."""
    stored = [
        secret
        for workspace in workspaces
        for secret in (workspace.client_secret, workspace.previous_client_secret, workspace.access_token)
    ]
    stored += [secret for instance in itops for secret in (instance.token, instance.password)]
    secrets = [secret.reveal() for secret in stored if secret and secret.is_readable]
    return (finding.without(secrets) for finding in findings)
