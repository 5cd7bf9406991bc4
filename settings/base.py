"""What holds everywhere. Secrets and addresses come from the environment (see environment.py)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from .environment import BASE_DIR, env, read_secret_files
from .logs import logging_config

read_secret_files()

VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)

# Where people and Intercom reach us; the admin shows the addresses to paste, built from it.
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[urlsplit(PUBLIC_URL).hostname or "127.0.0.1"])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "itop_client",
    "intercom_bridge",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'bridge.sqlite3'}")}
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
HUEY_FILE: Path | None = VAR_DIR / "queue.sqlite3"
WORKER_THREADS = 8

# One write to iTop, its follow-up questions included, takes at most so many seconds of wall time.
WRITE_SECONDS = env.float("WRITE_SECONDS", default=8.0)
# After an unknown outcome iTop may still be executing the request; so long the ticket is left alone.
UNKNOWN_OUTCOME_SECONDS = env.float("UNKNOWN_OUTCOME_SECONDS", default=10.0)
# So long after a write its ticket's log is read back: somebody else's save may have erased the entry.
CHECK_AFTER_SECONDS = env.float("CHECK_AFTER_SECONDS", default=180.0)
# How long the contents of what was handled, and of what failed, are kept. Their keys stay.
KEEP_PAYLOADS_DAYS = env.int("KEEP_PAYLOADS_DAYS", default=30)
KEEP_FAILED_PAYLOADS_DAYS = env.int("KEEP_FAILED_PAYLOADS_DAYS", default=180)

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
STATIC_ROOT = VAR_DIR / "static"

LOGGING = logging_config(env.str("LOG_FORMAT", default="plain"), env.str("LOG_LEVEL", default="INFO"))
LOGGING_CONFIG = "settings.logs.configure"
