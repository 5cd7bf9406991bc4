"""The version of a conversation's state. It increases with each click that changes something.

Each screen carries the version that was current when the screen was rendered. A click on a screen with an older version
changes nothing. This has two purposes:
- A recorded request cannot be sent again. Intercom's signature does not prevent that, because it contains no time.
- A teammate cannot change something on the basis of a screen that a colleague's click has made outdated.
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
    """Read the current version for the screen. Call this before any other data of the screen is read.

    If the conversation changes while the screen is rendered, the screen then counts as outdated.
    """
    conversation = find_conversation(context)
    context.memo[KEY] = conversation.panel_version if conversation else 0


def stored_version(context: PanelContext) -> dict[str, Any]:
    """Return the version as an entry of the canvas's `stored_data`, which Intercom sends back with the next click."""
    return {KEY: context.memo[KEY]} if KEY in context.memo else {}


def clicked_version(context: PanelContext) -> int:
    """Return the version of the screen that was clicked on, or 0 if it is missing. The value is untrusted."""
    return parse_id(context.request.stored_data.get(KEY))


def claim_version(context: PanelContext) -> None:
    """Increase the conversation's version by one. Call this before each change.

    Raise OutdatedScreenError if the screen that was clicked on does not have the current version. Then another click
    was faster, or this click was processed before.
    """
    conversation = get_or_create_conversation(context)
    version = clicked_version(context)
    unchanged = Conversation.objects.filter(pk=conversation.pk, panel_version=version)
    is_claimed = bool(unchanged.update(panel_version=F("panel_version") + 1))
    if not is_claimed:
        raise OutdatedScreenError(f"the screen was rendered for version {version}")
    context.memo[KEY] = version + 1
