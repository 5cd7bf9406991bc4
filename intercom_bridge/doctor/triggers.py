"""iTop's own notifications that send an e-mail each time the bridge writes a message."""

import json
import re
from collections.abc import Iterator

from intercom_bridge.models import Log
from itop_client import (
    Found,
    ItopObject,
    ItopPermissionError,
    ItopRejectedError,
    UnknownAttributeError,
    quote,
)

from .finding import Finding
from .probe import Probe

# Trigger classes of iTop 2.6 and later, and of Combodo's “Send updates by e-mail”, each with the attribute that lists
# the attributes that activate it.
_TRIGGER_CLASSES = (("TriggerOnObjectUpdate", "target_attcodes"), ("TriggerOnLogUpdate", "target_log"))
# Triggers on these classes also apply to tickets.
_PARENT_CLASSES = ("Ticket", "cmdbAbstractObject")


def examine_triggers(probe: Probe) -> Iterator[Finding]:
    """List the triggers with e-mail actions. Raise ItopError when iTop stops responding."""
    classes = sorted({profile.ticket_class for profile in probe.profiles})
    if not classes:
        return
    # A write changes the log, and thereby the time of the last update.
    written = {profile.code(log) for profile in probe.profiles for log in Log}
    written.add("last_update")
    names: list[str] = []
    try:
        for trigger_class, attribute in _TRIGGER_CLASSES:
            triggers = _find_enabled(probe, trigger_class, attribute, (*classes, *_PARENT_CLASSES))
            names += [_name(trigger) for trigger in triggers if _is_activated(trigger, attribute, written)]
    except ItopPermissionError:
        yield probe.subject.ok(
            "itop.triggers",
            "its account may not read triggers; see under Notifications in iTop whether messages cause e-mails",
        )
        return
    if not names:
        yield probe.subject.ok("itop.triggers", "sends no e-mail when a message is written to a log")
        return
    yield probe.subject.warning(
        "itop.triggers",
        f"sends an e-mail for each message written to a log, because of: {', '.join(names)}",
        "Decide in iTop, under Notifications, whether each of them should: customers may receive their own Intercom "
        "messages as e-mails. A filter on the trigger (origin, or the attribute intercom_ref) can exclude such "
        "tickets.",
    )


def _find_enabled(probe: Probe, trigger_class: str, attribute: str, targets: tuple[str, ...]) -> Found:
    """Return the triggers with an enabled e-mail action; none if this iTop does not have the class."""
    query = (
        f"SELECT {trigger_class} AS t JOIN lnkTriggerAction AS l ON l.trigger_id = t.id"
        " JOIN ActionEmail AS a ON l.action_id = a.id"
        f" WHERE a.status = 'enabled' AND t.target_class IN ({', '.join(quote(name) for name in targets)})"
    )
    fields = ("friendlyname", "description")
    try:
        return probe.get(trigger_class, query, (*fields, attribute), limit=None)
    except UnknownAttributeError as error:
        if error.attribute != attribute:
            return Found(0)
        return probe.get(trigger_class, query, fields, limit=None)
    except ItopRejectedError:
        return Found(0)


def _is_activated(trigger: ItopObject, attribute: str, written: set[str]) -> bool:
    """Return whether a written attribute activates the trigger; any does if the trigger lists none."""
    # A set of codes, as a text or as a list, depending on the version of iTop.
    codes = set(re.findall(r"\w+", json.dumps(trigger.fields.get(attribute) or "")))
    return not codes or bool(codes & written)


def _name(trigger: ItopObject) -> str:
    return f"“{trigger.text('description') or trigger.text('friendlyname') or trigger.id}”"
