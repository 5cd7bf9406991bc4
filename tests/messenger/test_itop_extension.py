"""The iTop extension under PHP, against the bridge over real HTTP. Skipped without php; .ci/run requires it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.core.management import CommandError, call_command

from intercom_bridge.messenger.itop_extension import MODULE, build_extension
from intercom_bridge.models import Messenger, MessengerKey, Workspace

from .questions import SECRET

PHP = shutil.which("php")
needs_php = pytest.mark.skipif(PHP is None, reason="php is not installed (Debian package php-cli)")
ALICE = {"user": 8, "contact": 40, "profiles": ["Portal user"], "language": "FR FR"}

LIMIT = "const TIMEOUT_MS = 300;"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def installed(
    messenger: Messenger, key: MessengerKey, live_server: Any, settings: Any, tmp_path: Path
) -> Path:
    """Return the directory of the extension, installed in an iTop that reaches the bridge."""
    settings.PUBLIC_URL = live_server.url
    (tmp_path / "data").mkdir()
    zipfile.ZipFile(io.BytesIO(build_extension(messenger.workspace.itop))).extractall(tmp_path)
    # A loaded machine may need longer for an answer. One test measures the limit.
    change(tmp_path / MODULE, LIMIT, "const TIMEOUT_MS = 30000;")
    return tmp_path / MODULE


def change(installed: Path, old: str, new: str) -> None:
    main = installed / f"main.{MODULE}.php"
    text = main.read_text()
    assert old in text
    main.write_text(text.replace(old, new))


@pytest.fixture
def show(installed: Path) -> Run:
    """Return a function that shows a page of iTop to a person, and returns what the extension did."""

    def run(page: str = "itop-portal", version: str = "3", **changes: Any) -> dict[str, Any]:
        request = {
            "version": version,
            "page": page,
            "session": {},
            "root": str(installed.parent),
            **ALICE,
            **changes,
        }
        stand_in = Path(__file__).with_name("itop_stand_in.php")
        command = ["php", str(stand_in), str(installed), json.dumps(request)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        result: dict[str, Any] = json.loads(ended.stdout)
        return result

    return run


@pytest.fixture
def stalled() -> Iterator[str]:
    """Return the address of a server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def settings_in(shown: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings that the script of a page starts the Messenger with."""
    settings: dict[str, Any] | None = json.loads(
        re.search(r'^\}\)\("[0-9a-f]{64}", (.*)\);$', shown["script"], re.M)[1]  # type: ignore[index]
    )
    return settings


def claims_in(shown: dict[str, Any]) -> dict[str, Any]:
    settings = settings_in(shown)
    assert settings is not None, shown
    claims: dict[str, Any] = jwt.decode(settings["intercom_user_jwt"], SECRET, algorithms=["HS256"])
    return claims


pytestmark = pytest.mark.django_db(transaction=True)


@needs_php
def test_the_files_are_valid_php(installed: Path) -> None:
    for file in installed.glob("*.php"):
        subprocess.run(["php", "-l", str(file)], check=True, capture_output=True)


@needs_php
@pytest.mark.parametrize("version", ["2.7", "3"])
@pytest.mark.parametrize("page", ["itop-portal", "backoffice"])
def test_a_page_starts_the_messenger_of_the_person(show: Run, page: str, version: str) -> None:
    Messenger.objects.update(pages=["itop-portal", "backoffice"])
    claims = claims_in(show(page, version))
    assert (claims["name"], claims["itop_contact_id"]) == ("Alice Martin", 40)


@needs_php
@pytest.mark.parametrize("version", ["2.7", "3"])
def test_the_session_keeps_the_answer(show: Run, version: str) -> None:
    first = show(version=version)
    Messenger.objects.update(enabled=False)
    again = show(version=version, session=first["session"])
    assert settings_in(again) == settings_in(first) is not None
    # Another account, contact or profile in the same session is another question.
    for change in ({"user": 9}, {"contact": 41}, {"profiles": ["Support Agent"]}, {"page": "other-portal"}):
        assert settings_in(show(**{"version": version, "session": first["session"], **change})) is None


@needs_php
def test_an_answer_of_another_account_leaves_the_session(show: Run) -> None:
    session = show()["session"]
    token = settings_in(show(session=session))["intercom_user_jwt"]  # type: ignore[index]
    assert token in json.dumps(session)
    after = show(session=session, user=9, contact=41)["session"]
    assert token not in json.dumps(after)


@needs_php
@pytest.mark.parametrize(
    "nobody", [{"user": 0}, {"contact": 0}], ids=["signed out", "account without contact"]
)
def test_no_question_is_asked_about_nobody(show: Run, nobody: dict[str, int]) -> None:
    before = MessengerKey.objects.get().nonces.count()
    shown = show(**nobody)
    assert "intercom_user_jwt" not in shown["script"]
    assert MessengerKey.objects.get().nonces.count() == before


@needs_php
def test_a_bridge_that_does_not_answer_delays_the_page_by_300_ms(
    show: Run, installed: Path, stalled: str, live_server: Any
) -> None:
    change(installed, "const TIMEOUT_MS = 30000;", LIMIT)
    change(installed, live_server.url, stalled)
    first, second = show(), show()
    assert settings_in(first) is None and settings_in(second) is None
    assert first["seconds"] > 0.25
    # Shortly after a failure the bridge is not asked at all, and one line a minute is logged.
    assert second["seconds"] < 0.25
    assert len(first["log"]) == 1 and second["log"] == []
    assert MODULE not in first["session"]


@needs_php
def test_after_a_failure_the_next_page_shows_the_messenger_again(
    show: Run, installed: Path, live_server: Any
) -> None:
    change(installed, live_server.url, "http://127.0.0.1:9")
    assert settings_in(show()) is None
    change(installed, "http://127.0.0.1:9", live_server.url)
    for marker in (installed.parent / "data").iterdir():
        os.utime(marker, (0, 0))
    assert claims_in(show())["name"] == "Alice Martin"


@needs_php
def test_a_replaced_key_is_logged_with_what_to_do(show: Run) -> None:
    MessengerKey.objects.all().delete()
    shown = show()
    assert settings_in(shown) is None
    assert "HTTP 401" in shown["log"][0] and "whether the key was replaced" in shown["log"][0]


@needs_php
@pytest.mark.parametrize("name", ['</script><script>alert("1")</script>', "O'Neil", "مريم 👍", "\u2028<!--"])
def test_a_name_cannot_leave_the_script(show: Run, name: str) -> None:
    Workspace.objects.update(name=name)
    shown = show(language=name)
    assert claims_in(shown)["itop_contact_id"] == 40
    assert "<" not in re.search(r'"[0-9a-f]{64}", .*', shown["script"])[0]  # type: ignore[index]
    assert "\u2028" not in shown["script"]


def test_the_zip_contains_the_address_and_the_key_but_no_secret_of_intercom(
    messenger: Messenger, key: MessengerKey, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://bridge.example.test/o'neil\\"
    archive = zipfile.ZipFile(io.BytesIO(build_extension(messenger.workspace.itop)))
    assert [name.split("/")[1] for name in archive.namelist()] == [
        "extension.xml",
        f"module.{MODULE}.php",
        f"main.{MODULE}.php",
    ]
    text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert "'https://bridge.example.test/o\\'neil\\\\'" in text
    assert key.secret.reveal() in text and key.key_id in text
    assert "@" not in re.sub(r"@(license|filemtime|touch)", "", text)
    assert SECRET not in text


def test_the_command_writes_the_zip(messenger: Messenger, key: MessengerKey) -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "import zipfile, io, sys; zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))",
        ],
        input=build_extension(messenger.workspace.itop),
        check=False,
    )
    assert ran.returncode == 0
    with pytest.raises(CommandError, match="no iTop named Elsewhere. Known: Sandbox"):
        call_command("itop_extension", "--itop", "Elsewhere")
