"""settings.development, with a queue of its own. Imported by the testbed's processes only."""

from __future__ import annotations

import os
from pathlib import Path

from settings.development import *  # noqa: F403

HUEY_FILE = Path(os.environ["CHAOS_QUEUE"])
