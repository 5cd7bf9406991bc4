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
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from django.core.management import CommandError, call_command

from intercom_bridge.messenger.itop_extension import MODULE, build_extension
from intercom_bridge.models import Messenger, MessengerKey

from .questions import SECRET

HAS_PHP = (
    shutil.which("php") is not None
    and subprocess.run(["php", "-r", 'exit(function_exists("curl_init") ? 0 : 1);'], check=False).returncode
    == 0
)
needs_php = pytest.mark.skipif(not HAS_PHP, reason="no PHP with curl (Debian packages php-cli and php-curl)")
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
    (tmp_path / "tmp").mkdir()
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

    def run(
        page: str = "itop-portal", version: str = "3", before: tuple[str, ...] = (), **changes: Any
    ) -> dict[str, Any]:
        request = {
            "version": version,
            "page": page,
            "session": {},
            "root": str(installed.parent),
            **ALICE,
            **changes,
        }
        stand_in = Path(__file__).with_name("itop_stand_in.php")
        command = ["php", "-d", "memory_limit=64M", str(stand_in), str(installed), json.dumps(request)]
        environment = {**os.environ, "TMPDIR": str(installed.parent / "tmp")}
        ended = subprocess.run(
            [*before, *command], capture_output=True, text=True, timeout=30, check=False, env=environment
        )
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
    first = show()
    again = show(session=first["session"])
    another = show()
    assert [settings_in(shown) for shown in (first, again, another)] == [None] * 3
    # The next pages of this session do not wait. Others may have more luck: the bridge may have been asking iTop.
    assert first["seconds"] > 0.25 and another["seconds"] > 0.25
    assert again["seconds"] < 0.25
    assert len(first["log"]) == 1 and again["log"] == another["log"] == []


@needs_php
def test_nobody_asks_a_bridge_that_is_down(show: Run, installed: Path, live_server: Any) -> None:
    change(installed, live_server.url, "http://127.0.0.1:9")
    assert len(show()["log"]) == 1
    change(installed, "http://127.0.0.1:9", live_server.url)
    assert settings_in(show()) is None
    assert MessengerKey.objects.get().nonces.count() == 0


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
@pytest.mark.parametrize(
    ("missing", "lines"), [(("data",), 1), (("data", "tmp"), 0)], ids=["data", "data and temporary directory"]
)
def test_a_failure_breaks_no_page_where_nothing_can_be_written(
    show: Run, installed: Path, live_server: Any, missing: tuple[str, ...], lines: int
) -> None:
    change(installed, live_server.url, "http://127.0.0.1:9")
    for name in missing:
        (installed.parent / name).rmdir()
    first, second = show(), show()
    assert settings_in(first) is None and settings_in(second) is None
    assert (len(first["log"]), len(second["log"])) == (lines, 0)


@needs_php
@pytest.mark.parametrize("age", [None, 300, -300], ids=["first", "last logged before", "clock was set back"])
def test_of_many_processes_one_logs(show: Run, installed: Path, live_server: Any, age: int | None) -> None:
    change(installed, live_server.url, "http://127.0.0.1:9")
    if age is not None:
        show()
        for marker in (installed.parent / "data").iterdir():
            os.utime(marker, (time.time() - age, time.time() - age))
    # All of them ask, so that all of them fail.
    change(installed, "const RETRY_AFTER_SECONDS = 10;", "const RETRY_AFTER_SECONDS = 0;")
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(lambda _: show(), range(16)))
    assert sum(len(page["log"]) for page in shown) == 1


@needs_php
def test_a_clock_that_was_set_back_does_not_switch_the_chat_off(
    show: Run, installed: Path, live_server: Any
) -> None:
    change(installed, live_server.url, "http://127.0.0.1:9")
    show()
    change(installed, "http://127.0.0.1:9", live_server.url)
    for marker in (installed.parent / "data").iterdir():
        os.utime(marker, (time.time() + 3600, time.time() + 3600))
    assert claims_in(show())["name"] == "Alice Martin"


@needs_php
def test_who_tries_another_account_is_not_taken_for_its_owner(show: Run) -> None:
    session = show()["session"]
    assert settings_in(show(impersonated=True)) is None
    assert settings_in(show(impersonated=True, session=session)) is None


MARKUP = "</script><!--<script>&'\u2028 مريم 👍"


class Odd(BaseHTTPRequestHandler):
    """A bridge with odd answers, one per path."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.path.split("/")[1]
        settings = {"app_id": "abcd1234", "api_base": "https://api-iam.intercom.io", "intercom_user_jwt": "t"}
        good = json.dumps({"messenger": {"settings": settings}, "cache_seconds": 600}).encode()
        bodies = {
            "huge": b'{"messenger": null, "cache_seconds": 1, "x": [' + b"[]," * 3_500_000 + b"[]]}",
            "html": b"<html>It works!</html>",
            "deep": b"[" * 50_000,
            "list": b"[1]",
            "markup": good.replace(b'"t"', json.dumps(MARKUP).encode()),
            "app": good.replace(b'"abcd1234"', b'["a"]'),
            "base": good.replace(b"api-iam.intercom.io", b"evil.example"),
        }
        self.send_response(302 if kind == "redirect" else 200)
        self.send_header("Location", "/good/messenger/identity")
        self.end_headers()
        with suppress(OSError):
            if kind == "drip":
                for byte in good:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.02)
            else:
                self.wfile.write(bodies.get(kind, good))

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[str]:
    """Return the address of a bridge with odd answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_php
@pytest.mark.parametrize("kind", ["good", "huge", "html", "deep", "list", "app", "base", "redirect", "drip"])
def test_an_odd_answer_breaks_no_page(
    show: Run, installed: Path, live_server: Any, odd: str, kind: str
) -> None:
    change(installed, live_server.url, f"{odd}/{kind}")
    if kind == "drip":
        change(installed, "const TIMEOUT_MS = 30000;", LIMIT)
    shown = show()
    assert (settings_in(shown) is not None) is (kind == "good")
    if kind == "drip":
        assert shown["seconds"] < 1


WITHOUT_DNS = """ip link set lo up && mount --bind "$1" /etc/resolv.conf || exit 9
python3 -c 'import socket, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("127.0.0.77", 53)); time.sleep(30)' &
sleep 1; shift; "$@"; status=$?; kill $!; exit $status"""


@needs_php
@pytest.mark.skipif(
    not shutil.which("unshare")
    or not shutil.which("ip")
    or subprocess.run(["unshare", "-rmn", "ip", "link"], capture_output=True, check=False).returncode != 0,
    reason="no namespaces here",
)
def test_a_dns_server_that_does_not_answer_delays_the_page_by_a_second_at_most(
    show: Run, installed: Path, live_server: Any, tmp_path: Path
) -> None:
    change(installed, "const TIMEOUT_MS = 30000;", LIMIT)
    change(installed, live_server.url, "http://bridge.example.com")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\n")
    shown = show(before=("unshare", "-rmn", "sh", "-c", WITHOUT_DNS, "sh", str(tmp_path / "resolv.conf")))
    assert settings_in(shown) is None
    assert "timed out" in shown["log"][0]
    # libcurl's default is ten seconds.
    assert shown["seconds"] < 3


@needs_php
def test_a_replaced_key_is_logged_with_what_to_do(show: Run) -> None:
    MessengerKey.objects.all().delete()
    shown = show()
    assert settings_in(shown) is None
    assert "HTTP 401" in shown["log"][0] and "whether the key was replaced" in shown["log"][0]


@needs_php
def test_a_value_cannot_leave_the_script(show: Run, installed: Path, live_server: Any, odd: str) -> None:
    change(installed, live_server.url, f"{odd}/markup")
    shown = show(language="</script><!--\u2028")
    assert settings_in(shown)["intercom_user_jwt"] == MARKUP  # type: ignore[index]
    last_line = re.search(r'"[0-9a-f]{64}", .*', shown["script"])[0]  # type: ignore[index]
    assert not set("<>&'\u2028") & set(last_line)


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
    assert not re.search(r"@[A-Z_]+@", text)
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
    with pytest.raises(CommandError, match="no iTop named Elsewhere. Existing: Sandbox"):
        call_command("itop_extension", "--itop", "Elsewhere")
