"""Configure logging: structlog and the standard library write the same lines, as plain text or as JSON."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog

# The webhook URLs of Combodo's PHP extension contain a token. Intercom may still send requests to these URLs.
_TOKEN_IN_URL = re.compile(r"(auth_token=)[^&\s\"'\\]+", re.IGNORECASE)


class HideTokens(logging.Formatter):
    """Remove `auth_token` values from the output of another formatter, including the traceback."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return _TOKEN_IN_URL.sub(r"\1***", self._inner.format(record))


_SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _add_request_fields(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add the fields of a request to a line of the web server's access log (see gunicorn.conf.py)."""
    event.update(getattr(event["_record"], "request_fields", None) or {})
    return event


def structured_formatter(log_format: str) -> logging.Formatter:
    """Return the formatter of all log lines; `log_format` is "plain" or "json"."""
    renderer: list[Any]
    if log_format == "json":
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        traceback = structlog.dev.plain_traceback
        renderer = [
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, exception_formatter=traceback)
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED_PROCESSORS, _add_request_fields],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )


def logging_config(log_format: str, level: str) -> dict[str, Any]:
    """Return the LOGGING dictionary; `log_format` is "plain" or "json", `level` the name of a standard level."""
    structured = structured_formatter(log_format)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": HideTokens, "inner": structured}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": level.upper()},
        "loggers": {
            # This replaces Django's default handlers, which would write each line a second time, as plain text.
            "django": {"level": "INFO"},
            "django.server": {"handlers": ["console"], "level": "INFO", "propagate": False},
            "huey": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
        },
    }


def configure(config: dict[str, Any]) -> None:
    """Configure the standard library and structlog. Django calls this function (LOGGING_CONFIG)."""
    logging.config.dictConfig(config)
    # Log Python's warnings, too.
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            *_SHARED_PROCESSORS,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
