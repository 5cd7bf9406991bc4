"""`manage.py demo`: the service, a worker and the sandbox, and a story played through them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import requests
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandbox.demo_itop import Itop
from sandbox.demo_processes import DemoTrouble, Processes, require_free
from settings.environment import BASE_DIR

MARK = "made-by-manage.py-demo"
SANDBOX_TOKEN = "demo-itop-token"  # noqa: S105
SANDBOX_PERSON = "alice.martin@acme.example"


class Command(BaseCommand):
    help = (
        "Starts the service, a worker and the sandbox on a database of their own, plays the whole story once "
        "through really signed requests, and keeps the inbox page open."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="End after the story, with its exit status.")
        parser.add_argument("--port", type=int, default=8000, help="Of the service and the inbox page.")
        parser.add_argument("--itop-port", type=int, default=8001, help="Of the sandbox's iTop.")
        parser.add_argument("--intercom-port", type=int, default=8002, help="Of the sandbox's Intercom.")
        parser.add_argument("--directory", type=Path, default=None, help="Default: var/demo. Made afresh.")
        parser.add_argument("--itop-url", default="", help="Play it against this iTop, a real one.")
        parser.add_argument(
            "--itop-token-env", default="", help="The environment variable that holds its account's token."
        )
        parser.add_argument(
            "--person-email",
            default="",
            help="Who the customer is in that iTop: the one person of this address.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        try:
            token = _check_options(options)
            if "DEMO_DIRECTORY" not in os.environ:
                _begin_anew(options)
            self._run(options, token)
        except DemoTrouble as trouble:
            raise CommandError(str(trouble)) from trouble

    def _run(self, options: dict[str, Any], token: str) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        directory = Path(os.environ["DEMO_DIRECTORY"])
        told = False
        try:
            with Processes(directory, os.environ, BASE_DIR) as processes:
                try:
                    self._start(processes, options, token, directory)
                    conversation_id = self._tell(options, token)
                    told = True
                    if not options["once"]:
                        self._stay(processes, options, conversation_id)
                except (DemoTrouble, requests.RequestException) as trouble:
                    self.stdout.write(processes.last_words())
                    raise CommandError(f"The demo failed. {trouble}") from trouble
        except KeyboardInterrupt:
            self.stdout.write("Stopped; nothing of the demo is running any more.")
            sys.exit(0 if told else 130)

    def _start(self, processes: Processes, options: dict[str, Any], token: str, directory: Path) -> None:
        # Not before the settings of the demo are in force: importing it imports the models.
        from sandbox.demo_rows import ADMIN, set_up

        port, intercom_port = options["port"], options["intercom_port"]
        itop_url = os.environ["DEMO_ITOP_URL"]
        is_sandbox = not options["itop_url"]
        wanted = {"--port": port, "--intercom-port": intercom_port}
        require_free(wanted | ({"--itop-port": options["itop_port"]} if is_sandbox else {}))
        self.stdout.write(f"Starting, in {directory}")
        call_command("migrate", verbosity=0)
        set_up(
            itop_url=itop_url,
            itop_token=token,
            itop_name="Sandbox" if is_sandbox else itop_url,
            is_sandbox=is_sandbox,
        )
        if is_sandbox:
            database = str(directory / "itop.sqlite3")
            options_of_itop = ("--port", str(options["itop_port"]), "--database", database, "--token", token)
            processes.start("itop", "-m", "sandbox.itop", *options_of_itop)
        database = str(directory / "intercom.sqlite3")
        options_of_intercom = (
            "--port",
            str(intercom_port),
            "--database",
            database,
            "--bridge",
            f"http://127.0.0.1:{port}",
        )
        processes.start("intercom", "-m", "sandbox.intercom", *options_of_intercom)
        processes.start("web", "-m", "gunicorn", "settings.wsgi", BIND=f"127.0.0.1:{port}")
        processes.start("worker", "manage.py", "worker")
        if is_sandbox:
            processes.wait_for_address("The iTop stand-in", f"{itop_url}/")
        processes.wait_for_address("The Intercom stand-in", f"http://127.0.0.1:{intercom_port}/sandbox/state")
        processes.wait_for_address("The service", f"http://127.0.0.1:{port}/healthz")
        processes.wait_for_words("worker", "Worker started")
        self.stdout.write(f"  the service   http://127.0.0.1:{port}/  (admin: {ADMIN} / {ADMIN})")
        self.stdout.write(f"  iTop          {itop_url}/{'  (sandbox)' if is_sandbox else ''}")
        self.stdout.write(f"  Intercom      http://127.0.0.1:{intercom_port}/  (sandbox)")
        self.stdout.write("  a worker")

    def _tell(self, options: dict[str, Any], token: str) -> str:
        """Plays the story; answers its conversation's id. Raises DemoTrouble, also for what is not as it should be."""
        from sandbox.demo_inbox import Inbox
        from sandbox.demo_story import Story

        itop = Itop(os.environ["DEMO_ITOP_URL"], token)
        customer = itop.customer(options["person_email"] or SANDBOX_PERSON)
        inbox = Inbox(f"http://127.0.0.1:{options['intercom_port']}")
        self.stdout.write("\nThe story")
        began = time.monotonic()
        story = Story(inbox, itop, customer, self.stdout.write)
        complaints = story.play()
        self.stdout.write("")
        if complaints:
            raise DemoTrouble("The tickets do not hold what they should.\n" + "\n".join(complaints))
        self.stdout.write(
            f"All is as it should be: {story.summary} hold what was said, each message once, in its order, "
            f"under its author. It took {time.monotonic() - began:.0f} seconds."
        )
        return story.conversation_id

    def _stay(self, processes: Processes, options: dict[str, Any], conversation_id: str) -> None:
        from sandbox.demo_rows import ADMIN

        base = f"http://127.0.0.1:{options['port']}"
        self.stdout.write("\nNow try it yourself:")
        self.stdout.write(f"  the inbox   {base}/sandbox/#{conversation_id}")
        self.stdout.write(f"  the admin   {base}/admin/  ({ADMIN} / {ADMIN})")
        self.stdout.write(f"  iTop        {os.environ['DEMO_ITOP_URL']}/")
        self.stdout.write("Ctrl-C ends it all.")
        while True:
            processes.check()
            time.sleep(0.5)


def _check_options(options: dict[str, Any]) -> str:
    """The token of the iTop that is played with. Raises DemoTrouble when what was asked for cannot be."""
    if not options["itop_url"]:
        if options["itop_token_env"] or options["person_email"]:
            raise DemoTrouble(
                "--itop-token-env and --person-email are for a real iTop: give its --itop-url too."
            )
        return SANDBOX_TOKEN
    if not options["itop_token_env"] or not options["person_email"]:
        raise DemoTrouble("With --itop-url, give --itop-token-env and --person-email too.")
    token = os.environ.get(options["itop_token_env"], "")
    if not token:
        raise DemoTrouble(f"The environment variable {options['itop_token_env']} is not set.")
    return token


def _begin_anew(options: dict[str, Any]) -> NoReturn:
    """Empties the directory, then runs this command again under the demo's own settings and database."""
    directory = (options["directory"] or BASE_DIR / "var" / "demo").resolve()
    if directory.exists() and any(directory.iterdir()) and not (directory / MARK).exists():
        raise DemoTrouble(f"{directory} holds something that is not the demo's. Choose another --directory.")
    ports = {"--port": options["port"], "--intercom-port": options["intercom_port"]}
    require_free(ports | ({} if options["itop_url"] else {"--itop-port": options["itop_port"]}))
    if options["itop_url"]:
        # Before anything is started: the likeliest mistakes are the token and the person.
        Itop(options["itop_url"], os.environ[options["itop_token_env"]]).customer(options["person_email"])
    _hold(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / MARK).touch()
    kept = {
        name: value
        for name, value in os.environ.items()
        # What is configured on this machine is none of the demo's business.
        if name.removesuffix("_FILE")
        not in ("REDIS_URL", "DATABASE_URL", "PUBLIC_URL", "INTERCOM_API_URL", "DEBUG")
    }
    itop_url = options["itop_url"].rstrip("/") or f"http://127.0.0.1:{options['itop_port']}"
    environment = kept | {
        "DJANGO_SETTINGS_MODULE": "sandbox.demo_settings",
        "DEMO_DIRECTORY": str(directory),
        "DEMO_ITOP_URL": itop_url,
        "DATABASE_URL": f"sqlite:///{directory / 'bridge.sqlite3'}",
        "PUBLIC_URL": f"http://127.0.0.1:{options['port']}",
        "INTERCOM_API_URL": f"http://127.0.0.1:{options['intercom_port']}",
        "PYTHONUNBUFFERED": "1",
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606


def _hold(directory: Path) -> None:
    """For this process and what it becomes, until it ends: another demo would empty the directory under its feet."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory.with_name(f".{directory.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DemoTrouble(
            f"Another demo runs in {directory}. Stop it, or choose another --directory."
        ) from error
    os.set_inheritable(lock, True)


def _end(*_: object) -> NoReturn:
    raise KeyboardInterrupt
