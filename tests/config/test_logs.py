"""The log never contains a token. The PHP extension's webhook URLs have one in their query string."""

from __future__ import annotations

import io
import json
import logging
import re
import runpy
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
import structlog
from gunicorn.config import Config  # type: ignore[import-untyped]

from settings.env import BASE_DIR
from settings.logging import HideTokens, logging_config
from tests.ops.processes import DATABASE

from .started import PRODUCTION, surroundings

ADDRESS = "/pages/exec.php?exec_module=combodo-intercom-integration&exec_page={page}&auth_token=sekret&x=1"


def formatted(message: str, *arguments: object) -> str:
    record = logging.LogRecord("any", logging.WARNING, "file.py", 1, message, arguments, None)
    return HideTokens(logging.Formatter()).format(record)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /x?auth_token=sekret HTTP/1.1", "GET /x?auth_token=*** HTTP/1.1"),
        ("/x?a=1&auth_token=sekret&b=2", "/x?a=1&auth_token=***&b=2"),
        ("'AUTH_TOKEN=sekret'", "'AUTH_TOKEN=***'"),
        ("auth_token=sekret, then auth_token=sekret", "auth_token=*** then auth_token=***"),
        ("nothing of the kind, 100 %", "nothing of the kind, 100 %"),
    ],
)
def test_only_the_token_is_removed_from_a_line(line: str, expected: str) -> None:
    assert formatted(line) == expected


def test_a_token_in_the_arguments_of_a_line_is_removed() -> None:
    assert (
        formatted("Not Found: %s (%d)", "/x?auth_token=sekret", 404) == "Not Found: /x?auth_token=*** (404)"
    )


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_both_formats_remove_tokens_from_lines_fields_and_tracebacks(log_format: str) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    config = logging_config(log_format, "INFO")["formatters"]["structured"]
    handler.setFormatter(config.pop("()")(**config))
    logger = logging.getLogger("tests.of.logs")
    logger.addHandler(handler)
    logger.propagate = False
    structlog.get_logger("tests.of.logs").warning("address.unknown", path="/x?auth_token=sekret")
    logger.warning("Not Found: %s", "/x?auth_token=sekret")
    try:
        raise ValueError("/x?auth_token=sekret")
    except ValueError:
        logger.exception("It broke")
        structlog.get_logger("tests.of.logs").exception("it.broke")
    text = out.getvalue()
    assert text.count("auth_token=***") >= 4
    assert "sekret" not in text
    if log_format == "json":
        assert [json.loads(line)["level"] for line in text.splitlines()] == ["warning"] * 2 + ["error"] * 2


# How long to wait on a busy machine: nothing here is about speed.
SECONDS = 60
LISTENING = re.compile(r"Listening at: http://[\d.]+:(\d+)")


@contextmanager
def running_gunicorn(
    directory: Path, host: str = "127.0.0.1", **variables: str
) -> Iterator[tuple[str, int, Path]]:
    """Run the web server as the README starts it; yield its URL, its port and the file with all its output."""
    environment = surroundings(
        DJANGO_SETTINGS_MODULE="settings.development",
        VAR_DIR=str(directory / "var"),
        BIND=f"{host}:0",
        WEB_CONCURRENCY="1",
        **variables,
    )
    output = directory / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "settings.wsgi"],
            cwd=BASE_DIR,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + SECONDS
        while not (listening := LISTENING.search(output.read_text())):
            assert process.poll() is None and time.monotonic() < end, output.read_text()
            time.sleep(0.05)
        port = int(listening[1])
        yield f"http://127.0.0.1:{port}", port, output
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


BROKEN_REQUESTS = (
    b"POST " + ADDRESS.encode() + b"\r\n\r\n",
    b"POST " + ADDRESS.encode() + b" NONSENSE\r\n\r\n",
    b"POST " + ADDRESS.encode() + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
    b"POST " + ADDRESS.encode() + b" HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n",
    b"POST " + ADDRESS.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
)


def statuses(url: str) -> list[int]:
    """Send a request of each kind that Intercom or an attacker may send, and return the statuses."""
    return [
        requests.request(
            method,
            url + ADDRESS.format(page=page),
            data=b'{"app_id": "abcd1234"}',
            headers={"Content-Type": "application/json", "Host": host, **signature},
            timeout=SECONDS,
        ).status_code
        for method, page, host, signature in (
            ("POST", "incoming-webhooks.php", "127.0.0.1", {}),
            ("POST", "incoming-webhooks.php", "127.0.0.1", {"X-Hub-Signature": f"sha1={0:040}"}),
            ("POST", "unknown.php", "127.0.0.1", {}),
            ("GET", "incoming-webhooks.php", "127.0.0.1", {}),
            ("POST", "incoming-webhooks.php", "elsewhere.example", {}),
        )
    ]


@pytest.mark.processes
def test_the_output_of_the_web_server_contains_no_token(tmp_path: Path, migrated: Path) -> None:
    with running_gunicorn(tmp_path, LOG_LEVEL="DEBUG", DEBUG="false", **PRODUCTION) as (url, port, output):
        # Without its tables every look at the database fails, with a traceback.
        assert statuses(url) == [401, 500, 404, 405, 400]
        file = tmp_path / "var" / DATABASE
        with closing(sqlite3.connect(migrated)) as source, closing(sqlite3.connect(file)) as database:
            source.backup(database)
        assert statuses(url) == [401, 401, 404, 405, 400]
        for request in BROKEN_REQUESTS:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
                connection.sendall(request)
                connection.recv(100)
    text = output.read_text()
    assert text.count('"POST /pages/exec.php"') >= 3, text
    assert "sekret" not in text, text


@pytest.mark.processes
def test_each_line_of_the_web_server_is_json(tmp_path: Path) -> None:
    with running_gunicorn(tmp_path, LOG_FORMAT="json", TRUSTED_PROXIES="127.0.0.1") as (url, port, output):
        # The first address was sent by the client, and counts for nothing.
        headers = {"X-Forwarded-For": "192.0.2.99, 203.0.113.7", "X-Request-ID": "id-of-the-proxy"}
        requests.get(f"{url}/nothing-here?auth_token=sekret", headers=headers, timeout=SECONDS)
        requests.get(f"{url}/new%0Aline", headers={"X-Forwarded-For": "2001:db8::7"}, timeout=SECONDS)
        for request in BROKEN_REQUESTS:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
                connection.sendall(request)
                connection.recv(100)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert all({"event", "level", "logger", "timestamp"} <= set(line) for line in lines)
    # In no certain order: a thread writes the line after it has sent the response.
    requested = {line["path"]: line for line in lines if line["event"] == "web.request" and "path" in line}
    first, second = requested["/nothing-here"], requested["/new%0Aline"]
    assert first.pop("ms") >= 0 and first.pop("bytes") > 0 and first.pop("timestamp")
    assert first == {
        "event": "web.request",
        "level": "info",
        "logger": "gunicorn.access",
        "client": "203.0.113.7",
        "request": "id-of-the-proxy",
        "method": "GET",
        "path": "/nothing-here",
        "status": 404,
    }
    assert second["client"] == "2001:db8::7"
    (missing,) = (line for line in lines if line["event"] == "Not Found: /nothing-here")
    assert (missing["client"], missing["request"]) == ("203.0.113.7", "id-of-the-proxy")
    invalid = [line for line in lines if line["event"].startswith("Invalid request")]
    assert invalid and not any("request" in line for line in invalid)


@pytest.mark.processes
def test_a_plain_access_line_of_a_public_address_begins_with_time_and_client(tmp_path: Path) -> None:
    public = {"ALLOW_PUBLIC_BIND": "true", "ACCESS_LOG": str(tmp_path / "access")}
    with running_gunicorn(tmp_path, host="0.0.0.0", **public) as (url, _, _):
        headers = {"X-Forwarded-For": "203.0.113.7", "X-Request-ID": "id-of-the-proxy"}
        requests.get(f"{url}/healthz", headers=headers, timeout=SECONDS)
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 203\.0\.113\.7 "GET /healthz" 200 \d+ \d+ms id-of-the-proxy\n',
        (tmp_path / "access").read_text(),
    )


@pytest.mark.processes
def test_the_log_of_a_running_worker_begins_with_its_start(tmp_path: Path, migrated: Path) -> None:
    """Standard output is not a terminal, and so buffered by Python unless PYTHONUNBUFFERED is set."""
    environment = surroundings(VAR_DIR=str(tmp_path / "var"), LOG_FORMAT="json")
    environment.pop("PYTHONUNBUFFERED", None)
    (tmp_path / "var").mkdir()
    shutil.copy(migrated, tmp_path / "var" / DATABASE)
    command = [sys.executable, "manage.py", "worker", "--threads", "1"]
    with (tmp_path / "log").open("w") as file:
        worker = subprocess.Popen(command, cwd=BASE_DIR, env=environment, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 30
        while not (text := (tmp_path / "log").read_text()).endswith("\n") and time.monotonic() < end:
            time.sleep(0.05)
        assert worker.poll() is None
    finally:
        worker.terminate()
        worker.wait(30)
    assert json.loads(text.splitlines()[0])["event"] == "Worker started"
    for line in (tmp_path / "log").read_text().splitlines():
        json.loads(line)


def refused_start(**variables: str) -> subprocess.CompletedProcess[str]:
    """Start the web server, which ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "settings.wsgi"],
        cwd=BASE_DIR,
        env=surroundings(WEB_CONCURRENCY="1", **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_web_server_listens_at_no_public_address_unless_told_so() -> None:
    done = refused_start(BIND="0.0.0.0:0", DJANGO_SETTINGS_MODULE="settings.development")
    assert done.returncode == 1
    assert "set ALLOW_PUBLIC_BIND=true." in done.stderr
    assert "Listening" not in done.stderr


@pytest.mark.parametrize("bind", [":0", "[::]:0", "10.0.0.7:0", "bridge.example.com:0"])
def test_each_public_address_is_refused(bind: str) -> None:
    config = Config()
    config.set("bind", bind)
    on_starting = runpy.run_path(str(BASE_DIR / "gunicorn.conf.py"))["on_starting"]
    with pytest.raises(SystemExit):
        on_starting(SimpleNamespace(cfg=config, log=logging.getLogger("tests.of.logs")))


@pytest.mark.processes
def test_a_socket_that_systemd_passed_to_another_process_permits_no_public_address() -> None:
    done = refused_start(
        BIND="0.0.0.0:0", DJANGO_SETTINGS_MODULE="settings.development", LISTEN_PID="1", LISTEN_FDS="1"
    )
    assert done.returncode == 1
    assert "set ALLOW_PUBLIC_BIND=true." in done.stderr


@pytest.mark.processes
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set. "),
        (
            {"DJANGO_SETTINGS_MODULE": "settings.prod"},
            "DJANGO_SETTINGS_MODULE is “settings.prod”, which does not ",
        ),
        # An error of `manage.py check`, with which a worker does not start either.
        ({"PUBLIC_URL": "https://localhost"}, "intercom_bridge.E006: PUBLIC_URL is https://localhost, "),
    ],
)
def test_the_web_server_reports_invalid_settings_in_one_line(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    done = refused_start(
        **{**PRODUCTION, "BIND": f"unix:{tmp_path / 'socket'}", "VAR_DIR": str(tmp_path), **variables}
    )
    assert done.returncode == 4
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
