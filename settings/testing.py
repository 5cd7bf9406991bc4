"""Settings for the tests: those for development, but with a queue in memory and with other keys."""

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
# Without a log line per request to the stand-ins, tests are faster: each line is formatted and scanned for secrets.
LOGGING["loggers"]["sandbox"] = {"level": "WARNING"}
# Tests send more requests than users do.
CANVAS_REQUESTS_PER_SECOND = NOTIFICATIONS_PER_SECOND = MESSENGER_REQUESTS_PER_SECOND = 100_000

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file instead of memory, because tests write from several threads. Each run has its own file: runs may overlap.
    DATABASES["default"]["TEST"] = {
        "NAME": Path(tempfile.gettempdir()) / f"bridge-test-{os.getpid()}.sqlite3"
    }
