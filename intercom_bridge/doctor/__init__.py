"""Check iTop, Intercom and this service with live requests. Each finding says what to do.

The checks change nothing in Intercom. In iTop, they upload two test files and delete them at once. In our database,
each signed ping leaves a webhook event, and facts about an iTop (for example whether its account is an Administrator)
are stored.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from math import inf

from intercom_bridge.connections import intercom_client, itop_client
from intercom_bridge.models import ItopInstance, Workspace
from itop_client import Deadline, ItopError

from . import intercom, itop, service
from .finding import Finding, Level, Subject, exit_status, overall, summary
from .probe import OUT_OF_TIME_CHECKS, PAGE_SECONDS, Probe
from .scope import examine_scope
from .service import NO_DATABASE

__all__ = [
    "NO_DATABASE",
    "PAGE_SECONDS",
    "Finding",
    "Level",
    "examine",
    "examine_everything",
    "examine_itop",
    "examine_unsaved",
    "exit_status",
    "overall",
    "summary",
]


def examine(workspace: Workspace, seconds: float = inf) -> Iterator[Finding]:
    """Check a workspace: its secrets, Intercom, PUBLIC_URL, and what it needs from its iTop.

    `seconds` is a time limit: when it is reached, the remaining requests are not sent.
    """
    deadline = Deadline(seconds)
    findings = chain(
        intercom.examine(workspace, deadline), itop.examine(workspace.itop, [workspace], deadline)
    )
    return _redact_secrets(_without_repeated_end(findings), [workspace], [workspace.itop])


def examine_itop(instance: ItopInstance, seconds: float = inf) -> Iterator[Finding]:
    """Check an iTop for all workspaces that use it. `seconds` is a time limit, as in `examine`."""
    workspaces = list(instance.workspaces.select_related("itop", "profile"))
    return _redact_secrets(itop.examine(instance, workspaces, Deadline(seconds)), workspaces, [instance])


def examine_unsaved(workspace: Workspace) -> Iterator[Finding]:
    """Check the access token, the iTop and the scope of a workspace with three or four requests.

    The workspace and its iTop may be unsaved. Their secrets must be readable.
    """
    return _redact_secrets(_examine_unsaved(workspace), [workspace], [workspace.itop])


def _examine_unsaved(workspace: Workspace) -> Iterator[Finding]:
    subject = Subject(f"Workspace {workspace}")
    yield from intercom.examine_token(workspace, intercom_client(workspace), subject, Deadline(inf))
    probe = Probe(workspace.itop, [workspace], itop_client(workspace.itop), Deadline(inf))
    has_responded = False
    try:
        probe.client.server_info(deadline=probe.request_seconds)
        has_responded = True
        yield examine_scope(probe, workspace, subject)
    except ItopError as error:
        yield itop.error_finding(probe.subject, error, has_responded=has_responded)


def examine_everything() -> Iterator[Finding]:
    """Check the service, then each iTop, then each workspace.

    If the database fails, yield the findings that do not need it, and then raise DatabaseError.
    """
    yield from service.examine()
    for instance in ItopInstance.objects.all():
        yield from examine_itop(instance)
    for workspace in Workspace.objects.select_related("itop", "profile"):
        yield from _redact_secrets(intercom.examine(workspace, Deadline(inf)), [workspace], [workspace.itop])


def _without_repeated_end(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings. Of those that report the end of the time limit, yield only the first."""
    is_reported = False
    for finding in findings:
        is_end = finding.about in OUT_OF_TIME_CHECKS
        if not (is_end and is_reported):
            yield finding
        is_reported = is_reported or is_end


def _redact_secrets(
    findings: Iterator[Finding], workspaces: Iterable[Workspace], itops: Iterable[ItopInstance]
) -> Iterator[Finding]:
    """Redact the stored secrets in the findings, which may quote a remote system's text with a secret in it."""
    stored = [
        secret
        for workspace in workspaces
        for secret in (workspace.client_secret, workspace.previous_client_secret, workspace.access_token)
    ]
    stored += [secret for instance in itops for secret in (instance.token, instance.password)]
    secrets = [secret.reveal() for secret in stored if secret and secret.is_readable]
    return (finding.redacted(secrets) for finding in findings)
