"""Live checks: what `manage.py check` cannot see, since it asks nobody. Each finding says what to do.

Nothing is changed in iTop or Intercom by them. Of ours, a signed ping leaves one row among the notifications, and what
iTop's answers teach (whether its account is Administrator, say) is kept as always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopInstance, Secret, Workspace

from . import intercom, itop, service
from .asking import PAGE_SECONDS
from .finding import Finding, Level, exit_status, overall, summary
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
    "exit_status",
    "overall",
    "summary",
]


def examine(workspace: Workspace, seconds: float | None = None) -> Iterator[Finding]:
    """A workspace: its secrets, Intercom, our address, and its iTop for what it needs of it.

    `seconds`: how long it may take, where somebody waits; what there is no time for is not asked."""
    return _without_secrets(_examine(workspace, _deadline(seconds)), [workspace], [workspace.itop])


def examine_itop(instance: ItopInstance, seconds: float | None = None) -> Iterator[Finding]:
    """An iTop, for all the workspaces that use it."""
    workspaces = list(instance.workspaces.select_related("itop", "profile"))
    return _without_secrets(itop.examine(instance, workspaces, _deadline(seconds)), workspaces, [instance])


def examine_service() -> Iterator[Finding]:
    """What belongs to no workspace and no iTop."""
    return service.examine()


def examine_everything() -> Iterator[Finding]:
    """All of it, each iTop once. Raises DatabaseError after what does not need the database."""
    yield from examine_service()
    for instance in ItopInstance.objects.all():
        yield from examine_itop(instance)
    for workspace in Workspace.objects.select_related("itop", "profile"):
        yield from _without_secrets(intercom.examine(workspace), [workspace], [workspace.itop])


def _examine(workspace: Workspace, deadline: Deadline | None) -> Iterator[Finding]:
    yield from intercom.examine(workspace)
    yield from itop.examine(workspace.itop, [workspace], deadline)


def _deadline(seconds: float | None) -> Deadline | None:
    return None if seconds is None else Deadline(seconds)


def _without_secrets(
    findings: Iterator[Finding], workspaces: Iterable[Workspace], itops: Iterable[ItopInstance]
) -> Iterator[Finding]:
    """Findings repeat what others answer, and who knows what those repeat."""
    stored = [
        secret
        for one in workspaces
        for secret in (one.client_secret, one.previous_client_secret, one.access_token)
    ]
    stored += [secret for one in itops for secret in (one.token, one.password)]
    secrets = [secret.reveal() for secret in stored if isinstance(secret, Secret) and secret.is_readable]
    return (finding.without(secrets) for finding in findings)
