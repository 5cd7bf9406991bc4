"""Settings that all environments share. Secrets and URLs come from environment variables (see env.py)."""

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

# The directory for all files that this service keeps: the SQLite database, the queue, the collected static files.
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
    # IMMEDIATE: a transaction waits for other writers when it begins. Otherwise it could fail at its first write.
    # FULL: a webhook event that we answered with 200 survives a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A few seconds instead of minutes until an unreachable database is noticed.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The task queue. It only wakes the workers: if it is lost, their next sweep (each minute) finds the work in the
# database.
REDIS_URL = env.str("REDIS_URL", default="")
HUEY_FILE: Path | None = None if REDIS_URL else VAR_DIR / "queue.sqlite3"
WORKER_THREADS = 8

# With PostgreSQL and Redis the directory need not exist, so the file system may be read-only.
if HUEY_FILE or VAR_DIR in Path(DATABASES["default"]["NAME"]).parents:
    try:
        VAR_DIR.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The directory {VAR_DIR} cannot be created: {error.strerror}. It contains the database or the queue. "
            "Set VAR_DIR to another directory, or set both DATABASE_URL (PostgreSQL) and REDIS_URL."
        ) from error

# The bearer token for /metrics. Without it there are no metrics. METRICS_DIR is None if the directory is not writable.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_DIR = shared_directory("METRICS_DIR", VAR_DIR / "metrics") if METRICS_TOKEN else None
# Only the web server and the workers write metrics. Each process leaves two files, so short commands would leave
# thousands.
_is_command = Path(sys.argv[0]).name in ("manage.py", "__main__.py", "intercom-bridge")
_is_service = sys.argv[1:2] in (["worker"], ["runserver"]) and "--check" not in sys.argv
if METRICS_DIR and (not _is_command or _is_service):
    # prometheus_client names its files by process id, which is unique only on one machine or in one container: so
    # each of them has its own directory. The variable must be set before prometheus_client is imported, which then
    # reads it.
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
# The default sender is the mail server's account if this is an address: many servers accept no other sender.
_sender = _mail_server.get("EMAIL_HOST_USER") or ""
DEFAULT_FROM_EMAIL = (addresses("EMAIL_FROM") or [_sender if "@" in _sender else f"intercom-bridge@{_host}"])[
    0
]
EMAIL_TIMEOUT = 5

# The time limit for one write to iTop, including the reads that follow it.
WRITE_SECONDS = seconds("WRITE_SECONDS", 8.0)
# How long nothing is written to a ticket after a write with an unknown outcome: iTop may still be executing that write.
UNKNOWN_OUTCOME_SECONDS = seconds("UNKNOWN_OUTCOME_SECONDS", 10.0)
# How long after a write the worker checks that the entry is still in the ticket's log. When someone in iTop saves the
# ticket at the same time, iTop can lose the entry.
VERIFY_AFTER_SECONDS = seconds("VERIFY_AFTER_SECONDS", 180.0)
# The interval between two polls of iTop for changes of linked tickets. The first is for tickets with activity in the
# last hour, the second (IDLE) is for all other tickets.
ITOP_POLL_SECONDS = seconds("ITOP_POLL_SECONDS", 15.0)
ITOP_POLL_IDLE_SECONDS = seconds("ITOP_POLL_IDLE_SECONDS", 300.0)
# The interval between two polls for new files of linked tickets with activity in the last hour. For all other tickets
# it is ITOP_POLL_IDLE_SECONDS.
FILES_SECONDS = seconds("FILES_SECONDS", 60.0)
# The largest file that is sent from iTop to Intercom. Of a larger file, only the name is posted.
MAX_FILE_TO_INTERCOM_MB = whole_number("MAX_FILE_TO_INTERCOM_MB", 10)
# For how long the contents of processed and of failed events are kept. Their ids are kept, to recognise duplicates.
KEEP_PAYLOADS_DAYS = days("KEEP_PAYLOADS_DAYS", 30)
KEEP_FAILED_PAYLOADS_DAYS = days("KEEP_FAILED_PAYLOADS_DAYS", 180)

# If set, replaces the host of Intercom's API in every region: for the stand-in of tests and demo.
INTERCOM_API_URL = env.str("INTERCOM_API_URL", default="").rstrip("/")

# The directory for files while they are copied. Not `tempfile.gettempdir()`, because it writes a test file.
FILES_DIR = directory("FILES_DIR", Path(os.environ.get("TMPDIR") or "/tmp"))  # noqa: S108 - file names are random
# How many files a process downloads at the same time.
FILE_DOWNLOADS = whole_number("FILE_DOWNLOADS", 4)
# Whether files may be downloaded from INTERCOM_API_URL, even over http and from a private address. Never in production.
FILES_FROM_STAND_IN = False

# Fernet keys, newest first. The first key encrypts; all keys decrypt.
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=[])

# The largest request body. Intercom's canvas requests contain the conversation. A larger body gets the status 413.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# After five wrong passwords for one user name from one IP address (IPv6: one /64 network), this pair of name and
# address is locked for 15 minutes. The attempts are counted in the database, for all processes. Because the pair is
# locked and not the name, an attacker at another address cannot lock an admin out.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_COOLOFF_TIME = dt.timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
# Attempts during the lock-out do not extend it. The lock-out page says so, too.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "admin/intercom_bridge/locked_out.html"
AXES_CLIENT_IP_CALLABLE = "intercom_bridge.middleware.client_ip.client_network"
AXES_USERNAME_CALLABLE = "intercom_bridge.admin.login.normalized_username"
# Do not store successful log-ins, because nothing would delete these rows. The proxy's log contains them.
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
# Addresses or networks whose X-Forwarded-For is trusted. A proxy that connects through a Unix socket is always trusted.
TRUSTED_PROXIES = networks("TRUSTED_PROXIES", "127.0.0.1", "::1")

# A session ends eight hours after the log-in, or when the browser is closed. Activity does not extend it.
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

# Rate limits per workspace (for the Messenger: per iTop), averaged over ten seconds. One workspace must not use up the
# service for all others.
CANVAS_REQUESTS_PER_SECOND = whole_number("CANVAS_REQUESTS_PER_SECOND", 20)
MESSENGER_REQUESTS_PER_SECOND = whole_number("MESSENGER_REQUESTS_PER_SECOND", 50)
NOTIFICATIONS_PER_SECOND = whole_number("NOTIFICATIONS_PER_SECOND", 200)
# The cache counts requests for the rate limits, and keeps some of iTop's answers. With Redis, all processes share it;
# without Redis, each process has its own.
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "bridge"}
}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "bridge",
        # An unreachable Redis must not delay requests.
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
# Date formats for the admin, which exists only in English.
FORMAT_MODULE_PATH = "settings.formats"
LOCALE_PATHS = [BASE_DIR / "intercom_bridge" / "locale"]

STATIC_URL = "static/"
STATIC_ROOT = directory("STATIC_ROOT", VAR_DIR / "static")

LOGGING = logging_config(
    one_of("LOG_FORMAT", "plain", "json"),
    one_of("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL"),
)
LOGGING_CONFIG = "settings.logging.configure"
