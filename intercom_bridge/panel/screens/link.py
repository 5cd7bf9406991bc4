"""Link a ticket to the conversation: questions to the teammate, and the result."""

import structlog
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.files.parts import FilesToCopy, files_to_copy
from intercom_bridge.intercom.client import IntercomError
from intercom_bridge.models import Conversation, Log, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.panel.click import BackLink, Click, click_id
from intercom_bridge.panel.components import Canvas, Component, escape_markdown
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.creation.transcript import MAX_ENTRIES
from intercom_bridge.tickets.details import find_other_conversations
from intercom_bridge.tickets.errors import OtherOrganizationError
from intercom_bridge.tickets.links.backfill import Backfill
from intercom_bridge.tickets.links.link import LinkPreview, LinkResult, link_ticket, preview_link
from intercom_bridge.tickets.people.match import find_person
from intercom_bridge.tickets.rows import TicketRow

from .parts import (
    back_button,
    button,
    copied_files_texts,
    counted_texts,
    error_text,
    home_button,
    muted,
    owner_text,
    paragraph,
    paused_text,
    retry_button,
    safe_name,
    screen,
    several_tickets_text,
    ticket_button,
)
from .ticket import conversation_links

log = structlog.get_logger(__name__)

# The third argument of the click is the teammate's answer to the question what to copy. ASK displays the question.
ASK, COPY, FROM_NOW_ON = "ask", "copy", "from-now-on"
# The fourth argument: the teammate has confirmed that the ticket of another organization should be linked.
CONFIRMED = "other-organization"


def link_screen(context: PanelContext, click: Click) -> Canvas:
    """Handle `link:<class>:<id>[:<answer>[:<confirmation>]]`: link the ticket, or return a question first.

    Warn first if the ticket belongs to another organization. Then ask what to copy if there may be messages, or if the
    ticket is linked to other conversations.
    """
    ticket_class, ticket_id = click.argument(0), click.number(1)
    answer, is_confirmed = click.argument(2), _is_confirmed(click)
    if answer not in (COPY, FROM_NOW_ON):
        preview = preview_link(context, ticket_class, ticket_id)
        is_linked = preview.row.is_linked
        if preview.row.is_of_other_organization and not is_linked and not is_confirmed:
            return _other_organization_warning(context, preview.row)
        other_conversations = find_other_conversations(context, ticket_class, ticket_id)
        # `backfill` is None if Intercom did not return the conversation.
        may_have_messages = preview.backfill is None or bool(preview.backfill.entries)
        if not is_linked and (other_conversations or may_have_messages):
            return _question(context, preview, other_conversations, click)
        answer = FROM_NOW_ON
    try:
        result = link_ticket(context, ticket_class, ticket_id, copy=answer == COPY, is_confirmed=is_confirmed)
    except OtherOrganizationError:
        return _other_organization_warning(context, preview_link(context, ticket_class, ticket_id).row)
    except (IntercomError, SecretDecryptionError) as error:
        log.warning("panel.backfill_failed", error=type(error).__name__, message=str(error)[:200])
        return _conversation_not_readable(error, click)
    return _result(context, result)


def _other_organization_warning(context: PanelContext, row: TicketRow) -> Canvas:
    """Return the screen that says whose ticket it is, and who could read the messages after it is linked."""
    person = find_person(context)
    names = {
        "ticket": escape_markdown(row.ref),
        "caller": safe_name(row.caller) or "–",
        "organization": safe_name(row.organization) or "–",
        "person": safe_name(person.name),
        "own": safe_name(person.org_name) or "–",
    }
    warning = _(
        "%(ticket)s belongs to %(caller)s, %(organization)s. This conversation is with %(person)s, %(own)s."
    )
    readers = _(
        "People at %(organization)s can read the messages in the ticket's public log, and may receive them by "
        "e-mail. Messages cannot be removed from the log later."
    )
    target = click_id("link", row.ticket_class, row.id, ASK, CONFIRMED)
    return screen(
        _("Ticket of another organization"),
        error_text(warning % names),
        paragraph(readers % names),
        button(target, _("Link it anyway")),
        back_button(click_id("ticket", row.ticket_class, row.id)),
    )


def _question(
    context: PanelContext, preview: LinkPreview, other_conversations: tuple[Conversation, ...], click: Click
) -> Canvas:
    """Return the screen that asks whether to copy the messages so far."""
    row = preview.row
    new_messages_text = paused_text() if preview.is_paused else several_tickets_text(context, row.ref)
    return screen(
        _("Link %(ticket)s") % {"ticket": escape_markdown(row.ref)},
        muted(owner_text(row)) if row.caller else None,
        _other_conversations(context, other_conversations),
        muted(new_messages_text) if new_messages_text else None,
        _copy_choice(context.workspace, preview, click, has_text_about_new_messages=bool(new_messages_text)),
        button(_answer_click(click, FROM_NOW_ON), _("Link without earlier messages")),
        back_button(click_id("ticket", row.ticket_class, row.id)),
    )


def _is_confirmed(click: Click) -> bool:
    return click.argument(3) == CONFIRMED


def _answer_click(click: Click, answer: str) -> str:
    """Return the click that links the ticket. `answer` says what to copy: COPY or FROM_NOW_ON.

    If `click` contains a confirmation, the new click contains it, too.
    """
    confirmed = [CONFIRMED] if _is_confirmed(click) else []
    return click_id("link", click.argument(0), click.number(1), answer, *confirmed)


def _other_conversations(context: PanelContext, others: tuple[Conversation, ...]) -> tuple[Component, ...]:
    if not others:
        return ()
    text = ngettext(
        "The ticket is already linked to %(count)d other conversation, whose messages are copied to the same logs.",
        "The ticket is already linked to %(count)d other conversations, whose messages are copied to the same logs.",
        len(others),
    )
    return paragraph(text % {"count": len(others)}), muted(conversation_links(context, others))


def _copy_choice(
    workspace: Workspace, preview: LinkPreview, click: Click, *, has_text_about_new_messages: bool
) -> list[Component]:
    """Return texts about the messages and files that can be copied, and the button that copies them.

    Return nothing if there are no messages. `preview.backfill` is None if Intercom did not return the conversation.
    """
    components: list[Component]
    if preview.backfill is None:
        components = [
            paragraph(_("Intercom did not return the conversation, so its messages are not counted here."))
        ]
        # If the workspace copies no files, their number is known: 0.
        files = FilesToCopy(is_count_known=not workspace.copies_files)
        label = _("Link and copy the messages so far")
    elif preview.backfill.entries:
        components = [paragraph(text) for text in _backfill_texts(preview.backfill)]
        files = files_to_copy(workspace, preview.backfill.entries)
        if not preview.is_complete:
            components.append(muted(_("Intercom returns only the newest part of such a long conversation.")))
        label = _copy_label(preview.backfill)
    else:
        return []
    components += copied_files_texts(workspace, files)
    if not has_text_about_new_messages:
        components.append(muted(_("New messages will be added automatically in both cases.")))
    return [*components, button(_answer_click(click, COPY), label)]


def _backfill_texts(backfill: Backfill) -> list[str]:
    """Return how many messages and notes can be copied, and how many are left out because the log would be full."""
    public, private = backfill.count(Log.PUBLIC), backfill.count(Log.PRIVATE)
    messages = ngettext(
        "%(count)d message for the public log", "%(count)d messages for the public log", public
    )
    notes = ngettext("%(count)d note for the private log", "%(count)d notes for the private log", private)
    counts = counted_texts((public, messages), (private, notes))
    texts = [_("This conversation so far: %(counts)s.") % {"counts": ", ".join(counts)}]
    if backfill.too_old:
        text = ngettext(
            "A log in iTop has room for about 300 entries, so only the newest %(limit)d messages per log are copied. "
            "%(count)d older message is not.",
            "A log in iTop has room for about 300 entries, so only the newest %(limit)d messages per log are copied. "
            "%(count)d older messages are not.",
            len(backfill.too_old),
        )
        texts.append(text % {"limit": MAX_ENTRIES, "count": len(backfill.too_old)})
    return texts


def _copy_label(backfill: Backfill) -> str:
    count = len(backfill.entries)
    if backfill.too_old:
        return _("Link and copy the newest %(count)d messages") % {"count": count}
    return ngettext(
        "Link and copy the %(count)d message so far", "Link and copy the %(count)d messages so far", count
    ) % {"count": count}


def _result(context: PanelContext, result: LinkResult) -> Canvas:
    title = _("%(ticket)s linked") if result.is_new else _("%(ticket)s was already linked")
    texts = []
    if result.copied:
        text = ngettext(
            "%(count)d message of this conversation is being copied to the ticket's logs.",
            "%(count)d messages of this conversation are being copied to the ticket's logs.",
            result.copied,
        )
        texts.append(text % {"count": result.copied})
    if result.is_paused:
        texts.append(paused_text())
    elif several_tickets := several_tickets_text(context):
        texts.append(several_tickets)
    elif result.copied:
        texts.append(_("New messages will be added automatically."))
    else:
        text = _("From now on, new messages of this conversation will be copied to the ticket's log.")
        texts.append(text)
    return screen(
        title % {"ticket": escape_markdown(result.ticket.ref)},
        paragraph(" ".join(texts)),
        ticket_button(result.ticket),
        home_button(),
        stored=BackLink().to_stored(),
    )


def _conversation_not_readable(error: IntercomError | SecretDecryptionError, click: Click) -> Canvas:
    """Return the screen that says that nothing was linked, because Intercom did not return the conversation."""
    needs_admin = isinstance(error, SecretDecryptionError) or error.code == ReasonCode.INTERCOM_TOKEN_REFUSED
    if needs_admin:
        text = _(
            "To copy the messages so far, the bridge has to read the whole conversation. The workspace's access token "
            "does not allow that. An admin must renew it. The ticket is not linked, and nothing was changed."
        )
    else:
        text = _(
            "To copy the messages so far, the bridge has to read the whole conversation. The ticket is not linked, and "
            "nothing was changed."
        )
    return screen(
        _("Intercom did not return the conversation"),
        muted(text),
        retry_button(_answer_click(click, COPY)),
        button(_answer_click(click, FROM_NOW_ON), _("Link without earlier messages")),
        back_button(click_id("ticket", click.argument(0), click.number(1))),
    )
