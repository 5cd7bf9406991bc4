from __future__ import annotations

import pytest

from intercom_bridge.models import Workspace


@pytest.fixture
def workspace(db: None, workspace: Workspace) -> Workspace:
    """Return a workspace that does not copy files: the test uploads take half of the doctor's processor time.

    Files of 2 MB are small enough for the stand-in, whose PHP has the default limits.
    """
    workspace.copies_files = False
    workspace.max_file_mb = 2
    workspace.save()
    return workspace
