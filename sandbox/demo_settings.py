"""Development settings for the demo: its own queue file, and the addresses of the stand-ins."""

from __future__ import annotations

import os
from pathlib import Path

from settings.development import *  # noqa: F403

HUEY_FILE = Path(os.environ.get("DEMO_DIRECTORY", "var")) / "queue.sqlite3"
SANDBOX_INTERCOM_URL = os.environ.get("INTERCOM_API_URL", "")
SANDBOX_ITOP_URL = os.environ.get("DEMO_ITOP_URL", "")
