"""The sync page: the status of this conversation's sync, and buttons for messages that are not in iTop yet."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.files.summary import FileSummary
from intercom_bridge.models import FileToItop, Ticket
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
    Failure,
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

# Lengths are in characters.
MAX_REASON_LENGTH = 300
# Real references such as R-000123 are shorter, but iTop can be configured to use titles as the names of tickets.
MAX_REF_LENGTH = 20
MAX_FILE_NAME_LENGTH = 40
MAX_TICKETS = 20
# Deleted tickets on the page, each with a button. After they are unlinked, the next ones are displayed.
MAX_GONE = 5


def sync_status_screen(context: PanelContext) -> Canvas:
    """Return the sync page. It needs only the database, so it works while iTop does not respond."""
    details = get_sync_details(context)
    merge = find_merge(context)
    is_merged_away = merge is not None and merge.is_merged_away
    merge_list = List(items=(merge_item(merge),)) if merge else None
    # The buttons of this screen lead back to it.
    stored = BackLink(target=SYNC).to_stored()
    if details is None:
        no_ticket = muted(_("No ticket is linked to this conversation."))
        return screen(_("Sync status"), merge_list, no_ticket, back_button(HOME), stored=stored)
    return screen(
        _("Sync status"),
        merge_list,
        _details(details, is_merged_away=is_merged_away),
        _changes_in_itop(get_news(context)),
        back_button(HOME),
        stored=stored,
    )


def _changes_in_itop(news: News | None) -> list[Component]:
    """Return when iTop was last checked for changes, a problem with that if any, and a link to the changes."""
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
    """Return how many messages could not be copied, and why the last one could not.

    The reason is cut to `max_reason_length`. If this is 0, it is left out.
    """
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
    """Return how many of the files are copied; "" if there are no files."""
    if not files.total:
        return ""
    text = ngettext(
        "%(copied)d of %(total)d file copied", "%(copied)d of %(total)d files copied", files.total
    )
    return text % {"copied": files.copied, "total": files.total}


def failed_files_text(files: FileSummary, max_reason_length: int) -> str:
    """Return how many of the files are copied, and why the newest failed file is not, as Markdown for a `Text`.

    The reason is cut to `max_reason_length`. If this is 0, it is left out.
    """
    if files.failure is None or not max_reason_length:
        return files_text(files)
    problem = _file_problem(files.failure, max_reason_length)
    return _("%(files)s; %(problem)s") % {"files": files_text(files), "problem": problem}


def _file_problem(failed_file: FileToItop, max_reason_length: int) -> str:
    """Return the name of a file and why it could not be copied, as Markdown."""
    name = safe_name(failed_file.name, MAX_FILE_NAME_LENGTH) or _("a file")
    if failed_file.reason_code == ReasonCode.FILE_TOO_LARGE:
        text = _("%(file)s exceeds the %(limit)d MB limit")
        return text % {"file": name, "limit": failed_file.conversation.workspace.max_file_mb}
    reason = reason_label(failed_file.reason_code, failed_file.reason_detail)
    return f"{name}: {safe_name(reason, max_reason_length)}"


def failed_buttons(status: SyncStatus) -> tuple[Component, ...]:
    """Return the button that retries failed messages and files, if a retry may help."""
    if not (status.retriable or status.files.retriable):
        return ()
    return (link_button(click_id("try-again"), _("Try again")),)


def left_out_buttons(status: SyncStatus) -> tuple[Component, ...]:
    """Return the buttons that decide what happens to messages left out during a pause, once the sync is on again."""
    if not (status.left_out and status.on):
        return ()
    return (
        link_button(click_id("write-left-out"), _("Copy them now")),
        link_button(click_id("forget-left-out"), _("Leave them out")),
    )


def switch_buttons(status: SyncStatus) -> list[Button]:
    """Return the button Pause if the sync is on for any ticket, and Resume if it is paused for any ticket."""
    buttons = []
    if status.on:
        buttons.append(link_button(click_id("pause"), _("Pause sync")))
    if not status.on or status.paused:
        buttons.append(link_button(click_id("resume"), _("Resume sync")))
    return buttons


def _details(details: SyncDetails, *, is_merged_away: bool) -> list[Component]:
    """Return the state of the sync, the problems of each ticket, and the buttons that may solve them."""
    status = details.status
    components: list[Component] = [
        paragraph(_state_text(status, is_merged_away=is_merged_away)),
        *_ticket_texts(details.tickets),
    ]
    # For a single ticket, its own text contains these numbers.
    if len(details.tickets) > 1 and (counts := _counts(status)):
        components.append(DataTable(items=counts))
    if details.itop_problem:
        text = _("iTop has a problem, so messages wait: %(reason)s")
        components.append(_reason_text(text, details.itop_problem))
    elif details.last_attempt:
        text = _("The bridge retries waiting messages. The last attempt failed: %(reason)s")
        components.append(_reason_text(text, details.last_attempt))
    components += _deleted_tickets(details.gone)
    components += [_failure_text(failure) for failure in details.failures]
    components += _failed_files(details.tickets)
    if status.left_out:
        components.append(paragraph(left_out_text(status.left_out)))
    if details.comparison_problem:
        text = _("The bridge could not ask Intercom for missing messages: %(reason)s")
        components.append(_reason_text(text, details.comparison_problem))
    components += [*failed_buttons(status), *left_out_buttons(status)]
    # A conversation that was merged into another one gets no new messages, so there is nothing to pause.
    if not is_merged_away:
        components += switch_buttons(status)
    return components


def _deleted_tickets(tickets: tuple[Ticket, ...]) -> list[Component]:
    """Return a text and the button Unlink for each linked ticket that was deleted in iTop."""
    components: list[Component] = []
    for ticket in tickets[:MAX_GONE]:
        text = _("%(ticket)s is no longer in iTop, so nothing can be copied to it.")
        unlink = click_id("unlink", ticket.ticket_class, ticket.object_id, "yes")
        components += [
            error_text(text % {"ticket": escape_markdown(ticket.ref)}),
            button(unlink, _("Unlink %(ticket)s") % {"ticket": ticket.ref}),
        ]
    return components


def _failure_text(failure: Failure) -> Text:
    text = ngettext(
        "**%(ticket)s**: %(count)d message could not be copied. %(reason)s",
        "**%(ticket)s**: %(count)d messages could not be copied. %(reason)s",
        failure.messages,
    )
    facts = {
        "ticket": escape_markdown(failure.ref),
        "count": failure.messages,
        "reason": safe_name(failure.reason, MAX_REASON_LENGTH),
    }
    return error_text(text % facts)


def _failed_files(tickets: tuple[TicketSync, ...]) -> list[Component]:
    """Return a text for each ticket to which a file could not be copied, with the reason."""
    components: list[Component] = []
    tickets_with_failures = [ticket for ticket in tickets if ticket.files.failed]
    for ticket in tickets_with_failures[:MAX_FAILURES]:
        ref = escape_markdown(shorten(ticket.ref, MAX_REF_LENGTH))
        problem = failed_files_text(ticket.files, MAX_REASON_LENGTH)
        text = _("**%(ticket)s**: %(problem)s") % {"ticket": ref, "problem": problem}
        components.append(error_text(text))
    return components


def _state_text(status: SyncStatus, *, is_merged_away: bool) -> str:
    """Return whether new messages are copied, and to which tickets they are not."""
    if is_merged_away:
        return _("This conversation was merged into another one, which receives the new messages.")
    if not status.on:
        return paused_text()
    if not status.paused:
        return _("Sync is on: new messages are copied to the linked tickets.")
    refs = ", ".join(shorten(ref, MAX_REF_LENGTH) for ref in status.paused[:MAX_TICKETS])
    text = _("Sync is on, but paused for %(tickets)s: new messages are not copied to those.")
    return text % {"tickets": escape_markdown(refs)}


def _reason_text(text: str, reason: str) -> Text:
    return muted(text % {"reason": safe_name(reason, MAX_REASON_LENGTH)})


def _counts(status: SyncStatus) -> tuple[Field, ...]:
    counts = ((_("Waiting"), status.waiting), (_("Could not be copied"), status.failed))
    return tuple(Field(field=label, value=str(count)) for label, count in counts if count)


def _ticket_texts(tickets: tuple[TicketSync, ...]) -> list[Component]:
    components: list[Component] = [
        paragraph(escape_markdown(_ticket_text(ticket))) for ticket in tickets[:MAX_TICKETS]
    ]
    more = len(tickets) - MAX_TICKETS
    if more > 0:
        text = ngettext("and %(count)d more ticket", "and %(count)d more tickets", more)
        components.append(muted(text % {"count": more}))
    return components


def _ticket_text(ticket: TicketSync) -> str:
    """Return how many messages and files of this conversation are in the ticket, are waiting, or failed."""
    ref = shorten(ticket.ref, MAX_REF_LENGTH)
    if not ticket.total and not ticket.files.total:
        return _("No message for %(ticket)s yet") % {"ticket": ref}
    text = ngettext(
        "%(written)d of %(total)d message copied to %(ticket)s",
        "%(written)d of %(total)d messages copied to %(ticket)s",
        ticket.total,
    )
    facts = [text % {"written": ticket.written, "total": ticket.total, "ticket": ref}]
    if ticket.last_at is not None:
        facts.append(_("last on %(moment)s") % {"moment": format_time(ticket.last_at)})
    if ticket.waiting:
        facts.append(_("%(count)d waiting") % {"count": ticket.waiting})
    if ticket.failed:
        facts.append(_("%(count)d could not be copied") % {"count": ticket.failed})
    # Failed files have a text of their own further below.
    if ticket.files.total and not ticket.files.failed:
        facts.append(files_text(ticket.files))
    return ", ".join(facts)
