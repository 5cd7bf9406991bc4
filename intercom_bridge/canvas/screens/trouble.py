"""What happened in plain words, what is safe, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Button, Canvas, Component, Submit, Text, inert, shorten
from intercom_bridge.canvas.trail import FORM
from intercom_bridge.intercom.api import IntercomError, IntercomTokenRefused
from itop_client import (
    ItopError,
    ItopLoginRefused,
    ItopNoAnswer,
    ItopNotAllowed,
    ItopRefused,
    ItopUnreachable,
)

from .parts import link_button


def trouble(
    title: str,
    what: str,
    *,
    retry: str = "",
    also: tuple[Component, ...] = (),
    home: str = "",
    sync: bool = False,
    stored: Mapping[str, Any] | None = None,
) -> Canvas:
    """`retry`: the id of what was clicked, where the same click may work the next time. There is always a way on.

    `sync` leads to how the sync stands, which is known whatever iTop does. A form in `stored` is led back to. `home`
    is what the way to the first screen says, where no form is left behind by it.
    """
    stored = stored or {}
    components: list[Component] = [Text(text=title, style="header"), Text(text=what, style="muted")]
    if retry:
        components.append(Button(id=retry, label=_("Retry"), action=Submit()))
    components += also
    if "form" in stored and retry != FORM:
        components.append(link_button(FORM, _("Back to the form")))
    if sync and retry != click("sync"):
        components.append(link_button(click("sync"), _("How the sync stands")))
    if retry != click("home"):
        words = _("Home, without the form") if "form" in stored else home or _("Home")
        components.append(link_button(click("home"), words))
    return Canvas(components=tuple(components), stored_data=stored)


def turned_off(stored: Mapping[str, Any]) -> Canvas:
    return trouble(
        _("The bridge is turned off"),
        _(
            "An admin has turned off the connection to iTop for this workspace. Tickets and links stay as they are. "
            "New messages wait in Intercom: once it is on again they are looked for there and written. Ask an admin "
            "when that will be."
        ),
        home=_("Look again"),
        stored=stored,
    )


def too_many(retry: str, stored: Mapping[str, Any]) -> Canvas:
    return trouble(
        _("Too many clicks at the moment"),
        _(
            "This workspace sends more than the bridge takes at once, so this was not done. Nothing is lost. "
            "Wait some seconds, then press Retry."
        ),
        retry=retry,
        stored=stored,
    )


def unreadable() -> Canvas:
    return trouble(
        _("There is no conversation here"),
        _(
            "Intercom sent a request without a conversation. Open the conversation again; nothing was changed."
        ),
    )


def out_of_scope(stored: Mapping[str, Any]) -> Canvas:
    return trouble(
        _("Not served by this workspace"),
        _(
            "This person, or this ticket, is outside the part of iTop that this workspace serves, so nothing of it is "
            "shown. An admin can change the scope."
        ),
        also=(link_button(click("who"), _("Not this person?")),),
        stored=stored,
    )


def ticket_gone(stored: Mapping[str, Any]) -> Canvas:
    return trouble(
        _("This ticket is not there"),
        _(
            "iTop has no such ticket, or it is not of the kind this workspace works with. Nothing was changed."
        ),
        stored=stored,
    )


def unknown_click(stored: Mapping[str, Any]) -> Canvas:
    return trouble(
        _("This button is not known"),
        _(
            "The panel may have been open since before an update. Nothing was changed; begin again from the first "
            "screen."
        ),
        stored=stored,
    )


def itop_trouble(
    error: ItopError, retry: str, stored: Mapping[str, Any], *, is_linked: bool, done: str = ""
) -> Canvas:
    """`done`: what was done before iTop could not go on."""
    title, what = _about(error)
    safe = [done or _("Nothing was changed.")]
    if not error.retry:
        # Nobody is told to retry what can only be refused again.
        retry = ""
        if "form" in stored:
            safe = [_("What you filled in is kept.")]
        safe.append(_("It would refuse this again, so please tell an admin."))
    elif "form" in stored:
        safe = [_("What you filled in is kept, and Retry makes no second ticket.")]
    safe.append(_("New messages are kept and written later."))
    return trouble(title, " ".join((what, *safe)), retry=retry, sync=is_linked, stored=stored)


def _about(error: ItopError) -> tuple[str, str]:
    if isinstance(error, ItopUnreachable):
        return _("iTop cannot be reached"), _("No connection could be made to iTop.")
    if isinstance(error, ItopNoAnswer):
        return _("iTop did not answer in time"), _("It may be busy, or down for a moment.")
    if isinstance(error, ItopLoginRefused):
        return (
            _("iTop refuses our account"),
            _("An admin has to check the account's token and its profile REST Services User in iTop."),
        )
    if isinstance(error, ItopNotAllowed):
        return _("iTop does not allow it"), _(
            "The account of the bridge lacks a right in iTop; an admin can add it."
        )
    if isinstance(error, ItopRefused):
        return (
            _("iTop refused the request"),
            _("It said: “%(reason)s”.") % {"reason": inert(shorten(error.reason, 300))},
        )
    return _("iTop is in trouble"), _("It answered something other than data: an error page, or maintenance.")


def unreadable_secret(retry: str, stored: Mapping[str, Any]) -> Canvas:
    return trouble(
        _("The bridge cannot use its account"),
        _(
            "The account's token, or the workspace's, was stored under an encryption key that the service no longer "
            "has. Nothing was changed; messages are kept and written once an admin has entered it again."
        ),
        retry=retry,
        stored=stored,
    )


def intercom_trouble(error: IntercomError, retry: str, stored: Mapping[str, Any]) -> Canvas:
    if isinstance(error, IntercomTokenRefused):
        return trouble(
            _("Intercom refuses our access token"),
            _(
                "The whole conversation has to be copied into the ticket, and Intercom does not let us read it. No "
                "ticket was created; what you filled in is kept. An admin has to renew the workspace's access token."
            ),
            retry=retry,
            stored=stored,
        )
    return trouble(
        _("Intercom did not hand over the conversation"),
        _(
            "The whole conversation has to be copied into the ticket, and Intercom did not give it to us just now. No "
            "ticket was created; what you filled in is kept."
        ),
        retry=retry,
        stored=stored,
    )


def ours(reference: str, retry: str, stored: Mapping[str, Any], *, is_lost: bool = False) -> Canvas:
    """`is_lost`: what was typed into the form could not be kept."""
    what = [
        _(
            "The bridge could not build this screen. Your messages are safe: they are kept and written to iTop all the "
            "same."
        )
    ]
    if is_lost:
        what.append(_("What was typed into the form is lost."))
    what.append(
        _("If it happens again, give an admin the reference %(reference)s.") % {"reference": reference}
    )
    return trouble(_("That was our mistake"), " ".join(what), retry=retry, stored=stored)
