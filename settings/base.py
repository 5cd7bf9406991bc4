"""Settings of every environment. Secrets and URLs come from environment variables (see env.py)."""

from __future__ import annotations

import datetime as dt
import os
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from .env import (
    BASE_DIR,
    WORKING_DIR,
    addresses,
    database,
    days,
    directory,
    env,
    mail_server,
    networks,
    one_of,
    read_secret_files,
    seconds,
    shared_directory,
    whole_number,
)
from .logging import logging_config

read_secret_files()

# Contains every file that this service writes: the SQLite database, the queue, collected static files.
VAR_DIR = directory("VAR_DIR", WORKING_DIR / "var")

# The URL under which users and Intercom reach this service. The admin shows the webhook URLs built from it.
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000").rstrip("/")
try:
    _host = urlsplit(PUBLIC_URL).hostname or "127.0.0.1"
except ValueError:
    raise ImproperlyConfigured(
        f"PUBLIC_URL is “{PUBLIC_URL}”. Write a URL, like https://bridge.example.com."
    ) from None
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_host])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "intercom_bridge.apps.BridgeAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.forms",
    "axes",
    "csp",
    "rest_framework",
    "itop_client",
    "intercom_bridge",
]

MIDDLEWARE = [
    "intercom_bridge.middleware.request_id.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "intercom_bridge.middleware.static_files.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "intercom_bridge.middleware.probe_hosts.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

FORM_RENDERER = "django.forms.renderers.TemplatesSetting"  # also finds form templates in templates/
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
    # IMMEDIATE: a transaction that writes waits at its start instead of failing in the middle.
    # FULL: an event that was answered with 200 survives a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Notice an unreachable database soon.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The task queue. It only wakes the worker: if it is lost, the next sweep finds the work in the database.
REDIS_URL = env.str("REDIS_URL", default="")
HUEY_FILE: Path | None = None if REDIS_URL else VAR_DIR / "queue.sqlite3"
WORKER_THREADS = 8

# With PostgreSQL and Redis no file is written here, so the file system may be read-only.
if HUEY_FILE or VAR_DIR in Path(DATABASES["default"]["NAME"]).parents:
    try:
        VAR_DIR.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The directory {VAR_DIR} cannot be created: {error.strerror}. It contains the database or the queue. "
            "Set VAR_DIR to another directory, or set both DATABASE_URL (PostgreSQL) and REDIS_URL."
        ) from error

# The bearer token that may read /metrics; without it there are no metrics. METRICS_DIR is None if it is not writable.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_DIR = shared_directory("METRICS_DIR", VAR_DIR / "metrics") if METRICS_TOKEN else None
# Only services count: each process leaves two files, and one-off commands would leave thousands.
_is_command = Path(sys.argv[0]).name in ("manage.py", "__main__.py", "intercom-bridge")
_is_service = sys.argv[1:2] in (["worker"], ["runserver"]) and "--check" not in sys.argv
if METRICS_DIR and (not _is_command or _is_service):
    # Process ids are unique per machine or container only, so each has a directory. prometheus_client reads the
    # variable when it is imported.
    directory_of_host = METRICS_DIR / socket.gethostname()
    directory_of_host.mkdir(exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory_of_host)

# The recipients of e-mails about problems that need a person. Without addresses nothing is sent.
ALERT_EMAILS = addresses("ALERT_EMAILS")
_mail_server = mail_server("EMAIL_URL")
if ALERT_EMAILS and not _mail_server:
    raise ImproperlyConfigured(
        "ALERT_EMAILS is set, but EMAIL_URL is not. Set it to the mail server, like smtp+tls://user:password@host:587."
    )
globals().update(_mail_server)
# Of the mail server's account if that is an address, because many servers accept no other sender.
_sender = _mail_server.get("EMAIL_HOST_USER") or ""
DEFAULT_FROM_EMAIL = (addresses("EMAIL_FROM") or [_sender if "@" in _sender else f"intercom-bridge@{_host}"])[
    0
]
EMAIL_TIMEOUT = 5

# The time limit for one write to iTop, including its follow-up reads.
WRITE_SECONDS = seconds("WRITE_SECONDS", 8.0)
# After a write with an unknown outcome iTop may still be executing it. How long to leave the ticket alone.
UNKNOWN_OUTCOME_SECONDS = seconds("UNKNOWN_OUTCOME_SECONDS", 10.0)
# How long after a write the ticket's log is verified: a concurrent save in iTop may have removed the entry.
VERIFY_AFTER_SECONDS = seconds("VERIFY_AFTER_SECONDS", 180.0)
# How often iTop is asked for changes of linked tickets: of those with activity in the last hour, and of the others.
ITOP_POLL_SECONDS = seconds("ITOP_POLL_SECONDS", 15.0)
ITOP_POLL_IDLE_SECONDS = seconds("ITOP_POLL_IDLE_SECONDS", 300.0)
# How often iTop is asked for new files of linked tickets with activity in the last hour. Of the others, see above.
FILES_SECONDS = seconds("FILES_SECONDS", 60.0)
# The largest file that is sent from iTop to Intercom. Larger ones are named.
MAX_FILE_TO_INTERCOM_MB = whole_number("MAX_FILE_TO_INTERCOM_MB", 10)
# Retention of the contents of handled and of failed events. Their keys are kept.
KEEP_PAYLOADS_DAYS = days("KEEP_PAYLOADS_DAYS", 30)
KEEP_FAILED_PAYLOADS_DAYS = days("KEEP_FAILED_PAYLOADS_DAYS", 180)

# Overrides the Intercom API host of every region, for stand-ins.
INTERCOM_API_URL = env.str("INTERCOM_API_URL", default="").rstrip("/")

# Where files are kept while they are copied. Python's `gettempdir` would write a file here, as a test.
FILES_DIR = directory("FILES_DIR", Path(os.environ.get("TMPDIR") or "/tmp"))  # noqa: S108 - names are random
# How many files a process downloads at the same time.
FILE_DOWNLOADS = whole_number("FILE_DOWNLOADS", 4)
# Whether files may be downloaded from INTERCOM_API_URL, whatever its scheme and address. Never in production.
FILES_FROM_STAND_IN = False

# Newest first. Older keys are still used for decryption.
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=[])

# Intercom's canvas requests contain the conversation and can be large. Larger ones are refused with 413.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# After five wrong passwords for a user name from one IP address (IPv6: one /64), that pair is locked for 15 minutes.
# Counted in the database, for all processes; by pair, so that an attacker elsewhere cannot lock an admin out.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_COOLOFF_TIME = dt.timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
# As the lock-out page says, further attempts do not extend the lock-out.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "admin/intercom_bridge/locked_out.html"
AXES_CLIENT_IP_CALLABLE = "intercom_bridge.middleware.client_ip.client_network"
AXES_USERNAME_CALLABLE = "intercom_bridge.admin.login.normalized_username"
# Do not store successful log-ins, because the rows would never be deleted. The proxy's log has them.
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
# Addresses or networks whose X-Forwarded-For is trusted. A Unix socket has no address and is always trusted.
TRUSTED_PROXIES = networks("TRUSTED_PROXIES", "127.0.0.1", "::1")

# Eight hours from the log-in, or until the browser is closed. Not a sliding expiry.
SESSION_COOKIE_AGE = 8 * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

# Only resources from this origin; no inline scripts or styles.
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

# Rate limits per workspace, averaged over ten seconds, so that one workspace cannot use up the service.
CANVAS_REQUESTS_PER_SECOND = whole_number("CANVAS_REQUESTS_PER_SECOND", 20)
MESSENGER_REQUESTS_PER_SECOND = whole_number("MESSENGER_REQUESTS_PER_SECOND", 50)
NOTIFICATIONS_PER_SECOND = whole_number("NOTIFICATIONS_PER_SECOND", 200)
# Used only to count for the rate limits: in Redis for all processes together, without Redis per process.
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "bridge"}
}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "bridge",
        # Notice an unreachable Redis soon.
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
# Read by the admin, which is in English only.
FORMAT_MODULE_PATH = "settings.formats"
LOCALE_PATHS = [BASE_DIR / "intercom_bridge" / "locale"]

STATIC_URL = "static/"
STATIC_ROOT = directory("STATIC_ROOT", VAR_DIR / "static")

LOGGING = logging_config(
    one_of("LOG_FORMAT", "plain", "json"),
    one_of("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL"),
)
LOGGING_CONFIG = "settings.logging.configure"
