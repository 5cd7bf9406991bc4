"""Check how changes in iTop get into conversations.

Of an iTop: polling, history, push, and iTop's own e-mails about the same changes. Of a workspace: the teammate who
posts the changes, and whether posting has been stopped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.utils import timezone

from intercom_bridge.intercom.client import IntercomClient, IntercomError
from intercom_bridge.models import Conversation, EventKind, ItopPoll, Ticket, TicketSnapshot, Workspace
from intercom_bridge.models.event_rules import Action, rules_of
from intercom_bridge.models.reason import reason_label
from itop_client import Deadline, ItopObject, ItopPermissionError, ItopRejectedError, quote

from .finding import Finding, Subject
from .probe import Probe, request_seconds
from .triggers import WRITE_TRIGGERS, Excluded, codes_in, excluded_tickets, find_email_triggers, trigger_name

# If a poll is overdue for longer, that is a failure. The longest polling interval and a worker's restart take less.
POLLED_WITHIN = dt.timedelta(minutes=15)
# If the last push is older, something may be wrong. A few days without changes are normal.
PUSHED_WITHIN = dt.timedelta(days=7)
# The time limit of a request for the teammates or the teams.
LIST_SECONDS = 4.0
# The largest number of conversations that a finding names.
MAX_LISTED = 5
# Trigger classes that fire when an agent changes a ticket. The second name is the trigger's attribute with the codes of
# the ticket attributes, or of the state, for which the trigger fires.
_TRIGGER_CLASSES = (*WRITE_TRIGGERS, ("TriggerOnStateEnter", "state"))
# The trigger context of an agent's work in iTop's back office.
_CONSOLE = "GUI:Console"
_KINDS_OF_STATES = {
    "pending": (EventKind.PENDING,),
    "resolved": (EventKind.RESOLVED,),
    "closed": (EventKind.CLOSED,),
    "assigned": (EventKind.ASSIGNMENT, EventKind.REOPENED),  # a reopened ticket becomes assigned again
}
_STATUS_KINDS = (
    EventKind.PENDING,
    EventKind.RESOLVED,
    EventKind.CLOSED,
    EventKind.REOPENED,
    EventKind.STATUS,
)


@dataclass(frozen=True)
class _CustomerMail:
    """A trigger of iTop that e-mails the caller, and the kinds of changes for which it fires."""

    trigger: ItopObject
    kinds: set[EventKind]


def examine_events(probe: Probe) -> Iterator[Finding]:
    """Check whether the bridge notices changes in iTop. Raise ItopError when iTop stops responding."""
    yield _examine_polling(probe)
    yield from _examine_history(probe)
    if probe.itop.push_secret:
        yield _examine_push(probe)
    yield from _examine_emails(probe)


def examine_authors(
    workspace: Workspace, client: IntercomClient, subject: Subject, deadline: Deadline
) -> Iterator[Finding]:
    """Check that the teammate and the team in the workspace's rules for changes in iTop still exist in Intercom."""
    check = subject.check("workspace.post_as")
    rules = rules_of(workspace)
    try:
        teammates = client.admins(deadline=request_seconds(deadline, LIST_SECONDS))
        teams = None
        if rules.assign_to == rules.Assignee.TEAM:
            teams = client.teams(deadline=request_seconds(deadline, LIST_SECONDS))
    except IntercomError as error:
        yield check.warning(
            f"its teammates cannot be listed: {error.detail or error}",
            "In Intercom's Developer Hub, give the app the permission to read admins. Until then, changes in iTop are "
            "posted in the name of one teammate, and not in the agents' own names.",
        )
        return
    names = {teammate.id: teammate.name for teammate in teammates}
    # If the selected teammate no longer exists, the rules still have the name, or at least the id.
    selected_name = names.get(rules.post_as_admin_id) or rules.post_as_name or rules.post_as_admin_id
    if not selected_name:
        yield check.ok(
            "changes by agents who are not teammates in Intercom are posted as the owner of the access token"
        )
    elif rules.post_as_admin_id in names:
        yield check.ok(f"changes by agents who are not teammates in Intercom are posted as {selected_name}")
    else:
        yield check.warning(
            f"changes in iTop are posted as the owner of the access token, because {selected_name}, who was selected "
            "to post them, is no longer a teammate",
            "Select another teammate on the workspace's page “Rules for changes in iTop” in the admin.",
        )
    if teams is not None and rules.assign_to_team_id not in {team.id for team in teams}:
        yield check.warning(
            "the team that gets reopened conversations no longer exists; these conversations keep their assignee",
            "Select another team on the workspace's page “Rules for changes in iTop” in the admin.",
        )


def examine_stopped(workspace: Workspace, subject: Subject) -> Iterator[Finding]:
    """Report the conversations in which the bridge stopped posting after too many posts."""
    stopped = Conversation.objects.filter(workspace=workspace, posting_stopped_at__isnull=False)
    names = ", ".join(stopped.order_by("-pk").values_list("conversation_id", flat=True)[:MAX_LISTED])
    if names:
        yield subject.check("workspace.posting").warning(
            f"the bridge stopped posting in {stopped.count()} of its conversations, because it had posted too much in "
            f"a few minutes: {names}",
            "Find out whether another program answers the bridge's messages there. Then select “Resume posting” on "
            "the conversation's page in the admin or in the panel.",
        )


def _examine_polling(probe: Probe) -> Finding:
    check = probe.subject.check("itop.polling")
    poll = ItopPoll.objects.filter(itop=probe.itop).first()
    # `poll_at` is when a ticket is to be polled next; None if it is not polled.
    polled_tickets = TicketSnapshot.objects.filter(ticket__itop=probe.itop, poll_at__isnull=False)
    count = polled_tickets.count()
    if poll is None or (poll.polled_at is None and not count):
        return check.ok("is polled for changes once a ticket is linked")
    if poll.reason_code:
        reason = reason_label(poll.reason_code, poll.reason_detail)
        return check.failure(
            f"polling for changes of {_tickets(count)} failed {poll.failures_in_a_row} times in a row: {reason}",
            "Correct the cause. Nothing is lost: the next successful poll finds all changes.",
        )
    if polled_tickets.filter(poll_at__lt=timezone.now() - POLLED_WITHIN).exists():
        last = f"{poll.polled_at:%Y-%m-%d %H:%M} UTC" if poll.polled_at else "never"
        return check.failure(
            f"polling for changes is late, last poll: {last}",
            "Check that a worker runs, and read its log. Nothing is lost: the next poll finds all changes.",
        )
    text = f"is polled for changes of {_tickets(count)}"
    gone = Ticket.objects.filter(itop=probe.itop, links__isnull=False, gone_at__isnull=False).distinct()
    refs = ", ".join(gone.order_by("-gone_at", "-pk").values_list("ref", flat=True)[:MAX_LISTED])
    if refs:
        text += f"; iTop no longer returns {_tickets(gone.count())}: {refs}"
    return check.ok(text)


def _tickets(count: int) -> str:
    return "1 linked ticket" if count == 1 else f"{count} linked tickets"


def _examine_history(probe: Probe) -> Iterator[Finding]:
    """Check that the account may search tickets by their history, which shows which log entries the bridge wrote."""
    check = probe.subject.check("itop.history")
    refused_classes = []
    for ticket_class in probe.ticket_classes:
        query = (
            f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
            f" WHERE o.objclass = {quote(ticket_class)} AND t.id = 0"
        )
        try:
            probe.get(ticket_class, query)
        except (ItopPermissionError, ItopRejectedError):
            refused_classes.append(ticket_class)
    if refused_classes:
        yield check.warning(
            f"its account may not search {', '.join(refused_classes)} by their history: the bridge recognises its own "
            "entries only by their text, and reports another bridge's entries as an agent's",
            "Give the account a profile that may read these tickets. If iTop refuses the search nevertheless, give it "
            "the profile Administrator, or accept this.",
        )
    else:
        yield check.ok("its history shows which entries the bridge wrote")


def _examine_push(probe: Probe) -> Finding:
    check = probe.subject.check("itop.push")
    last = probe.itop.push_received_at
    if last is not None and timezone.now() - last <= PUSHED_WITHIN:
        return check.ok(f"last sent a push at {last:%Y-%m-%d %H:%M} UTC")
    received = f"the last push came on {last:%Y-%m-%d}" if last else "no push has ever come"
    return check.warning(
        f"is set up to send pushes, but {received}; the bridge finds changes by polling",
        "Run python manage.py setup_push --itop NAME. In iTop, under Notifications, open the webhook action and see "
        "the results of its last requests. If you do not want pushes, run setup_push --itop NAME --remove.",
    )


def _examine_emails(probe: Probe) -> Iterator[Finding]:
    """Report iTop's e-mails to the caller about changes. Warn if a workspace's rules also send these as replies."""
    check = probe.subject.check("itop.emails")
    try:
        mails = list(_customer_mails(probe))
    except ItopPermissionError:
        yield check.ok(
            "its account is not an Administrator and may not read triggers; check under Notifications in iTop "
            "whether iTop e-mails customers about changes that the bridge also sends them in Intercom"
        )
        return
    if doubled := _doubled_changes(probe, mails):
        yield check.warning(
            f"customers are told twice: {'; '.join(doubled)}",
            "On the workspace's page “Rules for changes in iTop”, select the internal note for these changes. Or let "
            "the filter of iTop's trigger exclude tickets with a conversation (intercom_ref = '', if they have that "
            "attribute).",
        )
    elif mails:
        names = ", ".join(trigger_name(mail.trigger) for mail in mails)
        yield check.ok(
            f"e-mails customers about changes, because of: {names}. No rule also sends these changes as a reply; a "
            "teammate who sends one from the panel tells the customer a second time"
        )
    else:
        yield check.ok("sends customers no e-mails about changes of their tickets")


def _doubled_changes(probe: Probe, mails: list[_CustomerMail]) -> list[str]:
    """Describe each kind of change that a workspace's rules send as a reply and that iTop e-mails, too."""
    descriptions = []
    for workspace in probe.workspaces:
        if not workspace.pk:
            continue  # an unsaved workspace has no rules
        rules = rules_of(workspace)
        replied_kinds = [kind for kind in EventKind if rules.action_for(kind) == Action.REPLY]
        descriptions += [
            f"about “{kind.label}” by the rules of {workspace} and by iTop's trigger {trigger_name(mail.trigger)}"
            for kind in replied_kinds
            for mail in mails
            if kind in mail.kinds
        ]
    return descriptions


def _customer_mails(probe: Probe) -> Iterator[_CustomerMail]:
    """Yield the e-mails to the caller that an agent's work on a ticket with a conversation causes."""
    for trigger_class, attribute in _TRIGGER_CLASSES:
        for trigger in find_email_triggers(probe, trigger_class, attribute, recipient="caller_id"):
            contexts = codes_in(trigger, "context")  # empty: any context
            fires_in_console = not contexts or _CONSOLE in contexts
            if not fires_in_console or excluded_tickets(probe, trigger) is Excluded.ALL:
                continue
            if kinds := _kinds_of(probe, trigger_class, codes_in(trigger, attribute)):
                yield _CustomerMail(trigger, kinds)


def _kinds_of(probe: Probe, trigger_class: str, codes: set[str]) -> set[EventKind]:
    """Return the kinds of changes for which a trigger fires. `codes` are its states or ticket attributes."""
    if trigger_class == "TriggerOnStateEnter":
        return {kind for code in codes for kind in _KINDS_OF_STATES.get(code, (EventKind.STATUS,))}
    kinds_of_attributes: dict[str, Iterable[EventKind]] = {
        "agent_id": [EventKind.ASSIGNMENT],
        "team_id": [EventKind.ASSIGNMENT],
        "pending_reason": [EventKind.PENDING],
        "solution": [EventKind.RESOLVED],
        "last_update": list(EventKind),
    }
    for profile in probe.profiles:
        kinds_of_attributes[profile.code("public_log")] = [EventKind.PUBLIC_ENTRY]
        kinds_of_attributes[profile.code("status")] = _STATUS_KINDS
    # A trigger without attributes fires when any attribute changes.
    watched_codes = codes or set(kinds_of_attributes)
    return {kind for code in watched_codes for kind in kinds_of_attributes.get(code, ())}
