"""settings.development, with a queue of its own. Imported by the testbed's processes only."""

from __future__ import annotations

import os
from pathlib import Path

from settings.development import *  # noqa: F403

HUEY_FILE = Path(os.environ["CHAOS_QUEUE"])

# With DEBUG, Django keeps each query, which on SQLite takes a second one.
DEBUG = False
# The bench has a PUBLIC_URL of its own.
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "chaos-only-" + "0123456789abcdef" * 4
FIELD_ENCRYPTION_KEYS = ["Y2hhb3Mtb25seS1ub3QtYS1zZWNyZXQta2V5LTAwMDE="]
# The address is this machine's.
SILENCED_SYSTEM_CHECKS = ["intercom_bridge.E006"]
