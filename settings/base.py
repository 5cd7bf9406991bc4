"""What holds everywhere. Secrets and addresses come from the environment (see environment.py)."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from .environment import (
    BASE_DIR,
    database,
    days,
    directory,
    env,
    networks,
    one_of,
    read_secret_files,
    seconds,
    shared_directory,
    whole_number,
)
from .logs import logging_config

read_secret_files()

# Everything that this service writes to a disk of its own: the SQLite database, the queue file, collected statics.
VAR_DIR = directory("VAR_DIR", BASE_DIR / "var")

# Where people and Intercom reach us; the admin shows the addresses to paste, built from it.
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000").rstrip("/")
try:
    _host = urlsplit(PUBLIC_URL).hostname or "127.0.0.1"
except ValueError:
    raise ImproperlyConfigured(
        f"PUBLIC_URL is “{PUBLIC_URL}”. Write an address, like https://bridge.example.com."
    ) from None
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_host])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "rest_framework",
    "itop_client",
    "intercom_bridge",
]

MIDDLEWARE = [
    "intercom_bridge.views.request_id.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "intercom_bridge.views.any_host.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "settings.urls"
WSGI_APPLICATION = "settings.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database("DATABASE_URL", VAR_DIR / "bridge.sqlite3")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: a writer waits for its turn instead of failing half-way.
    # FULL: what was answered 200 survives a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A database that is away must be noticed, not waited for.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Where the queue lives. Rows are the truth: what is lost with the queue is found by the next sweep.
REDIS_URL = env.str("REDIS_URL", default="")
HUEY_FILE: Path | None = None if REDIS_URL else VAR_DIR / "queue.sqlite3"
WORKER_THREADS = 8

# With PostgreSQL and Redis the tree may be read-only: nothing is written then.
if HUEY_FILE or VAR_DIR in Path(DATABASES["default"]["NAME"]).parents:
    try:
        VAR_DIR.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The directory {VAR_DIR} cannot be made: {error.strerror}. The database or the queue is a file in it. "
            "Name another one in VAR_DIR, or set both DATABASE_URL (a PostgreSQL) and REDIS_URL."
        ) from error

# Whoever has it may read /metrics. Where the processes of this machine then keep what they count; None: nowhere.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_DIR = shared_directory("METRICS_DIR", VAR_DIR / "metrics") if METRICS_TOKEN else None
if METRICS_DIR:
    # The library takes it from there, when it is first imported.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS_DIR)

# One write to iTop, its follow-up questions included, takes at most so many seconds of wall time.
WRITE_SECONDS = seconds("WRITE_SECONDS", 8.0)
# After an unknown outcome iTop may still be executing the request; so long the ticket is left alone.
UNKNOWN_OUTCOME_SECONDS = seconds("UNKNOWN_OUTCOME_SECONDS", 10.0)
# So long after a write its ticket's log is read back: somebody else's save may have erased the entry.
CHECK_AFTER_SECONDS = seconds("CHECK_AFTER_SECONDS", 180.0)
# How long the contents of what was handled, and of what failed, are kept. Their keys stay.
KEEP_PAYLOADS_DAYS = days("KEEP_PAYLOADS_DAYS", 30)
KEEP_FAILED_PAYLOADS_DAYS = days("KEEP_FAILED_PAYLOADS_DAYS", 180)

# Overrides every region's Intercom API host; for stand-ins.
INTERCOM_API_URL = env.str("INTERCOM_API_URL", default="").rstrip("/")

# Newest first; what was encrypted under an older one is still read.
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=[])

# Intercom's canvas requests carry the conversation and can be large; beyond this they are refused with 413.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# Five wrong passwords for a name from one address, and from there that name waits for a quarter of an hour. Counted in
# the database: all processes know of it. By both, so that nobody can lock an admin out from elsewhere.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_COOLOFF_TIME = dt.timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
# What the page says is true: trying again meanwhile does not make it longer.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "admin/intercom_bridge/locked_out.html"
AXES_CLIENT_IP_CALLABLE = "intercom_bridge.views.client_address.client_address"
# Each log-in of each admin for ever is more than anybody needs; the proxy's log has them.
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
# Whose X-Forwarded-For is believed, as addresses or networks. A socket file has no address, and is believed.
TRUSTED_PROXIES = networks("TRUSTED_PROXIES", "127.0.0.1", "::1")

# Eight hours from the log-in, or until the browser is closed. Using the admin makes it no longer.
SESSION_COOKIE_AGE = 8 * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

# Nothing but what comes from here, and no script or style within a page.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# What each workspace may send, a second, on average over ten: a flood of one takes nothing from the others.
CANVAS_REQUESTS_A_SECOND = whole_number("CANVAS_REQUESTS_A_SECOND", 20)
NOTIFICATIONS_A_SECOND = whole_number("NOTIFICATIONS_A_SECOND", 200)
# Where they are counted: in Redis for all processes together, without it in each process by itself. Nothing else is
# kept here.
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "bridge"}
}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "bridge",
        # A Redis that is away must be noticed, not waited for.
        "OPTIONS": {"socket_connect_timeout": 0.2, "socket_timeout": 0.2},
    }

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
LOCALE_PATHS = [BASE_DIR / "intercom_bridge" / "locale"]

STATIC_URL = "static/"
STATIC_ROOT = directory("STATIC_ROOT", VAR_DIR / "static")

LOGGING = logging_config(
    one_of("LOG_FORMAT", "plain", "json"),
    one_of("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL"),
)
LOGGING_CONFIG = "settings.logs.configure"
