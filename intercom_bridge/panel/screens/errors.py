"""Error screens. Each says what happened, what is safe and what to do, and has a button that leads on."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.panel.click import DISCARD_FORM, FORM, HOME, SYNC, click_id
from intercom_bridge.panel.components import Canvas, Component
from intercom_bridge.panel.errors import PanelError, explain
from intercom_bridge.panel.screens.parts import form_button, link_button, muted, retry_button, screen
from itop_client import ItopError

# The `stored_data` of the error screen: what the next click needs, such as the input in the create form.
Stored = Mapping[str, Any]


def error_screen(  # noqa: PLR0913 - optional parts of a screen
    title: str,
    text: str,
    *,
    stored: Stored,
    retry: str = "",
    extra: Component | None = None,
    home_label: str = "",
    link_to_sync: bool = False,
) -> Canvas:
    """Return an error screen. If `stored` contains a create form, buttons lead back to the form, and discard it.

    retry: the click that the button Retry repeats, "" for no such button. Another button with this click is left out.
    extra: a further button.
    """
    has_form = "form" in stored
    return screen(
        title,
        muted(text),
        retry_button(retry) if retry else None,
        extra,
        form_button() if has_form and retry != FORM else None,
        link_button(SYNC, _("Sync status")) if link_to_sync and retry != SYNC else None,
        link_button(DISCARD_FORM, _("Discard the form")) if has_form else None,
        link_button(HOME, home_label or _("Home")) if retry != HOME else None,
        stored=stored,
    )


def workspace_disabled(stored: Stored) -> Canvas:
    return error_screen(
        _("The bridge is turned off"),
        _(
            "An admin has turned off the connection to iTop for this workspace. Tickets and links are unchanged. New "
            "messages stay in Intercom and are copied when it is turned on again. Ask an admin when that will be."
        ),
        home_label=_("Check again"),
        stored=stored,
    )


def rate_limited(retry: str, stored: Stored) -> Canvas:
    return error_screen(
        _("Too many clicks at the moment"),
        _(
            "This workspace sends more requests than the bridge accepts, so nothing was done. Nothing is lost. "
            "Wait a few seconds, then press Retry."
        ),
        retry=retry,
        stored=stored,
    )


def no_conversation() -> Canvas:
    return error_screen(
        _("No conversation"),
        _(
            "Intercom sent a request without a conversation. Open the conversation again. Nothing was changed."
        ),
        stored={},
    )


def out_of_scope(stored: Stored) -> Canvas:
    return error_screen(
        _("Outside the scope of this workspace"),
        _(
            "This person or ticket is outside the part of iTop that this workspace serves, so it is not shown. "
            "An admin can change the scope."
        ),
        extra=link_button(click_id("who"), _("Not this person?")),
        stored=stored,
    )


def no_default_caller(stored: Stored) -> Canvas:
    return error_screen(
        _("No caller for unknown customers"),
        _(
            "The person set as the caller for unknown customers does not exist in iTop, or is outside the scope of "
            "this workspace. Nothing was changed. An admin can correct the workspace's settings."
        ),
        stored=stored,
    )


def ticket_not_found(stored: Stored) -> Canvas:
    return error_screen(
        _("Ticket not found"),
        _("iTop has no such ticket, or it is not of this workspace's ticket class. Nothing was changed."),
        stored=stored,
    )


def unknown_action(stored: Stored) -> Canvas:
    return error_screen(
        _("Unknown action"),
        _(
            "The panel was probably opened before the bridge was updated. Nothing was changed. Start again from the "
            "first screen."
        ),
        stored=stored,
    )


def outdated_notice() -> Component:
    """Return the notice for the current screen after a click on an outdated screen."""
    return muted(
        _(
            "The panel was out of date, so nothing was changed. This is the current state. Click again if needed."
        )
    )


def remote_error(error: PanelError, retry: str, stored: Stored, *, is_linked: bool, done: str = "") -> Canvas:
    """Return the screen for an error of iTop, of Intercom or of a stored secret.

    done: a text about what the click had completed before the error. is_linked: a ticket is linked, so the sync page is
    offered.
    """
    title, text = explain(error)
    if not isinstance(error, ItopError):
        # The text already says what was not changed, and what is kept.
        return error_screen(title, text, retry=retry, stored=stored)
    has_form = "form" in stored
    texts = [text]
    if error.retry and has_form:
        texts.append(_("Your input is kept, and Retry does not create a second ticket."))
    elif has_form:
        texts.append(_("Your input is kept."))
    else:
        texts.append(done or _("Nothing was changed."))
    if not error.retry:
        retry = ""
        texts.append(_("iTop would reject this again, so please tell an admin."))
    texts.append(_("New messages are kept and copied later."))
    return error_screen(title, " ".join(texts), retry=retry, link_to_sync=is_linked, stored=stored)


def internal_error(reference: str, retry: str, stored: Stored, *, is_form_lost: bool = False) -> Canvas:
    """Return the screen for an exception that is a bug. `reference` identifies its entry in the bridge's log."""
    texts = [
        _("The bridge could not display this screen. Messages are safe: they are kept and copied to iTop.")
    ]
    if is_form_lost:
        texts.append(_("Your input in the form is lost."))
    texts.append(
        _("If it happens again, give an admin the reference %(reference)s.") % {"reference": reference}
    )
    return error_screen(_("Internal error"), " ".join(texts), retry=retry, stored=stored)
