"""An installation in a temporary directory from the files in deploy/, with its own servers on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import requests
from cryptography.fernet import Fernet

from itop_client import Client, quote
from settings.env import BASE_DIR
from tests.system.chaos.children import SystemTestError, free_port, wait_until
from tests.system.chaos.testbed import SANDBOX_PERSON

from .caller import CONVERSATION, Caller
from .certificate import make_certificate
from .service import Service
from .unit import Unit, read_environment

# Not the example's, which `check --deploy` takes for a placeholder.
HOST = "bridge.production.test"
DEFAULT_POSTGRESQL = "postgres://postgres@127.0.0.1:5432/postgres"
PROGRAMS = ("nginx", "redis-server", "psql", "pg_dump", "pg_restore")
ITOP_TOKEN = "production-check-itop-token"
WEB_PROCESSES = 2
WORKERS = 2

# The main configuration around the site file, with TLS in front of the sandbox iTop, as for a real one.
NGINX = """
{user}
daemon off;
pid {root}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {root}/nginx-body;
    proxy_temp_path {root}/nginx-proxy;
    fastcgi_temp_path {root}/nginx-fastcgi;
    uwsgi_temp_path {root}/nginx-uwsgi;
    scgi_temp_path {root}/nginx-scgi;
    include {root}/bridge.conf;
    server {{
        listen 127.0.0.1:{itop_https} ssl;
        ssl_certificate {root}/etc/tls/fullchain.pem;
        ssl_certificate_key {root}/etc/tls/privkey.pem;
        location / {{ proxy_pass http://127.0.0.1:{itop}; }}
    }}
}}
"""


class NotAvailableError(Exception):
    """A requirement is missing on this machine. The text says which one, and how to install it."""


class Installation:
    """A context manager that removes its processes and its database on exit."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self._stack = ExitStack()
        self._postgresql = os.environ.get("TEST_DATABASE_URL", DEFAULT_POSTGRESQL)
        self._name = f"production_check_{uuid.uuid4().hex[:12]}"
        self.ticket = 0

    def __enter__(self) -> Installation:
        try:
            self._check_requirements()
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- Requirements ---

    def _check_requirements(self) -> None:
        missing = [
            name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        ]
        if missing:
            raise NotAvailableError(
                f"{', '.join(missing)} cannot be found. On Debian: apt-get install nginx redis-server postgresql"
            )
        try:
            with psycopg.connect(self._postgresql, connect_timeout=3):
                pass
        except psycopg.Error as error:
            parts = urlsplit(self._postgresql)
            raise NotAvailableError(
                f"No PostgreSQL accepts the connection at {parts.hostname}:{parts.port or 5432}. "
                f"TEST_DATABASE_URL names another one: {str(error).splitlines()[0]}"
            ) from error

    # --- Setup ---

    def _set_up(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self._ports = {
            name: free_port() for name in ("web", "http", "https", "redis", "itop", "itop_https", "intercom")
        }
        self.authority = make_certificate(self.root / "etc" / "tls", HOST)
        self.caller = Caller(HOST, self._ports["http"], self._ports["https"], self.authority)
        self.create_database()
        self._stack.callback(self.drop_database)
        self.environment_file = self.root / "etc" / "bridge.env"
        self.environment_file.touch(mode=0o600)
        self.environment_file.write_text(self._filled_in(), encoding="utf-8")
        (self.root / "state").mkdir()
        self._make_services()

    def _filled_in(self) -> str:
        """Return the lines of the example with some values filled in."""
        values = {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            # With an &, as in an address with TLS options: systemd, Docker and the scripts must read the same value.
            "DATABASE_URL": f"{self._database_url}?connect_timeout=5&application_name={self._name}",
            "REDIS_URL": f"redis://127.0.0.1:{self._ports['redis']}/0",
            "REQUESTS_CA_BUNDLE": str(self.authority),
        }
        lines = []
        for line in self._adapted(BASE_DIR / "deploy" / "bridge.env.example").splitlines():
            name = line.removeprefix("#").partition("=")[0]
            lines.append(f"{name}={values.pop(name)}" if name in values else line)
        if values:
            raise SystemTestError(f"bridge.env.example has no line for {', '.join(values)}.")
        return "\n".join(lines) + "\n"

    def _adapted(self, path: Path) -> str:
        """Return a file of deploy/ with the paths and ports of this installation."""
        text = path.read_text(encoding="utf-8")
        for original, replacement in (
            ("/opt/intercom-bridge", str(BASE_DIR)),
            ("/etc/intercom-bridge", str(self.root / "etc")),
            ("/var/lib/intercom-bridge", str(self.root / "state")),
            ("127.0.0.1:8000", f"127.0.0.1:{self._ports['web']}"),
            ("bridge.example.com", HOST),
        ):
            text = text.replace(original, replacement)
        return text

    def unit(self, name: str, instance: str = "") -> Unit:
        copy = self.root / name
        copy.write_text(self._adapted(BASE_DIR / "deploy" / "systemd" / name), encoding="utf-8")
        return Unit.read(copy, instance)

    def _make_services(self) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment["PATH"] += ":/usr/sbin"
        self._environment = environment | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        stand_in = {"INTERCOM_API_URL": f"http://127.0.0.1:{self._ports['intercom']}"}

        def service(unit: Unit, listens: socket.socket | None = None) -> Service:
            made = Service(
                unit,
                Path(unit.value("WorkingDirectory")),
                self._environment | read_environment(Path(unit.value("EnvironmentFile"))) | stand_in,
                self.root / f"{unit.name}.log",
                listens,
            )
            self._stack.callback(made.kill)
            return made

        self.socket = self._listen(self.unit("bridge-web.socket"))
        self.web = service(self.unit("bridge-web.service"), self.socket)
        self.workers = [
            service(self.unit("bridge-worker@.service", str(number + 1))) for number in range(WORKERS)
        ]
        self.nginx = self._own("nginx", "nginx", "-c", str(self.root / "nginx.conf"))
        self.redis = self._own(
            "redis",
            *("redis-server", "--port", str(self._ports["redis"]), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(self.root)),
        )
        python = str(BASE_DIR / ".venv" / "bin" / "python")
        self._itop = self._own(
            "itop",
            *(python, "-m", "sandbox.itop", "--port", str(self._ports["itop"])),
            *("--database", str(self.root / "itop.sqlite3"), "--token", ITOP_TOKEN),
        )
        self._intercom = self._own(
            "intercom",
            *(python, "-m", "sandbox.intercom", "--port", str(self._ports["intercom"])),
            *("--bridge", "http://127.0.0.1:9"),
        )

    def _listen(self, unit: Unit) -> socket.socket:
        host, _, port = unit.value("ListenStream").rpartition(":")
        listening = socket.create_server((host, int(port)), backlog=int(unit.value("Backlog")))
        self._stack.callback(listening.close)
        return listening

    def _own(self, name: str, *command: str) -> Service:
        """Return a service of the machine, without our units and their environment."""
        values = {
            "ExecStart": [shlex.join(command)],
            "ExecReload": ["/bin/kill -s HUP $MAINPID"],
            "TimeoutStopSec": ["20"],
        }
        made = Service(Unit(name, values), BASE_DIR, self._environment, self.root / f"{name}.log")
        self._stack.callback(made.kill)
        return made

    # --- The database ---

    @property
    def _database_url(self) -> str:
        return urlsplit(self._postgresql)._replace(path=f"/{self._name}").geturl()

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._postgresql, autocommit=True) as connection:
            connection.execute(statement)

    def create_database(self) -> None:
        self._execute(f'CREATE DATABASE "{self._name}"')

    def drop_database(self) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')

    def notification_ids(self) -> set[str]:
        with psycopg.connect(self._database_url) as connection:
            rows = connection.execute("SELECT notification_id FROM intercom_bridge_webhookevent")
            return {name for (name,) in rows}

    def waiting(self) -> bool:
        """Return whether notifications or deliveries are still pending."""
        with psycopg.connect(self._database_url) as connection:
            return any(
                connection.execute(query).fetchone() != (0,)
                for query in (
                    "SELECT count(*) FROM intercom_bridge_webhookevent WHERE state = 'received'",
                    "SELECT count(*) FROM intercom_bridge_delivery WHERE state = 'waiting'",
                )
            )

    # --- Actions of an admin ---

    def run(self, *command: str) -> str:
        """Run a command with the environment file where the scripts look for it. Raise SystemTestError."""
        environment = self._environment | {"BRIDGE_ENV": str(self.environment_file)}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            raise SystemTestError(
                f"{' '.join(command[:3])} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr

    def manage(self, *arguments: str) -> str:
        return self.run(str(BASE_DIR / "deploy" / "manage.sh"), *arguments)

    def make_rows(self) -> None:
        """Create an iTop, a workspace, and one conversation that is linked to a new ticket."""
        self._itop.start("iTop (sandbox)")
        self._intercom.start("(sandbox)")
        client = Client(f"http://127.0.0.1:{self._ports['itop']}", token=ITOP_TOKEN, deadline=20.0)
        person = client.get(
            "Person", f"SELECT Person WHERE email = {quote(SANDBOX_PERSON)}", fields=("org_id",)
        ).objects[0]
        made = client.create(
            "UserRequest",
            {
                "org_id": person.integer("org_id"),
                "caller_id": person.id,
                "title": "Production check",
                "description": "<p>Made by the production check.</p>",
            },
            comment="Production check",
            output_fields=("ref",),
        )
        self.ticket = made.id
        wanted = {
            "itop_url": f"https://127.0.0.1:{self._ports['itop_https']}",
            "itop_token": ITOP_TOKEN,
            "is_sandbox": True,
            "time_zone": "",
            "links": {CONVERSATION: [[made.id, made.text("ref")]]},
        }
        environment = self._environment | read_environment(self.environment_file)
        done = subprocess.run(
            [
                str(BASE_DIR / ".venv/bin/python"),
                "-m",
                "tests.system.chaos.rows",
                "set-up",
                json.dumps(wanted),
            ],
            cwd=BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise SystemTestError(f"The rows could not be made:\n{done.stderr[-3000:]}")

    def start_nginx(self) -> None:
        site = self._adapted(BASE_DIR / "deploy" / "nginx" / "bridge.conf")
        for original, replacement in (
            ("listen 80;", f"listen 127.0.0.1:{self._ports['http']};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{self._ports['https']} ssl;"),
            ("listen [::]:80;", ""),
            ("listen [::]:443 ssl;", ""),
        ):
            if original not in site:
                raise SystemTestError(f"deploy/nginx/bridge.conf has no “{original}”.")
            site = site.replace(original, replacement)
        (self.root / "bridge.conf").write_text(site, encoding="utf-8")
        # Started by root, nginx would switch to a user who cannot read this directory.
        user = "user root;" if os.geteuid() == 0 else ""
        (self.root / "nginx.conf").write_text(NGINX.format(root=self.root, user=user, **self._ports))
        self.run("nginx", "-t", "-q", "-c", str(self.root / "nginx.conf"))
        self.nginx.start("start worker processes")
        wait_until(self._nginx_answers, "nginx answers", 20)

    def _nginx_answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.caller.ask("GET", "/", tls=False).status == 301
        return False

    def entries(self) -> list[str]:
        """Return the ticket's public log as iTop has stored it, oldest first."""
        address = f"http://127.0.0.1:{self._ports['itop']}/sandbox/state"
        state: Any = requests.get(address, timeout=20).json()
        (row,) = (row for row in state["tickets"] if row["id"] == self.ticket)
        return [entry["message"] for entry in row["public_log"]]
