"""E-mail the operators (ALERT_EMAILS) about problems that need a person. Each e-mail is sent once, by one worker.

The e-mails contain labels of reasons, names of iTops and workspaces, and links into the admin. They contain no text
from iTop, Intercom or a customer. If an e-mail cannot be sent, a worker tries again later.
"""

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.core import mail
from django.urls import reverse
from django.utils import timezone, translation

from intercom_bridge.models import (
    Alert,
    Delivery,
    FileToItop,
    ItopInstance,
    OutgoingMessage,
    TicketCreation,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.job import JobQuerySet
from intercom_bridge.models.outgoing_message import is_token_refused
from intercom_bridge.models.reason import ReasonCode, reason_label

log = structlog.get_logger(__name__)

CHECK_SECONDS = 60.0
DIGEST_EVERY = dt.timedelta(minutes=15)
# An iTop that is unavailable for longer is reported.
MAX_PAUSE = dt.timedelta(minutes=10)
# The e-mail about a refused token is repeated after this time.
REPEATED_AFTER = dt.timedelta(days=1)
# For e-mails that are not repeated.
NEVER_REPEATED = dt.timedelta(days=10_000)
# The largest number of rows of a kind that one digest counts. The next digest counts the rest.
MAX_ROWS = 10_000


def send_alerts() -> None:
    """Send the e-mails that are due, if ALERT_EMAILS is set."""
    if not settings.ALERT_EMAILS:
        return
    with translation.override("en"):
        _report_failures()
        _report_itops()
        _report_tokens()


@dataclass(frozen=True)
class _Failures:
    """The failed rows of one kind. `unreported` maps the primary keys for the next digest to their reason codes."""

    description: str
    rows: JobQuerySet[Any]
    unreported: dict[int, str]


def _report_failures() -> None:
    """Send a digest of the permanent failures that no digest has reported yet."""
    failed: tuple[tuple[str, JobQuerySet[Any]], ...] = (
        ("Messages not copied to a ticket", Delivery.objects.retriable()),
        ("Files not copied to a ticket, or not deleted from it", FileToItop.objects.retriable()),
        ("Webhook events not processed", WebhookEvent.objects.retriable()),
        # A rejection that the teammate has seen in the panel is not reported.
        ("Tickets not created", TicketCreation.objects.retriable().filter(rejection_seen=False)),
        ("Messages not posted to Intercom", OutgoingMessage.objects.retriable()),
    )
    kinds = []
    for description, rows in failed:
        unreported = rows.filter(announced_at=None).order_by("pk").values_list("pk", "reason_code")
        kinds.append(_Failures(description, rows, dict(unreported[:MAX_ROWS])))
    total = sum(len(kind.unreported) for kind in kinds)
    if not total or not Alert.objects.claim(Alert.Kind.FAILURES, every=DIGEST_EVERY):
        return
    lines = []
    for kind in kinds:
        for code, count in Counter(kind.unreported.values()).most_common():
            lines += [
                f"{kind.description} ({count}): {reason_label(code)}",
                f"  {_list_url(kind.rows, code)}",
                "",
            ]
    subject = f"{total} {'failure needs' if total == 1 else 'failures need'} a person"
    if _send(
        subject,
        *lines,
        "Messages, files and changes are still in Intercom or iTop. Retry or skip them in the admin.",
    ):
        for kind in kinds:
            kind.rows.filter(pk__in=list(kind.unreported)).update(announced_at=timezone.now())


def _list_url(rows: JobQuerySet[Any], code: str) -> str:
    """Return the address of the admin's list of the failed rows with this reason."""
    name, state = rows.model._meta.model_name, rows.model.FAILED_STATE
    return f"{_url(f'{name}_changelist')}?state__exact={state}&reason={code}"


def _report_itops() -> None:
    """Report each iTop that has been unavailable for ten minutes or refuses the account, and later its recovery."""
    reported = Alert.objects.filter(kind=Alert.Kind.ITOP)
    for itop in ItopInstance.objects.filter(paused_since__isnull=False):
        is_refused = itop.pause_code == ReasonCode.ITOP_LOGIN_REFUSED
        since = itop.paused_since or timezone.now()  # never None here, because of the filter
        is_short = since > timezone.now() - MAX_PAUSE
        # After an e-mail about the outage, only a refused account is worth another e-mail.
        if not is_refused and (is_short or reported.filter(about_id=itop.pk).exists()):
            continue
        _report(
            Alert.Kind.ITOP,
            itop,
            ReasonCode.ITOP_LOGIN_REFUSED if is_refused else ReasonCode.ITOP_UNAVAILABLE,
            NEVER_REPEATED,
            f"iTop “{itop.name}” " + ("refuses the bridge's account" if is_refused else "is not available"),
            f"Nothing has been written to this iTop since {since:%Y-%m-%d %H:%M} UTC: {reason_label(itop.pause_code)}",
            "No message is lost: messages wait, and are written when the problem is solved.",
            f"Test connection: {_url('itopinstance_test', itop.pk)}",
        )
    available = ItopInstance.objects.filter(paused_since=None)
    for alert in reported.filter(about_id__in=available.values("pk")):
        _report_recovery(alert)


def _report_recovery(alert: Alert) -> None:
    """Delete the alert about an iTop and send an e-mail that it works again. Restore the alert if this fails."""
    # Several workers may try: the one that deletes the alert sends the e-mail.
    deleted_count, _ = Alert.objects.filter(pk=alert.pk, sent_at=alert.sent_at).delete()
    if not deleted_count:
        return
    name = ItopInstance.objects.values_list("name", flat=True).filter(pk=alert.about_id).first()
    if not _send(f"iTop “{name}” works again", "The waiting messages are being written."):
        defaults = {"code": alert.code, "sent_at": alert.sent_at}
        Alert.objects.get_or_create(kind=alert.kind, about_id=alert.about_id, defaults=defaults)


def _report_tokens() -> None:
    """Report each workspace whose access token Intercom refuses, once a day."""
    for workspace in Workspace.objects.filter(is_token_refused(), enabled=True):
        _report(
            Alert.Kind.WORKSPACE,
            workspace,
            ReasonCode.INTERCOM_TOKEN_REFUSED,
            REPEATED_AFTER,
            f"Intercom refuses the access token of {workspace}",
            "Notes and messages to customers wait, and conversations are not compared with Intercom. Messages are "
            "still written to iTop.",
            "Enter a valid access token on the workspace's page, and check its permissions.",
            f"Test connection: {_url('workspace_test', workspace.pk)}",
        )


def _report(
    kind: str, row: ItopInstance | Workspace, code: str, every: dt.timedelta, subject: str, *lines: str
) -> None:
    """Send an e-mail about the row, unless one with this code was sent less than `every` ago."""
    earlier = Alert.objects.filter(kind=kind, about_id=row.pk).first()
    # Several workers may try: the one that can claim the alert sends the e-mail.
    claimed_at = Alert.objects.claim(kind, row.pk, code=code, every=every)
    if claimed_at is not None and not _send(subject, *lines):
        Alert.objects.release(kind, row.pk, claimed_at, earlier)


def _send(subject: str, *lines: str) -> bool:
    """Send an e-mail and return whether the mail server accepted it. Errors are logged, not raised."""
    footer = ("", "--", f"Intercom-iTop bridge, {settings.PUBLIC_URL}")
    try:
        mail.send_mail(
            f"[Intercom-iTop bridge] {' '.join(subject.split())}",
            "\n".join((*lines, *footer)),
            None,
            settings.ALERT_EMAILS,
        )
    except Exception as error:  # noqa: BLE001 - any error of the mail server, the network or the backend
        # The error's text is not logged, because it may quote addresses.
        log.error("alert.not_sent", error=type(error).__name__)
        return False
    log.info("alert.sent", recipients=len(settings.ALERT_EMAILS))
    return True


def _url(page: str, *arguments: int) -> str:
    return f"{settings.PUBLIC_URL}{reverse(f'admin:intercom_bridge_{page}', args=arguments)}"
