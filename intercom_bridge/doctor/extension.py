"""The PHP extension that this service replaces: whether it is still in iTop, and still at work."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from intercom_bridge.sync.extension import attribute_codes
from intercom_bridge.views.php_addresses import MODULE
from itop_client import ItopNotAllowed, ItopRefused, open_session
from itop_client.transport import Answer, NoAnswer, Unreachable, exchange

from .asking import Asking
from .finding import Finding
from .ping import webhook_address

WEBHOOK_PAGE = "incoming-webhooks.php"
# What a module that nobody has is answered tells what "not there" looks like in this iTop.
_NOBODYS_MODULE = "a-module-that-nobody-has"


def examine_extension(asking: Asking) -> Iterator[Finding]:
    """Raises ItopError when iTop stops answering."""
    if not asking.workspaces:
        return
    has_attributes = _has_attributes(asking)
    if has_attributes is None:
        return
    if asking.itop.has_intercom_attributes is not has_attributes:
        asking.itop.learn(has_intercom_attributes=has_attributes)
    if not has_attributes:
        yield asking.subject.ok("itop.extension", "has no attributes of the PHP extension, and needs none")
        return
    if answers(asking) is False:
        yield asking.subject.ok(
            "itop.extension",
            "has the PHP extension's attributes, which are kept in step; its webhook is gone",
        )
        return
    yield asking.subject.warning(
        "itop.extension",
        "has the PHP extension, and its webhook may still take messages: each would stand twice",
        "An Intercom app has one address for webhooks, and nobody but you can read it: in the Developer Hub, Webhooks, "
        f"it has to be {webhook_address()}, in every app that is installed in your "
        "workspaces. Then take the extension out of iTop, or leave it there unused: its attributes do no harm.",
    )


def _has_attributes(asking: Asking) -> bool | None:
    workspace = asking.workspaces[0]
    ticket_class = workspace.profile.ticket_class
    try:
        asking.get(
            ticket_class, f"SELECT {ticket_class} AS t WHERE t.id = 0", ("id", *attribute_codes(workspace))
        )
    except ItopNotAllowed:
        return None
    except ItopRefused:
        return False
    return True


def answers(asking: Asking) -> bool | None:
    """Whether the extension's webhook is there: an unsigned GET, which it refuses. None where nobody can tell."""
    there, nowhere = _page(asking, MODULE), _page(asking, _NOBODYS_MODULE)
    if there is None or nowhere is None:
        return None
    if there.status != nowhere.status or _type(there) != _type(nowhere):
        return True
    if there.body.replace(MODULE.encode(), b"") == nowhere.body.replace(_NOBODYS_MODULE.encode(), b""):
        return False
    return None


def _page(asking: Asking, module: str) -> Answer | None:
    query = urlencode({"exec_module": module, "exec_page": WEBHOOK_PAGE})
    with open_session() as session:
        try:
            return exchange(
                session, "GET", f"{asking.client.url}/pages/exec.php?{query}", deadline=asking.seconds
            )
        except (Unreachable, NoAnswer):
            return None


def _type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
