"""From the first release to this one, with data in it, and while the first release still serves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps as current_apps
from django.db import connection, models
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from intercom_bridge.models import Delivery, Notification, TicketLink, Workspace
from intercom_bridge.models.encryption import SecretField
from sandbox.itop.seed import TOKEN
from tests.teammate import SECRET, WORKSPACE, Teammate, notify, part

APP = "intercom_bridge"
FIRST_RELEASE = (APP, "0001_initial")

pytestmark = pytest.mark.django_db(transaction=True)


def migrate(*targets: tuple[str, str]) -> Any:
    """Migrates there and answers the models as they are then; without a target to the newest."""
    executor = MigrationExecutor(connection)
    nodes = list(targets) or executor.loader.graph.leaf_nodes()
    executor.migrate(nodes)
    return MigrationExecutor(connection).loader.project_state(nodes).apps


@pytest.fixture
def first_release() -> Iterator[Any]:
    """The database as the first release made it; afterwards it is as it was."""
    try:
        yield migrate(FIRST_RELEASE)
    finally:
        migrate()


def some_value(column: models.Field[Any, Any], number: int) -> Any:
    """Something that tells this row's column from another's."""
    if column.choices:
        return column.choices[0][0]
    match column.get_internal_type():
        case "BooleanField":
            return True
        case "DateTimeField":
            return dt.datetime(2026, 11, 20, 12, number, tzinfo=dt.UTC)
        case "JSONField":
            return column.get_default() or {"number": number}
        case "BinaryField":
            return f'{{"number": {number}}}'.encode()
        case (
            "FloatField"
            | "IntegerField"
            | "BigIntegerField"
            | "PositiveIntegerField"
            | "PositiveBigIntegerField"
        ):
            return number
        case _:
            return "Europe/Paris" if column.name == "time_zone" else f"{column.name}-{number}"


def fill(apps: Any, number: int, ready: dict[str, Any] | None = None) -> dict[str, Any]:
    """A row in each table, by the models of `apps`; those of the tables before it stand behind its foreign keys."""
    rows: dict[str, Any] = {}

    def row_of(model: Any) -> Any:
        name = model.__name__
        if name not in rows:
            values: dict[str, Any] = {}
            for column in model._meta.concrete_fields:
                if isinstance(column, models.ForeignKey):
                    values[column.name] = row_of(column.related_model)
                elif isinstance(column, SecretField):
                    values[column.name] = f"secret-{name}-{column.name}-{number}"
                elif not column.primary_key:
                    values[column.name] = some_value(column, number)
            rows[name] = model._default_manager.create(**values)
        return rows[name]

    for model in apps.get_app_config(APP).get_models():
        row_of(model)
    return rows


def plain(row: Any) -> dict[str, Any]:
    values = {}
    for column in row._meta.concrete_fields:
        value = getattr(row, column.attname)
        if isinstance(column, SecretField):
            value = value.reveal()
        values[column.attname] = bytes(value) if isinstance(value, memoryview) else value
    return values


def test_what_the_first_release_stored_is_all_there(first_release: Any) -> None:
    filled = fill(first_release, 7)
    stored = {name: plain(type(row)._default_manager.get(pk=row.pk)) for name, row in filled.items()}
    migrate()
    assert len(stored) >= 15
    for name, values in stored.items():
        now = plain(current_apps.get_model(APP, name)._default_manager.get(pk=values["id"]))
        assert {column: now[column] for column in values} == values


def test_the_first_release_reads_and_writes_while_the_database_is_newer(first_release: Any) -> None:
    before = fill(first_release, 7)
    migrate()
    after = fill(first_release, 8)
    for name, row in {**before, **after}.items():
        old_model = type(row)
        assert old_model._default_manager.filter(pk=row.pk).update(
            **{column.attname: getattr(row, column.attname) for column in row._meta.concrete_fields}
        )
        assert plain(old_model._default_manager.get(pk=row.pk))
        current_apps.get_model(APP, name)._default_manager.get(pk=row.pk).save()


def test_messages_go_on_where_the_first_release_left_them(
    first_release: Any, client: Client, itop: Any, work: Any
) -> None:
    model = first_release.get_model
    workspace = model(APP, "Workspace").objects.create(
        workspace_id=WORKSPACE,
        client_secret=SECRET,
        itop=model(APP, "ItopInstance").objects.create(
            name="Sandbox", url=itop.url, token=TOKEN, time_zone="Europe/Paris"
        ),
        profile=model(APP, "TicketProfile").objects.create(name="Requests"),
    )
    assert workspace.pk
    migrate()
    Teammate(client).link("R-000006")
    notify(client, part(37358198350, "<p>after the upgrade</p>"))
    work()
    assert Delivery.objects.get(part_id="37358198350").state == "written"
    assert (TicketLink.objects.count(), Notification.objects.get().verdict) == (1, "handled")
    assert Workspace.objects.get().client_secret_used_at


def test_an_upgrade_that_was_interrupted_while_it_made_indexes_can_be_run_again(first_release: Any) -> None:
    migrate((APP, "0002_admins_and_ops"))
    with connection.cursor() as cursor:
        # PostgreSQL leaves a half made one behind under its name; one that is whole is in the way as much.
        cursor.execute("CREATE INDEX delivery_part ON intercom_bridge_delivery (kind)")
    migrate()
    with connection.cursor() as cursor:
        made = connection.introspection.get_constraints(cursor, Delivery._meta.db_table)
    assert made["delivery_part"]["columns"] == ["part_id"]


def test_no_migration_but_the_first_takes_something_away() -> None:
    """What the old version still reads goes in a later release, once nobody runs it any more."""
    executor = MigrationExecutor(connection)
    newer = [key for key in executor.loader.graph.nodes if key[0] == APP and key != FIRST_RELEASE]
    assert newer
    for key in newer:
        for operation in executor.loader.get_migration(*key).operations:
            name = type(operation).__name__
            assert not name.startswith(("Remove", "Rename", "Delete")), f"{key[1]}: {name}"
            assert name != "AddIndex", (
                f"{key[1]}: an index that keeps the writers out; see migrations/_online.py"
            )
            assert name != "RunPython" or operation.reversible, f"{key[1]} cannot be undone"
