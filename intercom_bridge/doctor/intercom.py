"""Check an Intercom workspace: whether its secrets are valid, and whether Intercom calls the webhook."""

import time
from collections.abc import Iterator

from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.events.attributes import DESCRIPTIONS
from intercom_bridge.intercom.client import (
    IntercomAuthenticationError,
    IntercomClient,
    IntercomError,
    IntercomRateLimitedError,
    IntercomRejectedError,
    IntercomUnreachableError,
)
from intercom_bridge.intercom.payloads import Me
from intercom_bridge.models import Conversation, WebhookEvent, Workspace
from intercom_bridge.models.event_rules import rules_of
from intercom_bridge.models.webhook_event import DOCTOR_ID_PREFIX
from intercom_bridge.models.workspace import PLACEHOLDER
from intercom_bridge.sync.intake import FOLLOWED_TOPICS
from itop_client import Deadline

from .certificate import CERTIFICATE_TO_DO, describe_problem
from .events import examine_authors, examine_stopped
from .finding import Finding, Level, Subject, overall
from .ping import examine_ping, webhook_address
from .probe import OutOfTimeError, out_of_time, request_seconds

REQUEST_SECONDS = 8.0
_DEVELOPER_HUB = "Intercom's Developer Hub"


def examine(workspace: Workspace, deadline: Deadline) -> Iterator[Finding]:
    """Check a workspace, except its iTop, until no time is left."""
    subject = Subject(f"Workspace {workspace}")
    if not workspace.enabled:
        yield subject.check("workspace.enabled").warning(
            "is disabled: its messages are skipped, and the panel says so",
            "Enable it in the admin, unless this is intended.",
        )
    yield from _examine_secrets(workspace, subject)
    yield from examine_stopped(workspace, subject)
    yield from _examine_notifications(workspace, subject)
    try:
        yield from _examine_connections(workspace, subject, deadline)
    except OutOfTimeError:
        yield out_of_time(subject, "workspace.time")


def _examine_connections(workspace: Workspace, subject: Subject, deadline: Deadline) -> Iterator[Finding]:
    """Check with requests to Intercom and to PUBLIC_URL."""
    if workspace.access_token and workspace.access_token.is_readable:
        client = intercom_client(workspace)
        findings = []
        for finding in examine_token(workspace, client, subject, deadline):
            findings.append(finding)
            yield finding
        if overall(findings) is not Level.FAILURE:
            yield from examine_authors(workspace, client, subject, deadline)
    if workspace.client_secrets():
        yield from examine_ping(workspace, subject, deadline)


def _examine_secrets(workspace: Workspace, subject: Subject) -> Iterator[Finding]:
    for name, where, consequence in (
        ("client_secret", "Basic information", "all requests from Intercom are refused"),
        ("access_token", "Authentication", "the bridge cannot write into its conversations"),
    ):
        check = subject.check(f"workspace.{name}")
        secret, label = getattr(workspace, name), name.replace("_", " ")
        if not secret:
            yield check.failure(
                f"has no {label}: {consequence}", f"Copy it from {_DEVELOPER_HUB} ({where}) into the admin."
            )
        elif not secret.is_readable:
            yield check.failure(
                f"its {label} cannot be decrypted with FIELD_ENCRYPTION_KEYS: {consequence}",
                f"Append the key that it was encrypted with to this setting, or enter the {label} again in the admin.",
            )
        elif secret.reveal().startswith(PLACEHOLDER):
            yield check.failure(
                f"its {label} is a placeholder from the documentation ({PLACEHOLDER}…): {consequence}",
                f"Copy the real one from {_DEVELOPER_HUB} ({where}) into the admin.",
            )


def examine_token(
    workspace: Workspace, client: IntercomClient, subject: Subject, deadline: Deadline
) -> Iterator[Finding]:
    """Check the access token of a workspace, which may be unsaved."""
    began = time.monotonic()
    try:
        me = client.me(deadline=request_seconds(deadline, REQUEST_SECONDS))
    except IntercomError as error:
        yield _token_finding(subject, error)
        return
    milliseconds = (time.monotonic() - began) * 1000
    yield subject.check("workspace.access_token").ok(
        f"Intercom accepts its access token, in {milliseconds:.0f} ms"
    )
    yield from _examine_identity(workspace, me, subject)
    yield _examine_reading(workspace, client, subject, deadline)
    if workspace.pk and rules_of(workspace).updates_attributes:
        yield _examine_attributes(client, subject, deadline)


def _token_finding(subject: Subject, error: IntercomError) -> Finding:
    check = subject.check("workspace.access_token")
    if isinstance(error, IntercomAuthenticationError):
        return check.failure(
            f"Intercom refuses its access token: {error.detail}",
            f"Copy it again from {_DEVELOPER_HUB} (Authentication) into the admin, and check the region.",
        )
    if isinstance(error, IntercomRateLimitedError):
        return check.warning(
            "Intercom's rate limit is reached",
            "Try again in a minute. If that does not help, find out which other program uses the app's access token.",
        )
    if isinstance(error, IntercomUnreachableError) and (
        problem := describe_problem(error.certificate_problem)
    ):
        return check.failure(
            f"the certificate of Intercom's API is not accepted: {problem}", CERTIFICATE_TO_DO
        )
    return check.failure(
        f"its access token could not be tested: {error.detail}",
        "Check whether this machine can connect to Intercom's API, and read status.intercom.com. Messages are still "
        "written to iTop; notes in conversations wait.",
    )


def _examine_identity(workspace: Workspace, me: Me, subject: Subject) -> Iterator[Finding]:
    if me.workspace_id != workspace.workspace_id:
        yield subject.check("workspace.id").failure(
            f"its access token belongs to another workspace, {me.workspace_id}",
            f"Enter the access token of the app in {workspace.workspace_id}; a workspace's id cannot be changed here.",
        )
    else:
        yield subject.check("workspace.id").ok("its access token belongs to this workspace")
    if me.region and me.region != workspace.region:
        yield subject.check("workspace.region").warning(
            f"is in Intercom's region {me.region}, but {workspace.region} is set here: links open the wrong inbox",
            f"Set the region to {me.region} in the admin.",
        )
    if not workspace.external_id_attribute:
        return
    if me.verifies_identities:
        yield subject.check("workspace.identity").ok("Intercom verifies the identity of its contacts")
    else:
        yield subject.check("workspace.identity").failure(
            "persons are matched by the contact's external_id, which Intercom does not verify: a visitor could "
            "impersonate another person",
            "Enable identity verification in Intercom (Settings, Messenger, Security), or leave the iTop attribute for "
            "external_id empty in the admin.",
        )


def _examine_reading(
    workspace: Workspace, client: IntercomClient, subject: Subject, deadline: Deadline
) -> Finding:
    check = subject.check("workspace.permissions")
    newest = Conversation.objects.filter(workspace=workspace.pk).order_by("-pk").first()
    if newest is None:
        return check.ok("permission to read conversations can be checked once a conversation is linked")
    try:
        client.conversation(newest.conversation_id, deadline=request_seconds(deadline, REQUEST_SECONDS))
    except IntercomAuthenticationError as error:
        return check.failure(
            f"its access token may not read conversations: {error.detail}",
            f"In {_DEVELOPER_HUB} give the app the permissions to read and to write conversations.",
        )
    except IntercomRejectedError:
        # The conversation was deleted. Without the permission, Intercom would have refused the token instead.
        return check.ok("conversations may be read")
    except IntercomError as error:
        return check.warning(
            f"permission to read conversations could not be checked: {error.detail}", "Try again later."
        )
    return check.ok("conversations may be read; permission to write is known after the first note")


def _examine_attributes(client: IntercomClient, subject: Subject, deadline: Deadline) -> Finding:
    """Check the conversation attributes that the bridge keeps up to date for inbox views and workflows."""
    check = subject.check("workspace.attributes")
    try:
        existing = client.conversation_attributes(deadline=request_seconds(deadline, REQUEST_SECONDS))
    except IntercomError as error:
        return check.warning(
            f"its conversation attributes could not be listed: {error.detail}",
            f"In {_DEVELOPER_HUB} give the app the permission to read conversation attributes, or try again later.",
        )
    if missing := [f"“{name}”" for name in DESCRIPTIONS if name not in existing]:
        # Do not warn, because not every team wants these attributes.
        return check.ok(
            f"conversations have no attribute {' and '.join(missing)}; if inbox views and workflows should use the "
            "ticket's reference and status, create them in Intercom (Settings, Data, Conversations, format Text) or "
            "with manage.py create_attributes"
        )
    if doubled := [f"“{name}”" for name in DESCRIPTIONS if existing.count(name) > 1]:
        return check.warning(
            f"there are several conversation attributes named {' and '.join(doubled)}, and Intercom rejects values for "
            "a name that is not unique",
            "Archive or rename all but one of them in Intercom (Settings, Data, Conversations).",
        )
    return check.ok("conversations have the attributes for the ticket's reference and status")


def _examine_notifications(workspace: Workspace, subject: Subject) -> Iterator[Finding]:
    """Check what Intercom has sent to the webhook. Its API does not return an app's webhook address and topics."""
    received = WebhookEvent.objects.filter(workspace=workspace).exclude(
        notification_id__startswith=DOCTOR_ID_PREFIX
    )
    newest = received.order_by("-pk").first()
    if newest is not None:
        yield subject.check("workspace.webhook").ok(
            f"Intercom called the webhook, last {_age_of(newest)} ago"
        )
        if missing := workspace.missing_topics(FOLLOWED_TOPICS):
            # Do not warn, because the team may never do what a topic reports.
            yield subject.check("workspace.topics").ok(
                f"never received: {', '.join(missing)}; "
                f"{'is the topic' if len(missing) == 1 else 'are the topics'} selected in the Developer Hub?"
            )
        return
    yield subject.check("workspace.webhook").warning(
        "Intercom has not called the webhook yet",
        f"In {_DEVELOPER_HUB}, Webhooks, set the address to {webhook_address()}, and select the topics listed on "
        "the workspace's page in the admin. Then write a message in a conversation.",
    )


def _age_of(event: WebhookEvent) -> str:
    """Return the time since the event was received, in the largest unit: "2 days"."""
    seconds = max(0.0, (timezone.now() - event.received_at).total_seconds())
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a minute"
