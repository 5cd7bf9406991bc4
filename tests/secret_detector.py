"""A pytest plugin that fails each test during which a secret is disclosed.

It scans every log line, every HTTP response of the Django service (headers and body, admin pages included), and what
tests and `manage.py` processes print. It searches for the secrets that the run has used: every value that was
encrypted for the database, the tokens and passwords given to the iTop and Intercom clients, users' passwords, the keys
in the settings, and every text that begins with `MARK`.

A test that discloses a secret deliberately is marked with `@pytest.mark.allow_secret`.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

import pytest

MARK = "s3cr3t-"
# A shorter secret, such as "x" or "admin", occurs in other texts by chance.
MIN_LENGTH = 10


@dataclass(frozen=True)
class Disclosure:
    """A secret that was found: the place, and the text around the secret."""

    place: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.place}: …{self.excerpt}…"


class SecretDetector:
    """The secrets of this run, and the disclosures of the current test."""

    def __init__(self) -> None:
        self.secrets: dict[str, None] = {MARK: None}
        self.disclosures: list[Disclosure] = []
        self.scan_count = 0

    def add_secret(self, secret: object) -> None:
        if isinstance(secret, str) and len(secret) >= MIN_LENGTH:
            self.secrets[secret] = None

    def scan(self, place: str, text: str | bytes) -> None:
        """Search a text for all secrets. `place` describes the text in the failure message."""
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        self.scan_count += 1
        # A copy, because other threads add secrets.
        for secret in list(self.secrets):
            if secret in text:
                start = text.index(secret)
                self.disclosures.append(Disclosure(place, text[max(0, start - 60) : start + 80]))


detector = SecretDetector()


class _LogScanner(logging.Handler):
    """Scan log lines as the real handler formats them, after its formatter has removed tokens."""

    def emit(self, record: logging.LogRecord) -> None:
        detector.scan(f"log line of {record.name}", self.format(record))


_log_scanner = _LogScanner()


def _attach_log_scanner() -> None:
    root = logging.getLogger()
    handlers = (handler for handler in root.handlers if type(handler) is logging.StreamHandler)
    real_handler = next(handlers, None)
    if real_handler and real_handler.formatter:
        _log_scanner.setFormatter(real_handler.formatter)
    if _log_scanner not in root.handlers:
        root.addHandler(_log_scanner)


def _call_before(owner: Any, name: str, observer: Callable[..., None]) -> None:
    """Replace a method by one that first calls `observer` with the same arguments."""
    original = getattr(owner, name)

    @wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        observer(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, observed)


def _call_after(owner: Any, name: str, observer: Callable[..., None]) -> None:
    """Replace a method by one that then calls `observer` with the result and the positional arguments."""
    original = getattr(owner, name)

    @wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        observer(result, *args)
        return result

    setattr(owner, name, observed)


def _scan_response(response: Any, _handler: Any, request: Any) -> None:
    place = f"response to {request.method} {request.path}"
    detector.scan(place, str(dict(response.items())))
    if not response.streaming:
        detector.scan(place, response.content)


def _scan_process_output(_none: None, process: Any, *_: Any) -> None:
    if "manage.py" in str(process.args):
        for output in (process.stdout, process.stderr):
            if output:
                detector.scan(f"output of {process.args}", output)


def _add_credentials(_client: Any, *_: Any, token: str = "", password: str = "", **__: Any) -> None:
    detector.add_secret(token)
    detector.add_secret(password)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.handlers.base import BaseHandler

    from intercom_bridge.intercom.client import IntercomClient
    from intercom_bridge.models.encryption import cipher
    from itop_client import Client

    for key in (settings.SECRET_KEY, *settings.FIELD_ENCRYPTION_KEYS):
        detector.add_secret(key)
    _call_before(type(cipher()), "encrypt", lambda _cipher, plain: detector.add_secret(plain.decode()))
    _call_before(User, "set_password", lambda _user, password: detector.add_secret(password))
    _call_before(IntercomClient, "__init__", lambda _client, token, **_: detector.add_secret(token))
    _call_before(Client, "__init__", _add_credentials)
    _call_after(BaseHandler, "get_response", _scan_response)
    _call_after(subprocess.CompletedProcess, "__init__", _scan_process_output)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    _attach_log_scanner()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown":
        for name, text in report.sections:
            # Not "log": that is pytest's own record of a line, from before the formatter removes tokens.
            if "stdout" in name or "stderr" in name:
                detector.scan(f"printed text ({name})", text)
        if detector.disclosures and report.passed and item.get_closest_marker("allow_secret") is None:
            report.outcome = "failed"
            report.longrepr = _failure_message()
        detector.disclosures.clear()
    return report


def _failure_message() -> str:
    found = "\n".join(f"  {disclosure}" for disclosure in detector.disclosures[:5])
    return (
        "This test disclosed a secret, so it fails although its assertions hold.\n"
        f"{found}\n"
        "tests/secret_detector.py scans log lines, HTTP responses and printed text for the secrets that the run uses.\n"
        "Remove the secret from the text. If the test discloses it deliberately: @pytest.mark.allow_secret"
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for what a thread disclosed after the last test."""
    if detector.disclosures:
        sys.stderr.write(f"A secret was disclosed after the last test: {detector.disclosures[0]}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
