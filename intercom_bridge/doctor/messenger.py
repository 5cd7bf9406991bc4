"""Check the Messenger in iTop's pages: its secret, the attributes that it sends, and whether iTop asks for it."""

import datetime as dt
from collections.abc import Iterator

from django.utils import timezone

from intercom_bridge.models import Messenger, MessengerKey
from intercom_bridge.models.encryption import SecretDecryptionError
from itop_client import ItopPermissionError, ItopRejectedError

from .finding import Finding, Subject
from .probe import Probe

# A key of HMAC with SHA-256 has at least the size of the hash: https://www.rfc-editor.org/rfc/rfc7518#section-3.2
MIN_SECRET_BYTES = 32
# On a weekend or a holiday perhaps nobody opens iTop's pages, so a few days without a request are normal.
ASKED_WITHIN = dt.timedelta(days=7)


def examine_messengers(probe: Probe) -> Iterator[Finding]:
    """Check the enabled Messengers of the probe's workspaces. Raise ItopError when iTop stops responding."""
    workspaces = [workspace.pk for workspace in probe.workspaces]
    messengers = Messenger.objects.filter(enabled=True, workspace__in=workspaces).select_related("workspace")
    for messenger in messengers:
        subject = Subject(f"Workspace {messenger.workspace}")
        yield _examine_secret(messenger, subject)
        if messenger.person_attributes:
            yield _examine_attributes(probe, messenger, subject)
    if messengers:
        yield _examine_extension(probe)


def _examine_secret(messenger: Messenger, subject: Subject) -> Finding:
    check = subject.check("messenger.secret")
    try:
        secret = messenger.signing_secret()
    except SecretDecryptionError as error:
        return check.failure(str(error), "Enter the Messenger API secret again.")
    if len(secret.encode()) < MIN_SECRET_BYTES:
        return check.warning(
            "its Messenger API secret is too short to be one of Intercom's",
            "Copy it again from Intercom: Settings, Channels, Messenger, Security.",
        )
    return check.ok("its Messenger API secret signs identities")


def _examine_attributes(probe: Probe, messenger: Messenger, subject: Subject) -> Finding:
    check = subject.check("messenger.attributes")
    codes = sorted(set(messenger.person_attributes.values()))
    try:
        probe.try_reading("Person", ("id", *codes))
    except (ItopRejectedError, ItopPermissionError) as error:
        return check.failure(
            f"iTop does not return the attributes that the Messenger sends: {error}",
            "Correct the Messenger's attributes in the admin. Until then, the Messenger works without them.",
        )
    return check.ok(f"iTop has the attributes that the Messenger sends: {', '.join(codes)}")


def _examine_extension(probe: Probe) -> Finding:
    check = probe.subject.check("messenger.extension")
    # The installed extension contains one of these keys and sends it with each request.
    keys = MessengerKey.objects.valid().filter(itop=probe.itop)
    last_asked_at = max((key.last_used_at for key in keys if key.last_used_at), default=None)
    if last_asked_at is None or timezone.now() - last_asked_at > ASKED_WITHIN:
        asked = "has never asked" if last_asked_at is None else f"last asked on {last_asked_at:%Y-%m-%d}"
        return check.warning(
            f"{asked} which Messenger to show, so its pages show none",
            "Install the extension that can be downloaded on the Messenger's page in the admin, and look for "
            "“Intercom Messenger” in iTop's error log.",
        )
    return check.ok(f"last asked which Messenger to show at {last_asked_at:%Y-%m-%d %H:%M} UTC")
