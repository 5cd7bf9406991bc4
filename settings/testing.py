"""What pytest runs under: the real thing, with a queue in memory, keys of its own and the sandbox at hand."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .development import *

DEBUG = False
SECRET_KEY = "testing-only-0123456789abcdefghijklmnopqrstuvwxyz0123456789"
FIELD_ENCRYPTION_KEYS = ["dGVzdGluZy1vbmx5LW5vdC1hLXNlY3JldC1rZXktMDI="]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
INTERCOM_API_URL = ""
HUEY_FILE = None
METRICS_DIR = None
# Tests click faster than people.
CANVAS_REQUESTS_A_SECOND = NOTIFICATIONS_A_SECOND = 100_000

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, as in production: writers in several threads meet in it. One for each run: runs may meet, too.
    DATABASES["default"]["TEST"] = {
        "NAME": Path(tempfile.gettempdir()) / f"bridge-test-{os.getpid()}.sqlite3"
    }
