"""Format times, JSON payloads and links as HTML or text for admin pages."""

import datetime as dt
import json
from collections.abc import Callable, Iterable
from typing import Any

import nh3
from django.conf import settings
from django.contrib import admin
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from intercom_bridge.intercom.html import first_line, to_text
from intercom_bridge.models import Conversation, Ticket
from intercom_bridge.models.job import MAX_LOGGED_ATTEMPTS, LoggedJob
from intercom_bridge.models.reason import reason_label
from intercom_bridge.privacy.redaction import redact_secrets, redact_text

from .masking import mask, mask_texts

NOTHING = "None."
# The most characters of a payload that a page displays.
MAX_LENGTH = 200_000
# The most characters of a log entry that a page displays as HTML, because nh3 takes quadratic time for some inputs. The
# row's page also displays the whole entry as JSON.
MAX_ENTRY = 20_000
# The most characters of a message that a list displays.
MAX_WORDS = 60
# A displayed entry must not make the browser load anything from another server.
ALLOWED_TAGS = nh3.ALLOWED_TAGS - {"img", "picture", "source", "video", "audio"}


def datetime_text(value: dt.datetime) -> str:
    """Return the time with its time zone, in the format that Django uses on a row's page."""
    return date_format(timezone.localtime(value), "DATETIME_FORMAT")


def datetime_column(name: str, label: str) -> Callable[[Any, Any], str]:
    """Return a narrow list column with the time in field `name`. The column's heading contains the time zone."""

    @admin.display(description=f"{label} ({settings.TIME_ZONE})", ordering=name)
    def column(_admin: Any, row: Any) -> str:
        value = getattr(row, name)
        return date_format(timezone.localtime(value), "Y-m-d H:i:s") if value else "-"

    return column


def unix_time(seconds: float) -> str:
    """Format a time in Unix seconds, with its time zone. If it is out of range, return the number."""
    try:
        return datetime_text(dt.datetime.fromtimestamp(seconds, dt.UTC))
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def pretty(value: Any, *, with_texts: bool) -> str:
    """Return a JSON value, or the raw bytes of a body, as text that a page can display. Secrets are removed.

    Without `with_texts`, only the length of each text is displayed.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        decoded = bytes(value).decode("utf-8", "backslashreplace")
        try:
            text = _to_json(json.loads(decoded), with_texts=with_texts)
        except (ValueError, RecursionError):
            # Not JSON, or nested too deeply.
            text = redact_text(decoded) if with_texts else mask(value)
    else:
        text = _to_json(value, with_texts=with_texts)
    # A page cannot contain NUL or lone surrogates. Payloads from outside may.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\u0000")
    if len(text) > MAX_LENGTH:
        text = f"{text[:MAX_LENGTH]}\n… ({len(text) - MAX_LENGTH} more characters)"
    return text


def _to_json(value: Any, *, with_texts: bool) -> str:
    redacted = redact_secrets(value)
    return json.dumps(
        redacted if with_texts else mask_texts(redacted), indent=2, ensure_ascii=False, default=str
    )


def json_block(value: Any, *, with_texts: bool) -> SafeString:
    return format_html('<pre class="bridge-json">{}</pre>', pretty(value, with_texts=with_texts))


def payload_block(row: Any, value: Any, *, with_texts: bool) -> str:
    """Return a row's payload as JSON, or a sentence with the date if the payload was deleted (sync/retention.py)."""
    if row.cleaned_at is None:
        return json_block(value, with_texts=with_texts)
    when = date_format(timezone.localtime(row.cleaned_at), "Y-m-d")
    return f"Deleted on {when} (end of the retention period, or at the contact's request). The record itself is kept."


def entry_block(html: str, *, with_texts: bool) -> str:
    """Return a log entry as sanitized HTML. Without `with_texts`, return a placeholder."""
    if not with_texts:
        return mask(html)
    clean = SafeString(nh3.clean(html[:MAX_ENTRY], tags=ALLOWED_TAGS))
    return format_html('<div class="bridge-entry">{}</div>', clean)


def with_words(summary: str, words: str | None) -> str:
    """Return the summary of a row. If `words` (the first words of its text) are given, add them on a second line."""
    return format_html('{}<div class="bridge-words">{}</div>', summary, words) if words else summary


def first_words(html: str) -> str:
    return first_line(to_text(html), MAX_WORDS)


def attempts_table(row: LoggedJob, *, with_texts: bool) -> SafeString | str:
    """Return a table of the attempts to write a row to iTop. Without `with_texts`, it omits iTop's error texts."""
    if not row.attempt_log:
        return NOTHING
    labels = dict(LoggedJob.Outcome.choices)
    body = format_html_join(
        "\n",
        "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
        (
            (
                unix_time(attempt["at"]),
                labels.get(attempt["outcome"], attempt["outcome"]),
                reason_label(attempt["code"], attempt["detail"] if with_texts else ""),
            )
            for attempt in row.attempt_log
        ),
    )
    is_full = len(row.attempt_log) >= MAX_LOGGED_ATTEMPTS
    note = format_html("<p>Only the latest {} attempts.</p>", MAX_LOGGED_ATTEMPTS) if is_full else ""
    return format_html(
        '<table class="bridge-attempts"><thead><tr><th>Time</th><th>Outcome</th><th>Details</th></tr></thead>'
        "<tbody>{}</tbody></table>{}",
        body,
        note,
    )


def link(url: str, label: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, label)


def warning(text: str) -> SafeString:
    return format_html('<span class="bridge-warning">{}</span>', text)


def stacked(items: Iterable[object]) -> SafeString | str:
    """Return the items, each on a line of its own, or "None." if there are none."""
    return format_html_join("\n", "<div>{}</div>", ((item,) for item in items)) or NOTHING


def itop_link(ticket: Ticket) -> SafeString:
    """Return a link to the ticket in iTop's back office."""
    url = ticket.itop.backoffice_url(ticket.ticket_class, ticket.object_id)
    return link(url, f"{ticket.ticket_class} {ticket.ref}")


def intercom_link(conversation: Conversation) -> SafeString:
    return link(conversation.url, conversation.conversation_id)
