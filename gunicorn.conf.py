"""Configuration of `gunicorn settings.wsgi`. Threads, so that a slow iTop does not block webhooks."""

import os
import runpy
import sys
from pathlib import Path

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

# Loaded by path, not imported: what the master process imports is inherited by its workers, and a reload (SIGHUP)
# after an upgrade would keep the old code. preload_app stays off for the same reason.
_logging = runpy.run_path(str(Path(__file__).parent / "settings" / "logging.py"))


class logger_class(Logger):
    """Hide tokens: gunicorn logs the query string of a request that it cannot parse."""

    def setup(self, cfg):
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(_logging["HideTokens"](handler.formatter))


class worker_class(ThreadWorker):
    """Accept no connection after SIGTERM: gunicorn would accept one more and close it without a response.

    The connection stays in the listening socket's queue for the next process.
    """

    def accept(self, server, listener):
        if self.alive:
            super().accept(server, listener)


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
# The path only: the query string may contain the PHP extension's auth_token.
accesslog = os.environ.get("ACCESS_LOG", "-")
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'
