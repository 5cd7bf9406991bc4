"""Only the classes that the PHP extension's data model touches have its attributes: a fact of each class."""

from __future__ import annotations

from collections.abc import Callable

from intercom_bridge.doctor import examine_itop
from intercom_bridge.models import TicketProfile, Workspace
from tests.teammate import Teammate


def test_each_workspace_knows_its_own_class(
    workspace: Workspace, teammate: Teammate, work: Callable[[], None]
) -> None:
    other = Workspace.objects.create(
        workspace_id="incidents",
        itop=workspace.itop,
        profile=TicketProfile.objects.create(name="Incidents", ticket_class="Problem"),
        copies_files=False,
    )
    list(examine_itop(workspace.itop))
    work()
    for row in (workspace, other):
        row.refresh_from_db()
    assert (workspace.has_extension_attributes, other.has_extension_attributes) == (True, False)
    assert "open tickets" in teammate.open().text
