"""What two processes learn at the same time about one iTop or workspace, and store in the same column."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from intercom_bridge.models import ItopInstance, Workspace

pytestmark = pytest.mark.django_db(transaction=True)

MAX_WAIT_SECONDS = 1.0


def learn_logs() -> tuple[Callable[[], None], Callable[[], None]]:
    one, other = ItopInstance.objects.get(), ItopInstance.objects.get()
    return (
        lambda: one.learn_tracking("UserRequest.public_log", is_tracked=True),
        lambda: other.learn_tracking("UserRequest.private_log", is_tracked=False),
    )


def note_topics() -> tuple[Callable[[], None], Callable[[], None]]:
    one, other = Workspace.objects.get(), Workspace.objects.get()
    return (lambda: one.note_topic("contact.merged"), lambda: other.note_topic("conversation.user.replied"))


@pytest.mark.parametrize(
    ("actions", "stored"),
    [
        (learn_logs, lambda: ItopInstance.objects.get().tracked_logs),
        (note_topics, lambda: Workspace.objects.get().topics_received),
    ],
)
def test_two_processes_at_once_store_both_values(
    workspace: Workspace,
    actions: Callable[[], tuple[Callable[[], None], Callable[[], None]]],
    stored: Callable[[], dict[str, Any]],
) -> None:
    first, second = actions()
    is_about_to_write, is_second_done = threading.Event(), threading.Event()

    def wait_before_the_write(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("UPDATE"):
            is_about_to_write.set()
            # The second process waits for the first one's lock, so this only ends early without the lock.
            is_second_done.wait(MAX_WAIT_SECONDS)
        return execute(sql, *arguments)

    def run_first() -> None:
        try:
            with connection.execute_wrapper(wait_before_the_write):
                first()
        finally:
            connection.close()

    thread = threading.Thread(target=run_first)
    thread.start()
    assert is_about_to_write.wait(10)
    second()
    is_second_done.set()
    thread.join(10)
    assert len(stored()) == 2
