"""Start one of the programs in this package, and end it cleanly on a signal."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any, NoReturn

import django

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def run(command: Any, name: str, description: str) -> None:
    """Set up Django, parse the command line and run `command`, which has `add_arguments` and `handle`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.development")
    django.setup()
    parser = argparse.ArgumentParser(prog=f"python -m tests.system.{name}", description=description)
    command.add_arguments(parser)
    command.handle(**vars(parser.parse_args()))


def interrupt_on_signals() -> None:
    """Turn each ending signal into a KeyboardInterrupt, so that the cleanup runs."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    # Ignore further signals: the cleanup takes a few seconds.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
