"""Settings for production. If a secret is missing, raise ImproperlyConfigured with instructions."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from .base import *
from .env import hsts_seconds, secret, switch

DEBUG = False
SECRET_KEY = secret(
    "SECRET_KEY", "Create one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
)
secret(
    "FIELD_ENCRYPTION_KEYS",
    "It encrypts the workspaces' secrets in the database. Create one with: python -c "
    "'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())' - and keep a copy: "
    "without it the stored secrets cannot be read.",
)
secret("PUBLIC_URL", "It is the https URL under which Intercom reaches this service.")
if not PUBLIC_URL.startswith("https://"):
    raise ImproperlyConfigured(f"PUBLIC_URL must start with https:// (it is {PUBLIC_URL}).")

# The proxy in front of the web server terminates TLS and sets this header. It must overwrite the header of a client.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
# Browsers remember this value until it expires, even if the header is removed. So the default is short.
SECURE_HSTS_SECONDS = hsts_seconds("HSTS_SECONDS", 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = switch("HSTS_INCLUDE_SUBDOMAINS")
SECURE_HSTS_PRELOAD = switch("HSTS_PRELOAD")
# Django's checks that recommend the last two settings. Only the owner of the whole domain can decide about these.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
