"""The rows that are named on the command line."""

from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet

from intercom_bridge.models import ItopInstance, Workspace


def find_workspace(workspace_id: str) -> Workspace:
    """Return the workspace with its iTop and profile. Raise CommandError, which lists the workspaces."""
    rows = Workspace.objects.select_related("itop", "profile")
    workspace: Workspace = _find(rows, "workspace_id", workspace_id, f"workspace {workspace_id}")
    return workspace


def find_itop(name: str) -> ItopInstance:
    """Return the iTop. Raise CommandError, which lists the iTops."""
    itop: ItopInstance = _find(ItopInstance.objects.all(), "name", name, f"iTop named {name}")
    return itop


def _find(rows: QuerySet[Any], column: str, value: str, described: str) -> Any:
    row = rows.filter(**{column: value}).first()
    if row is None:
        existing = ", ".join(rows.values_list(column, flat=True)) or "none"
        raise CommandError(f"There is no {described}. Existing: {existing}.")
    return row
