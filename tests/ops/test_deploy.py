"""The files in deploy/ agree with the service and with each other. `make production-check` runs them."""

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

from settings.env import BASE_DIR, ENVIRONMENT_VARIABLES
from tests.system.deployment.certificate import make_certificate
from tests.system.deployment.service import Service
from tests.system.deployment.unit import Unit, read_environment

from .processes import DATABASE, environment_of

DEPLOY = BASE_DIR / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
EXAMPLE = DEPLOY / "bridge.env.example"
HOME = "/opt/intercom-bridge"
# Variables that Django and the HTTP library read.
LIBRARY_VARIABLES = {"DJANGO_SETTINGS_MODULE", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"}


def example_lines() -> list[str]:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"#?[A-Z_]+=", line)]


def command_of(name: str) -> list[str]:
    return Unit.read(DEPLOY / "systemd" / name).command("ExecStart")


# The environment file


def test_each_variable_is_in_the_example_once() -> None:
    configuration = (BASE_DIR / "gunicorn.conf.py").read_text(encoding="utf-8")
    gunicorn = set(re.findall(r'(?:os\.environ\.get|_positive_integer|_switch)\("([A-Z_]+)"', configuration))
    # Set by systemd.
    gunicorn.discard("LISTEN_PID")
    names = [line.lstrip("#").partition("=")[0] for line in example_lines()]
    assert gunicorn - set(ENVIRONMENT_VARIABLES) - {"LOG_FORMAT_FILE"} == {
        "BIND",
        "ALLOW_PUBLIC_BIND",
        "WEB_CONCURRENCY",
        "WEB_THREADS",
        "ACCESS_LOG",
    }
    assert sorted(names) == sorted(
        {*ENVIRONMENT_VARIABLES, *gunicorn, *LIBRARY_VARIABLES} - {"LOG_FORMAT_FILE"}
    )


def test_each_variable_of_the_example_is_explained() -> None:
    for block in EXAMPLE.read_text(encoding="utf-8").split("\n\n"):
        if set(block.splitlines()) & set(example_lines()):
            assert block.startswith("# "), block


def read_by_script(file: Path) -> subprocess.CompletedProcess[str]:
    """Run a script with an environment file and return its environment as JSON."""
    script = 'set -eu; . "$0"; exec "$1" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    return subprocess.run(
        ["/bin/sh", "-c", script, str(DEPLOY / "environment.sh"), sys.executable],
        env={"PATH": os.environ["PATH"], "BRIDGE_ENV": str(file)},
        capture_output=True,
        text=True,
    )


def test_a_script_and_systemd_read_the_same_from_the_example() -> None:
    read = json.loads(read_by_script(EXAMPLE).stdout)
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
def test_values_are_not_evaluated_by_the_shell(value: str, tmp_path: Path) -> None:
    file = tmp_path / "bridge.env"
    # Without a newline at the end of the file.
    file.write_text(f"# About it\n\nBEFORE=1\nVALUE={value}", encoding="utf-8")
    done = read_by_script(file)
    read = json.loads(done.stdout)
    assert (read["BEFORE"], read["VALUE"], done.stderr) == ("1", value, "")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "line", ['KEY="s3cr3t"', "KEY='s3cr3t'", "KEY= s3cr3t", "KEY=s3cr3t\\", "KEY=s3cr3t\r"]
)
def test_lines_that_systemd_reads_differently_are_rejected(line: str, tmp_path: Path) -> None:
    file = tmp_path / "bridge.env"
    file.write_bytes(f"BEFORE=1\n{line}\n".encode())
    done = read_by_script(file)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Line 2 of {file}" in done.stderr
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize("name", ["manage.sh", "backup.sh", "restore.sh"])
def test_each_script_uses_the_database_of_the_service(name: str, tmp_path: Path) -> None:
    """The scripts connect to DATABASE_URL, which contains an &, and not to the SQLite file in VAR_DIR."""
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
def test_the_program_of_each_unit_exists(path: Path) -> None:
    unit = Unit.read(path)
    program, *arguments = unit.command("ExecStart")
    assert program.startswith(f"{HOME}/")
    if not program.startswith(f"{HOME}/.venv/"):
        assert os.access(program.replace(HOME, str(BASE_DIR)), os.X_OK)
    for argument in arguments:
        if argument.endswith(".py"):
            assert (BASE_DIR / argument).exists()


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_all_services_have_the_same_confinement(path: Path) -> None:
    def confinement(unit: Path) -> list[str]:
        text = unit.read_text(encoding="utf-8")
        return text[text.index("User=") :].split("\n\n")[0].splitlines()

    assert {"NoNewPrivileges=yes", "ProtectSystem=strict"} <= set(confinement(path))
    assert confinement(path) == confinement(SERVICES[0])


@pytest.mark.parametrize("name", ["bridge-web.service", "bridge-worker@.service"])
def test_systemd_waits_longer_than_a_graceful_stop_takes(name: str) -> None:
    configuration = (BASE_DIR / "gunicorn.conf.py").read_text(encoding="utf-8")
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)$", configuration, re.MULTILINE)
    assert int(Unit.read(DEPLOY / "systemd" / name).value("TimeoutStopSec")) > int(graceful)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
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


def test_the_site_and_the_socket_have_the_same_address() -> None:
    site = (DEPLOY / "nginx" / "bridge.conf").read_text(encoding="utf-8")
    listens = Unit.read(DEPLOY / "systemd" / "bridge-web.socket").value("ListenStream")
    # Twice, so that nginx retries each request once.
    assert re.findall(r"^    server ([\d.:]+) max_fails=0;$", site, re.MULTILINE) == [listens, listens]


# The image


def test_the_image_and_compose_run_the_commands_of_the_units() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (started,) = re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)
    services = compose()["services"]
    assert json.loads(started) == command_of("bridge-web.service")
    assert services["web"]["command"] == command_of("bridge-web.service")
    assert services["worker"]["command"] == command_of("bridge-worker@.service")
    assert f"WORKDIR {HOME}\n" in dockerfile
    assert "--require-hashes -r requirements/base.txt" in dockerfile


def test_compose_contains_every_required_service() -> None:
    services = compose()["services"]
    assert set(services) == {"migrate", "web", "worker", "nginx", "postgres", "redis", "backup"}
    assert services["worker"]["deploy"]["replicas"] == 2
    for service in services.values():
        for needed in service.get("depends_on", ()):
            assert needed in services


def test_each_lasting_container_restarts_and_has_a_health_check() -> None:
    services = compose()["services"]
    assert services.pop("migrate")["restart"] == "no"
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
    for name in ("web", "worker"):
        assert services[name]["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert services["nginx"]["depends_on"] == {"web": {"condition": "service_healthy"}}


def test_no_container_shares_the_network_of_another() -> None:
    """A container that restarts gets a new network namespace; another one that shared it would be cut off."""
    services = compose()["services"]
    assert not [name for name, service in services.items() if "network_mode" in service]
    published = {name for name, service in services.items() if "ports" in service}
    assert published == {"nginx"}
    assert services["web"]["environment"]["BIND"] == "0.0.0.0:8000"
    assert services["web"]["environment"]["ALLOW_PUBLIC_BIND"] == "true"


def test_each_file_that_compose_mounts_exists_and_scripts_are_executable() -> None:
    mounts = [
        mount.split(":")[0]
        for service in compose()["services"].values()
        for mount in service.get("volumes", ())
        if mount.startswith("./") and not mount.startswith("./tls:")
    ]
    assert "./nginx/for-compose.sh" in mounts and "./backup-nightly.sh" in mounts
    for mount in mounts:
        assert (DEPLOY / mount).is_file()
        assert os.access(DEPLOY / mount, os.X_OK) is mount.endswith(".sh")


def site_for_compose(directory: Path) -> Path:
    site = directory / "site.conf"
    script = DEPLOY / "nginx" / "for-compose.sh"
    subprocess.run([str(script), str(DEPLOY / "nginx" / "bridge.conf"), str(site)], check=True)
    return site


def test_nginx_looks_the_web_container_up_again_after_it_was_replaced(tmp_path: Path) -> None:
    """A name in `upstream` would be looked up once, when nginx starts; one in a variable is looked up again."""
    text = site_for_compose(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r"proxy_pass (.*);", text) == ["http://$web"] * 2
    tls = text[text.index("listen 443") - 200 :]
    assert "set $web web:8000;" in tls and "resolver 127.0.0.11 valid=5s;" in tls
    assert "127.0.0.1:8000" not in text and "upstream intercom_bridge" not in text


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_accepts_the_site_for_compose(tmp_path: Path) -> None:
    text = site_for_compose(tmp_path).read_text(encoding="utf-8")
    make_certificate(tmp_path / "tls", "bridge.example.com")
    site = text.replace("/etc/intercom-bridge/tls/", f"{tmp_path}/tls/")
    (tmp_path / "site.conf").write_text(site, encoding="utf-8")
    main = tmp_path / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body")
    )
    main.write_text(f"pid {tmp_path}/pid; events {{}} http {{ {temporary} include {tmp_path}/site.conf; }}")
    done = subprocess.run(["nginx", "-t", "-c", str(main)], capture_output=True, text=True)
    assert "syntax is ok" in done.stderr, done.stderr


# The nightly backup in containers


def run_nightly(directory: Path, argument: str, dump: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a pg_dump that executes the line `dump`; its argument 4 is the option --file."""
    programs = directory / "programs"
    programs.mkdir(exist_ok=True)
    for name, line in {"pg_dump": dump, "pg_restore": 'test -s "$2"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (directory / "backups").mkdir(exist_ok=True)
    return subprocess.run(
        [str(DEPLOY / "backup-nightly.sh"), argument],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "BACKUP_DIRECTORY": str(directory / "backups")},
        capture_output=True,
        text=True,
    )


def test_a_nightly_backup_is_checked_and_old_ones_are_deleted(tmp_path: Path) -> None:
    assert run_nightly(tmp_path, "check", "").returncode == 1
    old = tmp_path / "backups" / "bridge-20260101T030000Z.pgdump"
    old.write_text("old")
    os.utime(old, (0, 0))
    assert run_nightly(tmp_path, "check", "").returncode == 1
    done = run_nightly(tmp_path, "once", 'echo PGDMP > "${4#--file=}"')
    assert done.returncode == 0, done.stderr
    (backup,) = (tmp_path / "backups").iterdir()
    assert done.stdout.strip() == str(backup) and backup.suffix == ".pgdump"
    assert backup.stat().st_mode & 0o077 == 0
    assert run_nightly(tmp_path, "check", "").returncode == 0


@pytest.mark.parametrize("dump", ["exit 1", ': > "${4#--file=}"'], ids=["fails", "writes an empty file"])
def test_a_failed_nightly_backup_leaves_nothing_and_deletes_nothing(tmp_path: Path, dump: str) -> None:
    (tmp_path / "backups").mkdir()
    old = tmp_path / "backups" / "bridge-20260101T030000Z.pgdump"
    old.write_text("old")
    os.utime(old, (0, 0))
    done = run_nightly(tmp_path, "once", dump)
    assert (done.returncode, done.stderr) == (1, "The backup failed.\n")
    assert list((tmp_path / "backups").iterdir()) == [old]


@pytest.mark.parametrize("name", [".gitignore", ".dockerignore"])
def test_backups_are_excluded_from_the_image_and_the_repository(name: str) -> None:
    ignored = (BASE_DIR / name).read_text(encoding="utf-8").splitlines()
    anywhere = "" if name == ".gitignore" else "**/"
    assert {f"{anywhere}*.pgdump", f"{anywhere}bridge-*.sqlite3"} <= set(ignored)


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


# Backup and restore with SQLite; the production check covers PostgreSQL


@pytest.fixture
def environment(tmp_path: Path, migrated: Path) -> dict[str, str]:
    shutil.copy(migrated, tmp_path / DATABASE)
    return environment_of(tmp_path) | {"DJANGO_SETTINGS_MODULE": "settings.development"}


def script(name: str, environment: dict[str, str], argument: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(DEPLOY / name), argument], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_sqlite_database_is_backed_up_and_restored(tmp_path: Path, environment: dict[str, str]) -> None:
    database = tmp_path / "bridge.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE example (text TEXT)")
        connection.execute("INSERT INTO example VALUES ('kept')")
    # The connection is still open, so the row is in the journal; the backup must contain it.
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
        assert connection.execute("SELECT text FROM example").fetchall() == [("kept",)]
    connection.close()


def test_a_backup_never_overwrites_a_database(tmp_path: Path, environment: dict[str, str]) -> None:
    saved = script("backup.sh", environment, str(tmp_path / "backups"))
    before = (tmp_path / "bridge.sqlite3").read_bytes()
    refused = script("restore.sh", environment, saved.stdout.strip())
    assert refused.returncode == 1
    assert "Nothing was changed" in refused.stderr
    assert (tmp_path / "bridge.sqlite3").read_bytes() == before


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_remains_of_another_database_prevent_a_restore(
    suffix: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    backup = script("backup.sh", environment, str(tmp_path / "backups")).stdout.strip()
    for path in tmp_path.glob("bridge.sqlite3*"):
        path.unlink()
    remains = tmp_path / f"bridge.sqlite3{suffix}"
    remains.write_bytes(b"of another database")
    refused = script("restore.sh", environment, backup)
    assert refused.returncode == 1
    assert f"There is already a file {remains}. Move away" in refused.stderr
    assert list(tmp_path.glob("bridge.sqlite3*")) == [remains]


def test_a_backup_of_another_database_engine_is_rejected(tmp_path: Path, environment: dict[str, str]) -> None:
    dump = tmp_path / "bridge.pgdump"
    dump.write_bytes(b"PGDMP\x01\x0e\x00")
    for path in tmp_path.glob("bridge.sqlite3*"):
        path.unlink()
    refused = script("restore.sh", environment, str(dump))
    assert refused.returncode == 1
    assert "is not a backup of an SQLite database" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    assert list(tmp_path.glob("bridge.sqlite3*")) == []

    saved = tmp_path / "bridge.saved"
    saved.write_bytes(b"SQLite format 3\x00")
    postgresql = environment | {"DATABASE_URL": "postgres://bridge@127.0.0.1:1/bridge"}
    refused = script("restore.sh", postgresql, str(saved))
    assert refused.returncode == 1
    assert "is not a backup of a PostgreSQL database" in refused.stderr


# The end of a web process


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Return a listening socket that outlives the web server, like that of systemd."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.processes
def test_requests_during_a_restart_are_answered_by_the_new_server(
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
        web.terminate()
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
def test_a_reload_loads_changed_code(
    tmp_path: Path, environment: dict[str, str], listening: socket.socket
) -> None:
    """Changed modules are loaded, including those that gunicorn.conf.py imports."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("settings", "intercom_bridge"):
        shutil.copytree(BASE_DIR / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(BASE_DIR / "gunicorn.conf.py", home)
    modules = [
        home / "settings" / "logging.py",
        home / "settings" / "wsgi.py",
        home / "intercom_bridge" / "ops" / "metrics.py",
    ]
    unit = Unit(
        "web",
        {
            "ExecStart": [f"{sys.executable} -m gunicorn settings.wsgi"],
            "ExecReload": ["/bin/kill -s HUP $MAINPID"],
            "TimeoutStopSec": ["20"],
        },
    )
    variables = environment | {
        "WEB_CONCURRENCY": "1",
        "PYTHONPATH": str(BASE_DIR),
        "METRICS_TOKEN": "token-of-the-tests",
        "METRICS_DIR": str(tmp_path / "metrics"),
    }
    web = Service(unit, home, variables, tmp_path / "web.log", listening)
    try:
        web.start("Booting worker")
        host, port = listening.getsockname()
        assert requests.get(f"http://{host}:{port}/healthz", timeout=30).status_code == 200
        for module in modules:
            line = f"\nprint('new code of {module.stem}', flush=True)\n"
            module.write_text(module.read_text(encoding="utf-8") + line, encoding="utf-8")
        web.reload()
        web.wait_for("Worker exiting", 1)
        assert requests.get(f"http://{host}:{port}/healthz", timeout=30).status_code == 200
        assert [module for module in modules if f"new code of {module.stem}" not in web.output()] == []
    finally:
        web.kill()


# The documentation


PAGES = [BASE_DIR / "README.md", *sorted((BASE_DIR / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_in_the_documentation_contain_no_ellipsis(page: Path) -> None:
    """Indented lines are commands and files to copy. What is to be replaced is in capitals there."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("    ") and "…" in line] == []


def test_the_readme_names_each_environment_variable() -> None:
    text = (BASE_DIR / "README.md").read_text(encoding="utf-8")
    names = {line.lstrip("#").partition("=")[0] for line in example_lines()}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_each_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target, fragment in re.findall(
            r"\]\(([\w./-]*\.md)?#?([\w-]*)\)", page.read_text(encoding="utf-8")
        ):
            other = page.parent / target if target else page
            assert other.is_file(), (page.name, target)
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert not fragment or fragment in anchors, (page.name, target, fragment)


# The Makefile


def commands_of_make(*arguments: str) -> str:
    """Return what make would run if nothing was installed."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *arguments],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_demo_installs_only_what_the_service_needs_and_shows_the_progress() -> None:
    commands = commands_of_make("demo", "ARGS=--port 8100")
    assert "pip install" in commands and "-r requirements/base.txt" in commands
    assert "dev.txt" not in commands and "--quiet" not in commands
    assert "Installing the packages that the service needs" in commands
    assert "python3-venv" in commands
    assert "manage.py demo  --port 8100" in commands


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_run_says_where_to_go_and_is_documented() -> None:
    commands = commands_of_make("run")
    assert "/admin/" in commands and "createsuperuser" in commands
    for page in ("README.md", "docs/get-started.md"):
        assert "    make run\n" in (BASE_DIR / page).read_text(encoding="utf-8")
