"""The status of this conversation's sync, and what can be done about messages that are not in iTop."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.files.summary import FileSummary
from intercom_bridge.models import FileToItop
from intercom_bridge.models.reason import ReasonCode, reason_label
from intercom_bridge.panel.click import HOME, NEWS, SYNC, BackLink, click_id
from intercom_bridge.panel.components import (
    Button,
    Canvas,
    Component,
    DataTable,
    Field,
    List,
    Text,
    escape_markdown,
    shorten,
)
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.links.merge import find_merge
from intercom_bridge.tickets.news import News, get_news
from intercom_bridge.tickets.sync_status import (
    MAX_FAILURES,
    SyncDetails,
    SyncStatus,
    TicketSync,
    get_sync_details,
)

from .merged import merge_item
from .news import checked_text, posting_stopped
from .parts import (
    back_button,
    button,
    error_text,
    format_time,
    link_button,
    muted,
    paragraph,
    paused_text,
    safe_name,
    screen,
    subtitle,
)

MAX_REASON_LENGTH = 300
# References are shorter; a profile may use titles as names.
MAX_REF_LENGTH = 20
MAX_TICKETS = 20
MAX_FILE_NAME_LENGTH = 40
# Each has a button. The next ones appear once these are unlinked.
MAX_GONE = 5


def sync_status_screen(context: PanelContext) -> Canvas:
    details = get_sync_details(context)
    merge = find_merge(context)
    is_merged = merge is not None and merge.is_merged_away
    return screen(
        _("Sync status"),
        List(items=(merge_item(merge),)) if merge else None,
        _details(details, is_merged=is_merged)
        if details
        else muted(_("No ticket is linked to this conversation.")),
        _changes_in_itop(get_news(context)) if details else None,
        back_button(HOME),
        # A decision made on this screen leads back to it.
        stored=BackLink(target=SYNC).to_stored(),
    )


def _changes_in_itop(news: News | None) -> list[Component]:
    """Return how the checks for changes in iTop are doing, and the way to the changes."""
    if news is None:
        return []
    components: list[Component] = [subtitle(_("Changes in iTop")), muted(checked_text(news))]
    if news.problem:
        components.append(_reason_text(_("iTop cannot be checked for changes: %(reason)s"), news.problem))
    return [*components, *posting_stopped(news), link_button(NEWS, _("News from iTop"))]


def left_out_text(count: int) -> str:
    return ngettext(
        "%(count)d message was left out while sync was paused",
        "%(count)d messages were left out while sync was paused",
        count,
    ) % {"count": count}


def failed_text(status: SyncStatus, max_reason_length: int) -> str:
    """Return how many messages could not be copied, and why the last one could not, unless the length is 0."""
    if not max_reason_length:
        text = ngettext(
            "%(count)d message could not be copied", "%(count)d messages could not be copied", status.failed
        )
        return text % {"count": status.failed}
    return ngettext(
        "%(count)d message could not be copied: %(reason)s",
        "%(count)d messages could not be copied: %(reason)s",
        status.failed,
    ) % {"count": status.failed, "reason": safe_name(status.last_failure, max_reason_length)}


def files_text(files: FileSummary) -> str:
    """Return how many files are copied, "" without files."""
    if not files.total:
        return ""
    text = ngettext(
        "%(copied)d of %(total)d file copied", "%(copied)d of %(total)d files copied", files.total
    )
    return text % {"copied": files.copied, "total": files.total}


def failed_files_text(files: FileSummary, max_reason_length: int) -> str:
    """Return how many files are copied, and why the newest failed one is not, unless the length is 0. For a `Text`."""
    if files.failure is None or not max_reason_length:
        return files_text(files)
    problem = _file_problem(files.failure, max_reason_length)
    return _("%(files)s; %(problem)s") % {"files": files_text(files), "problem": problem}


def _file_problem(failure: FileToItop, max_reason_length: int) -> str:
    name = safe_name(failure.name, MAX_FILE_NAME_LENGTH) or _("a file")
    if failure.reason_code == ReasonCode.FILE_TOO_LARGE:
        text = _("%(file)s exceeds the %(limit)d MB limit")
        return text % {"file": name, "limit": failure.conversation.workspace.max_file_mb}
    reason = safe_name(reason_label(failure.reason_code, failure.reason_detail), max_reason_length)
    return f"{name}: {reason}"


def failed_buttons(status: SyncStatus) -> tuple[Component, ...]:
    """Return the button that retries failed messages and files, if a retry may help."""
    if not (status.retriable or status.files.retriable):
        return ()
    return (link_button(click_id("try-again"), _("Try again")),)


def left_out_buttons(status: SyncStatus) -> tuple[Component, ...]:
    """Return the decisions about messages left out, which are offered once sync is on again."""
    if not (status.left_out and status.on):
        return ()
    return (
        link_button(click_id("write-left-out"), _("Copy them now")),
        link_button(click_id("forget-left-out"), _("Leave them out")),
    )


def switch_buttons(status: SyncStatus) -> list[Button]:
    """Return Pause while sync is on for any ticket, and Resume while it is paused for any."""
    buttons = []
    if status.on:
        buttons.append(link_button(click_id("pause"), _("Pause sync")))
    if not status.on or status.paused:
        buttons.append(link_button(click_id("resume"), _("Resume sync")))
    return buttons


def _details(details: SyncDetails, *, is_merged: bool) -> list[Component]:
    status = details.status
    components: list[Component] = [
        paragraph(_state_text(status, is_merged=is_merged)),
        *_ticket_texts(details.tickets),
    ]
    # For a single ticket these are in its own line.
    if len(details.tickets) > 1 and (counts := _counts(status)):
        components.append(DataTable(items=counts))
    if details.itop_problem:
        components.append(
            _reason_text(_("iTop has a problem, so messages wait: %(reason)s"), details.itop_problem)
        )
    elif details.last_attempt:
        components.append(
            _reason_text(_("Waiting messages are retried. Last attempt: %(reason)s"), details.last_attempt)
        )
    for ticket in details.gone[:MAX_GONE]:
        text = _("%(ticket)s is no longer in iTop, so nothing can be copied to it.")
        components += [
            error_text(text % {"ticket": escape_markdown(ticket.ref)}),
            button(
                click_id("unlink", ticket.ticket_class, ticket.object_id, "yes"),
                _("Unlink %(ticket)s") % {"ticket": ticket.ref},
            ),
        ]
    for failure in details.failures:
        text = ngettext(
            "**%(ticket)s**: %(count)d message could not be copied. %(reason)s",
            "**%(ticket)s**: %(count)d messages could not be copied. %(reason)s",
            failure.messages,
        ) % {
            "ticket": escape_markdown(failure.ref),
            "count": failure.messages,
            "reason": safe_name(failure.reason, MAX_REASON_LENGTH),
        }
        components.append(error_text(text))
    components += _failed_files(details.tickets)
    if status.left_out:
        components.append(paragraph(left_out_text(status.left_out)))
    if details.comparison_problem:
        text = _("Intercom could not be asked for missing messages: %(reason)s")
        components.append(_reason_text(text, details.comparison_problem))
    components += [*failed_buttons(status), *left_out_buttons(status)]
    return components if is_merged else [*components, *switch_buttons(status)]


def _failed_files(tickets: tuple[TicketSync, ...]) -> list[Component]:
    """Return why files could not be copied, for the tickets that lack any."""
    lacking = [ticket for ticket in tickets if ticket.files.failed]
    text = _("**%(ticket)s**: %(problem)s")
    return [
        error_text(
            text
            % {
                "ticket": escape_markdown(shorten(ticket.ref, MAX_REF_LENGTH)),
                "problem": failed_files_text(ticket.files, MAX_REASON_LENGTH),
            }
        )
        for ticket in lacking[:MAX_FAILURES]
    ]


def _state_text(status: SyncStatus, *, is_merged: bool) -> str:
    if is_merged:
        return _("This conversation was merged into another one, which receives the new messages.")
    if not status.on:
        return paused_text()
    if not status.paused:
        return _("Sync is on: new messages are copied to the linked tickets.")
    return _("Sync is on, but paused for %(tickets)s: new messages are not copied to those.") % {
        "tickets": escape_markdown(
            ", ".join(shorten(ref, MAX_REF_LENGTH) for ref in status.paused[:MAX_TICKETS])
        )
    }


def _reason_text(text: str, reason: str) -> Text:
    return muted(text % {"reason": safe_name(reason, MAX_REASON_LENGTH)})


def _counts(status: SyncStatus) -> tuple[Field, ...]:
    counts = ((_("Waiting"), status.waiting), (_("Could not be copied"), status.failed))
    return tuple(Field(field=label, value=str(count)) for label, count in counts if count)


def _ticket_texts(tickets: tuple[TicketSync, ...]) -> list[Component]:
    texts: list[Component] = [
        paragraph(escape_markdown(_ticket_text(ticket))) for ticket in tickets[:MAX_TICKETS]
    ]
    rest = len(tickets) - MAX_TICKETS
    if rest > 0:
        more = ngettext("and %(count)d more ticket", "and %(count)d more tickets", rest)
        texts.append(muted(more % {"count": rest}))
    return texts


def _ticket_text(ticket: TicketSync) -> str:
    ref = shorten(ticket.ref, MAX_REF_LENGTH)
    if not ticket.total and not ticket.files.total:
        return _("No message for %(ticket)s yet") % {"ticket": ref}
    text = ngettext(
        "%(written)d of %(total)d message in %(ticket)s",
        "%(written)d of %(total)d messages in %(ticket)s",
        ticket.total,
    )
    facts = [text % {"written": ticket.written, "total": ticket.total, "ticket": ref}]
    if ticket.last_at is not None:
        facts.append(_("last on %(moment)s") % {"moment": format_time(ticket.last_at)})
    if ticket.waiting:
        facts.append(_("%(count)d waiting") % {"count": ticket.waiting})
    if ticket.failed:
        facts.append(_("%(count)d could not be copied") % {"count": ticket.failed})
    if ticket.files.total and not ticket.files.failed:
        facts.append(files_text(ticket.files))
    return ", ".join(facts)
