"""A workspace of Intercom's: whether its secrets are there and good, and whether Intercom calls us."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.api import (
    IntercomClient,
    IntercomError,
    IntercomRateLimited,
    IntercomRefused,
    IntercomTokenRefused,
    IntercomUnreachable,
    Me,
)
from intercom_bridge.models import Conversation, Notification, Workspace
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.models.notification import DOCTORS
from intercom_bridge.models.workspace import PLACEHOLDER

from .certificate import WHAT_TO_DO, what_is_wrong
from .finding import Finding, Subject
from .ping import examine_ping, webhook_address

QUESTION_SECONDS = 8.0
_DEVELOPER_HUB = "Intercom's Developer Hub"


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Everything about one workspace but its iTop."""
    subject = Subject(f"Workspace {workspace}")
    if not workspace.enabled:
        yield subject.warning(
            "workspace.enabled",
            "is turned off: its messages are skipped, and the panel says so",
            "Turn it on in the admin, if that is not on purpose.",
        )
    yield from _examine_secrets(workspace, subject)
    try:
        client = intercom_client(workspace)
        has_token = bool(workspace.access_token.reveal())
    except (SecretUnreadable, ImproperlyConfigured):
        has_token = False
    if has_token:
        yield from _examine_token(workspace, client, subject)
    yield from _examine_calls(workspace, subject)
    if workspace.client_secrets():
        yield from examine_ping(workspace, subject)


def _examine_secrets(workspace: Workspace, subject: Subject) -> Iterator[Finding]:
    for name, where, consequence in (
        ("client_secret", "Basic information", "everything that Intercom sends is refused"),
        ("access_token", "Authentication", "nothing can be written into its conversations"),
    ):
        secret, label = getattr(workspace, name), name.replace("_", " ")
        if not secret:
            yield subject.failure(
                f"workspace.{name}",
                f"has no {label}: {consequence}",
                f"Copy it from {_DEVELOPER_HUB} ({where}) into the admin.",
            )
        elif not secret.is_readable:
            yield subject.failure(
                f"workspace.{name}",
                f"its {label} cannot be read with FIELD_ENCRYPTION_KEYS: {consequence}",
                "Put the key it was stored under back at the end of the list, or enter it again in the admin.",
            )
        elif secret.reveal().startswith(PLACEHOLDER):
            yield subject.failure(
                f"workspace.{name}",
                f"its {label} is a placeholder of the documentation ({PLACEHOLDER}...): {consequence}",
                f"Copy the real one from {_DEVELOPER_HUB} ({where}) into the admin.",
            )


def _examine_token(workspace: Workspace, client: IntercomClient, subject: Subject) -> Iterator[Finding]:
    began = time.monotonic()
    try:
        me = client.me(deadline=QUESTION_SECONDS)
    except IntercomError as error:
        yield _refused_token(subject, error)
        return
    milliseconds = (time.monotonic() - began) * 1000
    yield subject.ok("workspace.access_token", f"Intercom accepts its access token, in {milliseconds:.0f} ms")
    yield from _examine_identity(workspace, me, subject)
    yield _examine_reading(workspace, client, subject)


def _refused_token(subject: Subject, error: IntercomError) -> Finding:
    about = "workspace.access_token"
    if isinstance(error, IntercomTokenRefused):
        return subject.failure(
            about,
            f"Intercom refuses its access token: {error}",
            f"Copy it anew from {_DEVELOPER_HUB} (Authentication) into the admin, and see that its region is right.",
        )
    if isinstance(error, IntercomRateLimited):
        return subject.warning(
            about,
            "Intercom takes no more calls for now: there were too many",
            "Ask again in a minute. If it stays so, look which other program uses the same app's access token.",
        )
    if isinstance(error, IntercomUnreachable) and (wrong := what_is_wrong(str(error))):
        return subject.failure(about, f"Intercom's API cannot be trusted from here: {wrong}", WHAT_TO_DO)
    return subject.failure(
        about,
        f"its access token could not be tried: {error}",
        "See whether this machine may open https connections to Intercom's API, and status.intercom.com. Messages to "
        "iTop do not need it; notes in conversations wait.",
    )


def _examine_identity(workspace: Workspace, me: Me, subject: Subject) -> Iterator[Finding]:
    if me.workspace_id != workspace.workspace_id:
        yield subject.failure(
            "workspace.id",
            f"its access token is of another workspace, {me.workspace_id}",
            f"Enter the access token of the app in {workspace.workspace_id}; a workspace's id cannot be changed here.",
        )
    else:
        yield subject.ok("workspace.id", "its access token is its own")
    if me.region and me.region != workspace.region:
        yield subject.warning(
            "workspace.region",
            f"is in Intercom's region {me.region}, and {workspace.region} is set here: links lead to the wrong Inbox",
            f"Set the region to {me.region} in the admin.",
        )
    if not workspace.external_id_attribute:
        return
    if me.verifies_identities:
        yield subject.ok("workspace.identity", "Intercom verifies the identity of its contacts")
    else:
        yield subject.failure(
            "workspace.identity",
            "persons are found by the contact's external id, and Intercom does not verify it: a visitor can claim "
            "any, and is taken for somebody else",
            "Turn identity verification on in Intercom (Settings, Messenger, Security), or leave “what the external "
            "id is in iTop” empty in the admin.",
        )


def _examine_reading(workspace: Workspace, client: IntercomClient, subject: Subject) -> Finding:
    about = "workspace.permissions"
    newest = Conversation.objects.filter(workspace=workspace).order_by("-pk").first()
    if newest is None:
        return subject.ok(
            about, "whether conversations may be read is not known before the first one is linked"
        )
    try:
        client.conversation(newest.conversation_id, deadline=QUESTION_SECONDS)
    except IntercomTokenRefused as error:
        return subject.failure(
            about,
            f"its access token may not read conversations: {error}",
            f"In {_DEVELOPER_HUB} give the app the permissions to read and to write conversations.",
        )
    except IntercomRefused:
        # One that was deleted: that it is not there was said to somebody who may read.
        return subject.ok(about, "conversations may be read")
    except IntercomError as error:
        return subject.warning(
            about, f"whether conversations may be read could not be seen: {error}", "Ask again in a while."
        )
    return subject.ok(
        about, "conversations may be read; whether they may be written to is seen with the first note only"
    )


def _examine_calls(workspace: Workspace, subject: Subject) -> Iterator[Finding]:
    """Which addresses an app calls, and of which topics, no program can read: only what has come tells."""
    came = Notification.objects.filter(workspace=workspace).exclude(notification_id__startswith=DOCTORS)
    newest = came.order_by("-pk").first()
    if newest is not None:
        yield subject.ok("workspace.webhook", f"Intercom has called the webhook, last {_ago(newest)} ago")
        return
    yield subject.warning(
        "workspace.webhook",
        "Intercom has not called the webhook yet",
        f"In {_DEVELOPER_HUB}, Webhooks, the address has to be {webhook_address()}, and the three topics of the "
        "workspace's page in the admin have to be ticked. Then write in a conversation.",
    )


def _ago(notification: Notification) -> str:
    seconds = max(0.0, (timezone.now() - notification.received_at).total_seconds())
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a minute"
