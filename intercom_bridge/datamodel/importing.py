"""Import an iTop's data model: read the file, store its ticket classes, and check the profiles against them.

A worker imports an uploaded file, because reading it can take seconds.
"""

import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.text import capfirst

from intercom_bridge.models import DataModelImport, ImportedClass, ItopInstance, TicketProfile
from intercom_bridge.models.job import claim
from intercom_bridge.models.reason import ReasonCode

from .attribute import TicketClass
from .lookup import decode
from .profile_check import ProfileCheck, did_you_mean, missing_from_form
from .serialization import to_json
from .xml_reader import read_data_model
from .xml_stream import DataModelError

log = structlog.get_logger(__name__)

State = DataModelImport.State
# Much longer than the import of the largest accepted file. After this time another worker may take the job.
CLAIMED_SECONDS = 120.0
MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """The result of an import. `removed` are the classes of an earlier import that this data model does not have."""

    classes: tuple[TicketClass, ...]
    languages: tuple[str, ...]
    removed: tuple[str, ...]
    profile_warnings: tuple[str, ...]


def run_import(job: DataModelImport) -> None:
    """Import the uploaded file and store the outcome on the job. Do nothing if another worker has taken the job."""
    if not claim(job, CLAIMED_SECONDS):
        return
    if job.attempts >= MAX_ATTEMPTS:
        # A job is attempted again only after its worker crashed or an unexpected error was raised.
        _finish(job, State.FAILED, ReasonCode.TOO_MANY_ATTEMPTS)
        return
    job.attempts += 1
    job.save(update_fields=["attempts"])
    try:
        result = import_data_model(job.itop, io.BytesIO(job.data()), job.file_name, also=job.also)
    except DataModelError as error:
        _finish(job, State.FAILED, ReasonCode.DATA_MODEL_REJECTED, capfirst(str(error)))
        return
    job.imported = [ticket_class.name for ticket_class in result.classes]
    job.removed = list(result.removed)
    _finish(job, State.IMPORTED, ReasonCode.NONE)


def _finish(job: DataModelImport, state: str, code: str, detail: str = "") -> None:
    job.state, job.content, job.finished_at = state, b"", timezone.now()
    job.set_reason(code, detail)
    # Not `save`, which raises an error if a newer upload has deleted the row.
    fields = ("state", "content", "finished_at", "reason_code", "reason_detail", "imported", "removed")
    DataModelImport.objects.filter(pk=job.pk).update(**{name: getattr(job, name) for name in fields})
    log.info("data_model.import_ended", itop=job.itop.name, state=str(state), reason=str(code))


def import_data_model(
    itop: ItopInstance, stream: BinaryIO, file_name: str, *, also: Sequence[str] = (), dry_run: bool = False
) -> ImportResult:
    """Read the file and replace the imported classes of this iTop. With `dry_run`, store nothing.

    Every ticket class is imported, and also other classes: those in `also`, those of the profiles, and those of the
    previous import. Raise DataModelError if the file cannot be used; then nothing has changed.
    """
    profiles = list(TicketProfile.objects.all())
    earlier = list(itop.imported_classes.values_list("name", flat=True))
    model = read_data_model(stream, [*also, *(profile.ticket_class for profile in profiles), *earlier])
    for name in also:
        if name not in model.names:
            raise DataModelError(f"there is no class {name} in this file.{did_you_mean(name, model.names)}")
    classes = tuple(model.classes.values())
    if not dry_run:
        _store(itop, classes, model.names, PurePath(file_name).name)
    return ImportResult(
        classes=classes,
        languages=model.languages,
        removed=tuple(name for name in earlier if name not in model.classes),
        profile_warnings=tuple(_profile_warnings(itop, profiles, model.classes, model.names)),
    )


def profile_warnings(itop: ItopInstance) -> list[str]:
    """Return sentences about profiles that do not fit the imported classes of this iTop."""
    classes = {row.name: decode(row) for row in itop.imported_classes.all()}
    return list(_profile_warnings(itop, TicketProfile.objects.all(), classes, itop.class_names))


@transaction.atomic
def _store(itop: ItopInstance, classes: Sequence[TicketClass], names: Sequence[str], file_name: str) -> None:
    now = timezone.now()
    itop.class_names = list(names)
    itop.save(update_fields=["class_names"])
    itop.imported_classes.exclude(name__in=[ticket_class.name for ticket_class in classes]).delete()
    for ticket_class in classes:
        ImportedClass.objects.update_or_create(
            itop=itop,
            name=ticket_class.name,
            defaults={"definition": to_json(ticket_class), "file_name": file_name[:255], "imported_at": now},
        )


def _profile_warnings(
    itop: ItopInstance,
    profiles: Iterable[TicketProfile],
    classes: Mapping[str, TicketClass],
    names: Collection[str],
) -> Iterator[str]:
    """Yield sentences about profiles that do not fit the classes. Ignore profiles that only other iTops use."""
    used_only_elsewhere = set(
        TicketProfile.objects.filter(workspaces__isnull=False)
        .exclude(workspaces__itop=itop)
        .values_list("pk", flat=True)
    )
    for profile in profiles:
        if profile.pk in used_only_elsewhere:
            continue
        name = profile.ticket_class
        ticket_class = classes.get(name)
        if ticket_class is None:
            yield f"{profile}: this data model has no class {name}.{did_you_mean(name, names)}"
            continue
        check = ProfileCheck(profile, ticket_class)
        for field, sentences in check.mistakes().items():
            label = profile._meta.get_field(field).verbose_name  # type: ignore[union-attr]
            yield f"{profile}, {label}: {' '.join(sentences)}"
        if missing := check.missing():
            yield f"{profile}: {missing_from_form(missing, name)}"
