"""Check a workspace that is not saved yet: its access token, its iTop and its scope."""

from collections.abc import Iterator

from intercom_bridge.connections import intercom_client, itop_client
from intercom_bridge.models import Workspace
from itop_client import ItopError

from .finding import Finding, Subject
from .intercom import examine_token
from .itop import error_finding
from .probe import Probe
from .scope import examine_scope


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Check a workspace whose secrets are readable. Its iTop may be unsaved, too. Takes three or four requests."""
    subject = Subject(f"Workspace {workspace}")
    yield from examine_token(workspace, intercom_client(workspace), subject)
    probe = Probe(workspace.itop, [workspace], itop_client(workspace.itop))
    has_responded = False
    try:
        probe.client.server_info(deadline=probe.seconds)
        has_responded = True
        yield examine_scope(probe, workspace, subject)
    except ItopError as error:
        yield error_finding(probe.subject, error, has_responded=has_responded)
