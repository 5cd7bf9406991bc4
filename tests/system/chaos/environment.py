"""One kind of database and queue, with a fresh database per scenario."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit

import psycopg
import redis

from settings.env import BASE_DIR, ENVIRONMENT_VARIABLES

from .children import Children, SystemTestError

DEFAULT_POSTGRESQL = "postgres://postgres@127.0.0.1:5432/postgres"
DEFAULT_REDIS = "redis://127.0.0.1:6379"

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"


class NotAvailableError(Exception):
    """A server is not available. The text says which one, and how to choose another."""


@dataclass(frozen=True)
class Waits:
    """Timeouts of the service in seconds, short enough for a run of some minutes."""

    write: float = 2.0
    unknown_outcome: float = 2.0
    check_after: float = 5.0
    poll: float = 15.0

    def variables(self) -> dict[str, str]:
        return {
            "WRITE_SECONDS": str(self.write),
            "UNKNOWN_OUTCOME_SECONDS": str(self.unknown_outcome),
            "VERIFY_AFTER_SECONDS": str(self.check_after),
            "ITOP_POLL_SECONDS": str(self.poll),
        }

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.variables().items())


@dataclass
class Database:
    """The database of one scenario."""

    url: str
    redis_url: str = ""

    def notification_ids(self) -> set[str]:
        """Return the ids of all committed notifications."""
        return self._column("SELECT notification_id FROM intercom_bridge_webhookevent")

    def failed(self) -> set[str]:
        """Return the ids of the messages that were set aside."""
        return self._column("SELECT part_id FROM intercom_bridge_delivery WHERE state = 'failed'")

    def _column(self, query: LiteralString) -> set[str]:
        if self.url.startswith("sqlite"):
            path = self.url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                return {row[0] for row in connection.execute(query)}
        with psycopg.connect(self.url) as postgresql:
            return {row[0] for row in postgresql.execute(query)}


class Environment:
    """A context manager. `groups` is the number of separate process groups, like machines."""

    def __init__(self, kind: str, directory: Path, waits: Waits) -> None:
        self.kind = kind
        self.directory = directory
        self.waits = waits
        self.groups = 2 if kind == POSTGRESQL else 1
        self._postgresql = os.environ.get("CHAOS_POSTGRESQL", DEFAULT_POSTGRESQL)
        self._redis = os.environ.get("CHAOS_REDIS", DEFAULT_REDIS).rstrip("/")
        self._redis_number = 0
        self._template = ""

    def __enter__(self) -> Environment:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.kind == POSTGRESQL:
            self._require_servers()
        try:
            self._make_template()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.kind == POSTGRESQL and self._template:
            self._drop(self._template)

    def variables(self, database: Database, directory: Path) -> dict[str, str]:
        """Return the environment of the service's processes, without this machine's configuration."""
        written = {
            name: value
            for name, value in os.environ.items()
            if name.removesuffix("_FILE") not in (*ENVIRONMENT_VARIABLES, "DEBUG")
        }
        wanted = {
            "DJANGO_SETTINGS_MODULE": "tests.system.chaos.settings",
            "PYTHONPATH": str(BASE_DIR),
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": database.url,
            "CHAOS_QUEUE": str(directory / "queue.sqlite3"),
        }
        if database.redis_url:
            wanted["REDIS_URL"] = database.redis_url
        return written | wanted | self.waits.variables()

    @contextmanager
    def database(self, directory: Path) -> Iterator[Database]:
        """Return a database that is migrated and empty, and with PostgreSQL a Redis database of its own."""
        if self.kind == SQLITE:
            path = directory / "bridge.sqlite3"
            shutil.copyfile(self._template, path)
            yield Database(f"sqlite:///{path}")
            return
        name = f"chaos_{uuid.uuid4().hex[:12]}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"')
        redis_url = f"{self._redis}/{self._redis_number}"
        try:
            yield Database(self._url_of(name), redis_url)
        finally:
            self._drop(name)
            with contextlib.closing(redis.Redis.from_url(redis_url)) as server:
                server.flushdb()

    def _require_servers(self) -> None:
        """Choose the last empty Redis database, because others may be in use. Raise NotAvailableError."""
        try:
            with psycopg.connect(self._postgresql, connect_timeout=3):
                pass
        except psycopg.Error as error:
            raise NotAvailableError(
                f"no PostgreSQL at {_without_password(self._postgresql)} (CHAOS_POSTGRESQL names another): "
                f"{str(error).splitlines()[0]}"
            ) from error
        for number in range(15, 0, -1):
            try:
                with contextlib.closing(
                    redis.Redis.from_url(f"{self._redis}/{number}", socket_connect_timeout=2)
                ) as server:
                    if not server.dbsize():
                        self._redis_number = number
                        return
            except redis.RedisError as error:
                raise NotAvailableError(
                    f"no Redis at {_without_password(self._redis)} (CHAOS_REDIS names another): {error}"
                ) from error
        raise NotAvailableError("no Redis database between 1 and 15 is empty")

    def _make_template(self) -> None:
        if self.kind == SQLITE:
            self._template = str(self.directory / "template.sqlite3")
            url = f"sqlite:///{self._template}"
        else:
            self._template = f"chaos_{uuid.uuid4().hex[:12]}"
            self._execute(f'CREATE DATABASE "{self._template}"')
            url = self._url_of(self._template)
        with Children(self.directory) as children:
            environment = self.variables(Database(url), self.directory)
            children.run(
                "migrate",
                "-m",
                "tests.system.chaos.rows",
                "migrate",
                environment=environment,
                directory=BASE_DIR,
            )
        if self.kind == SQLITE:
            # Move the journal into the file that is copied.
            with contextlib.closing(sqlite3.connect(self._template)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _url_of(self, name: str) -> str:
        return urlsplit(self._postgresql)._replace(path=f"/{name}").geturl()

    def _execute(self, statement: str) -> None:
        try:
            with psycopg.connect(self._postgresql, autocommit=True) as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            raise SystemTestError(f"PostgreSQL refused “{statement}”: {error}") from error

    def _drop(self, name: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}"
