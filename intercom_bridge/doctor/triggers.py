"""iTop's own notifications that send an e-mail each time the bridge writes a message."""

import json
import re
from collections.abc import Iterator
from enum import Enum

from intercom_bridge.models import Log
from intercom_bridge.models.ticket_profile import ORIGIN
from itop_client import (
    ItopObject,
    ItopPermissionError,
    ItopRejectedError,
    OqlError,
    UnknownAttributeError,
    parse,
    quote,
)

from .finding import Finding
from .probe import Probe

# Trigger classes of iTop 2.6 and later, and of Combodo's “Send updates by e-mail”, each with the attribute that lists
# the attributes that activate it.
WRITE_TRIGGERS = (("TriggerOnObjectUpdate", "target_attcodes"), ("TriggerOnLogUpdate", "target_log"))
# Attributes that not every version and class has.
_CONTEXT, _FILTER = "context", "filter"
# Triggers on these classes also apply to tickets.
_PARENT_CLASSES = ("Ticket", "cmdbAbstractObject")
_ANY_CONVERSATION = "any"
# The context of a write over REST. A trigger with other contexts only, such as GUI:Portal, does not fire then.
_REST_CONTEXT = "REST/JSON"


def examine_triggers(probe: Probe) -> Iterator[Finding]:
    """List the triggers with e-mail actions that a write of the bridge activates.

    Raise ItopError when iTop stops responding.
    """
    check = probe.subject.check("itop.triggers")
    if not probe.profiles:
        return
    # A write changes the log, and thereby the time of the last update.
    written = {profile.code(log) for profile in probe.profiles for log in Log}
    written.add("last_update")
    triggers: list[ItopObject] = []
    try:
        for trigger_class, attribute in WRITE_TRIGGERS:
            found = find_enabled(probe, trigger_class, attribute)
            triggers += [trigger for trigger in found if _is_activated(trigger, attribute, written)]
    except ItopPermissionError:
        yield check.ok(
            "its account may not read triggers; see under Notifications in iTop whether messages cause e-mails"
        )
        return
    names = {kind: [name_of(each) for each in triggers if excludes(probe, each) is kind] for kind in Excluded}
    if names[Excluded.OTHER_ORIGINS_FIRE]:
        yield check.ok(
            f"sends an e-mail for messages written to tickets that were not created from a conversation, because of: "
            f"{', '.join(names[Excluded.OTHER_ORIGINS_FIRE])}"
        )
    if names[Excluded.NONE]:
        yield check.warning(
            f"sends an e-mail for each message written to a log, because of: {', '.join(names[Excluded.NONE])}",
            "Decide in iTop, under Notifications, whether each of them should: customers may receive their own "
            f"Intercom messages as e-mails. A filter on the trigger (origin != '{ORIGIN}', or intercom_ref = '' if the "
            f"tickets have that attribute) can exclude such tickets; a context without {_REST_CONTEXT} excludes all "
            "writes of the bridge.",
        )
    elif not names[Excluded.OTHER_ORIGINS_FIRE]:
        yield check.ok("sends no e-mail when a message is written to a log")


class Excluded(Enum):
    """Which of the bridge's tickets a trigger's filter leaves out."""

    NONE = "none"
    OTHER_ORIGINS_FIRE = "created from a conversation"
    ALL = "all"


def excludes(probe: Probe, trigger: ItopObject) -> Excluded:
    """Return which tickets are left out for certain, for all profiles."""
    try:
        query = parse(trigger.text(_FILTER))
    except OqlError:
        # There is none, or iTop could not use it either.
        return Excluded.NONE
    # Every ticket with a link has it, where iTop has the attribute. It is not empty, but any conversation's.
    if all(query.excludes(profile.code("intercom_ref"), _ANY_CONVERSATION) for profile in probe.profiles):
        return Excluded.ALL
    if all(query.excludes(profile.code("origin"), ORIGIN) for profile in probe.profiles):
        return Excluded.OTHER_ORIGINS_FIRE
    return Excluded.NONE


def find_enabled(probe: Probe, trigger_class: str, attribute: str, recipient: str = "") -> list[ItopObject]:
    """Return the triggers for tickets with an enabled e-mail action; none if iTop does not have the class.

    With `recipient`, only actions in whose queries for recipients this attribute occurs.
    """
    targets = ", ".join(map(quote, (*probe.ticket_classes, *_PARENT_CLASSES)))
    query = (
        f"SELECT {trigger_class} AS t JOIN lnkTriggerAction AS l ON l.trigger_id = t.id"
        " JOIN ActionEmail AS a ON l.action_id = a.id"
        f" WHERE a.status = 'enabled' AND t.target_class IN ({targets})"
    )
    if recipient:
        pattern = quote(f"%{recipient}%")
        query += f" AND (a.`to` LIKE {pattern} OR a.cc LIKE {pattern} OR a.bcc LIKE {pattern})"
    fields = ["friendlyname", "description", attribute, _CONTEXT, _FILTER]
    while True:
        try:
            return list(probe.get(trigger_class, query, fields, limit=None))
        except UnknownAttributeError as error:
            if error.attribute not in (attribute, _CONTEXT, _FILTER):
                return []
            fields.remove(error.attribute)
        except ItopRejectedError:
            return []


def _is_activated(trigger: ItopObject, attribute: str, written: set[str]) -> bool:
    """Return whether a write over REST activates the trigger; any attribute does if the trigger lists none."""
    codes, contexts = codes_in(trigger, attribute), codes_in(trigger, _CONTEXT)
    return (not codes or bool(codes & written)) and (not contexts or _REST_CONTEXT in contexts)


def codes_in(trigger: ItopObject, attribute: str) -> set[str]:
    """Return a set of codes, which is a text or a list, depending on the version of iTop."""
    return set(re.findall(r"[\w:/-]+", json.dumps(trigger.fields.get(attribute) or "")))


def name_of(trigger: ItopObject) -> str:
    return f"“{trigger.text('description') or trigger.text('friendlyname') or trigger.id}”"
