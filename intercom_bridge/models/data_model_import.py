from __future__ import annotations

import zlib

from django.db import models, transaction

from .itop_instance import ITOP, ItopInstance
from .job import Job, JobQuerySet


class DataModelImportQuerySet(JobQuerySet["DataModelImport"]):
    def request(
        self, itop: ItopInstance, data: bytes, file_name: str, also: list[str], requested_by: str
    ) -> DataModelImport:
        """Queue an import of this iTop's data model, and delete its earlier imports. For `also`, see the field."""
        content = zlib.compress(data)
        with transaction.atomic():
            self.filter(itop=itop).delete()
            return self.create(
                itop=itop, content=content, file_name=file_name[:255], also=also, requested_by=requested_by
            )


class DataModelImport(Job):
    """The upload of an iTop's data model, which a worker imports. There is at most one per iTop."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        IMPORTED = "imported", "imported"
        FAILED = "failed", "failed"

    WAITING_STATE = State.WAITING
    FAILED_STATE = State.FAILED

    itop = models.ForeignKey(
        ItopInstance, models.CASCADE, verbose_name=ITOP, related_name="data_model_imports"
    )
    # The compressed file; empty after the import. It is in the database, because the worker may run on another machine.
    content = models.BinaryField(default=bytes)
    file_name = models.CharField(max_length=255)
    # The names of classes to import although they do not descend from Ticket.
    also = models.JSONField(default=list)
    requested_by = models.CharField(max_length=150)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    imported = models.JSONField(default=list)  # the names of classes
    # The names of the previous import's classes that the file does not contain.
    removed = models.JSONField(default=list)

    objects = DataModelImportQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], name="data_model_import_due", condition=models.Q(state="waiting"))
        ]

    def __str__(self) -> str:
        return self.file_name

    def data(self) -> bytes:
        """Return the uploaded file."""
        return zlib.decompress(self.content)
