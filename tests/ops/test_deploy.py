"""The files in deploy/ agree with the service and with each other. `make production-check` plays them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from sandbox.production.service import Service
from sandbox.production.unit import Unit, read_environment
from settings.environment import BASE_DIR, NAMES

from .stage import environment_of, run

DEPLOY = BASE_DIR / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
EXAMPLE = DEPLOY / "bridge.env.example"
HOME = "/opt/intercom-bridge"
# What the service reads besides: Django, and the library that speaks HTTP.
OTHERS = {"DJANGO_SETTINGS_MODULE", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"}


def example_lines() -> list[str]:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"#?[A-Z_]+=", line)]


def command_of(name: str) -> list[str]:
    return Unit.read(DEPLOY / "systemd" / name).command("ExecStart")


# The environment file


def test_each_variable_stands_in_the_example_once() -> None:
    configuration = (BASE_DIR / "gunicorn.conf.py").read_text(encoding="utf-8")
    gunicorn = set(re.findall(r'(?:environ\.get|_number)\("([A-Z_]+)"', configuration))
    names = [line.lstrip("#").partition("=")[0] for line in example_lines()]
    assert gunicorn == {"BIND", "WEB_CONCURRENCY", "WEB_THREADS", "ACCESS_LOG"}
    assert sorted(names) == sorted({*NAMES, *gunicorn, *OTHERS})


def test_each_variable_of_the_example_is_explained() -> None:
    for block in EXAMPLE.read_text(encoding="utf-8").split("\n\n"):
        if set(block.splitlines()) & set(example_lines()):
            assert block.startswith("# "), block


def read_by_a_script(file: Path) -> subprocess.CompletedProcess[str]:
    """What the scripts hand on of an environment file, as JSON."""
    script = 'set -eu; . "$0"; exec "$1" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    return subprocess.run(
        ["/bin/sh", "-c", script, str(DEPLOY / "environment.sh"), sys.executable],
        env={"PATH": os.environ["PATH"], "BRIDGE_ENV": str(file)},
        capture_output=True,
        text=True,
    )


def test_a_script_and_systemd_read_the_same_from_the_example() -> None:
    read = json.loads(read_by_a_script(EXAMPLE).stdout)
    written = read_environment(EXAMPLE)
    assert "SECRET_KEY" in written
    assert {name: read[name] for name in written} == written


@pytest.mark.parametrize(
    "value",
    [
        "postgres://bridge:secret@db/bridge?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem",
        *(
            "a;b",
            "a(b)",
            "a<b",
            "a>b",
            "a|b",
            "a`touch made`b",
            "$(touch made)",
            "$HOME",
            "a#b",
            "*",
            "~",
            "é",
            "",
        ),
    ],
)
def test_nothing_in_a_value_is_evaluated(value: str, tmp_path: Path) -> None:
    file = tmp_path / "bridge.env"
    # Without an end of the last line.
    file.write_text(f"# About it\n\nBEFORE=1\nVALUE={value}", encoding="utf-8")
    done = read_by_a_script(file)
    read = json.loads(done.stdout)
    assert (read["BEFORE"], read["VALUE"], done.stderr) == ("1", value, "")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "line", ['KEY="s3cr3t"', "KEY='s3cr3t'", "KEY= s3cr3t", "KEY=s3cr3t\\", "KEY=s3cr3t\r"]
)
def test_what_systemd_would_read_differently_is_refused(line: str, tmp_path: Path) -> None:
    file = tmp_path / "bridge.env"
    file.write_bytes(f"BEFORE=1\n{line}\n".encode())
    done = read_by_a_script(file)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Line 2 of {file}" in done.stderr
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize("name", ["manage.sh", "backup.sh", "restore.sh"])
def test_each_script_uses_the_database_of_the_service(name: str, tmp_path: Path) -> None:
    """Not the SQLite file of VAR_DIR, though the address holds an &. Here nobody is at that address."""
    file = tmp_path / "bridge.env"
    file.write_text(
        f"DJANGO_SETTINGS_MODULE=settings.development\nVAR_DIR={tmp_path / 'var'}\n"
        "DATABASE_URL=postgres://bridge@127.0.0.1:1/bridge?connect_timeout=1&application_name=bridge\n",
        encoding="utf-8",
    )
    backup = tmp_path / "bridge.pgdump"
    backup.write_bytes(b"PGDMP")
    arguments = {
        "manage.sh": ["migrate", "--check"],
        "backup.sh": [str(tmp_path / "backups")],
        "restore.sh": [str(backup)],
    }
    done = subprocess.run(
        [str(DEPLOY / name), *arguments[name]],
        env={"PATH": os.environ["PATH"], "BRIDGE_ENV": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "port 1 " in done.stderr
    assert not (tmp_path / "var" / "bridge.sqlite3").exists()


# The units


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_what_a_unit_starts_is_there(path: Path) -> None:
    unit = Unit.read(path)
    program, *arguments = unit.command("ExecStart")
    assert program.startswith(f"{HOME}/")
    if not program.startswith(f"{HOME}/.venv/"):
        assert os.access(program.replace(HOME, str(BASE_DIR)), os.X_OK)
    for argument in arguments:
        if argument.endswith(".py"):
            assert (BASE_DIR / argument).exists()


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_each_service_is_confined_alike(path: Path) -> None:
    def confinement(one: Path) -> list[str]:
        text = one.read_text(encoding="utf-8")
        return text[text.index("User=") :].split("\n\n")[0].splitlines()

    assert {"NoNewPrivileges=yes", "ProtectSystem=strict"} <= set(confinement(path))
    assert confinement(path) == confinement(SERVICES[0])


@pytest.mark.parametrize("name", ["bridge-web.service", "bridge-worker@.service"])
def test_systemd_waits_longer_than_a_graceful_stop_takes(name: str) -> None:
    configuration = (BASE_DIR / "gunicorn.conf.py").read_text(encoding="utf-8")
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)$", configuration, re.MULTILINE)
    assert int(Unit.read(DEPLOY / "systemd" / name).value("TimeoutStopSec")) > int(graceful)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace(HOME, str(BASE_DIR))
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    copies = [str(tmp_path / path.name.replace("@.", "@1.")) for path in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *copies],
        capture_output=True,
        text=True,
    )
    assert [line for line in done.stderr.splitlines() if "bridge-" in line] == []
    assert done.returncode == 0, done.stderr


# nginx' site


def test_the_site_and_the_socket_name_the_same_address() -> None:
    site = (DEPLOY / "nginx" / "bridge.conf").read_text(encoding="utf-8")
    listens = Unit.read(DEPLOY / "systemd" / "bridge-web.socket").value("ListenStream")
    # Twice: a second try for each request.
    assert re.findall(r"^    server ([\d.:]+) max_fails=0;$", site, re.MULTILINE) == [listens, listens]


# The image


def test_the_image_and_compose_start_what_the_units_start() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (started,) = re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)
    services = compose()["services"]
    assert json.loads(started) == command_of("bridge-web.service")
    assert services["web"]["command"] == command_of("bridge-web.service")
    assert services["worker"]["command"] == command_of("bridge-worker@.service")
    assert f"WORKDIR {HOME}\n" in dockerfile
    assert "--require-hashes -r requirements/base.txt" in dockerfile


def test_compose_has_all_that_the_service_needs() -> None:
    services = compose()["services"]
    assert set(services) == {"migrate", "web", "worker", "nginx", "postgres", "redis"}
    assert services["worker"]["deploy"]["replicas"] == 2
    assert "./nginx/bridge.conf:/etc/nginx/conf.d/default.conf:ro" in services["nginx"]["volumes"]
    for service in services.values():
        for needed in service.get("depends_on", ()):
            assert needed in services


@pytest.mark.parametrize("name", [".gitignore", ".dockerignore"])
def test_a_backup_gets_neither_into_the_image_nor_into_the_repository(name: str) -> None:
    ignored = (BASE_DIR / name).read_text(encoding="utf-8").splitlines()
    anywhere = "" if name == ".gitignore" else "**/"
    assert {f"{anywhere}*.pgdump", f"{anywhere}bridge-*.sqlite3"} <= set(ignored)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


# Backup and restore with SQLite; the production check plays them with PostgreSQL


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    found = environment_of(tmp_path) | {"DJANGO_SETTINGS_MODULE": "settings.development"}
    run(found, "manage.py", "migrate", "--verbosity", "0")
    return found


def script(name: str, environment: dict[str, str], argument: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(DEPLOY / name), argument], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_sqlite_database_is_saved_and_comes_back(tmp_path: Path, environment: dict[str, str]) -> None:
    database = tmp_path / "bridge.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE told (words TEXT)")
        connection.execute("INSERT INTO told VALUES ('kept')")
    # Still open: what was written stands in the journal beside the file, and has to be in the backup.
    saved = script("backup.sh", environment, str(tmp_path / "backups"))
    connection.close()
    assert saved.returncode == 0, saved.stderr
    backup = Path(saved.stdout.strip())
    assert backup.stat().st_mode & 0o077 == 0
    for path in tmp_path.glob("bridge.sqlite3*"):
        path.unlink()
    restored = script("restore.sh", environment, str(backup))
    assert restored.returncode == 0, restored.stderr
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT words FROM told").fetchall() == [("kept",)]
    connection.close()


def test_a_backup_is_never_put_over_a_database(tmp_path: Path, environment: dict[str, str]) -> None:
    saved = script("backup.sh", environment, str(tmp_path / "backups"))
    before = (tmp_path / "bridge.sqlite3").read_bytes()
    refused = script("restore.sh", environment, saved.stdout.strip())
    assert refused.returncode == 1
    assert "Nothing was changed" in refused.stderr
    assert (tmp_path / "bridge.sqlite3").read_bytes() == before


@pytest.mark.parametrize("left_over", ["", "-wal", "-shm"])
def test_nothing_of_a_former_database_is_played_into_the_restored_one(
    left_over: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    backup = script("backup.sh", environment, str(tmp_path / "backups")).stdout.strip()
    for path in tmp_path.glob("bridge.sqlite3*"):
        path.unlink()
    there = tmp_path / f"bridge.sqlite3{left_over}"
    there.write_bytes(b"of another database")
    refused = script("restore.sh", environment, backup)
    assert refused.returncode == 1
    assert f"There is {there}. Move it away" in refused.stderr
    assert list(tmp_path.glob("bridge.sqlite3*")) == [there]


def test_a_backup_of_the_other_kind_is_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    dump = tmp_path / "bridge.pgdump"
    dump.write_bytes(b"PGDMP\x01\x0e\x00")
    for path in tmp_path.glob("bridge.sqlite3*"):
        path.unlink()
    refused = script("restore.sh", environment, str(dump))
    assert refused.returncode == 1
    assert "is no backup of SQLite" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    assert list(tmp_path.glob("bridge.sqlite3*")) == []

    saved = tmp_path / "bridge.saved"
    saved.write_bytes(b"SQLite format 3\x00")
    postgresql = environment | {"DATABASE_URL": "postgres://bridge@127.0.0.1:1/bridge"}
    refused = script("restore.sh", postgresql, str(saved))
    assert refused.returncode == 1
    assert "is no backup of PostgreSQL" in refused.stderr


# A web process that is told to end


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """As systemd keeps it: it outlives the web server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.mark.processes
def test_who_calls_while_the_web_server_ends_is_answered_by_the_next(
    tmp_path: Path, environment: dict[str, str], listening: socket.socket
) -> None:
    host, port = listening.getsockname()
    python = f"{sys.executable} -m gunicorn settings.wsgi"
    unit = Unit("web", {"ExecStart": [python], "TimeoutStopSec": ["20"]})
    one_process = environment | {"WEB_CONCURRENCY": "1"}
    web = Service(unit, BASE_DIR, one_process, tmp_path / "web.log", listening)
    try:
        web.start("Booting worker")
        assert requests.get(f"http://{host}:{port}/healthz", timeout=30).status_code == 200
        web.ask_to_end()
        web.wait_for("Handling signal: term", 1)
        with socket.create_connection((host, port), timeout=60) as caller:
            caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: bridge.example.com\r\nConnection: close\r\n\r\n")
            web.wait()
            web.start("Booting worker")
            assert caller.recv(100).startswith(b"HTTP/1.1 200 ")
    finally:
        web.kill()


# A reload


@pytest.mark.processes
def test_a_reload_brings_in_the_code_as_it_is_then(
    tmp_path: Path, environment: dict[str, str], listening: socket.socket
) -> None:
    """Of each module that an upgrade may change: also of those that gunicorn.conf.py needs."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("settings", "intercom_bridge"):
        shutil.copytree(BASE_DIR / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(BASE_DIR / "gunicorn.conf.py", home)
    modules = [
        home / "settings" / "logs.py",
        home / "settings" / "wsgi.py",
        home / "intercom_bridge" / "metrics.py",
    ]
    unit = Unit(
        "web",
        {
            "ExecStart": [f"{sys.executable} -m gunicorn settings.wsgi"],
            "ExecReload": ["/bin/kill -s HUP $MAINPID"],
            "TimeoutStopSec": ["20"],
        },
    )
    surroundings = environment | {
        "WEB_CONCURRENCY": "1",
        "PYTHONPATH": str(BASE_DIR),
        "METRICS_TOKEN": "token-of-the-tests",
        "METRICS_DIR": str(tmp_path / "metrics"),
    }
    web = Service(unit, home, surroundings, tmp_path / "web.log", listening)
    try:
        web.start("Booting worker")
        host, port = listening.getsockname()
        assert requests.get(f"http://{host}:{port}/healthz", timeout=30).status_code == 200
        for module in modules:
            words = f"\nprint('new code of {module.stem}', flush=True)\n"
            module.write_text(module.read_text(encoding="utf-8") + words, encoding="utf-8")
        web.reload()
        web.wait_for("Worker exiting", 1)
        assert requests.get(f"http://{host}:{port}/healthz", timeout=30).status_code == 200
        assert [module for module in modules if f"new code of {module.stem}" not in web.said()] == []
    finally:
        web.kill()
