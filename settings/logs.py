"""Logs: structlog over the standard library, plain for people or JSON for machines, never with a token in them."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog

# The PHP extension's addresses carried a token in the URL; Intercom may go on sending it for a while.
_TOKEN_IN_URL = re.compile(r"(auth_token=)[^&\s\"']+", re.IGNORECASE)


class HideTokens(logging.Filter):
    """Takes `auth_token` values out of every line, whoever wrote it."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "auth_token=" in message.lower():
            record.msg, record.args = _TOKEN_IN_URL.sub(r"\1***", message), ()
        return True


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def logging_config(log_format: str, level: str) -> dict[str, Any]:
    """The LOGGING dictionary: `log_format` is "plain" or "json", `level` a standard level's name."""
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"hide_tokens": {"()": "settings.logs.HideTokens"}},
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    renderer,
                ],
            }
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "structured",
                "filters": ["hide_tokens"],
            }
        },
        "root": {"handlers": ["console"], "level": level.upper()},
        "loggers": {
            "django.server": {"handlers": ["console"], "level": "INFO", "propagate": False},
            "huey": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
        },
    }


def configure(config: dict[str, Any]) -> None:
    """What LOGGING_CONFIG calls: the standard library and structlog, in one go."""
    logging.config.dictConfig(config)
    structlog.configure(
        processors=[
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
