"""iTop's own notifications: those that send an e-mail each time one of our messages is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from itop_client import Found, ItopNotAllowed, ItopObject, ItopRefused, UnknownAttribute, quote

from .asking import Asking
from .finding import Finding

# Of iTop since 2.6, and of Combodo's “Send updates by e-mail”. Each with what says which attributes wake it.
_CLASSES = (("TriggerOnObjectUpdate", "target_attcodes"), ("TriggerOnLogUpdate", "target_log"))
# A trigger on one of these is one on every class of tickets.
_ABOVE = ("Ticket", "cmdbAbstractObject")


def examine_triggers(asking: Asking) -> Iterator[Finding]:
    """Raises ItopError when iTop stops answering."""
    classes = sorted({profile.ticket_class for profile in asking.profiles})
    if not classes:
        return
    # A write changes the log, and with it the time of the last change.
    ours = {profile.code(log) for profile in asking.profiles for log in ("public_log", "private_log")}
    ours.add("last_update")
    names: list[str] = []
    try:
        for trigger_class, attribute in _CLASSES:
            found = _enabled(asking, trigger_class, attribute, (*classes, *_ABOVE))
            names += [_name(one) for one in found if _is_woken(one, attribute, ours)]
    except ItopNotAllowed:
        yield asking.subject.ok(
            "itop.triggers",
            "its account may not see whether iTop sends an e-mail for each message: look under Notifications in iTop",
        )
        return
    if not names:
        yield asking.subject.ok("itop.triggers", "sends no e-mail of its own for a message in a log")
        return
    yield asking.subject.warning(
        "itop.triggers",
        f"sends an e-mail for each message that we write into a log, by: {', '.join(names)}",
        "Decide for each of them, in iTop under Notifications, whether it should: a customer who writes in Intercom "
        "may get that message as an e-mail, too. A filter on the trigger (origin, or the attribute intercom_ref) "
        "leaves such tickets out.",
    )


def _enabled(asking: Asking, trigger_class: str, attribute: str, targets: tuple[str, ...]) -> Found:
    """Those of the class that send e-mail; none where this iTop has no such class."""
    query = (
        f"SELECT {trigger_class} AS t JOIN lnkTriggerAction AS l ON l.trigger_id = t.id"
        " JOIN ActionEmail AS a ON l.action_id = a.id"
        f" WHERE a.status = 'enabled' AND t.target_class IN ({', '.join(quote(one) for one in targets)})"
    )
    fields = ("friendlyname", "description")
    try:
        return asking.get(trigger_class, query, (*fields, attribute), limit=None)
    except UnknownAttribute as refusal:
        if refusal.attribute != attribute:
            return Found(0)
        return asking.get(trigger_class, query, fields, limit=None)
    except ItopRefused:
        return Found(0)


def _is_woken(trigger: ItopObject, attribute: str, ours: set[str]) -> bool:
    """Whether one of our attributes wakes it: any does where it names none."""
    # A set of codes, as a text or as a list: that has changed between versions of iTop.
    named = set(re.findall(r"\w+", json.dumps(trigger.fields.get(attribute) or "")))
    return not named or bool(named & ours)


def _name(trigger: ItopObject) -> str:
    return f"“{trigger.text('description') or trigger.text('friendlyname') or trigger.id}”"
