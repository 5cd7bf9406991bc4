"""Tell all conversations of a ticket the same: the text, the recipients, and what became of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.intercom.html import text_to_html, to_text
from intercom_bridge.intercom.text import clean_text, cut
from intercom_bridge.models import Broadcast, OutgoingMessage, Ticket, TicketLink
from intercom_bridge.models.reason import ReasonCode, reason_label
from intercom_bridge.panel.click import Click, click_id
from intercom_bridge.panel.components import (
    Button,
    Canvas,
    Component,
    DataTable,
    Field,
    Item,
    List,
    OpenUrl,
    Option,
    SingleSelect,
    TextArea,
    escape_markdown,
    markdown_link,
)
from intercom_bridge.panel.form.form import new_key, parse_key, truncate_values, truncation_text
from intercom_bridge.tickets.answers import can_send
from intercom_bridge.tickets.broadcast import (
    Audience,
    Recipient,
    can_retry,
    count_by_state,
    count_conversations,
    failed_messages,
    find_audience,
    find_started,
    newest_broadcast,
    retry_failed,
    start_broadcast,
)
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_conversation, find_link
from intercom_bridge.tickets.errors import OutdatedScreenError
from intercom_bridge.tickets.rows import TicketRow
from intercom_bridge.tickets.version import claim_version

from .parts import (
    back_button,
    button,
    by_whom,
    counted_texts,
    error_text,
    home_button,
    join_facts,
    link_button,
    muted,
    page_number,
    page_of,
    pager,
    paragraph,
    primary_button,
    safe_name,
    screen,
)

TEXT = click_id("broadcast", "text")
KIND = click_id("broadcast", "kind")
NOTE, REPLY = "note", "reply"
# A create form may be kept in the same stored data.
MAX_TEXT_BYTES = 20_000
MAX_SHOWN_LENGTH = 1500
MAX_REASON_LENGTH = 200
MAX_LISTED_FAILURES = 10


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What a teammate enters. One key sends one broadcast. `seen` identifies the recipients that were displayed."""

    key: str
    text: str = ""
    kind: str = NOTE
    seen: str = ""
    problem: str = ""

    @classmethod
    def parse(cls, context: PanelContext) -> _Form:
        """Return the form that the panel sent back, with what was typed. All of it is untrusted."""
        stored = context.request.stored_data.get("broadcast")
        stored = stored if isinstance(stored, dict) else {}
        typed = {**stored, **_typed(context)}
        text = clean_text(typed.get("text")).strip()
        short = truncate_values({TEXT: text}, MAX_TEXT_BYTES)[TEXT]
        problem = ""
        if short != text:
            problem = truncation_text(short)
        return cls(
            key=parse_key(stored.get("key")) or new_key(),
            text=short,
            kind=REPLY if typed.get("kind") == REPLY else NOTE,
            seen=clean_text(stored.get("seen")),
            problem=problem,
        )

    @property
    def is_note(self) -> bool:
        return self.kind == NOTE

    def to_stored(self) -> dict[str, Any]:
        stored = {"key": self.key, "text": self.text, "kind": self.kind, "seen": self.seen}
        return {"broadcast": stored}


def _typed(context: PanelContext) -> dict[str, Any]:
    inputs = context.request.input_values
    return {name: inputs[field] for name, field in (("text", TEXT), ("kind", KIND)) if field in inputs}


def broadcast_buttons(context: PanelContext, row: TicketRow) -> list[Button]:
    """Return the button of a linked ticket that has several conversations in this workspace."""
    link = find_link(context, row.ticket_class, row.id)
    count = count_conversations(context, link.ticket) if link else 0
    if count < 2 or not can_send(context):
        return []
    return [link_button(click_id("broadcast", "form", row.ticket_class, row.id), _tell_all(count))]


def broadcast_form(context: PanelContext, click: Click) -> Canvas:
    return _form_screen(context, _ticket(context, click), _Form.parse(context))


def broadcast_confirmation(context: PanelContext, click: Click) -> Canvas:
    ticket, form = _ticket(context, click), _Form.parse(context)
    if not form.problem and not text_to_html(form.text):
        form = replace(form, problem=_("Required."))
    if form.problem:
        return _form_screen(context, ticket, form)
    return _confirmation(context, ticket, form, click.number(3, 1))


def send_broadcast(context: PanelContext, click: Click) -> Canvas:
    ticket, form = _ticket(context, click), _Form.parse(context)
    broadcast = find_started(ticket, form.key)
    if broadcast is None:
        audience = find_audience(context, ticket, is_note=form.is_note)
        if not text_to_html(form.text) or form.seen != _fingerprint(context, ticket, audience):
            return _confirmation(context, ticket, form, 1, has_changed=bool(form.seen))
        broadcast = start_broadcast(context, ticket, form.key, text_to_html(form.text), is_note=form.is_note)
    if broadcast is None:
        return _confirmation(context, ticket, form, 1)
    return _progress_screen(context, broadcast)


def broadcast_status(context: PanelContext, click: Click) -> Canvas:
    return _progress_screen(context, _broadcast(context, click))


def retry_broadcast(context: PanelContext, click: Click) -> Canvas:
    broadcast = _broadcast(context, click)
    claim_version(context)
    retry_failed(broadcast)
    broadcast.refresh_from_db()
    return _progress_screen(context, broadcast)


# --- Screens --------------------------------------------------------------------------------------


def _form_screen(context: PanelContext, ticket: Ticket, form: _Form) -> Canvas:
    count = count_conversations(context, ticket)
    options = (
        Option(id=NOTE, text=_("Internal note, for teammates")),
        Option(id=REPLY, text=_("Message to the customers")),
    )
    return screen(
        _tell_all(count),
        muted(escape_markdown(ticket.ref)),
        _earlier(context, ticket),
        TextArea(id=TEXT, label=_("Text"), value=form.text, error=bool(form.problem)),
        error_text(form.problem) if form.problem else None,
        SingleSelect(id=KIND, label=_("Send as"), options=options, value=form.kind),
        button(_target("confirm", ticket), _("Next: check the recipients")),
        back_button(click_id("ticket", ticket.ticket_class, ticket.object_id)),
        stored=form.to_stored(),
    )


def _confirmation(
    context: PanelContext, ticket: Ticket, form: _Form, page: int, *, has_changed: bool = False
) -> Canvas:
    audience = find_audience(context, ticket, is_note=form.is_note)
    count = len(audience.recipients)
    form = replace(form, seen=_fingerprint(context, ticket, audience))
    rows, page, pages = page_of(audience.recipients, page)
    name = safe_name(context.request.admin.name) or _("A teammate")
    author = _("Author: %(teammate)s. Intercom sends the message by e-mail to customers who are not online.")
    if form.is_note:
        author = _("Author: %(teammate)s. Customers do not see the note.")
    target = click_id("broadcast", "confirm", ticket.ticket_class, ticket.object_id)
    return screen(
        _title(count, is_note=form.is_note),
        error_text(_("Nothing was sent: the recipients have changed meanwhile. Please check them again."))
        if has_changed
        else None,
        _earlier(context, ticket),
        paragraph(escape_markdown(cut(form.text, MAX_SHOWN_LENGTH))),
        muted(author % {"teammate": name}) if count else None,
        primary_button(_target("send", ticket), _send_label(count, is_note=form.is_note)) if count else None,
        List(items=tuple(_item(context, recipient) for recipient in rows)) if rows else None,
        page_number(page, pages),
        pager(lambda number: f"{target}:{number}", page, pages),
        _left_out_texts(audience),
        link_button(_target("form", ticket), _("Back to the text")),
        stored=form.to_stored(),
    )


def _progress_screen(context: PanelContext, broadcast: Broadcast) -> Canvas:
    counts, failures = count_by_state(broadcast), failed_messages(broadcast)
    total = sum(counts.values())
    waiting, posted = (
        counts[state] for state in (OutgoingMessage.State.WAITING, OutgoingMessage.State.POSTED)
    )
    if waiting:
        title = _("%(posted)d of %(total)d sent") % {"posted": posted, "total": total}
    elif failures:
        title = ngettext("%(count)d could not be sent", "%(count)d could not be sent", len(failures)) % {
            "count": len(failures)
        }
    else:
        title = _("All sent")
    table = [
        Field(field=_("Sent"), value=str(posted)),
        Field(field=_("Waiting"), value=str(waiting)),
        Field(field=_("Not sent"), value=str(len(failures))),
    ]
    if left_out := sum("replaces" not in entry for entry in broadcast.left_out):
        table.append(Field(field=_("Left out"), value=str(left_out)))
    message = broadcast.messages.exclude(body="").order_by("pk").first()
    words = escape_markdown(cut(to_text(message.body), MAX_SHOWN_LENGTH)) if message else ""
    is_retriable = any(can_retry(broadcast, row) for row in failures)
    return screen(
        title,
        muted(join_facts(escape_markdown(broadcast.ticket.ref), _sent_by(context, broadcast))),
        DataTable(items=tuple(table)),
        muted(_("They are sent in the background. You may leave this page.")) if waiting else None,
        button(click_id("broadcast", "status", broadcast.pk), _("Refresh")) if waiting else None,
        [error_text(_failure(row)) for row in failures[:MAX_LISTED_FAILURES]],
        muted(_("and %(count)d more") % {"count": len(failures) - MAX_LISTED_FAILURES})
        if len(failures) > MAX_LISTED_FAILURES
        else None,
        button(click_id("broadcast", "retry", broadcast.pk), _("Try the failed ones again"))
        if is_retriable
        else None,
        paragraph(words) if words else None,
        back_button(click_id("ticket", broadcast.ticket.ticket_class, broadcast.ticket.object_id)),
        home_button(),
    )


# --- Parts ----------------------------------------------------------------------------------------


def _ticket(context: PanelContext, click: Click) -> Ticket:
    """Return the linked ticket that the click names. Raise OutdatedScreenError if it is not linked any more."""
    link = find_link(context, click.argument(1), click.number(2))
    if link is None or not can_send(context):
        raise OutdatedScreenError(f"{click} is not possible any more")
    return link.ticket


def _broadcast(context: PanelContext, click: Click) -> Broadcast:
    """Return a broadcast about a ticket that is linked to this conversation. Raise OutdatedScreenError."""
    links = TicketLink.objects.filter(conversation=find_conversation(context))
    broadcast = (
        Broadcast.objects.filter(
            pk=click.number(1),
            ticket__in=links.values("ticket"),
            messages__conversation__workspace=context.workspace,
        )
        .select_related("ticket")
        .first()
    )
    if broadcast is None:
        raise OutdatedScreenError(f"{click} names no broadcast")
    return broadcast


def _target(step: str, ticket: Ticket) -> str:
    return click_id("broadcast", step, ticket.ticket_class, ticket.object_id)


def _fingerprint(context: PanelContext, ticket: Ticket, audience: Audience) -> str:
    """Identify the recipients, and the last broadcast: if either changes, the teammate looks at it again."""
    earlier = newest_broadcast(context, ticket)
    facts = [earlier.pk if earlier else 0, *(row.conversation.pk for row in audience.recipients)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _tell_all(count: int) -> str:
    return ngettext("Tell the conversation", "Tell all %(count)d conversations", count) % {"count": count}


def _title(count: int, *, is_note: bool) -> str:
    if not count:
        return _("No recipients")
    if is_note:
        text = ngettext("New note in %(count)d conversation", "New note in %(count)d conversations", count)
    else:
        text = ngettext("New message to %(count)d customer", "New message to %(count)d customers", count)
    return text % {"count": count}


def _send_label(count: int, *, is_note: bool) -> str:
    if is_note:
        text = ngettext(
            "Add the note to %(count)d conversation", "Add the note to %(count)d conversations", count
        )
    else:
        text = ngettext("Send to %(count)d customer", "Send to %(count)d customers", count)
    return text % {"count": count}


def _item(context: PanelContext, recipient: Recipient) -> Item:
    conversation = recipient.conversation
    is_this = conversation.conversation_id == context.request.conversation.id
    number = _("Conversation %(id)s") % {"id": conversation.conversation_id}
    return Item(
        id=click_id("conversation", conversation.pk),
        title=recipient.name or number,
        subtitle=join_facts(number if recipient.name else "", _("this conversation") if is_this else ""),
        action=OpenUrl(conversation.url),
    )


def _left_out_texts(audience: Audience) -> list[Component]:
    reasons = [entry["reason"] for entry in audience.left_out]
    same = reasons.count(ReasonCode.SAME_CUSTOMER)
    gone = len(reasons) - same
    same_text = ngettext(
        "%(count)d conversation is left out: its customer gets the message in a newer one.",
        "%(count)d conversations are left out: their customers get the message in a newer one.",
        same,
    )
    gone_text = ngettext(
        "%(count)d conversation is left out: it was merged or deleted.",
        "%(count)d conversations are left out: they were merged or deleted.",
        gone,
    )
    elsewhere_text = ngettext(
        "%(count)d conversation in another workspace does not get it.",
        "%(count)d conversations in other workspaces do not get it.",
        audience.elsewhere,
    )
    texts = counted_texts((same, same_text), (gone, gone_text), (audience.elsewhere, elsewhere_text))
    return [muted(text) for text in texts]


def _earlier(context: PanelContext, ticket: Ticket) -> list[Component]:
    """Return who told all conversations before, so that customers are not told the same by two teammates."""
    broadcast = newest_broadcast(context, ticket)
    if broadcast is None:
        return []
    return [
        muted(_sent_by(context, broadcast)),
        link_button(click_id("broadcast", "status", broadcast.pk), _("View the result")),
    ]


def _sent_by(context: PanelContext, broadcast: Broadcast) -> str:
    text = _("%(teammate)s sent a message to all conversations on %(moment)s.")
    if broadcast.is_note:
        text = _("%(teammate)s added a note to all conversations on %(moment)s.")
    return text % by_whom(context, broadcast.admin_name, broadcast.created_at)


def _failure(message: OutgoingMessage) -> str:
    link = markdown_link(message.conversation.conversation_id, message.conversation.url)
    reason = safe_name(reason_label(message.reason_code, message.reason_detail), MAX_REASON_LENGTH)
    return f"{link}: {reason}"
