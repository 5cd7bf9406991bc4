"""Create indexes while the previous version of the service keeps writing."""

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddIndex
from django.db.migrations.state import ProjectState


class AddIndexOnline(AddIndex):
    """Add an index with PostgreSQL's CREATE INDEX CONCURRENTLY, so that writers need not wait.

    Its migration needs `atomic = False`. On SQLite writers wait. After an interruption the migration can be run again:
    an existing index is dropped first, because PostgreSQL leaves an unusable one.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.execute(self._drop_leftover(schema_editor))
            schema_editor.add_index(model, self.index, **self._options(schema_editor))

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, **self._options(schema_editor))

    def _drop_leftover(self, schema_editor: BaseDatabaseSchemaEditor) -> str:
        concurrently = "CONCURRENTLY " if self._options(schema_editor) else ""
        return f"DROP INDEX {concurrently}IF EXISTS {schema_editor.quote_name(self.index.name)}"

    @staticmethod
    def _options(schema_editor: BaseDatabaseSchemaEditor) -> dict[str, bool]:
        return {"concurrently": True} if schema_editor.connection.vendor == "postgresql" else {}
