"""Keep one client per iTop and per workspace, so that its connections are reused. New settings get a new client."""

from functools import lru_cache

from intercom_bridge import USER_AGENT
from intercom_bridge.intercom.client import IntercomClient
from intercom_bridge.ops.metrics import intercom_seconds, itop_seconds, observe
from itop_client import Client

from .models import ItopInstance, Workspace

# More than a deployment needs. The least recently used clients, such as those with earlier settings, are dropped.
MAX_CLIENTS = 500


def itop_client(itop: ItopInstance) -> Client:
    """Return the client for this iTop. Raise SecretDecryptionError if its account's secret cannot be decrypted."""
    return _itop_client(itop.url, itop.token.reveal(), itop.user, itop.password.reveal(), itop.name)


@lru_cache(maxsize=MAX_CLIENTS)
def _itop_client(url: str, token: str, user: str, password: str, name: str) -> Client:
    def on_call(operation: str, _class_name: str, seconds: float, outcome: str) -> None:
        observe(itop_seconds, seconds, name, operation, outcome)

    return Client(url, token=token, user=user, password=password, user_agent=USER_AGENT, on_call=on_call)


def intercom_client(workspace: Workspace) -> IntercomClient:
    """Return the client for this workspace. Raise SecretDecryptionError if its token cannot be decrypted."""
    token = workspace.access_token.reveal()
    return _intercom_client(token, workspace.region, workspace.intercom_api_url, workspace.workspace_id)


@lru_cache(maxsize=MAX_CLIENTS)
def _intercom_client(token: str, region: str, url: str, workspace_id: str) -> IntercomClient:
    def on_call(method: str, seconds: float, outcome: str) -> None:
        observe(intercom_seconds, seconds, workspace_id, method, outcome)

    return IntercomClient(token, region=region, base_url=url, on_call=on_call)
