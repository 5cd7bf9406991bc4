"""Find iTop's own triggers that send an e-mail each time the bridge writes a message."""

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

# Trigger classes of iTop 2.6 and later, and of Combodo's extension “Send updates by e-mail”. The second name is the
# trigger's attribute with the codes of the ticket attributes whose changes activate the trigger.
WRITE_TRIGGERS = (("TriggerOnObjectUpdate", "target_attcodes"), ("TriggerOnLogUpdate", "target_log"))
# Attributes of triggers. Not every version of iTop and not every trigger class has them.
_CONTEXT, _FILTER = "context", "filter"
# Triggers on these classes also apply to tickets.
_PARENT_CLASSES = ("Ticket", "cmdbAbstractObject")
# Stands for the id of any conversation, which is never empty.
_ANY_CONVERSATION = "any"
# The context of a write over REST. If a trigger has only other contexts, such as GUI:Portal, a write does not fire it.
_REST_CONTEXT = "REST/JSON"


def examine_triggers(probe: Probe) -> Iterator[Finding]:
    """Report the triggers that send e-mails when the bridge writes. Raise ItopError when iTop stops responding."""
    check = probe.subject.check("itop.triggers")
    if not probe.profiles:
        return
    # A write changes a log. iTop then also changes the time of the last update.
    written_codes = {profile.code(log) for profile in probe.profiles for log in Log} | {"last_update"}
    triggers: list[ItopObject] = []
    try:
        for trigger_class, attribute in WRITE_TRIGGERS:
            enabled = find_email_triggers(probe, trigger_class, attribute)
            triggers += [trigger for trigger in enabled if _is_activated(trigger, attribute, written_codes)]
    except ItopPermissionError:
        yield check.ok(
            "its account may not read triggers; see under Notifications in iTop whether messages cause e-mails"
        )
        return
    # The names of the triggers, by the tickets that their filters exclude.
    names: dict[Excluded, list[str]] = {excluded: [] for excluded in Excluded}
    for trigger in triggers:
        names[excluded_tickets(probe, trigger)].append(trigger_name(trigger))
    if names[Excluded.CREATED_FROM_CONVERSATION]:
        yield check.ok(
            "sends an e-mail for messages written to tickets that were not created from a conversation, because of: "
            f"{', '.join(names[Excluded.CREATED_FROM_CONVERSATION])}"
        )
    if names[Excluded.NONE]:
        yield check.warning(
            f"sends an e-mail for each message written to a log, because of: {', '.join(names[Excluded.NONE])}",
            "In iTop, under Notifications, decide for each of these triggers whether you want this: customers may "
            "receive their own Intercom messages as e-mails. To exclude tickets that were created from a conversation, "
            f"add origin != '{ORIGIN}' to the trigger's filter. To exclude all tickets with a conversation, add "
            "intercom_ref = '', if the tickets have that attribute. To exclude all writes of the bridge, give the "
            f"trigger a context without {_REST_CONTEXT}.",
        )
    elif not names[Excluded.CREATED_FROM_CONVERSATION]:
        yield check.ok("sends no e-mail when a message is written to a log")


class Excluded(Enum):
    """Which of the tickets with a conversation a trigger's filter excludes."""

    NONE = "none"
    CREATED_FROM_CONVERSATION = "created from a conversation"
    ALL = "all"


def excluded_tickets(probe: Probe, trigger: ItopObject) -> Excluded:
    """Return which tickets the trigger's filter certainly excludes, for every ticket profile of this iTop."""
    try:
        query = parse(trigger.text(_FILTER))
    except OqlError:
        # There is no filter, or iTop itself could not use it.
        return Excluded.NONE
    # If iTop has the attribute intercom_ref, the bridge stores the conversation's id there in every linked ticket.
    if all(query.excludes(profile.code("intercom_ref"), _ANY_CONVERSATION) for profile in probe.profiles):
        return Excluded.ALL
    if all(query.excludes(profile.code("origin"), ORIGIN) for profile in probe.profiles):
        return Excluded.CREATED_FROM_CONVERSATION
    return Excluded.NONE


def find_email_triggers(
    probe: Probe, trigger_class: str, attribute: str, recipient: str = ""
) -> list[ItopObject]:
    """Return the triggers of a class that have an enabled e-mail action and apply to tickets.

    If `recipient` is given, the action's queries for its recipients must contain this text, for example "caller_id".
    The list is empty if iTop does not have the trigger class.
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
                return []  # the query itself names an attribute that this iTop lacks
            fields.remove(error.attribute)
        except ItopRejectedError:
            return []


def _is_activated(trigger: ItopObject, attribute: str, written_codes: set[str]) -> bool:
    """Return whether a write of these ticket attributes over REST activates the trigger."""
    codes, contexts = codes_in(trigger, attribute), codes_in(trigger, _CONTEXT)
    # A trigger without codes is activated by any attribute, and one without contexts in any context.
    is_attribute_watched = not codes or bool(codes & written_codes)
    is_context_watched = not contexts or _REST_CONTEXT in contexts
    return is_attribute_watched and is_context_watched


def codes_in(trigger: ItopObject, attribute: str) -> set[str]:
    """Return the codes in a trigger's attribute. Its value is a text or a list, depending on the version of iTop."""
    return set(re.findall(r"[\w:/-]+", json.dumps(trigger.fields.get(attribute) or "")))


def trigger_name(trigger: ItopObject) -> str:
    return f"“{trigger.text('description') or trigger.text('friendlyname') or trigger.id}”"
