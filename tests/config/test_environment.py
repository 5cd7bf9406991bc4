"""Settings from environment variables, and the messages for invalid ones."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from intercom_bridge import __version__
from intercom_bridge.__main__ import main
from settings.env import (
    BASE_DIR,
    ENVIRONMENT_VARIABLES,
    addresses,
    database,
    days,
    mail_server,
    one_of,
    read_secret_files,
    seconds,
)

from .started import PRODUCTION, fresh_settings, python, refusal, surroundings, value_of

WITHOUT_FILES = {
    "DATABASE_URL": "postgres://somebody@db.example/bridge",
    "REDIS_URL": "redis://queue.example",
}


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-the-file-é\n", encoding="utf-8")
    assert value_of("SECRET_KEY", "settings.development", SECRET_KEY_FILE=str(file)) == "from-the-file-é"


@pytest.mark.parametrize("name", ENVIRONMENT_VARIABLES)
def test_both_a_value_and_its_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "value").write_text("a")
    monkeypatch.setenv(name, "b")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "value"))
    with pytest.raises(ImproperlyConfigured, match=f"{name} and {name}_FILE are both set. Keep one of them."):
        read_secret_files()


def test_the_message_for_a_missing_secret_file_names_it() -> None:
    assert (
        refusal(SECRET_KEY_FILE="/nowhere/key")
        == "SECRET_KEY_FILE names /nowhere/key, which cannot be read: No such file or directory."
    )


def test_production_reads_all_secrets_from_files(tmp_path: Path) -> None:
    files = {}
    for name, value in PRODUCTION.items():
        (tmp_path / name).write_text(f"{value}\n")
        files[f"{name}_FILE"] = str(tmp_path / name)
    assert value_of("SECRET_KEY", "settings.production", **files) == PRODUCTION["SECRET_KEY"]
    assert value_of("ALLOWED_HOSTS", "settings.production", **files) == ["bridge.example.com"]


@pytest.mark.parametrize(
    "url",
    [
        "hello",
        "mysql://user:swordfish@host/name",
        "postgres://user:swordfish@host",
        "postgres://user:swordfish@host:port/name",
        "postgres://user:swordfish@[host/name",
    ],
)
def test_an_unsupported_database_url_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured) as error:
        database("DATABASE_URL", tmp_path / "db")
    assert str(error.value) == (
        "DATABASE_URL is not the URL of a supported database. "
        "Write postgres://user:password@host/name, or sqlite:////path/of/a/file."
    )


@pytest.mark.parametrize(
    ("url", "port", "is_tls", "is_ssl"),
    [
        ("smtp://mail.example", 25, False, False),
        ("smtp+tls://ops%40example.com:sword%2Ffish@mail.example", 587, True, False),
        ("smtp+ssl://ops%40example.com:sword%2Ffish@mail.example:1465", 1465, False, True),
    ],
)
def test_the_url_of_a_mail_server_becomes_djangos_settings(
    monkeypatch: pytest.MonkeyPatch, url: str, port: int, *, is_tls: bool, is_ssl: bool
) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    config = mail_server("EMAIL_URL")
    assert (config["EMAIL_HOST"], config["EMAIL_PORT"]) == ("mail.example", port)
    assert config.get("EMAIL_USE_TLS", False) is is_tls
    assert config.get("EMAIL_USE_SSL", False) is is_ssl
    if is_tls or is_ssl:
        account = (config["EMAIL_HOST_USER"], config["EMAIL_HOST_PASSWORD"])
        assert account == ("ops@example.com", "sword/fish")


@pytest.mark.parametrize(
    "url",
    [
        "mail.example",
        "http://user:swordfish@mail.example",
        "smtp://user:swordfish@",
        "smtp://user:swordfish@mail:port",
    ],
)
def test_another_url_of_a_mail_server_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    with pytest.raises(ImproperlyConfigured) as error:
        mail_server("EMAIL_URL")
    assert str(error.value).startswith("EMAIL_URL is not the URL of a mail server. Write smtp://")
    assert "swordfish" not in str(error.value)


def test_addresses_without_a_mail_server_are_refused() -> None:
    assert refusal(ALERT_EMAILS="ops@example.com").startswith("ALERT_EMAILS is set, but EMAIL_URL is not.")


@pytest.mark.parametrize(
    ("user", "variables", "sender"),
    [
        ("", {}, "intercom-bridge@bridge.example.com"),
        ("bridge:x@", {}, "intercom-bridge@bridge.example.com"),
        ("ops%40example.com:x@", {}, "ops@example.com"),
        ("ops%40example.com:x@", {"EMAIL_FROM": "bridge@example.com"}, "bridge@example.com"),
    ],
)
def test_the_sender_is_the_mail_servers_account_or_of_our_host(
    user: str, variables: dict[str, str], sender: str
) -> None:
    url = f"smtp+tls://{user}mail.example"
    made = value_of("DEFAULT_FROM_EMAIL", **PRODUCTION, EMAIL_URL=url, **variables)
    assert made == sender


def parse_choice(name: str) -> str:
    return one_of(name, "plain", "json")


def parse_seconds(name: str) -> float:
    return seconds(name, 8)


def parse_days(name: str) -> int:
    return days(name, 30)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (
            addresses,
            "ops@example.com, nobody",
            "NAME is “ops@example.com, nobody”. Write e-mail addresses, separated by commas, like ops@example.com.",
        ),
        (parse_choice, "xml", "NAME is “xml”. Write one of plain, json."),
        (parse_seconds, "8s", "NAME is “8s”. Write a number of seconds above 0, like 8."),
        (parse_seconds, "nan", "NAME is “nan”. Write a number of seconds above 0, like 8."),
        (parse_seconds, "0", "NAME is “0”. Write a number of seconds above 0, like 8."),
        (parse_seconds, "-1", "NAME is “-1”. Write a number of seconds above 0, like 8."),
        (parse_days, "1.5", "NAME is “1.5”. Write a whole number of days, 1 or more, like 30."),
        (parse_days, "1000000", "NAME is “1000000”. Write a whole number of days, 1 or more, like 30."),
        (
            parse_days,
            " ",
            "NAME is set, but empty. Write a whole number of days, 1 or more, like 30, or leave it unset.",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_the_message_for_an_invalid_value_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, parse: Callable[[str], object], text: str, message: str
) -> None:
    monkeypatch.setenv("NAME", text)
    with pytest.raises(ImproperlyConfigured) as error:
        parse("NAME")
    assert str(error.value) == message


def test_an_invalid_public_url_is_refused() -> None:
    message = "PUBLIC_URL is “https://[bridge”. Write a URL, like https://bridge.example.com."
    assert refusal(PUBLIC_URL="https://[bridge") == message


# gunicorn itself reads WEB_CONCURRENCY first, and refuses text.
@pytest.mark.parametrize(("name", "value"), [("WEB_CONCURRENCY", "0"), ("WEB_THREADS", "many")])
def test_invalid_numbers_for_gunicorn_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"^{name} is “{value}”. "):
        runpy.run_path(str(BASE_DIR / "gunicorn.conf.py"))


def test_valid_values_are_used() -> None:
    base = fresh_settings(WRITE_SECONDS="2.5", KEEP_PAYLOADS_DAYS="7", LOG_LEVEL="debug", LOG_FORMAT="JSON")
    assert (base.WRITE_SECONDS, base.KEEP_PAYLOADS_DAYS, base.LOGGING["root"]["level"]) == (2.5, 7, "DEBUG")


def test_the_directory_of_files_can_be_moved(tmp_path: Path) -> None:
    var = tmp_path / "a b%20#c" / "var"
    base = fresh_settings(VAR_DIR=str(var))
    assert base.DATABASES["default"]["NAME"] == str(var / "bridge.sqlite3")
    assert (var / "queue.sqlite3", var / "static") == (base.HUEY_FILE, base.STATIC_ROOT)
    assert var.is_dir()


def test_a_relative_directory_does_not_depend_on_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert value_of("VAR_DIR", VAR_DIR="elsewhere", **WITHOUT_FILES) == BASE_DIR / "elsewhere"


@pytest.mark.parametrize(
    ("variables", "is_created"),
    [
        ({}, True),
        ({"DATABASE_URL": WITHOUT_FILES["DATABASE_URL"]}, True),
        ({"REDIS_URL": WITHOUT_FILES["REDIS_URL"]}, True),
        (WITHOUT_FILES, False),
        (WITHOUT_FILES | {"DATABASE_URL": "sqlite:////elsewhere/db"}, False),
    ],
)
def test_the_directory_is_created_only_if_it_will_contain_files(
    tmp_path: Path, variables: dict[str, str], is_created: bool
) -> None:
    value_of("VAR_DIR", VAR_DIR=str(tmp_path / "var"), **variables)
    assert (tmp_path / "var").exists() is is_created


def test_with_postgresql_and_redis_starting_in_production_writes_no_file(tmp_path: Path) -> None:
    """Watch every file that Python opens for writing, and every directory that it creates."""
    code = """
import os, sys
sys.dont_write_bytecode = True
def watch(event, args):
    if event == "os.mkdir" or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR) and args[0] != os.devnull):
        print("WRITES", event, args[0])
sys.addaudithook(watch)
import settings.wsgi, intercom_bridge.worker.loop
print(os.environ["DJANGO_SETTINGS_MODULE"])
"""
    made = python(code, VAR_DIR=str(tmp_path / "var"), **PRODUCTION, **WITHOUT_FILES)
    # The web server's default settings.
    assert made.stdout == "settings.production\n", made.stderr
    assert not (tmp_path / "var").exists()


def test_the_message_for_a_directory_that_cannot_be_created_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal(VAR_DIR=str(tmp_path / "file" / "var"))
    assert message.startswith(f"The directory {tmp_path}/file/var cannot be created: Not a directory.")
    assert "VAR_DIR" in message and "DATABASE_URL" in message and "REDIS_URL" in message


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SECRET_KEY", "SECRET_KEY is not set. Create one with: python -c 'import secrets; "),
        ("FIELD_ENCRYPTION_KEYS", "FIELD_ENCRYPTION_KEYS is not set. It encrypts the workspaces' secrets"),
        ("PUBLIC_URL", "PUBLIC_URL is not set. It is the https URL under which Intercom reaches"),
    ],
)
def test_production_refuses_to_start_without_its_secrets(name: str, sentence: str) -> None:
    message = refusal("settings.production", **PRODUCTION | {name: ""})
    assert message.startswith(sentence)
    assert message.endswith(f"(It may also be given as {name}_FILE.)")


def test_production_refuses_an_address_without_https() -> None:
    message = refusal("settings.production", **PRODUCTION | {"PUBLIC_URL": "http://bridge.example.com"})
    assert message == "PUBLIC_URL must start with https:// (it is http://bridge.example.com)."


def test_debug_is_for_development_only() -> None:
    assert value_of("DEBUG", "settings.production", DEBUG="true", **PRODUCTION) is False
    assert value_of("DEBUG", "settings.development", DEBUG="false") is False


def test_manage_py_defaults_to_development_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    monkeypatch.setattr(sys, "argv", ["manage.py", "version"])
    main()
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "settings.development"


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_worker_starts_without_importing_the_pages() -> None:
    code = """
import sys
import django
django.setup()
from intercom_bridge.management.commands.worker import Command
Command().check(tags=Command.requires_system_checks)
pages = ("intercom_bridge.admin.", "intercom_bridge.panel", "intercom_bridge.views", "settings.urls")
print([name for name in sys.modules if name.startswith(pages)])
"""
    made = python(code, DJANGO_SETTINGS_MODULE="settings.development")
    assert made.stdout == "[]\n", made.stderr


# `migrate` and `check` are Django's commands, `worker` is one of ours: Django loads their settings at other places.
@pytest.mark.parametrize(
    ("command", "variables", "sentence"),
    [
        ("migrate", {"DJANGO_SETTINGS_MODULE": "settings.production"}, "SECRET_KEY is not set. "),
        ("worker", {"LOG_FORMAT": "xml"}, "LOG_FORMAT is “xml”. Write one of plain, json."),
        (
            "worker",
            {"DJANGO_SETTINGS_MODULE": "settings.prod"},
            "DJANGO_SETTINGS_MODULE is “settings.prod”, which does not",
        ),
        (
            "check",
            {"DJANGO_SETTINGS_MODULE": "elsewhere.prod"},
            "DJANGO_SETTINGS_MODULE is “elsewhere.prod”, which does ",
        ),
    ],
)
def test_a_command_reports_invalid_settings_in_one_line(
    command: str, variables: dict[str, str], sentence: str
) -> None:
    made = manage(command, **variables)
    assert made.returncode == 1
    assert made.stderr.startswith(sentence), made.stderr
    assert made.stderr.count("\n") == 1


def test_the_traceback_of_invalid_settings_is_printed_on_request() -> None:
    assert "Traceback" in manage("check", "--traceback", LOG_FORMAT="xml").stderr


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (3600, False, False)),
        ({"HSTS_SECONDS": "0"}, (0, False, False)),
        (
            {"HSTS_SECONDS": "63072000", "HSTS_INCLUDE_SUBDOMAINS": "true", "HSTS_PRELOAD": "True"},
            (63072000, True, True),
        ),
    ],
)
def test_hsts_is_short_and_for_this_host_only_unless_configured(
    variables: dict[str, str], expected: tuple[int, bool, bool]
) -> None:
    made = fresh_settings("settings.production", **PRODUCTION, **variables)
    assert expected == (
        made.SECURE_HSTS_SECONDS,
        made.SECURE_HSTS_INCLUDE_SUBDOMAINS,
        made.SECURE_HSTS_PRELOAD,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HSTS_SECONDS", "-1"),
        ("HSTS_SECONDS", "1h"),
        ("HSTS_SECONDS", "63072001"),
        ("HSTS_SECONDS", "9" * 30),
        ("HSTS_PRELOAD", "maybe"),
    ],
)
def test_invalid_hsts_values_are_refused(name: str, value: str) -> None:
    message = refusal("settings.production", **PRODUCTION, **{name: value})
    assert message.startswith(f"{name} is “{value}”. Write ")


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_the_command_prints_the_version_of_the_bridge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["intercom-bridge", argument])
    main()
    assert capsys.readouterr().out == f"intercom-bridge {__version__}\n"
