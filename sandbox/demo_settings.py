"""settings.development, with a queue of the demo's own and the sandbox's addresses."""

from __future__ import annotations

import os
from pathlib import Path

from settings.development import *  # noqa: F403

HUEY_FILE = Path(os.environ["DEMO_DIRECTORY"]) / "queue.sqlite3"
SANDBOX_INTERCOM_URL = os.environ["INTERCOM_API_URL"]
SANDBOX_ITOP_URL = os.environ["DEMO_ITOP_URL"]
