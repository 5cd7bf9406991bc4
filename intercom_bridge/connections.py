"""One client with pooled connections per iTop and per workspace, replaced when its settings change."""

import threading
from collections.abc import Callable
from typing import TypeVar

from intercom_bridge import USER_AGENT
from intercom_bridge.intercom.client import IntercomClient
from intercom_bridge.ops.metrics import intercom_seconds, itop_seconds, observe
from itop_client import Client

from .models import ItopInstance, Workspace

C = TypeVar("C", Client, IntercomClient)

_lock = threading.Lock()
_itop_clients: dict[int, tuple[tuple[str, ...], Client]] = {}
_intercom_clients: dict[int, tuple[tuple[str, ...], IntercomClient]] = {}


def itop_client(itop: ItopInstance) -> Client:
    """Return the client for this iTop. Raise SecretDecryptionError if its account's secret cannot be decrypted."""
    token, password, name = itop.token.reveal(), itop.password.reveal(), itop.name

    def on_call(operation: str, _class_name: str, seconds: float, outcome: str) -> None:
        observe(itop_seconds, seconds, name, operation, outcome)

    def create() -> Client:
        return Client(
            itop.url, token=token, user=itop.user, password=password, user_agent=USER_AGENT, on_call=on_call
        )

    # The name is included because it is a label of the metrics.
    return _cached(_itop_clients, itop.pk, (itop.url, token, itop.user, password, name), create)


def intercom_client(workspace: Workspace) -> IntercomClient:
    """Return the client for this workspace. Raise SecretDecryptionError if its token cannot be decrypted."""
    token, region, url = workspace.access_token.reveal(), workspace.region, workspace.intercom_api_url
    workspace_id = workspace.workspace_id

    def on_call(method: str, seconds: float, outcome: str) -> None:
        observe(intercom_seconds, seconds, workspace_id, method, outcome)

    def create() -> IntercomClient:
        return IntercomClient(token, region=region, base_url=url, on_call=on_call)

    return _cached(_intercom_clients, workspace.pk, (token, region, url), create)


def _cached(
    clients: dict[int, tuple[tuple[str, ...], C]], pk: int, settings: tuple[str, ...], create: Callable[[], C]
) -> C:
    with _lock:
        cached = clients.get(pk)
        if cached is None or cached[0] != settings:
            cached = clients[pk] = (settings, create())
        return cached[1]
