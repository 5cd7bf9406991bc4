"""The version of what a conversation's panel shows. Each click that changes something uses one up.

Intercom signs no time, so whoever captured a click can send it again; and a colleague's click may have changed what a
teammate still sees. Each screen carries the version that it was drawn for. A click from an older one changes nothing.
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
    """Read the version before anything else of the screen is read, so that the screen is never newer than it says."""
    conversation = find_conversation(context)
    context.memo[KEY] = conversation.panel_version if conversation else 0


def stored_version(context: PanelContext) -> dict[str, Any]:
    """Return what `stored_data` has to contain. It comes back with the next click."""
    return {KEY: context.memo[KEY]} if KEY in context.memo else {}


def clicked_version(context: PanelContext) -> int:
    """Return the version of the screen that was clicked on; it is untrusted."""
    return parse_id(context.request.stored_data.get(KEY))


def claim_version(context: PanelContext) -> None:
    """Use up the version that the clicked screen was drawn for. Call it before a change.

    Raise OutdatedScreenError if another click was faster, or if this one was sent before.
    """
    conversation = get_or_create_conversation(context)
    version = clicked_version(context)
    drawn_for = Conversation.objects.filter(pk=conversation.pk, panel_version=version)
    if not drawn_for.update(panel_version=F("panel_version") + 1):
        raise OutdatedScreenError(f"the screen was drawn for version {version}")
    context.memo[KEY] = version + 1
