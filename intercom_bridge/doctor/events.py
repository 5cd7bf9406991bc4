"""Changes in iTop that come back: polling, history, push and e-mails of an iTop; authors and posting of a workspace."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from django.utils import timezone

from intercom_bridge.intercom.client import IntercomClient, IntercomError
from intercom_bridge.models import Conversation, EventKind, ItopPoll, TicketSnapshot, Workspace
from intercom_bridge.models.event_rules import Action, rules_of
from intercom_bridge.models.reason import reason_label
from itop_client import ItopObject, ItopPermissionError, ItopRejectedError, quote

from .finding import Finding, Subject
from .probe import Probe
from .triggers import WRITE_TRIGGERS, Excluded, codes_in, excludes, find_enabled, name_of

# Longer than the slowest tier of polling, and than a worker needs after a restart.
POLLED_WITHIN = dt.timedelta(minutes=15)
PUSHED_WITHIN = dt.timedelta(days=7)
# For each list of teammates or teams.
LIST_SECONDS = 4.0
# Conversations that a finding names.
MAX_LISTED = 5
# Triggers that fire when an agent works in iTop, each with the attribute that limits it.
_TRIGGER_CLASSES = (*WRITE_TRIGGERS, ("TriggerOnStateEnter", "state"))
_CONSOLE = "GUI:Console"
_STATES = {
    "pending": EventKind.PENDING,
    "resolved": EventKind.RESOLVED,
    "closed": EventKind.CLOSED,
    "assigned": EventKind.ASSIGNMENT,
}
_STATUS_KINDS = (
    EventKind.PENDING,
    EventKind.RESOLVED,
    EventKind.CLOSED,
    EventKind.REOPENED,
    EventKind.STATUS,
)


def examine_events(probe: Probe) -> Iterator[Finding]:
    """Check what is needed to notice changes in iTop. Raise ItopError when iTop stops responding."""
    yield _examine_polling(probe)
    yield from _examine_history(probe)
    if probe.itop.push_secret:
        yield _examine_push(probe)
    yield from _examine_emails(probe)


def examine_authors(workspace: Workspace, client: IntercomClient, subject: Subject) -> Iterator[Finding]:
    """Check that Intercom has the teammate and the team that the rules for changes in iTop name."""
    check = subject.check("workspace.post_as")
    rules = rules_of(workspace)
    try:
        teammates = client.admins(deadline=LIST_SECONDS)
        teams = client.teams(deadline=LIST_SECONDS) if rules.assign_to == rules.Assignee.TEAM else None
    except IntercomError as error:
        yield check.warning(
            f"its teammates cannot be listed: {error.detail or error}",
            "In Intercom's Developer Hub give the app the permission to read admins. Until then, changes in iTop are "
            "posted in the name of one teammate instead of the agents' own.",
        )
        return
    names = {teammate.id: teammate.name for teammate in teammates}
    name = names.get(rules.post_as_admin_id) or rules.post_as_name or rules.post_as_admin_id
    if not name:
        yield check.ok("changes by agents without a teammate are posted as the owner of the access token")
    elif rules.post_as_admin_id in names:
        yield check.ok(f"changes by agents without a teammate are posted as {name}")
    else:
        yield check.warning(
            f"changes in iTop are posted as the owner of the access token, because {name}, who was selected to post "
            "them, is no longer a teammate",
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
    followed = TicketSnapshot.objects.filter(ticket__itop=probe.itop, poll_at__isnull=False)
    count = followed.count()
    if poll is None or (poll.polled_at is None and not count):
        return check.ok("is polled for changes once a ticket is linked")
    if poll.reason_code:
        reason = reason_label(poll.reason_code, poll.reason_detail)
        return check.failure(
            f"polling for changes of {_tickets(count)} failed {poll.failures_in_a_row} times in a row: {reason}",
            "Correct the cause. Nothing is lost: the next successful poll finds all changes.",
        )
    if followed.filter(poll_at__lt=timezone.now() - POLLED_WITHIN).exists():
        last = f"{poll.polled_at:%Y-%m-%d %H:%M} UTC" if poll.polled_at else "never"
        return check.failure(
            f"polling for changes is late, last poll: {last}",
            "See whether a worker runs and what it does. Nothing is lost: the next poll finds all changes.",
        )
    return check.ok(f"is polled for changes of {_tickets(count)}")


def _tickets(count: int) -> str:
    return "1 linked ticket" if count == 1 else f"{count} linked tickets"


def _examine_history(probe: Probe) -> Iterator[Finding]:
    """Check that tickets can be searched by their history, which shows which entries a bridge wrote."""
    check = probe.subject.check("itop.history")
    refused = []
    for ticket_class in probe.ticket_classes:
        query = (
            f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
            f" WHERE o.objclass = {quote(ticket_class)} AND t.id = 0"
        )
        try:
            probe.get(ticket_class, query)
        except (ItopPermissionError, ItopRejectedError):
            refused.append(ticket_class)
    if refused:
        yield check.warning(
            f"its account may not search {', '.join(refused)} by their history: the bridge recognises its own entries "
            "by their text only, and another bridge's entries are reported as an agent's",
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
        "Run python manage.py setup_push --itop NAME. See in iTop, on the webhook action under Notifications, what "
        "became of its last requests. If push is not wanted, run setup_push --remove.",
    )


def _examine_emails(probe: Probe) -> Iterator[Finding]:
    """List iTop's e-mails to the caller; warn about those on changes that a workspace's rules also send as a reply."""
    check = probe.subject.check("itop.emails")
    try:
        mails = list(_customer_mails(probe))
    except ItopPermissionError:
        yield check.ok(
            "its account is not an Administrator and may not read triggers; check under Notifications in iTop "
            "whether iTop e-mails customers about changes that the bridge also sends them in Intercom"
        )
        return
    doubled = [
        f"of “{kind.label}” by the rules of {rules.workspace} and by iTop's trigger {name_of(trigger)}"
        for rules in (rules_of(workspace) for workspace in probe.workspaces if workspace.pk)
        for kind in EventKind
        if rules.action_for(kind) == Action.REPLY
        for trigger, kinds in mails
        if kind in kinds
    ]
    if doubled:
        yield check.warning(
            f"customers are told twice: {'; '.join(doubled)}",
            "On the workspace's page “Rules for changes in iTop”, select the internal note for them, or let the "
            "filter of iTop's trigger exclude tickets with a conversation (intercom_ref = '', if they have that "
            "attribute).",
        )
    elif mails:
        names = ", ".join(name_of(trigger) for trigger, _ in mails)
        yield check.ok(
            f"e-mails customers about changes, because of: {names}. No rule also sends these changes as a reply; a "
            "teammate who sends one from the panel tells the customer a second time"
        )
    else:
        yield check.ok("sends customers no e-mails about changes of their tickets")


def _customer_mails(probe: Probe) -> Iterator[tuple[ItopObject, set[EventKind]]]:
    """Yield the triggers with an enabled e-mail to the caller, and the changes that they report."""
    for trigger_class, attribute in _TRIGGER_CLASSES:
        for trigger in find_enabled(probe, trigger_class, attribute, recipient="caller_id"):
            contexts = codes_in(trigger, "context")
            if (contexts and _CONSOLE not in contexts) or excludes(probe, trigger) is Excluded.ALL:
                continue
            if kinds := _kinds(probe, trigger_class, codes_in(trigger, attribute)):
                yield trigger, kinds


def _kinds(probe: Probe, trigger_class: str, codes: Iterable[str]) -> set[EventKind]:
    """Return the changes that fire a trigger. Without codes, an update of any attribute does."""
    codes = set(codes)
    if trigger_class == "TriggerOnStateEnter":
        return {_STATES.get(code, EventKind.STATUS) for code in codes} | (
            {EventKind.REOPENED} if "assigned" in codes else set()
        )
    watched: dict[str, Iterable[EventKind]] = {
        "agent_id": [EventKind.ASSIGNMENT],
        "team_id": [EventKind.ASSIGNMENT],
        "pending_reason": [EventKind.PENDING],
        "solution": [EventKind.RESOLVED],
        "last_update": list(EventKind),
    }
    for profile in probe.profiles:
        watched[profile.code("public_log")] = [EventKind.PUBLIC_ENTRY]
        watched[profile.code("status")] = _STATUS_KINDS
    return {kind for code in codes or watched for kind in watched.get(code, ())}
