"""Every try to write a row to iTop, as a table."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from intercom_bridge.models.tries import MOST_TRIES, Tried

from .hidden import without_quotes
from .readonly import as_time, may_read


def tries_table(row: Tried) -> SafeString | str:
    if not row.tries:
        return "None noted."
    labels = dict(Tried.Outcome.choices)
    shown = [
        (as_time(at), labels.get(outcome, outcome), why if may_read(row) else without_quotes(why))
        for at, outcome, why in row.tries
    ]
    body = format_html_join("\n", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", shown)
    head = "<thead><tr><th>When</th><th>What came of it</th><th>Why, or what iTop said</th></tr></thead>"
    kept = format_html("<p>The latest {}.</p>", MOST_TRIES) if len(row.tries) >= MOST_TRIES else ""
    return format_html(
        '<table class="bridge-tries">{}<tbody>{}</tbody></table>{}', SafeString(head), body, kept
    )
