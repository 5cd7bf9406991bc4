"""What production's settings promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import global_settings
from django.http import HttpResponse
from django.test import RequestFactory

from intercom_bridge.middleware.static_files import StaticFilesMiddleware
from settings.env import BASE_DIR
from tests.config.started import PRODUCTION, fresh_settings, surroundings


def settings_of(*names: str, **variables: str) -> dict[str, object]:
    """Return production's settings, and Django's defaults for those that it does not set."""
    made = fresh_settings("settings.production", **PRODUCTION, **variables)
    return {name: getattr(made, name, getattr(global_settings, name)) for name in names}


def test_the_deployment_check_has_no_warning(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=BASE_DIR,
        env=surroundings(
            DJANGO_SETTINGS_MODULE="settings.production",
            VAR_DIR=str(tmp_path),
            # The others' host is reserved for examples, which this check refuses.
            **PRODUCTION | {"PUBLIC_URL": "https://bridge.acme.test"},
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "System check identified no issues (2 silenced)." in made.stdout


def test_an_admin_session_is_short_and_its_cookie_is_protected(tmp_path: Path) -> None:
    assert settings_of(
        "SESSION_COOKIE_AGE",
        "SESSION_EXPIRE_AT_BROWSER_CLOSE",
        "SESSION_SAVE_EVERY_REQUEST",
        "SESSION_COOKIE_SECURE",
        "SESSION_COOKIE_HTTPONLY",
        "SESSION_COOKIE_SAMESITE",
        "CSRF_COOKIE_SECURE",
        "CSRF_COOKIE_SAMESITE",
        VAR_DIR=str(tmp_path),
    ) == {
        "SESSION_COOKIE_AGE": 8 * 3600,
        "SESSION_EXPIRE_AT_BROWSER_CLOSE": True,
        "SESSION_SAVE_EVERY_REQUEST": False,
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SECURE": True,
        "CSRF_COOKIE_SAMESITE": "Lax",
    }


def test_with_redis_all_processes_share_the_rate_limit(tmp_path: Path) -> None:
    made = settings_of("CACHES", VAR_DIR=str(tmp_path), REDIS_URL="redis://127.0.0.1:6379/0")["CACHES"]
    assert isinstance(made, dict)
    assert made["default"]["BACKEND"].endswith("RedisCache")


def test_the_list_of_static_files_is_not_served(tmp_path: Path, settings: Any) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.WHITENOISE_USE_FINDERS = settings.WHITENOISE_AUTOREFRESH = False
    for name in ("staticfiles.json", "staticfiles.json.gz", "admin.css"):
        (tmp_path / name).write_text("{}")
    middleware = StaticFilesMiddleware(lambda request: HttpResponse(status=404))
    codes = [
        middleware(RequestFactory().get(f"/static/{name}")).status_code
        for name in ("staticfiles.json", "staticfiles.json.gz", "admin.css")
    ]
    assert codes == [404, 404, 200]
