"""Send an agent's entry or a solution from iTop to the customer: the form, the result, and the status."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.intercom.html import to_text
from intercom_bridge.intercom.text import cut
from intercom_bridge.models import OutgoingMessage
from intercom_bridge.models.reason import reason_label
from intercom_bridge.panel.click import NEWS, BackLink, click_id
from intercom_bridge.panel.components import Canvas, Component, Text, TextArea, escape_markdown
from intercom_bridge.panel.form.form import truncate_values, truncation_text
from intercom_bridge.tickets.answers import ENTRY, SENT, Answer, can_send, files_of_answer, text_for_customer
from intercom_bridge.tickets.context import PanelContext

from .parts import (
    back_button,
    button,
    by_whom,
    error_text,
    format_time,
    home_button,
    join_facts,
    link_button,
    muted,
    paragraph,
    primary_button,
    safe_name,
    screen,
    some_names,
)

TEXT_FIELD = click_id("message")
MAX_SENT_LENGTH = 1500
MAX_REASON_LENGTH = 300


def send_form(context: PanelContext, answer: Answer, text: str | None = None, problem: str = "") -> Canvas:
    """Return the form in which the teammate checks and edits the message to the customer.

    `text` is what the teammate has entered so far; None means what the agent wrote. `problem` is an error of the text.
    """
    full_text = text_for_customer(context, answer) if text is None else text
    shortened = truncate_values({TEXT_FIELD: full_text})[TEXT_FIELD]
    if shortened != full_text:
        problem = truncation_text(shortened)
    facts = [
        safe_name(answer.ticket.ref),
        _("Solution") if answer.path[0] != ENTRY else "",
        safe_name(answer.author),
        format_time(answer.written_at) if answer.written_at else "",
    ]
    name = safe_name(context.request.admin.name) or _("a teammate")
    return screen(
        _("Send to the customer"),
        muted(join_facts(*facts)),
        TextArea(id=TEXT_FIELD, label=_("Message to the customer"), value=shortened, error=bool(problem)),
        error_text(problem) if problem else None,
        _file_texts(context, answer),
        muted(_("The customer gets it as a message from %(teammate)s.") % {"teammate": name}),
        primary_button(click_id("send-now", *answer.path), _("Send")),
        back_button(_previous_screen(context, answer)),
    )


def sent_screen(context: PanelContext, answer: Answer, message: OutgoingMessage, *, is_new: bool) -> Canvas:
    """Return the screen that shows the message as the customer gets it.

    is_new: the current click has sent it. Otherwise, the screen says who sent it before, or why it could not be sent.
    """
    text = escape_markdown(cut(to_text(message.body), MAX_SENT_LENGTH))
    status: tuple[Component, ...]
    if is_new:
        title = _("Sent to the customer")
        status = (muted(_("It appears in this conversation within a few seconds.")),)
    else:
        has_failed = message.state == OutgoingMessage.State.FAILED
        title = _("Not sent") if has_failed else _("Already sent")
        status = status_components(context, message)
    return screen(
        title,
        status,
        paragraph(text) if text else None,
        # The text of an earlier message names its files.
        _file_texts(context, answer) if is_new else None,
        back_button(_previous_screen(context, answer)),
        home_button(),
    )


def _file_texts(context: PanelContext, answer: Answer) -> list[Text]:
    """Return texts about which files of the answer go to the customer, and which do not."""
    files = files_of_answer(context, answer)
    # The bridge may not know the names of the files yet.
    if files.sent_names:
        sent = ngettext(
            "%(count)d file goes with the message: %(names)s",
            "%(count)d files go with the message: %(names)s",
            files.sent,
        )
    else:
        sent = ngettext(
            "%(count)d file goes with the message.", "%(count)d files go with the message.", files.sent
        )
    refused = ngettext(
        "%(count)d file could not be posted before, so the message only names it.",
        "%(count)d files could not be posted before, so the message only names them.",
        files.refused,
    )
    kept = ngettext(
        "%(count)d file is not sent: this workspace sends no files to customers.",
        "%(count)d files are not sent: this workspace sends no files to customers.",
        files.kept,
    )
    names = some_names(files.sent_names, files.sent)
    counts_and_texts = ((files.sent, sent), (files.refused, refused), (files.kept, kept))
    return [muted(text % {"count": count, "names": names}) for count, text in counts_and_texts if count]


def send_components(
    context: PanelContext, answer: Answer, message: OutgoingMessage | None
) -> tuple[Component, ...]:
    """Return the button that opens the form, or, if the answer was sent, what became of the message.

    Return nothing if the bridge cannot post in this conversation.
    """
    if message is not None:
        return status_components(context, message)
    if not can_send(context):
        return ()
    label = _("Send to the customer") if answer.path[0] == ENTRY else _("Send the solution to the customer")
    return (link_button(click_id("send", *answer.path), label),)


def status_components(context: PanelContext, message: OutgoingMessage) -> tuple[Component, ...]:
    """Return who sent a message to the customer and when, or why it could not be sent."""
    reason = safe_name(reason_label(message.reason_code, message.reason_detail), MAX_REASON_LENGTH)
    if message.state == OutgoingMessage.State.FAILED:
        failed = error_text(_("It could not be sent to the customer: %(reason)s") % {"reason": reason})
        if message.cleaned_at:
            # Its text was erased, for example after the retention time, so it cannot be sent again.
            return (failed,)
        return failed, button(click_id("send-again", message.pk), _("Try again"))
    facts = by_whom(context, message.admin_name, message.created_at)
    is_automatic = not message.once_key.startswith(SENT)
    if is_automatic:
        text = _("Sent to the customer automatically on %(moment)s.")
    elif message.admin_id == context.request.admin.id:
        text = _("You sent it to the customer on %(moment)s.")
    else:
        text = _("%(teammate)s sent it to the customer on %(moment)s.")
    if message.state == OutgoingMessage.State.WAITING and reason:
        waiting = _("It has not reached Intercom yet. The bridge will try again: %(reason)s") % {
            "reason": reason
        }
        return muted(text % facts), muted(waiting)
    return (muted(text % facts),)


def _previous_screen(context: PanelContext, answer: Answer) -> str:
    """Return the click that leads back to where the form was opened: "News from iTop" or the ticket's screen."""
    if BackLink.parse(context.request.stored_data).target == NEWS:
        return NEWS
    return click_id("ticket", answer.ticket.ticket_class, answer.ticket.object_id)
