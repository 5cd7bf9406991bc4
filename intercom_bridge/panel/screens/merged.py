"""Move ticket links after two conversations were merged, from the merged one to the surviving one."""

import structlog
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.intercom.client import IntercomAuthenticationError, IntercomError
from intercom_bridge.models import Conversation, Ticket
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.panel.click import HOME, click_id
from intercom_bridge.panel.components import Canvas, Component, Input, Item, Submit, escape_markdown
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.links.merge import (
    Merge,
    NotMergedError,
    find_merge,
    move_links_away,
    move_links_here,
)

from .parts import back_button, button, error_text, home_button, item, muted, paragraph, screen

log = structlog.get_logger(__name__)

# The field for the other conversation, and also the click of its button.
TARGET_FIELD = click_id("move-away")


def merge_item(merge: Merge, *, with_hint: bool = True) -> Item:
    hint = _("Move its linked tickets") if with_hint else ""
    return item(click_id("merged"), _title(merge), hint)


def merge_screen(context: PanelContext, problem: str = "", target: str = "") -> Canvas:
    """Return the screen that moves links after a merge, in the merged or in the surviving conversation.

    If the other conversation was not accepted, `problem` says why, and `target` is what was entered.
    """
    merge = find_merge(context)
    if merge is None:
        no_links = muted(_("There are no links to move."))
        error = [error_text(problem)] if problem else []
        return Canvas(components=(no_links, *error, back_button(HOME)))
    return screen(
        _title(merge),
        _target_field(problem, target) if merge.is_merged_away else _sources(merge.sources),
        error_text(problem) if problem else None,
        back_button(HOME),
    )


def _target_field(problem: str, target: str) -> tuple[Component, ...]:
    text = _(
        "New messages arrive in the other conversation. Intercom does not say which conversation that is. "
        "Open it and move the linked tickets in its panel, or enter its ID or URL here."
    )
    field = Input(
        id=TARGET_FIELD,
        label=_("ID or URL of the other conversation"),
        value=target,
        save_state="failed" if problem else "",
        action=Submit(),
    )
    return paragraph(text), field


def _sources(sources: tuple[Conversation, ...]) -> list[Component]:
    """Return the conversations that may have been merged into this one, each with a button that moves its links."""
    components: list[Component] = []
    if len(sources) > 1:
        text = _(
            "Several conversations were merged at the same time, and Intercom does not say which of them were merged "
            "into this one. Move only the tickets that belong here."
        )
        components.append(paragraph(text))
    for source in sources:
        components += _source(source)
    return components


def links_moved_here(context: PanelContext, source_pk: int) -> Canvas:
    """Move the links of a merged conversation to this one, and return the result. `source_pk` is its primary key."""
    try:
        tickets = move_links_here(context, source_pk)
    except NotMergedError:
        # A colleague may have moved the links already. The screen shows what is left to move.
        return merge_screen(context)
    return _moved(tickets, _("The tickets are now linked to this conversation."))


def links_moved_away(context: PanelContext, target: str) -> Canvas:
    """Move the links of this merged conversation to the one whose ID or URL is `target`, and return the result."""
    if not target:
        problem = _("Enter the ID of the other conversation, or paste its URL from the browser.")
        return merge_screen(context, problem)
    try:
        tickets = move_links_away(context, target)
    except NotMergedError:
        problem = _("This conversation was not merged into the one that you entered. Nothing was changed.")
        return merge_screen(context, problem, target)
    except (IntercomError, SecretDecryptionError) as error:
        log.warning("panel.merge_not_confirmed", error=type(error).__name__, message=str(error)[:200])
        problem = _not_confirmed_text(error)
        return merge_screen(context, problem, target)
    return _moved(tickets, _("The tickets are now linked to the other conversation."))


def _not_confirmed_text(error: IntercomError | SecretDecryptionError) -> str:
    """Return why Intercom could not confirm the merge, and what to do."""
    if isinstance(error, IntercomAuthenticationError | SecretDecryptionError):
        return _(
            "The bridge could not ask Intercom about the merge. Nothing was changed. An admin must renew the access "
            "token of the workspace."
        )
    return _("Intercom is not responding. Nothing was changed. Please try again.")


def _title(merge: Merge) -> str:
    if merge.is_merged_away:
        return _("Merged into another conversation")
    return _("Another conversation was merged into this one")


def _source(source: Conversation) -> tuple[Component, ...]:
    refs = list(source.links.values_list("ticket__ref", flat=True))
    text = _("Conversation %(conversation)s was merged into this one. Its linked tickets: %(tickets)s.") % {
        "conversation": escape_markdown(source.conversation_id),
        "tickets": escape_markdown(", ".join(refs)),
    }
    label = ngettext("Move the link", "Move the links", len(refs))
    return paragraph(text), button(click_id("move-here", source.pk), label)


def _moved(tickets: list[Ticket], result: str) -> Canvas:
    refs = ", ".join(ticket.ref for ticket in tickets)
    title = _("Moved: %(tickets)s") % {"tickets": escape_markdown(refs)}
    text = _(
        "Messages that arrived after the merge are copied, too. Messages that are still waiting will also be copied."
    )
    return screen(title, paragraph(f"{result} {text}"), home_button())
