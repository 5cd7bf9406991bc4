"""What the check plays, step by step. A step answers a word or two more, or raises Trouble."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.chaos.children import Trouble, wait_until
from sandbox.intercom import SECRET, WORKSPACE_ID
from settings.environment import BASE_DIR

from .caller import WEBHOOKS, Talk, message, notification_id, text_of
from .installation import WEB_PROCESSES, Installation

MEGABYTE = 1_000_000
# Of the conversation between two restarts: long enough that requests cross each of them.
MESSAGES_BETWEEN = 8

Step = tuple[str, Callable[[], str]]


def require(holds: object, otherwise: str) -> None:
    if not holds:
        raise Trouble(otherwise)


class Story:
    def __init__(self, installation: Installation) -> None:
        self._here = installation
        self._caller = installation.caller
        self._talk = Talk(installation.caller)
        self._backup = Path()
        self._sent_before_backup = 0

    def steps(self) -> Iterator[Step]:
        yield "migrate and collectstatic, by deploy/manage.sh", self.prepare
        yield "check --deploy --database default finds nothing", self.check_settings
        yield "Redis, two workers, the web server at systemd's socket, and nginx start", self.start
        yield "through TLS: HEAD and a signed POST 200, unsigned 401", self.call
        yield "http leads to https; forged X-Forwarded-*, Host change nothing", self.forge
        yield "a body of 9 MB gets through, one of 21 MB is refused with 413", self.send_large
        yield "gunicorn reloaded under load", self.reload_web
        yield "each worker restarted under load", self.restart_workers
        yield "a backup made under load by bridge-backup.service", self.back_up
        yield "all restarted in turn under load: Redis, workers, web server; nginx reloaded", self.restart_all
        yield "each message answered 200, and written into iTop once, in order", self.count
        yield (
            "the backup holds no secret in clear, and is not put over a database in use",
            self.look_at_backup,
        )
        yield "the database destroyed and restored; its secrets can be read", self.restore
        yield "all sent once more: nothing is written twice, and it goes on", self.send_again
        yield "everything stops within its time", self.stop

    # --- Before ---

    def prepare(self) -> str:
        self._here.manage("migrate", "--verbosity", "0")
        self._here.manage("collectstatic", "--noinput", "--verbosity", "0")
        self._here.make_rows()
        return ""

    def check_settings(self) -> str:
        said = self._here.manage("check", "--deploy", "--database", "default", "--fail-level", "WARNING")
        require("no issues" in said, said)
        return ""

    def start(self) -> str:
        self._here.redis.start("Ready to accept connections")
        for worker in self._here.workers:
            worker.start("Worker started")
        self._here.web.start("Booting worker", WEB_PROCESSES)
        self._here.start_nginx()
        return ""

    # --- From outside ---

    def call(self) -> str:
        self._expect(200, "HEAD", WEBHOOKS)
        self._expect(401, "POST", WEBHOOKS, message(0))
        forged = self._caller.notify(message(0), secret="somebody else's").status  # noqa: S106
        require(forged == 401, f"A wrong signature was answered {forged}.")
        ping = self._ping("")
        status = self._caller.notify(ping).status
        require(status == 200, f"A signed ping was answered {status}.")
        self._expect(200, "GET", "/readyz")
        return ""

    def forge(self) -> str:
        plain = self._caller.ask("GET", "/admin/", headers={"X-Forwarded-Proto": "https"}, tls=False)
        place = plain.headers["Location"]
        require(
            plain.status == 301 and place == "https://bridge.example.com/admin/",
            f"http was answered {plain.status}, to {place}.",
        )
        status = self._caller.notify(self._ping("forged"), **{"X-Forwarded-Proto": "http"}).status
        require(status == 200, f"With a forged X-Forwarded-Proto the answer is {status}.")
        page = self._caller.ask("GET", "/admin/", headers={"X-Forwarded-Host": "evil.example"})
        place = page.headers["Location"] or ""
        require(
            page.status == 302 and "evil" not in place and b"evil" not in page.body,
            f"A forged X-Forwarded-Host was answered {page.status}, to {place}.",
        )
        self._expect(400, "GET", "/admin/", headers={"Host": "evil.example"})
        return ""

    def send_large(self) -> str:
        status = self._caller.notify(self._ping("x" * (9 * MEGABYTE))).status
        require(status == 200, f"9 MB were answered {status}.")
        try:
            status = self._caller.notify(self._ping("x" * (21 * MEGABYTE))).status
        except (BrokenPipeError, ConnectionResetError):
            # nginx need not read on before it refuses: by the announced length it says so at once.
            headers = {"Content-Length": str(21 * MEGABYTE)}
            status = self._caller.ask("POST", WEBHOOKS, None, headers).status
        require(status == 413, f"21 MB were answered {status}.")
        return ""

    # --- While the customer writes without a pause ---

    def reload_web(self) -> str:
        self._talk.begin()
        self._listen_on()
        web = self._here.web
        booted = web.said().count("Booting worker") + WEB_PROCESSES
        ended = web.said().count("Worker exiting") + WEB_PROCESSES
        web.reload()
        web.wait_for("Booting worker", booted)
        web.wait_for("Worker exiting", ended)
        self._listen_on()
        return self._nothing_lost()

    def restart_workers(self) -> str:
        for worker in self._here.workers:
            worker.stop()
            self._listen_on()
            worker.start("Worker started")
            self._listen_on()
        return self._nothing_lost()

    def back_up(self) -> str:
        self._sent_before_backup = self._talk.sent
        unit = self._here.unit("bridge-backup.service")
        self._backup = Path(self._here.run(*unit.command("ExecStart")).splitlines()[-1])
        require(self._backup.stat().st_mode & 0o077 == 0, f"{self._backup} can be read by others.")
        self._listen_on()
        return self._nothing_lost()

    def restart_all(self) -> str:
        self._here.redis.kill()
        self._listen_on()
        self._here.redis.start("Ready to accept connections")
        self._listen_on()
        for worker in self._here.workers:
            worker.stop()
            worker.start("Worker started")
        self._here.web.stop()
        self._here.web.start("Booting worker", WEB_PROCESSES)
        self._listen_on()
        self._here.nginx.reload()
        self._listen_on()
        return self._nothing_lost()

    def count(self) -> str:
        self._talk.end()
        self._nothing_lost()
        self._wait_until_written(self._talk.sent)
        return f"{self._talk.sent} messages, none lost, the slowest answer after {self._talk.slowest:.1f} s"

    # --- Afterwards ---

    def look_at_backup(self) -> str:
        clear = self._here.run("pg_restore", "--file=-", str(self._backup))
        require("intercom_bridge_notification" in clear, "The backup holds no notifications.")
        require(SECRET not in clear, "The backup holds the client secret in clear.")
        try:
            self._restore()
        except Trouble as refused:
            require("Nothing was changed" in str(refused), str(refused))
        else:
            raise Trouble("A backup was put over a database in use.")
        return ""

    def restore(self) -> str:
        self._stop_service()
        self._here.drop_database()
        self._here.create_database()
        self._restore()
        self._here.manage("migrate", "--verbosity", "0")
        kept = self._here.notification_ids()
        missing = {notification_id(number + 1) for number in range(self._sent_before_backup)} - kept
        require(not missing, f"After the restoration {len(missing)} notifications are missing.")
        # It reads each stored secret (E104), too.
        self.check_settings()
        for worker in self._here.workers:
            worker.start("Worker started")
        self._here.web.start("Booting worker", WEB_PROCESSES)
        return f"{len(kept)} notifications"

    def send_again(self) -> str:
        more = self._talk.sent + MESSAGES_BETWEEN
        for number in range(1, more + 1):
            status = self._caller.notify(message(number)).status
            require(status == 200, f"After the restoration message {number} was answered {status}.")
        self._wait_until_written(more)
        return f"{more} messages"

    def stop(self) -> str:
        self._stop_service()
        self._here.nginx.stop()
        return ""

    # --- Words of the story ---

    def _expect(
        self,
        status: int,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        found = self._caller.ask(method, path, body, headers).status
        require(found == status, f"{method} {path} was answered {found} instead of {status}.")

    def _ping(self, words: str) -> bytes:
        item = {"type": "ping", "message": words}
        return json.dumps(
            {
                "type": "notification_event",
                "app_id": WORKSPACE_ID,
                "topic": "ping",
                "data": {"type": "notification_event_data", "item": item},
            }
        ).encode()

    def _listen_on(self) -> None:
        wanted = self._talk.sent + MESSAGES_BETWEEN
        wait_until(lambda: self._talk.sent >= wanted, "the customer writes", 60)

    def _nothing_lost(self) -> str:
        lost = self._talk.lost
        require(not lost, f"{len(lost)} of {self._talk.sent} messages were lost: {'; '.join(lost[:3])}.")
        return f"{self._talk.sent} messages so far"

    def _wait_until_written(self, count: int) -> None:
        """Raises Trouble unless iTop holds exactly these messages, in order, once nothing waits any more."""
        wanted = [text_of(number + 1) for number in range(count)]
        wait_until(
            lambda: len(self._here.entries()) >= count and not self._here.waiting(),
            "all messages are written",
            90,
        )
        found = self._here.entries()
        if found == wanted:
            return
        doubled = len(found) - len(set(found))
        missing = sorted(set(wanted) - set(found))
        raise Trouble(
            f"iTop holds {len(found)} entries for {count} messages: {doubled} doubled, {len(missing)} missing"
            f" {missing[:3]}, {'in' if found == sorted(found) else 'out of'} order."
        )

    def _restore(self) -> None:
        self._here.run(str(BASE_DIR / "deploy" / "restore.sh"), str(self._backup))

    def _stop_service(self) -> None:
        for service in (*self._here.workers, self._here.web):
            service.stop()
