"""The log never contains a token. The PHP extension's webhook URLs have one in their query string."""

from __future__ import annotations

import io
import json
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
import structlog

from settings.env import BASE_DIR
from settings.logging import HideTokens, logging_config

from .started import surroundings

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


@contextmanager
def running_gunicorn(directory: Path, **variables: str) -> Iterator[tuple[str, int, Path]]:
    """Run the web server as the README starts it; yield its URL, its port and the file with all its output."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = surroundings(
        DJANGO_SETTINGS_MODULE="settings.development",
        VAR_DIR=str(directory / "var"),
        BIND=f"127.0.0.1:{port}",
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
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with closing(socket.socket()) as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", port, output
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


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
            timeout=20,
        ).status_code
        for method, page, host, signature in (
            ("POST", "incoming-webhooks.php", "127.0.0.1", {}),
            ("POST", "incoming-webhooks.php", "127.0.0.1", {"X-Hub-Signature": "sha1=00"}),
            ("POST", "unknown.php", "127.0.0.1", {}),
            ("GET", "incoming-webhooks.php", "127.0.0.1", {}),
            ("POST", "incoming-webhooks.php", "elsewhere.example", {}),
        )
    ]


@pytest.mark.processes
def test_the_output_of_the_web_server_contains_no_token(tmp_path: Path) -> None:
    with running_gunicorn(tmp_path, LOG_LEVEL="DEBUG", DEBUG="false") as (url, port, output):
        # Without its tables every look at the database fails, with a traceback.
        assert statuses(url) == [500, 500, 404, 405, 400]
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=BASE_DIR,
            env=surroundings(VAR_DIR=str(tmp_path / "var")),
            check=True,
            timeout=60,
        )
        assert statuses(url) == [401, 401, 404, 405, 400]
        for request in BROKEN_REQUESTS:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(request)
                connection.recv(100)
    text = output.read_text()
    assert text.count('"POST /pages/exec.php"') >= 3, text
    assert "sekret" not in text, text
