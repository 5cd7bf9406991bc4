"""What the environment may say, and how a mistake in it is answered."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from intercom_bridge import checks
from settings.environment import BASE_DIR, NAMES

from .started import PRODUCTION, python, refusal, surroundings, value_of

WITHOUT_FILES = {
    "DATABASE_URL": "postgres://somebody@db.example/bridge",
    "REDIS_URL": "redis://queue.example",
}


# NAME_FILE


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-the-file-é\n", encoding="utf-8")
    assert value_of("SECRET_KEY", "settings.development", SECRET_KEY_FILE=str(file)) == "from-the-file-é"


@pytest.mark.parametrize("name", NAMES)
def test_both_a_value_and_its_file_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "value").write_text("a")
    assert (
        refusal(**{name: "b", f"{name}_FILE": str(tmp_path / "value")})
        == f"{name} and {name}_FILE are both set. Keep one of them."
    )


def test_a_file_that_is_not_there_is_named() -> None:
    assert (
        refusal(SECRET_KEY_FILE="/nowhere/key")
        == "SECRET_KEY_FILE names /nowhere/key, which cannot be read: No such file or directory."
    )


def test_production_takes_all_its_secrets_from_files(tmp_path: Path) -> None:
    files = {}
    for name, value in PRODUCTION.items():
        (tmp_path / name).write_text(f"{value}\n")
        files[f"{name}_FILE"] = str(tmp_path / name)
    assert value_of("SECRET_KEY", "settings.production", **files) == PRODUCTION["SECRET_KEY"]
    assert value_of("ALLOWED_HOSTS", "settings.production", **files) == "['bridge.example.com']"


# Mistakes


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"DATABASE_URL": ""},
            "DATABASE_URL is set, but empty. Write postgres://user:password@host/name, or "
            "sqlite:////path/of/a/file, or leave it unset.",
        ),
        *(
            (
                {"DATABASE_URL": address},
                "DATABASE_URL is not the address of a database that can be used here. "
                "Write postgres://user:password@host/name, or sqlite:////path/of/a/file.",
            )
            for address in (
                "hello",
                "mysql://user:swordfish@host/name",
                "postgres://user:swordfish@host",
                "postgres://user:swordfish@host:port/name",
                "postgres://user:swordfish@[host/name",
            )
        ),
        (
            {"LOG_LEVEL": "verbose"},
            "LOG_LEVEL is “verbose”. Write one of INFO, DEBUG, WARNING, ERROR, CRITICAL.",
        ),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT is “xml”. Write one of plain, json."),
        ({"WRITE_SECONDS": "8s"}, "WRITE_SECONDS is “8s”. Write a number of seconds above 0, like 8."),
        ({"WRITE_SECONDS": "nan"}, "WRITE_SECONDS is “nan”. Write a number of seconds above 0, like 8."),
        (
            {"UNKNOWN_OUTCOME_SECONDS": "0"},
            "UNKNOWN_OUTCOME_SECONDS is “0”. Write a number of seconds above 0, like 10.",
        ),
        (
            {"CHECK_AFTER_SECONDS": "-1"},
            "CHECK_AFTER_SECONDS is “-1”. Write a number of seconds above 0, like 180.",
        ),
        (
            {"KEEP_PAYLOADS_DAYS": "1.5"},
            "KEEP_PAYLOADS_DAYS is “1.5”. Write a whole number of days, 1 or more, like 30.",
        ),
        (
            {"KEEP_FAILED_PAYLOADS_DAYS": ""},
            "KEEP_FAILED_PAYLOADS_DAYS is set, but empty. Write a whole number of days, 1 or more, like 180, "
            "or leave it unset.",
        ),
        (
            {"PUBLIC_URL": "https://[bridge"},
            "PUBLIC_URL is “https://[bridge”. Write an address, like https://bridge.example.com.",
        ),
    ],
    ids=lambda one: " ".join(f"{k}={v}" for k, v in one.items()) if isinstance(one, dict) else "",
)
def test_a_mistake_is_answered_with_a_sentence_that_says_what_to_write(
    variables: dict[str, str], sentence: str
) -> None:
    assert refusal(**variables) == sentence


# gunicorn reads WEB_CONCURRENCY by itself before we are asked: that it is a number at all is its own business.
@pytest.mark.parametrize(
    ("name", "value"),
    [("WEB_CONCURRENCY", "0"), ("WEB_THREADS", ""), ("WEB_THREADS", "0"), ("WEB_THREADS", "many")],
)
def test_so_is_one_in_gunicorn_s_numbers(name: str, value: str) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--check-config", "settings.wsgi"],
        cwd=BASE_DIR,
        env=surroundings(**PRODUCTION, **{name: value}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 1
    assert made.stderr.startswith(f"{name} is “{value}”. Write a whole number, 1 or more, like ")
    assert "Traceback" not in made.stderr


def test_what_is_right_is_taken() -> None:
    code = (
        "import settings.base as s; print(s.WRITE_SECONDS, s.KEEP_PAYLOADS_DAYS, s.LOGGING['root']['level'])"
    )
    made = python(code, WRITE_SECONDS="2.5", KEEP_PAYLOADS_DAYS="7", LOG_LEVEL="debug", LOG_FORMAT="JSON")
    assert made.stdout == "2.5 7 DEBUG\n", made.stderr


# Where files are


def test_the_directory_of_files_can_be_moved(tmp_path: Path) -> None:
    var = tmp_path / "a b%20#c" / "var"
    code = "import settings.base as s; print(s.DATABASES['default']['NAME'], s.HUEY_FILE, s.STATIC_ROOT, sep='\\n')"
    made = python(code, VAR_DIR=str(var))
    assert made.stdout.splitlines() == [f"{var}/bridge.sqlite3", f"{var}/queue.sqlite3", f"{var}/static"]
    assert var.is_dir()


def test_a_relative_one_is_the_same_wherever_a_process_is_started(tmp_path: Path) -> None:
    made = python(
        f"import sys; sys.path.insert(0, {str(BASE_DIR)!r}); import settings.base as s; print(s.VAR_DIR)",
        cwd=tmp_path,
        VAR_DIR="elsewhere",
        **WITHOUT_FILES,
    )
    assert made.stdout.strip() == str(BASE_DIR / "elsewhere")


@pytest.mark.parametrize(
    ("variables", "is_made"),
    [
        ({}, True),
        ({"DATABASE_URL": WITHOUT_FILES["DATABASE_URL"]}, True),
        ({"REDIS_URL": WITHOUT_FILES["REDIS_URL"]}, True),
        (WITHOUT_FILES, False),
        (WITHOUT_FILES | {"DATABASE_URL": "sqlite:////elsewhere/db"}, False),
    ],
)
def test_the_directory_is_made_only_when_a_file_of_ours_is_in_it(
    tmp_path: Path, variables: dict[str, str], is_made: bool
) -> None:
    value_of("VAR_DIR", VAR_DIR=str(tmp_path / "var"), **variables)
    assert (tmp_path / "var").exists() is is_made


def test_with_postgresql_and_redis_nothing_at_all_is_written_at_the_start(tmp_path: Path) -> None:
    """Counts each file that Python opens for writing, and each directory it makes, in the whole application."""
    code = """
import os, sys
sys.dont_write_bytecode = True
def watch(event, args):
    if event == "os.mkdir" or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR) and args[0] != os.devnull):
        print("WRITES", event, args[0])
sys.addaudithook(watch)
import settings.wsgi, intercom_bridge.sync.tasks
"""
    made = python(code, VAR_DIR=str(tmp_path / "var"), **PRODUCTION, **WITHOUT_FILES)
    assert made.returncode == 0, made.stderr
    assert "WRITES" not in made.stdout
    assert not (tmp_path / "var").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refusal(VAR_DIR=str(tmp_path / "file" / "var"))
    assert said.startswith(f"The directory {tmp_path}/file/var cannot be made: Not a directory.")
    assert "VAR_DIR" in said and "DATABASE_URL" in said and "REDIS_URL" in said


# Production


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SECRET_KEY", "SECRET_KEY is not set. Make one with: python -c 'import secrets; "),
        ("FIELD_ENCRYPTION_KEYS", "FIELD_ENCRYPTION_KEYS is not set. It encrypts the workspaces' secrets"),
        ("PUBLIC_URL", "PUBLIC_URL is not set. It is the https address under which Intercom reaches"),
    ],
)
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "unset"])
def test_production_refuses_to_start_without_its_secrets(name: str, sentence: str, empty: bool) -> None:
    variables = {key: value for key, value in PRODUCTION.items() if key != name} | (
        {name: ""} if empty else {}
    )
    said = refusal("settings.production", **variables)
    assert said.startswith(sentence)
    assert said.endswith(f"(It may also be given as {name}_FILE.)")


def test_production_refuses_an_address_without_https() -> None:
    said = refusal("settings.production", **PRODUCTION | {"PUBLIC_URL": "http://bridge.example.com"})
    assert said == "PUBLIC_URL must start with https:// (it is http://bridge.example.com)."


def test_debug_is_for_development_only() -> None:
    assert value_of("DEBUG", "settings.production", DEBUG="true", **PRODUCTION) == "False"
    assert value_of("DEBUG", "settings.development", DEBUG="false") == "False"


# Which settings


def test_the_web_server_runs_production_s_settings_unless_told() -> None:
    code = "import settings.wsgi, os; print(os.environ['DJANGO_SETTINGS_MODULE'])"
    assert python(code, **PRODUCTION).stdout == "settings.production\n"
    told = python(code, DJANGO_SETTINGS_MODULE="settings.development")
    assert told.stdout == "settings.development\n", told.stderr


def test_manage_py_runs_development_s_settings_unless_told() -> None:
    def said(**variables: str) -> str:
        return subprocess.run(
            [
                sys.executable,
                "manage.py",
                "shell",
                "-v",
                "0",
                "-c",
                "import os; print(os.environ['DJANGO_SETTINGS_MODULE'])",
            ],
            cwd=BASE_DIR,
            env=surroundings(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()

    assert said() == "settings.development"
    assert said(DJANGO_SETTINGS_MODULE="settings.production", **PRODUCTION) == "settings.production"


# The table in the README


def test_the_readme_names_every_variable() -> None:
    readme = (BASE_DIR / "README.md").read_text(encoding="utf-8")
    table = readme.split("\n## Environment\n")[1].split("\n## ")[0]
    named = set(
        re.findall(r"`([A-Z_]+)`", "\n".join(line for line in table.splitlines() if line.startswith("|")))
    )
    in_gunicorn = set(
        re.findall(r'"([A-Z_]{4,})"', (BASE_DIR / "gunicorn.conf.py").read_text(encoding="utf-8"))
    )
    assert {*NAMES, *in_gunicorn, "DJANGO_SETTINGS_MODULE", "DEBUG"} <= named


def test_every_check_is_in_the_table_of_the_handbook() -> None:
    handbook = (BASE_DIR / "docs" / "operate.md").read_text(encoding="utf-8")
    rows = "\n".join(line.split("|")[1] for line in handbook.splitlines() if line.startswith("|"))
    ids = r"\b[EWI]\d{3}\b"
    assert set(re.findall(ids, rows)) == set(re.findall(ids, checks.__doc__))
