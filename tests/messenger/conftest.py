from __future__ import annotations

import pytest

from intercom_bridge.models import Messenger, MessengerKey, Workspace

from .questions import SECRET


@pytest.fixture
def messenger(workspace: Workspace) -> Messenger:
    return Messenger.objects.create(workspace=workspace, enabled=True, api_secret=SECRET)


@pytest.fixture
def key(workspace: Workspace) -> MessengerKey:
    return MessengerKey.objects.current(workspace.itop)
