"""Looks at all that a test run lets out, and finds the secrets that the run uses.

What is looked at: each line of the log as it is written, each answer with its headers, pages of the admin included,
what processes and tests print. What counts as a secret: whatever was encrypted to be kept, what logs in to iTop and to
Intercom, passwords, the keys of the settings, and anything with the mark. A test during which one got out fails.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest

MARK = "s3cr3t-"
# Shorter ones, like "x" or "admin", stand in texts by chance.
SHORTEST = 10


class Lookout:
    """`found` is what got out during this test: where, and the text around it. `on_purpose`: the test wants it so."""

    def __init__(self) -> None:
        self.secrets: dict[str, None] = {MARK: None}
        self.found: list[tuple[str, str]] = []
        self.looked = 0
        self.on_purpose = False

    def keep(self, secret: object) -> None:
        if isinstance(secret, str) and len(secret) >= SHORTEST:
            self.secrets[secret] = None

    def look(self, where: str, text: str | bytes) -> None:
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        self.looked += 1
        for secret in list(self.secrets):
            if secret in text:
                place = text.index(secret)
                self.found.append((where, text[max(0, place - 60) : place + 80]))


lookout = Lookout()


class Listener(logging.Handler):
    """Beside the real handler, with its formatter: what is taken out on the way has not got out."""

    def emit(self, record: logging.LogRecord) -> None:
        lookout.look(f"the log of {record.name}", self.format(record))


_listener = Listener()


def _listen() -> None:
    root = logging.getLogger()
    real = next((one for one in root.handlers if type(one) is logging.StreamHandler), None)
    if real and real.formatter:
        _listener.setFormatter(real.formatter)
    if _listener not in root.handlers:
        root.addHandler(_listener)


def _before(owner: Any, name: str, notice: Callable[..., None]) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def noticed(*args: Any, **kwargs: Any) -> Any:
        notice(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, noticed)


def _after(owner: Any, name: str, notice: Callable[..., None]) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def noticed(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        notice(made, *args)
        return made

    setattr(owner, name, noticed)


def _look_at_answer(response: Any, _handler: Any, request: Any) -> None:
    where = f"the answer to {request.method} {request.path}"
    lookout.look(where, str(dict(response.items())))
    if not response.streaming:
        lookout.look(where, response.content)


def _keep_both(token: str, password: str) -> None:
    lookout.keep(token)
    lookout.keep(password)


def _look_at_output(_none: None, process: Any, *_: Any) -> None:
    # What we start ourselves: the product's own commands.
    if "manage.py" in str(process.args):
        for output in (process.stdout, process.stderr):
            if output:
                lookout.look(f"the output of {process.args}", output)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.handlers.base import BaseHandler

    from intercom_bridge.intercom.api import IntercomClient
    from intercom_bridge.models.encryption import cipher
    from itop_client import Client

    for key in (settings.SECRET_KEY, *settings.FIELD_ENCRYPTION_KEYS):
        lookout.keep(key)
    _before(type(cipher()), "encrypt", lambda _self, plain: lookout.keep(plain.decode()))
    _before(User, "set_password", lambda _self, password: lookout.keep(password))
    _before(IntercomClient, "__init__", lambda _self, token, **_: lookout.keep(token))
    _before(Client, "__init__", lambda _self, *_, token="", password="", **__: _keep_both(token, password))
    _after(BaseHandler, "get_response", _look_at_answer)
    _after(subprocess.CompletedProcess, "__init__", _look_at_output)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    _listen()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[Any]:
    report = yield
    if report.when == "teardown":
        for name, text in report.sections:
            # "log" is pytest's own record of it, from before a token is taken out.
            if "stdout" in name or "stderr" in name:
                lookout.look(f"what was printed ({name})", text)
        if lookout.found and report.passed and not lookout.on_purpose:
            report.outcome = "failed"
            report.longrepr = "A secret got out:\n" + "\n".join(
                f"  {where}: …{text}…" for where, text in lookout.found[:5]
            )
        lookout.found.clear()
        lookout.on_purpose = False
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What got out after the last test, of a thread that lived longer."""
    if lookout.found:
        sys.stderr.write(f"A secret got out after the last test: {lookout.found[:5]}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
