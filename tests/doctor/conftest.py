from __future__ import annotations

import pytest

from intercom_bridge.models import Workspace


@pytest.fixture
def workspace(db: None, workspace: Workspace) -> Workspace:
    """Return a workspace whose files are small enough for the stand-in, whose PHP has the default limits."""
    workspace.max_file_mb = 2
    workspace.save()
    return workspace
