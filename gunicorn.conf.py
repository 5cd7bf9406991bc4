"""Configuration of `gunicorn settings.wsgi`. Threads, so that a slow iTop does not block webhooks."""

import ctypes
import logging
import os
import runpy
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import structlog
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

M_MMAP_THRESHOLD = -3  # of malloc.h

# Loaded by path, not imported: what the master process imports is inherited by its workers, and a reload (SIGHUP)
# after an upgrade would keep the old code. preload_app stays off for the same reason.
_logging = runpy.run_path(str(Path(__file__).parent / "settings" / "logging.py"))


def _log_format():
    path = os.environ.get("LOG_FORMAT_FILE")
    try:
        text = Path(path).read_text(encoding="utf-8") if path else os.environ.get("LOG_FORMAT", "")
    except OSError:
        text = ""  # the settings, which the workers read, refuse it
    return "json" if text.strip().casefold() == "json" else "plain"


class BridgeLogger(Logger):
    """Write JSON if LOG_FORMAT says so, the time and the request's id in each line, and hide tokens.

    gunicorn logs the query string of a request that it cannot parse, which may contain the PHP extension's auth_token.
    """

    def setup(self, cfg):
        super().setup(cfg)
        access = logging.Formatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
        access.converter = time.gmtime
        structured = _logging["structured_formatter"]("json") if _log_format() == "json" else None
        for handler in self.error_log.handlers:
            handler.setFormatter(_logging["HideTokens"](structured or handler.formatter))
        for handler in self.access_log.handlers:
            handler.setFormatter(_logging["HideTokens"](structured or access))

    def access(self, resp, req, environ, request_time):
        # This is the request's last line: the thread's next lines belong to another one.
        structlog.contextvars.clear_contextvars()
        if not self.cfg.accesslog:
            return
        # Only workers write this log, and they have loaded the application.
        from intercom_bridge.middleware.client_ip import address_from

        headers = {name.lower(): value for name, value in resp.headers}
        fields = {
            "event": "web.request",
            "client": address_from(environ),
            "method": environ.get("REQUEST_METHOD", ""),
            # As it was sent, so that it contains no newline; without the query string.
            "path": environ.get("RAW_URI", "").partition("?")[0],
            "status": int(str(resp.status).split()[0]),
            "bytes": getattr(resp, "sent", None) or 0,
            "ms": int(request_time.total_seconds() * 1000),
            "request": headers.get("x-request-id", "-"),
        }
        line = '%(client)s "%(method)s %(path)s" %(status)s %(bytes)s %(ms)sms %(request)s'
        self.access_log.info(line, fields, extra={"request_fields": fields})


class BridgeWorker(ThreadWorker):
    """Report invalid settings in one sentence, and end politely."""

    def init_process(self):
        _return_large_blocks()
        super().init_process()

    def load_wsgi(self):
        from settings.refusal import refusal

        try:
            super().load_wsgi()
        except Exception as error:
            sentence = refusal(error)
            if sentence is None:
                raise
            self.log.error("%s", sentence)
            sys.exit(Arbiter.APP_LOAD_ERROR)
        self._refuse_failed_checks()

    def _refuse_failed_checks(self):
        """Do not start with an error of `manage.py check` in the settings, as the worker does not."""
        from django.core.checks import run_checks

        from intercom_bridge.ops.checks import TAG

        errors = [found for found in run_checks(tags=[TAG]) if found.is_serious() and not found.is_silenced()]
        for found in errors:
            self.log.error("%s: %s %s", found.id, found.msg, found.hint or "")
        if errors:
            sys.exit(Arbiter.APP_LOAD_ERROR)

    def accept(self, server, listener):
        """Accept no connection after SIGTERM: gunicorn would accept one more and close it without a response.

        The connection stays in the listening socket's queue for the next process.
        """
        if self.alive:
            super().accept(server, listener)


def _return_large_blocks():
    """Have glibc return each freed block of 1 MB or more to the system.

    By default it adapts to the sizes it sees, and each thread's arena would keep the memory of its largest body.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # otherwise another C library
        mallopt(M_MMAP_THRESHOLD, 1024 * 1024)


def on_starting(server):
    """Refuse to listen where other machines can connect, unless told so: slow clients would occupy all threads.

    The proxy holds such clients off, and terminates TLS. A socket that systemd passes is systemd's to configure.
    """
    # A process may inherit the variable of another one, to which systemd has passed the socket.
    has_socket = os.environ.get("LISTEN_PID") == str(os.getpid()) or "GUNICORN_FD" in os.environ
    if ALLOW_PUBLIC_BIND or has_socket:
        return
    for address in server.cfg.address:
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            server.log.error(
                "BIND is %s:%s, where other machines can connect without the proxy and without TLS. "
                "Set it to 127.0.0.1:8000 or, if only the proxy can reach it, set ALLOW_PUBLIC_BIND=true.",
                *address[:2],
            )
            sys.exit(1)


def _is_loopback(host):
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _switch(name):
    text = os.environ.get(name, "false").strip()
    if text.casefold() not in ("true", "false"):
        sys.exit(f"{name} is “{text}”. Write one of false, true.")
    return text.casefold() == "true"


def _positive_integer(name, default):
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 10_000):
        sys.exit(f"{name} is “{text}”. Set it to an integer of 1 or more, for example {default}.")
    return int(text)


bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = _positive_integer("WEB_CONCURRENCY", 2)
threads = _positive_integer("WEB_THREADS", 16)
timeout = 30
graceful_timeout = 8
keepalive = 75
limit_request_line = 8190
accesslog = os.environ.get("ACCESS_LOG", "-")
logger_class = BridgeLogger
worker_class = BridgeWorker
ALLOW_PUBLIC_BIND = _switch("ALLOW_PUBLIC_BIND")
