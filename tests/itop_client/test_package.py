from __future__ import annotations

import subprocess
import sys
import types

import itop_client

PUBLIC = """
BadQuery BadStimulus Client Found Greeting InvalidValue ItopError ItopLoginRefused ItopNoAnswer ItopNotAdministrator
ItopNotAllowed ItopObject ItopRefused ItopTrouble ItopUnreachable LogEntry LogFull LogItem MalformedRequest
NoMatch ObjectGone OqlError Query SeveralMatch UnknownAttribute UnknownClass append classify containing create
find_created ids marker open_session parse quote read_log written_markers
"""


def test_the_public_names_are_these() -> None:
    assert itop_client.__all__ == sorted(PUBLIC.split(), key=lambda name: (name[0].islower(), name))


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in itop_client.__all__:
        assert getattr(itop_client, name).__doc__, name


def test_nothing_else_is_public() -> None:
    others = {
        name
        for name, value in vars(itop_client).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert others - {"annotations"} == set(itop_client.__all__)


def test_it_works_without_django() -> None:
    code = "import sys, itop_client; assert not [m for m in sys.modules if m.split('.')[0] == 'django']"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
