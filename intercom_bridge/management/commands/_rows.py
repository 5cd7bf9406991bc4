"""Find the rows that are named on the command line."""

from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet

from intercom_bridge.models import ItopInstance, Workspace


def find_workspace(workspace_id: str) -> Workspace:
    """Return the workspace with its iTop and profile. If there is none, raise CommandError with the existing IDs."""
    rows = Workspace.objects.select_related("itop", "profile")
    workspace: Workspace = _find(rows, "workspace_id", workspace_id, f"workspace {workspace_id}")
    return workspace


def find_itop(name: str) -> ItopInstance:
    """Return the iTop. If there is none, raise CommandError with the existing names."""
    itop: ItopInstance = _find(ItopInstance.objects.all(), "name", name, f"iTop named {name}")
    return itop


def _find(rows: QuerySet[Any], column: str, value: str, description: str) -> Any:
    row = rows.filter(**{column: value}).first()
    if row is None:
        existing = ", ".join(rows.values_list(column, flat=True)) or "none"
        raise CommandError(f"There is no {description}. Existing: {existing}.")
    return row
