"""Send wake-up signals from other processes to the workers, through Huey's queue."""

import threading

import structlog
from django.conf import settings
from huey import Huey, MemoryHuey, RedisHuey, SqliteHuey

from intercom_bridge.wake import wake

log = structlog.get_logger(__name__)


def build_queue() -> Huey:
    """Return the queue that the settings name: in Redis, in a SQLite file, or (for tests) in the process's memory."""
    name = "intercom_bridge"
    if settings.REDIS_URL:
        from redis import ConnectionPool

        try:
            # Short timeouts, so that the worker notices at once if Redis is unreachable.
            pool = ConnectionPool.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=5)
        except ValueError:
            # The URL is invalid. `manage.py check` reports this (E008), and the worker does not start.
            return MemoryHuey(name, results=False)
        return RedisHuey(name, connection_pool=pool, results=False, blocking=False)
    if settings.HUEY_FILE is None:
        return MemoryHuey(name, results=False)
    return SqliteHuey(name, filename=str(settings.HUEY_FILE), results=False)


huey = build_queue()


@huey.task()  # type: ignore[untyped-decorator]
def wake_worker(topic: str) -> None:
    """Pass a signal on to the receiver of the worker that runs this task."""
    wake(topic)


class QueueSender:
    """Receiver that puts signals into the queue from a background thread, so that the caller never waits.

    Signals with the same topic that arrive before the thread has sent them become one task.
    """

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._lock = threading.Lock()
        self._pending = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, topic: str) -> None:
        with self._lock:
            self._topics.add(topic)
            # Not started on import: a web server forks its processes after that, and threads do not survive a fork.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="wake sender", daemon=True)
                self._thread.start()
        self._pending.set()

    def _run(self) -> None:
        while True:
            self._pending.wait()
            self._pending.clear()
            with self._lock:
                topics, self._topics = self._topics, set()
            for topic in topics:
                try:
                    wake_worker(topic)
                except Exception as error:  # noqa: BLE001 - any error of the queue's library
                    log.warning("wake.lost", topic=topic, error=type(error).__name__)
