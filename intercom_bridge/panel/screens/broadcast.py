"""Send one text to all conversations of a ticket: the form, the list of recipients, and the progress."""

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

TEXT_FIELD = click_id("broadcast", "text")
KIND_FIELD = click_id("broadcast", "kind")
NOTE, REPLY = "note", "reply"
# Smaller than the limit of `stored_data`, which may contain a create form, too.
MAX_TEXT_BYTES = 20_000
# In characters.
MAX_SHOWN_LENGTH = 1500
MAX_REASON_LENGTH = 200
MAX_LISTED_FAILURES = 10


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What a teammate has entered.

    key: the idempotency key. One key sends at most one broadcast.
    kind: NOTE or REPLY.
    seen_fingerprint: identifies the recipients that the teammate has seen, "" if none were displayed yet.
    problem: the error of the text.
    """

    key: str
    text: str = ""
    kind: str = NOTE
    seen_fingerprint: str = ""
    problem: str = ""

    @classmethod
    def parse(cls, context: PanelContext) -> _Form:
        """Return the form that Intercom sent with a click: the stored form, updated with the fields' contents.

        Both are untrusted.
        """
        stored = context.request.stored_data.get("broadcast")
        stored = stored if isinstance(stored, dict) else {}
        inputs = context.request.input_values
        entered_text = clean_text(inputs.get(TEXT_FIELD, stored.get("text"))).strip()
        text = truncate_values({TEXT_FIELD: entered_text}, MAX_TEXT_BYTES)[TEXT_FIELD]
        problem = ""
        if text != entered_text:
            problem = truncation_text(text)
        elif not text_to_html(text):
            problem = _("Required.")
        return cls(
            key=parse_key(stored.get("key")) or new_key(),
            text=text,
            kind=REPLY if inputs.get(KIND_FIELD, stored.get("kind")) == REPLY else NOTE,
            seen_fingerprint=clean_text(stored.get("seen")),
            problem=problem,
        )

    @property
    def is_note(self) -> bool:
        return self.kind == NOTE

    def to_stored(self) -> dict[str, Any]:
        stored = {"key": self.key, "text": self.text, "kind": self.kind, "seen": self.seen_fingerprint}
        return {"broadcast": stored}


def broadcast_buttons(context: PanelContext, row: TicketRow) -> list[Button]:
    """Return the button that opens the form, if the ticket is linked to several conversations of this workspace."""
    link = find_link(context, row.ticket_class, row.id)
    count = count_conversations(context, link.ticket) if link else 0
    if count < 2 or not can_send(context):
        return []
    target = click_id("broadcast", "form", row.ticket_class, row.id)
    return [link_button(target, _write_to_all_label(count))]


def broadcast_form(context: PanelContext, click: Click) -> Canvas:
    # Nobody has pressed "Next" yet.
    form = replace(_Form.parse(context), problem="")
    return _form_screen(context, _clicked_ticket(context, click), form)


def broadcast_confirmation(context: PanelContext, click: Click) -> Canvas:
    """Show the recipients to be checked, or the form again if its text is missing or too long."""
    ticket, form = _clicked_ticket(context, click), _Form.parse(context)
    if form.problem:
        return _form_screen(context, ticket, form)
    return _confirmation(context, ticket, form, page=click.number(3, 1))


def send_broadcast(context: PanelContext, click: Click) -> Canvas:
    """Start the broadcast and show its progress. A repeated click starts nothing, and shows the same progress.

    Show the form again if Intercom did not return its text, and the recipients again if they have changed.
    """
    ticket, form = _clicked_ticket(context, click), _Form.parse(context)
    broadcast = find_started(ticket, form.key)
    if broadcast is not None:
        return _progress_screen(context, broadcast)
    if form.problem:
        return _form_screen(context, ticket, form)
    audience = find_audience(context, ticket, is_note=form.is_note)
    if form.seen_fingerprint != _fingerprint(context, ticket, audience):
        # If no recipients were displayed before, do not say that they have changed.
        return _confirmation(context, ticket, form, page=1, has_changed=bool(form.seen_fingerprint))
    broadcast = start_broadcast(context, ticket, form.key, text_to_html(form.text), is_note=form.is_note)
    if broadcast is None:
        # There are no recipients. The screen says so.
        return _confirmation(context, ticket, form, page=1)
    return _progress_screen(context, broadcast)


def broadcast_status(context: PanelContext, click: Click) -> Canvas:
    return _progress_screen(context, _clicked_broadcast(context, click))


def retry_broadcast(context: PanelContext, click: Click) -> Canvas:
    broadcast = _clicked_broadcast(context, click)
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
        _write_to_all_label(count),
        muted(escape_markdown(ticket.ref)),
        _previous_broadcast(context, ticket),
        TextArea(id=TEXT_FIELD, label=_("Text"), value=form.text, error=bool(form.problem)),
        error_text(form.problem) if form.problem else None,
        SingleSelect(id=KIND_FIELD, label=_("Send as"), options=options, value=form.kind),
        button(_step_click("confirm", ticket), _("Next: check the recipients")),
        back_button(click_id("ticket", ticket.ticket_class, ticket.object_id)),
        stored=form.to_stored(),
    )


def _confirmation(
    context: PanelContext, ticket: Ticket, form: _Form, page: int, *, has_changed: bool = False
) -> Canvas:
    """Return the screen with the text and a page of its recipients.

    has_changed: say that nothing was sent, because the recipients have changed since they were displayed.
    """
    audience = find_audience(context, ticket, is_note=form.is_note)
    count = len(audience.recipients)
    form = replace(form, seen_fingerprint=_fingerprint(context, ticket, audience))
    recipients_on_page, page, pages = page_of(audience.recipients, page)
    items = tuple(_recipient_item(context, recipient) for recipient in recipients_on_page)
    page_click = _step_click("confirm", ticket)
    changed = _("Nothing was sent: the recipients have changed meanwhile. Please check them again.")
    return screen(
        _confirmation_title(count, is_note=form.is_note),
        error_text(changed) if has_changed else None,
        _previous_broadcast(context, ticket),
        paragraph(escape_markdown(cut(form.text, MAX_SHOWN_LENGTH))),
        _author_and_send_button(context, ticket, form, count) if count else None,
        List(items=items) if items else None,
        page_number(page, pages),
        pager(lambda number: f"{page_click}:{number}", page, pages),
        _left_out_texts(audience),
        link_button(_step_click("form", ticket), _("Back to the text")),
        stored=form.to_stored(),
    )


def _author_and_send_button(
    context: PanelContext, ticket: Ticket, form: _Form, count: int
) -> tuple[Component, ...]:
    author = _("Author: %(teammate)s. Intercom sends the message by e-mail to customers who are not online.")
    if form.is_note:
        author = _("Author: %(teammate)s. Customers do not see the note.")
    name = safe_name(context.request.admin.name) or _("A teammate")
    send = primary_button(_step_click("send", ticket), _send_label(count, is_note=form.is_note))
    return muted(author % {"teammate": name}), send


def _progress_screen(context: PanelContext, broadcast: Broadcast) -> Canvas:
    """Return the screen that says how many messages were sent, are waiting and failed, with the text below."""
    counts, failures = count_by_state(broadcast), failed_messages(broadcast)
    waiting, posted = counts[OutgoingMessage.State.WAITING], counts[OutgoingMessage.State.POSTED]
    if waiting:
        # Not the sum of `counts`: a failed message may have been replaced by one in another conversation.
        total = posted + waiting + len(failures)
        title = _("%(posted)d of %(total)d sent") % {"posted": posted, "total": total}
    elif failures:
        title = ngettext("%(count)d could not be sent", "%(count)d could not be sent", len(failures))
        title %= {"count": len(failures)}
    else:
        title = _("All sent")
    table = [
        Field(field=_("Sent"), value=str(posted)),
        Field(field=_("Waiting"), value=str(waiting)),
        Field(field=_("Not sent"), value=str(len(failures))),
    ]
    # Do not count an entry with "replaces": its conversation gets the message, because another one could not get it.
    if left_out := sum("replaces" not in entry for entry in broadcast.left_out):
        table.append(Field(field=_("Left out"), value=str(left_out)))
    # All messages have the same text. Skip those whose text was erased after the retention time.
    message = broadcast.messages.exclude(body="").order_by("pk").first()
    text = escape_markdown(cut(to_text(message.body), MAX_SHOWN_LENGTH)) if message else ""
    refresh = button(click_id("broadcast", "status", broadcast.pk), _("Refresh"))
    return screen(
        title,
        muted(join_facts(escape_markdown(broadcast.ticket.ref), _sent_by(context, broadcast))),
        DataTable(items=tuple(table)),
        (muted(_("The messages are sent in the background. You can leave this page.")), refresh)
        if waiting
        else None,
        _failures(broadcast, failures),
        paragraph(text) if text else None,
        back_button(click_id("ticket", broadcast.ticket.ticket_class, broadcast.ticket.object_id)),
        home_button(),
    )


def _failures(broadcast: Broadcast, failures: list[OutgoingMessage]) -> list[Component]:
    """Return why messages could not be sent, and a button to send them again if this may help."""
    components: list[Component] = [
        error_text(_failure_text(message)) for message in failures[:MAX_LISTED_FAILURES]
    ]
    more = len(failures) - MAX_LISTED_FAILURES
    if more > 0:
        components.append(muted(_("and %(count)d more") % {"count": more}))
    if any(can_retry(broadcast, message) for message in failures):
        retry = click_id("broadcast", "retry", broadcast.pk)
        components.append(button(retry, _("Try the failed ones again")))
    return components


# --- Parts ----------------------------------------------------------------------------------------


def _clicked_ticket(context: PanelContext, click: Click) -> Ticket:
    """Return the clicked ticket. Raise OutdatedScreenError if it is no longer linked, or if the bridge cannot post."""
    link = find_link(context, click.argument(1), click.number(2))
    if link is None or not can_send(context):
        raise OutdatedScreenError(f"{click} is not possible any more")
    return link.ticket


def _clicked_broadcast(context: PanelContext, click: Click) -> Broadcast:
    """Return the broadcast that the click names.

    Raise OutdatedScreenError if it is unknown, if its ticket is not linked to this conversation any more, or if it has
    no messages in this workspace.
    """
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


def _step_click(step: str, ticket: Ticket) -> str:
    return click_id("broadcast", step, ticket.ticket_class, ticket.object_id)


def _fingerprint(context: PanelContext, ticket: Ticket, audience: Audience) -> str:
    """Return a digest of what a teammate must have seen before sending: the recipients and the previous broadcast."""
    previous = newest_broadcast(context, ticket)
    recipient_ids = [recipient.conversation.pk for recipient in audience.recipients]
    ids = [previous.pk if previous else 0, *recipient_ids]
    return hashlib.sha256(repr(ids).encode()).hexdigest()[:16]


def _write_to_all_label(count: int) -> str:
    return ngettext("Write to the conversation", "Write to all %(count)d conversations", count) % {
        "count": count
    }


def _confirmation_title(count: int, *, is_note: bool) -> str:
    """Return the title for `count` recipients. Those of a note are conversations, those of a message customers."""
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


def _recipient_item(context: PanelContext, recipient: Recipient) -> Item:
    """Return an item with the customer's name and the conversation's number. A click opens the conversation."""
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
    """Return texts about the conversations that do not get the message, and why."""
    reasons = [entry["reason"] for entry in audience.left_out]
    same_customer = reasons.count(ReasonCode.SAME_CUSTOMER)
    gone = len(reasons) - same_customer
    same_customer_text = ngettext(
        "%(count)d conversation is left out: its customer gets the message in a newer one.",
        "%(count)d conversations are left out: their customers get the message in a newer one.",
        same_customer,
    )
    gone_text = ngettext(
        "%(count)d conversation is left out: it was merged or deleted.",
        "%(count)d conversations are left out: they were merged or deleted.",
        gone,
    )
    elsewhere_text = ngettext(
        "%(count)d conversation in another workspace does not get the message.",
        "%(count)d conversations in other workspaces do not get the message.",
        audience.elsewhere,
    )
    texts = counted_texts(
        (same_customer, same_customer_text), (gone, gone_text), (audience.elsewhere, elsewhere_text)
    )
    return [muted(text) for text in texts]


def _previous_broadcast(context: PanelContext, ticket: Ticket) -> list[Component]:
    """Return who sent the previous message to all conversations, and when, with a link to its result.

    This keeps two teammates from sending the same news.
    """
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


def _failure_text(message: OutgoingMessage) -> str:
    link = markdown_link(message.conversation.conversation_id, message.conversation.url)
    reason = safe_name(reason_label(message.reason_code, message.reason_detail), MAX_REASON_LENGTH)
    return f"{link}: {reason}"
