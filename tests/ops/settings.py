"""settings.development, with a queue of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

from settings.development import *  # noqa: F403

HUEY_FILE = Path(os.environ["STAGE"]) / "queue.sqlite3"
