"""Settings for development: everything has a default, and the sandbox is installed. The keys here are not secret."""

from __future__ import annotations

from .base import *
from .env import env

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env.str("SECRET_KEY", default="development-only-not-a-secret-0123456789abcdefghijklmnop")
ALLOWED_HOSTS = [*ALLOWED_HOSTS, "127.0.0.1", "localhost", "[::1]"]
FIELD_ENCRYPTION_KEYS = FIELD_ENCRYPTION_KEYS or ["ZGV2ZWxvcG1lbnQtb25seS1ub3QtYS1zZWNyZXQtMDE="]
INSTALLED_APPS = [*INSTALLED_APPS, "sandbox"]
FILES_FROM_STAND_IN = True

# Serve static files directly from the packages, so `collectstatic` is not needed.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
