"""The version of a conversation's state: it increases with each click that changes something.

Each screen carries the version that it was drawn for, and a click on an older screen changes nothing. This prevents
replays, because Intercom's signature contains no time, and changes that a teammate decided on before a colleague's.
"""

from typing import Any

from django.db.models import F

from intercom_bridge.models import Conversation

from .context import PanelContext
from .conversation import find_conversation, get_or_create_conversation
from .errors import OutdatedScreenError
from .people.evidence import parse_id

KEY = "version"


def read_version(context: PanelContext) -> None:
    """Read the version. Call it before any other data is read, so that the screen is at least as new as its version."""
    conversation = find_conversation(context)
    context.memo[KEY] = conversation.panel_version if conversation else 0


def stored_version(context: PanelContext) -> dict[str, Any]:
    """Return the entries for the canvas's `stored_data`, which Intercom sends back with the next click."""
    return {KEY: context.memo[KEY]} if KEY in context.memo else {}


def clicked_version(context: PanelContext) -> int:
    """Return the version of the screen that was clicked on, or 0 if it is missing. It is untrusted."""
    return parse_id(context.request.stored_data.get(KEY))


def claim_version(context: PanelContext) -> None:
    """Increase the conversation's version. Call it before a change.

    Raise OutdatedScreenError if the clicked screen has an older version: another click was faster, or this click was
    sent before.
    """
    conversation = get_or_create_conversation(context)
    version = clicked_version(context)
    drawn_for = Conversation.objects.filter(pk=conversation.pk, panel_version=version)
    if not drawn_for.update(panel_version=F("panel_version") + 1):
        raise OutdatedScreenError(f"the screen was drawn for version {version}")
    context.memo[KEY] = version + 1
