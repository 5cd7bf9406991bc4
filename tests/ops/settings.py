"""settings.development, with a separate queue per test."""

from __future__ import annotations

import os
from pathlib import Path

from settings.development import *  # noqa: F403

HUEY_FILE = Path(os.environ["INSTANCE_DIRECTORY"]) / "queue.sqlite3"
