"""`gunicorn settings.wsgi` reads this. Threads, so that a slow iTop does not starve the webhooks."""

import os
import sys

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from settings.logs import HideTokens


class logger_class(Logger):
    """gunicorn's own. It quotes a request that cannot be read in full, its query included."""

    def setup(self, cfg):
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(HideTokens(handler.formatter))


class worker_class(ThreadWorker):
    """gunicorn's own. Told to end, it would take one more connection within the next second and close it unanswered.

    Left alone, that connection waits at the socket for a process that lives.
    """

    def accept(self, server, listener):
        if self.alive:
            super().accept(server, listener)


def post_worker_init(worker):
    # Here, not in the process that starts them: what that one has loaded, a reload would not load anew.
    from django.conf import settings

    from intercom_bridge.metrics import add_up_the_dead

    if settings.METRICS_DIR:
        add_up_the_dead(settings.METRICS_DIR)


def _number(name, default):
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 10_000):
        sys.exit(f"{name} is “{text}”. Write a whole number, 1 or more, like {default}.")
    return int(text)


bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = _number("WEB_CONCURRENCY", 2)
threads = _number("WEB_THREADS", 16)
timeout = 30
graceful_timeout = 8
keepalive = 75
limit_request_line = 8190
# The path only: a query string may carry the PHP extension's auth_token, and has no business in a log.
accesslog = os.environ.get("ACCESS_LOG", "-")
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'

# Each process loads the code by itself, as it is when it starts, so that SIGHUP brings in what an upgrade has changed:
# no preload_app, and what this file needed is forgotten.
for _name in [name for name in sys.modules if name.partition(".")[0] == "settings"]:
    del sys.modules[_name]
