"""Import an uploaded data model in a worker, because reading a file can take seconds."""

import io

import structlog
from django.utils import timezone

from intercom_bridge.models import DataModelImport
from intercom_bridge.models.job import claim
from intercom_bridge.models.reason import ReasonCode

from .importing import import_data_model
from .xml_stream import DataModelError

log = structlog.get_logger(__name__)

State = DataModelImport.State
# Much longer than the import of the largest accepted file. After this time another worker may take the job.
CLAIMED_SECONDS = 120.0
MAX_ATTEMPTS = 3


def run_import(job: DataModelImport) -> None:
    """Import the file and store the outcome on the job. Do nothing if another worker has claimed the job."""
    if not claim(job, CLAIMED_SECONDS):
        return
    if job.attempts >= MAX_ATTEMPTS:
        # Each attempt crashed its worker or raised an unexpected error: other outcomes end the job.
        _finish(job, State.FAILED, ReasonCode.TOO_MANY_ATTEMPTS)
        return
    job.attempts += 1
    job.save(update_fields=["attempts"])
    try:
        result = import_data_model(job.itop, io.BytesIO(job.data()), job.file_name, also=job.also)
    except DataModelError as error:
        text = str(error)
        _finish(job, State.FAILED, ReasonCode.DATA_MODEL_REJECTED, f"{text[:1].upper()}{text[1:]}")
        return
    job.imported = [ticket_class.name for ticket_class in result.classes]
    job.removed = list(result.removed)
    _finish(job, State.IMPORTED, ReasonCode.NONE)


def _finish(job: DataModelImport, state: str, code: str, detail: str = "") -> None:
    job.state, job.content, job.finished_at = state, b"", timezone.now()
    job.set_reason(code, detail)
    # `save` would raise an error if a newer upload has replaced the row.
    fields = ("state", "content", "finished_at", "reason_code", "reason_detail", "imported", "removed")
    DataModelImport.objects.filter(pk=job.pk).update(**{name: getattr(job, name) for name in fields})
    log.info("data_model.import_ended", itop=job.itop.name, state=str(state), reason=str(code))
