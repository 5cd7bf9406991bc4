"""One pooled client for each iTop and each workspace of this process, made anew when its settings change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from intercom_bridge.intercom.api import IntercomClient
from intercom_bridge.metrics import intercom_seconds, itop_seconds, observe
from intercom_bridge.models import ItopInstance, Workspace
from itop_client import Client

C = TypeVar("C", Client, IntercomClient)

_lock = threading.Lock()
_itops: dict[int, tuple[tuple[str, ...], Client]] = {}
_intercoms: dict[int, tuple[tuple[str, ...], IntercomClient]] = {}


def itop_client(itop: ItopInstance) -> Client:
    """Raises SecretUnreadable when the stored account cannot be decrypted."""
    # The name, too: what is counted is counted under it.
    settings = (itop.url, itop.token.reveal(), itop.user, itop.password.reveal(), itop.name)
    return _kept(
        _itops,
        itop.pk,
        settings,
        lambda: Client(
            itop.url,
            token=settings[1],
            user=settings[2],
            password=settings[3],
            on_call=_itop_was_called(itop),
        ),
    )


def intercom_client(workspace: Workspace) -> IntercomClient:
    """Raises SecretUnreadable when the stored access token cannot be decrypted."""
    settings = (workspace.access_token.reveal(), workspace.region, workspace.intercom_api_url)
    return _kept(
        _intercoms,
        workspace.pk,
        settings,
        lambda: IntercomClient(
            settings[0], region=settings[1], base_url=settings[2], on_call=_intercom_was_called(workspace)
        ),
    )


def _itop_was_called(itop: ItopInstance) -> Callable[[str, str, float, str], None]:
    def note(operation: str, _class_name: str, seconds: float, outcome: str) -> None:
        observe(itop_seconds, seconds, itop.name, operation, outcome)

    return note


def _intercom_was_called(workspace: Workspace) -> Callable[[str, float, str], None]:
    def note(method: str, seconds: float, outcome: str) -> None:
        observe(intercom_seconds, seconds, workspace.workspace_id, method, outcome)

    return note


def _kept(
    clients: dict[int, tuple[tuple[str, ...], C]], pk: int, settings: tuple[str, ...], make: Callable[[], C]
) -> C:
    with _lock:
        kept = clients.get(pk)
        if kept is None or kept[0] != settings:
            kept = clients[pk] = (settings, make())
        return kept[1]
