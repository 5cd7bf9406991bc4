"""Indexes that are made while the old version goes on writing."""

from __future__ import annotations

from django.db.migrations import AddIndex
from django.db.migrations.state import ProjectState


class AddIndexOnline(AddIndex):
    """Without keeping the writers out, where the database can: PostgreSQL's CREATE INDEX CONCURRENTLY.

    Its migration says `atomic = False`. SQLite keeps them waiting, and no longer than its time-out. What was interrupted
    can be run again: an index that is there is made anew, as PostgreSQL leaves one that is not used behind.
    """

    def database_forwards(self, app_label, schema_editor, from_state: ProjectState, to_state: ProjectState):
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.execute(self._drop_left_over(schema_editor))
            schema_editor.add_index(model, self.index, **self._online(schema_editor))

    def database_backwards(self, app_label, schema_editor, from_state: ProjectState, to_state: ProjectState):
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, **self._online(schema_editor))

    def _drop_left_over(self, schema_editor) -> str:
        concurrently = "CONCURRENTLY " if self._online(schema_editor) else ""
        return f"DROP INDEX {concurrently}IF EXISTS {schema_editor.quote_name(self.index.name)}"

    @staticmethod
    def _online(schema_editor) -> dict[str, bool]:
        return {"concurrently": True} if schema_editor.connection.vendor == "postgresql" else {}
