"""Signal that there may be work for a worker.

Every worker regularly queries the database for due rows. A signal only makes it query sooner, so a lost signal does no
harm. The process registers a receiver when it starts, so callers need not know how signals are sent.
"""

import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

# A webhook event was stored, or iTop has sent a push that makes a poll due.
INCOMING = "incoming"
# Rows of any kind may be due, including those that workers query only once a minute.
EVERYTHING = "everything"

_receivers: list[Callable[[str], None]] = []  # empty until the process registers its receiver


def set_receiver(receiver: Callable[[str], None]) -> None:
    """Send this process's signals to `receiver`, which replaces the previous one. It must return at once."""
    _receivers[:] = [receiver]


def wake(topic: str) -> None:
    """Signal that there may be work. `topic` is INCOMING or EVERYTHING. Never blocks, never raises."""
    for receiver in _receivers:
        try:
            receiver(topic)
        except Exception:
            logger.warning("The signal %r got lost", topic, exc_info=True)
