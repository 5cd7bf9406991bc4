"""`manage.py demo`: start the service, a worker and the sandbox, and play a scripted conversation."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
import zoneinfo
from pathlib import Path
from typing import Any, NoReturn

import requests
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandbox.demo_itop import Itop
from sandbox.demo_processes import DemoError, Processes, raise_if_stopped, request_stop, require_free
from sandbox.intercom.store import FIRST_CONVERSATION_ID
from settings.env import BASE_DIR, WORKING_DIR

MARK = "made-by-manage.py-demo"
SANDBOX_TOKEN = "demo-itop-token"  # noqa: S105
SANDBOX_PERSON = "alice.martin@acme.example"
# The limits of PHP and the database that docs/files.md recommends for files of 20 MB.
ITOP_LIMITS_MB = {
    "post-max-size": 30,
    "upload-max-filesize": 30,
    "memory-limit": 360,
    "max-allowed-packet": 64,
}


class Command(BaseCommand):
    help = (
        "Start the service, a worker and the sandbox with their own database, play a scripted conversation, and keep "
        "the inbox page running."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="End after the scripted conversation.")
        parser.add_argument("--port", type=int, default=8000, help="Port of the service and the inbox page.")
        parser.add_argument("--itop-port", type=int, default=8001, help="Port of the iTop stand-in.")
        parser.add_argument("--intercom-port", type=int, default=8002, help="Port of the Intercom stand-in.")
        parser.add_argument(
            "--directory",
            type=Path,
            default=None,
            help="Directory for all data. It is emptied first. Default: var/demo.",
        )
        parser.add_argument("--itop-url", default="", help="Use this real iTop instead of the stand-in.")
        parser.add_argument(
            "--itop-token-env",
            default="",
            help="Name of the environment variable that contains the token of the account in that iTop.",
        )
        parser.add_argument(
            "--person-email",
            default="",
            help="E-mail address of a person in that iTop. The demo uses this person as the customer.",
        )
        parser.add_argument(
            "--itop-time-zone",
            default="",
            help="Time zone of that iTop's server, like Europe/Paris. Default: determined from the first ticket.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        try:
            token = _check_options(options)
            if "DEMO_DIRECTORY" not in os.environ:
                _restart_in_empty_directory(options)
            self._run(options, token)
        except DemoError as trouble:
            raise CommandError(str(trouble)) from trouble

    def _run(self, options: dict[str, Any], token: str) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, request_stop)
        directory = Path(os.environ["DEMO_DIRECTORY"])
        played = False
        try:
            with Processes(directory, os.environ, BASE_DIR) as processes:
                try:
                    self._start(processes, options, token, directory)
                    conversation_id = self._play_story(options, token)
                    played = True
                    if not options["once"]:
                        self._wait(processes, options, conversation_id)
                except (DemoError, requests.RequestException) as trouble:
                    self.stdout.write(processes.log_tails())
                    raise CommandError(f"The demo failed. {trouble}") from trouble
        except KeyboardInterrupt:
            self.stdout.write("Stopped. No process of the demo is running.")
            sys.exit(0 if played else 130)

    def _start(self, processes: Processes, options: dict[str, Any], token: str, directory: Path) -> None:
        # This module imports the models, so it can be imported only with the demo's settings.
        from sandbox.demo_rows import ADMIN, set_up

        port, intercom_port = options["port"], options["intercom_port"]
        itop_url = os.environ["DEMO_ITOP_URL"]
        is_sandbox = not options["itop_url"]
        self.stdout.write(f"Starting, in {directory}")
        call_command("migrate", verbosity=0)
        set_up(
            itop_url=itop_url,
            itop_token=token,
            itop_name="Sandbox" if is_sandbox else itop_url,
            is_sandbox=is_sandbox,
            time_zone=options["itop_time_zone"],
        )
        if is_sandbox:
            database = str(directory / "itop.sqlite3")
            options_of_itop = ["--port", str(options["itop_port"]), "--database", database, "--token", token]
            options_of_itop += [f"--{name}={limit << 20}" for name, limit in ITOP_LIMITS_MB.items()]
            processes.start("itop", "-m", "sandbox.itop", *options_of_itop)
        database = str(directory / "intercom.sqlite3")
        options_of_intercom = (
            "--port",
            str(intercom_port),
            "--database",
            database,
            "--bridge",
            f"http://127.0.0.1:{port}",
            *([] if is_sandbox else ["--first-conversation", str(_new_conversation_id())]),
        )
        processes.start("intercom", "-m", "sandbox.intercom", *options_of_intercom)
        processes.start(
            "web", "-m", "gunicorn", "settings.wsgi", BIND=f"127.0.0.1:{port}", WEB_CONCURRENCY="1"
        )
        processes.start("worker", "-m", "intercom_bridge", "worker")
        if is_sandbox:
            processes.wait_for_address("The iTop stand-in", f"{itop_url}/")
        processes.wait_for_address("The Intercom stand-in", f"http://127.0.0.1:{intercom_port}/sandbox/state")
        processes.wait_for_address("The service", f"http://127.0.0.1:{port}/healthz")
        processes.wait_for_output("worker", "Worker started")
        self.stdout.write(f"  the service   http://127.0.0.1:{port}/  (admin: {ADMIN} / {ADMIN})")
        self.stdout.write(f"  iTop          {itop_url}/{'  (sandbox)' if is_sandbox else ''}")
        self.stdout.write(f"  Intercom      http://127.0.0.1:{intercom_port}/  (sandbox)")
        self.stdout.write("  a worker")

    def _play_story(self, options: dict[str, Any], token: str) -> str:
        """Play the script and return the conversation's id. Raise DemoError if a step fails or a ticket is wrong."""
        from sandbox.demo_inbox import Inbox
        from sandbox.demo_story import Story

        itop = Itop(os.environ["DEMO_ITOP_URL"], token)
        customer = itop.customer(options["person_email"] or SANDBOX_PERSON)
        inbox = Inbox(f"http://127.0.0.1:{options['intercom_port']}")
        self.stdout.write("\nThe story")
        began = time.monotonic()
        story = Story(inbox, itop, customer, self.stdout.write)
        story.finds_time_zone = bool(options["itop_url"]) and not options["itop_time_zone"]
        complaints = story.play()
        self.stdout.write("")
        if complaints:
            raise DemoError("The tickets are not as expected.\n" + "\n".join(complaints))
        self.stdout.write(
            f"All is as it should be: {story.summary} contain each message once, in order and with its "
            f"author. It took {time.monotonic() - began:.0f} seconds."
        )
        return story.conversation_id

    def _wait(self, processes: Processes, options: dict[str, Any], conversation_id: str) -> None:
        from sandbox.demo_rows import ADMIN

        base = f"http://127.0.0.1:{options['port']}"
        self.stdout.write("\nTry it yourself:")
        self.stdout.write(f"  the inbox   {base}/sandbox/#{conversation_id}")
        self.stdout.write(f"  the admin   {base}/admin/  ({ADMIN} / {ADMIN})")
        self.stdout.write(f"  iTop        {os.environ['DEMO_ITOP_URL']}/")
        self.stdout.write("Press Ctrl-C to stop.")
        while True:
            processes.check()
            raise_if_stopped()
            time.sleep(0.5)


def _new_conversation_id() -> int:
    """Return an id that no earlier demo has used. In a real iTop, the tickets of earlier demos keep their ids."""
    return FIRST_CONVERSATION_ID + int(time.time() * 1000)


def _check_options(options: dict[str, Any]) -> str:
    """Return the token of the iTop to use. Raise DemoError if the options contradict each other."""
    if not options["itop_url"]:
        if options["itop_token_env"] or options["person_email"] or options["itop_time_zone"]:
            raise DemoError(
                "--itop-token-env, --person-email and --itop-time-zone are for a real iTop: also give --itop-url."
            )
        return SANDBOX_TOKEN
    if not options["itop_token_env"] or not options["person_email"]:
        raise DemoError("With --itop-url, also give --itop-token-env and --person-email.")
    if options["itop_time_zone"] not in ("", *zoneinfo.available_timezones()):
        raise DemoError(f"{options['itop_time_zone']} is not a time zone. Write it like Europe/Paris.")
    token = os.environ.get(options["itop_token_env"], "")
    if not token:
        raise DemoError(f"The environment variable {options['itop_token_env']} is not set.")
    return token


def _restart_in_empty_directory(options: dict[str, Any]) -> NoReturn:
    """Empty the directory, then run this command again with the demo's own settings and database."""
    directory = (options["directory"] or WORKING_DIR / "var" / "demo").resolve()
    if directory.exists() and any(directory.iterdir()) and not (directory / MARK).exists():
        raise DemoError(f"{directory} contains files that are not the demo's. Choose another --directory.")
    ports = {"--port": options["port"], "--intercom-port": options["intercom_port"]}
    require_free(ports | ({} if options["itop_url"] else {"--itop-port": options["itop_port"]}))
    if options["itop_url"]:
        # Check the token and the person first: these are the most likely mistakes.
        Itop(options["itop_url"], os.environ[options["itop_token_env"]]).customer(options["person_email"])
    _lock(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / MARK).touch()
    inherited = {
        name: value
        for name, value in os.environ.items()
        # The demo must not use the database or the queue for which this machine is configured.
        if name.removesuffix("_FILE")
        not in ("REDIS_URL", "DATABASE_URL", "PUBLIC_URL", "INTERCOM_API_URL", "DEBUG")
    }
    itop_url = options["itop_url"].rstrip("/") or f"http://127.0.0.1:{options['itop_port']}"
    environment = inherited | {
        "DJANGO_SETTINGS_MODULE": "sandbox.demo_settings",
        "DEMO_DIRECTORY": str(directory),
        "DEMO_ITOP_URL": itop_url,
        "DATABASE_URL": f"sqlite:///{directory / 'bridge.sqlite3'}",
        "PUBLIC_URL": f"http://127.0.0.1:{options['port']}",
        "INTERCOM_API_URL": f"http://127.0.0.1:{options['intercom_port']}",
        "PYTHONUNBUFFERED": "1",
        # Poll often, so nobody has to wait for the demo. Its iTop has no other load.
        "ITOP_POLL_SECONDS": "2",
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606


def _lock(directory: Path) -> None:
    """Lock the directory against a second demo, which would empty it. The lock survives the following execve."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory.with_name(f".{directory.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DemoError(
            f"Another demo is running in {directory}. Stop it, or choose another --directory."
        ) from error
    os.set_inheritable(lock, True)
