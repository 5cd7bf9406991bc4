"""Signal that there may be work for a worker.

The rows say what there is to do, and every worker looks at them by itself. The signal only makes it look sooner, so
it may get lost. Callers need not know how it travels: the process registers a receiver when it starts.
"""

import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

# A notification was stored, or a push of iTop has made a poll due.
INCOMING = "incoming"
# Rows of any kind may have become due.
EVERYTHING = "everything"

_receivers: list[Callable[[str], None]] = []


def set_receiver(receiver: Callable[[str], None]) -> None:
    """Deliver this process's signals to `receiver`, in place of the previous one. It must return at once."""
    _receivers[:] = [receiver]


def wake(topic: str) -> None:
    """Signal that there may be work. `topic` is INCOMING or EVERYTHING. Never blocks, never raises."""
    for receiver in _receivers:
        try:
            receiver(topic)
        except Exception:
            logger.warning("The signal %r got lost", topic, exc_info=True)
