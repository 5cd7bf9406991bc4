"""The steps of the check. A step returns a short remark, or raises SystemTestError."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.intercom import SECRET, WORKSPACE_ID
from settings.env import BASE_DIR
from tests.system.chaos.children import SystemTestError, wait_until

from .caller import WEBHOOKS, Traffic, message, notification_id, text_of
from .installation import HOST, WEB_PROCESSES, Installation

MEGABYTE = 1_000_000
# Messages between two restarts: enough that requests are in progress during each restart.
MESSAGES_BETWEEN = 8

Step = tuple[str, Callable[[], str]]


def require(holds: object, otherwise: str) -> None:
    if not holds:
        raise SystemTestError(otherwise)


class Story:
    def __init__(self, installation: Installation) -> None:
        self._here = installation
        self._caller = installation.caller
        self._traffic = Traffic(installation.caller)
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
        yield "all messages sent again: nothing is written twice, and new ones are written", self.send_again
        yield "everything stops within its time", self.stop

    # --- Setup ---

    def prepare(self) -> str:
        self._here.manage("migrate", "--verbosity", "0")
        self._here.manage("collectstatic", "--noinput", "--verbosity", "0")
        self._here.make_rows()
        return ""

    def check_settings(self) -> str:
        output = self._here.manage("check", "--deploy", "--database", "default", "--fail-level", "WARNING")
        require("no issues" in output, output)
        return ""

    def start(self) -> str:
        self._here.redis.start("Ready to accept connections")
        for worker in self._here.workers:
            worker.start("Worker started")
        self._here.web.start("Booting worker", WEB_PROCESSES)
        self._here.start_nginx()
        return ""

    # --- Requests from outside ---

    def call(self) -> str:
        self._expect(200, "HEAD", WEBHOOKS)
        self._expect(401, "POST", WEBHOOKS, message(0))
        forged = self._caller.notify(message(0), secret="another secret").status
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
            plain.status == 301 and place == f"https://{HOST}/admin/",
            f"http was answered {plain.status}, to {place}.",
        )
        status = self._caller.notify(
            self._ping("forged"),
            **{"X-Forwarded-Proto": "http"},  # type: ignore[arg-type]
        ).status
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
            # nginx may reject the request by its announced length before the body is sent.
            headers = {"Content-Length": str(21 * MEGABYTE)}
            status = self._caller.ask("POST", WEBHOOKS, None, headers).status
        require(status == 413, f"21 MB were answered {status}.")
        return ""

    # --- Under load ---

    def reload_web(self) -> str:
        self._traffic.begin()
        self._wait_for_traffic()
        web = self._here.web
        booted = web.output().count("Booting worker") + WEB_PROCESSES
        ended = web.output().count("Worker exiting") + WEB_PROCESSES
        web.reload()
        web.wait_for("Booting worker", booted)
        web.wait_for("Worker exiting", ended)
        self._wait_for_traffic()
        return self._nothing_lost()

    def restart_workers(self) -> str:
        for worker in self._here.workers:
            worker.stop()
            self._wait_for_traffic()
            worker.start("Worker started")
            self._wait_for_traffic()
        return self._nothing_lost()

    def back_up(self) -> str:
        self._sent_before_backup = self._traffic.sent
        unit = self._here.unit("bridge-backup.service")
        self._backup = Path(self._here.run(*unit.command("ExecStart")).splitlines()[-1])
        require(self._backup.stat().st_mode & 0o077 == 0, f"{self._backup} can be read by others.")
        self._wait_for_traffic()
        return self._nothing_lost()

    def restart_all(self) -> str:
        self._here.redis.kill()
        self._wait_for_traffic()
        self._here.redis.start("Ready to accept connections")
        self._wait_for_traffic()
        for worker in self._here.workers:
            worker.stop()
            worker.start("Worker started")
        self._here.web.stop()
        self._here.web.start("Booting worker", WEB_PROCESSES)
        self._wait_for_traffic()
        self._here.nginx.reload()
        self._wait_for_traffic()
        return self._nothing_lost()

    def count(self) -> str:
        self._traffic.end()
        self._nothing_lost()
        self._wait_until_written(self._traffic.sent)
        return f"{self._traffic.sent} messages, none lost, the slowest answer after {self._traffic.slowest:.1f} s"

    # --- Afterwards ---

    def look_at_backup(self) -> str:
        clear = self._here.run("pg_restore", "--file=-", str(self._backup))
        require("intercom_bridge_webhookevent" in clear, "The backup holds no notifications.")
        require(SECRET not in clear, "The backup holds the client secret in clear.")
        try:
            self._restore()
        except SystemTestError as refused:
            require("Nothing was changed" in str(refused), str(refused))
        else:
            raise SystemTestError("A backup was put over a database in use.")
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
        # This check also decrypts each stored secret (E104).
        self.check_settings()
        for worker in self._here.workers:
            worker.start("Worker started")
        self._here.web.start("Booting worker", WEB_PROCESSES)
        return f"{len(kept)} notifications"

    def send_again(self) -> str:
        more = self._traffic.sent + MESSAGES_BETWEEN
        for number in range(1, more + 1):
            status = self._caller.notify(message(number)).status
            require(status == 200, f"After the restoration message {number} was answered {status}.")
        self._wait_until_written(more)
        return f"{more} messages"

    def stop(self) -> str:
        self._stop_service()
        self._here.nginx.stop()
        return ""

    # --- Helpers ---

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

    def _ping(self, text: str) -> bytes:
        item = {"type": "ping", "message": text}
        return json.dumps(
            {
                "type": "notification_event",
                "app_id": WORKSPACE_ID,
                "topic": "ping",
                "data": {"type": "notification_event_data", "item": item},
            }
        ).encode()

    def _wait_for_traffic(self) -> None:
        wanted = self._traffic.sent + MESSAGES_BETWEEN
        wait_until(lambda: self._traffic.sent >= wanted, "the customer writes", 60)

    def _nothing_lost(self) -> str:
        lost = self._traffic.lost
        require(not lost, f"{len(lost)} of {self._traffic.sent} messages were lost: {'; '.join(lost[:3])}.")
        return f"{self._traffic.sent} messages so far"

    def _wait_until_written(self, count: int) -> None:
        """Raise SystemTestError unless iTop contains exactly these messages, in order, once nothing waits."""
        wanted = [text_of(number + 1) for number in range(count)]
        wait_until(
            lambda: len(self._here.entries()) >= count and not self._here.waiting(),
            "all messages are written",
            90,
        )
        found = self._here.entries()
        if found == wanted:
            return
        duplicated = len(found) - len(set(found))
        missing = sorted(set(wanted) - set(found))
        raise SystemTestError(
            f"iTop holds {len(found)} entries for {count} messages: {duplicated} duplicated, {len(missing)} missing"
            f" {missing[:3]}, {'in' if found == sorted(found) else 'out of'} order."
        )

    def _restore(self) -> None:
        self._here.run(str(BASE_DIR / "deploy" / "restore.sh"), str(self._backup))

    def _stop_service(self) -> None:
        for service in (*self._here.workers, self._here.web):
            service.stop()
