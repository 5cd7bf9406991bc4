"""Migrations that an old version of the service survives, because it keeps running while they are applied."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from django.db import connection, migrations, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import Operation

from intercom_bridge.migrations._online import AddIndexOnline

APP = "intercom_bridge"
FIRST_MIGRATION = "0001_initial"


def violations(operations: Sequence[Operation]) -> list[str]:
    """Return what would break the previous version, or block it for long."""
    found = []
    for operation in operations:
        name = type(operation).__name__
        if name.startswith(("Remove", "Rename", "Delete")):
            found.append(f"{name}: remove it in the release after the last one that uses it")
        elif name == "AddIndex":
            found.append("AddIndex: it blocks writers; use migrations/_online.py")
        elif name == "RunPython" and not operation.reversible:
            found.append("RunPython: it cannot be reversed")
        elif isinstance(operation, migrations.AddField):
            field = operation.field
            has_default = field.null or field.db_default is not models.NOT_PROVIDED or field.many_to_many
            if not has_default:
                found.append(
                    f"AddField: {operation.name} needs a db_default, for rows of the previous version"
                )
    return found


@pytest.mark.parametrize(
    "operation",
    [
        migrations.RemoveField("delivery", "kind"),
        migrations.RenameField("delivery", "kind", "sort"),
        migrations.DeleteModel("delivery"),
        migrations.AddIndex("delivery", models.Index(fields=["kind"], name="kind")),
        migrations.RunPython(migrations.RunPython.noop),
        migrations.AddField("delivery", "number", models.IntegerField(default=1)),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_the_rules_detect_an_operation_that_breaks_the_previous_version(operation: Operation) -> None:
    assert violations([operation])


@pytest.mark.parametrize(
    "operation",
    [
        AddIndexOnline("delivery", models.Index(fields=["kind"], name="kind")),
        migrations.AddField("delivery", "number", models.IntegerField(db_default=1)),
        migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_the_rules_accept_a_compatible_operation(operation: Operation) -> None:
    assert not violations([operation])


@pytest.mark.django_db
def test_every_migration_after_the_first_is_compatible_with_the_previous_version() -> None:
    loader = MigrationExecutor(connection).loader
    names = [name for app, name in loader.graph.nodes if app == APP and name != FIRST_MIGRATION]
    found = {name: violations(loader.get_migration(APP, name).operations) for name in names}
    assert not any(found.values()), found
