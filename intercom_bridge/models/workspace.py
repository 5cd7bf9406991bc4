from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import DatabaseError, models, transaction
from django.utils import timezone

from itop_client import OqlError, parse

from .encryption import Secret, SecretDecryptionError, SecretField
from .itop_instance import ITOP, ItopInstance, validate_time_zone
from .ticket_profile import TicketProfile

log = structlog.get_logger(__name__)

LANGUAGES = [("en", "English"), ("fr", "Français"), ("de", "Deutsch"), ("es", "Español")]
# Placeholders for secrets in the documentation begin with this.
PLACEHOLDER = "PUT_YOUR_"
CLIENT_SECRETS = frozenset(("client_secret", "previous_client_secret"))
# The use of a secret, or the arrival of a topic, is stored again only after this time, to save writes.
NOTED_EVERY = dt.timedelta(minutes=1)
TOPIC_NOTED_EVERY_SECONDS = 3600
# If a topic was not received in a week of notifications, the app is perhaps not subscribed to it.
TOPIC_EXPECTED_SECONDS = 7 * 86_400
# The setting KEEP_PAYLOADS_DAYS has this maximum, too. Python cannot represent dates before the year 1.
MAX_DAYS = 99_999
# Intercom accepts files of up to 100 MB.
MAX_FILE_MB = 100
MAX_TICKET_FILES_MB = 10_000
# Programs and scripts that Windows executes when somebody opens the file.
FORBIDDEN_FILE_TYPES = "bat cmd com cpl dll exe hta jar js jse lnk msi pif ps1 reg scr vbe vbs wsf"


def validate_scope(text: str) -> None:
    try:
        query = parse(text)
    except OqlError as error:
        raise ValidationError(f"This is not an OQL query that iTop understands: {error}") from error
    unsupported = sorted(
        name
        for name in query.placeholders
        if name != "current_contact_id" and not name.startswith("current_contact->")
    )
    if unsupported:
        raise ValidationError(
            "The bridge can fill in only :current_contact_id and :current_contact->attribute, "
            f"not :{unsupported[0]}."
        )


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def with_secrets(self, workspace_id: str) -> Workspace | None:
        """Return the workspace with this id, or None. Only the columns of its client secrets are loaded."""
        columns = ("client_secret", "previous_client_secret", "previous_client_secret_until")
        return self.only(*columns).filter(workspace_id=workspace_id).first()

    def for_signed_request(self, workspace_id: str) -> Workspace | None:
        """Return the workspace with this id, or None. A disabled workspace is returned, too."""
        return self.select_related("itop", "profile").filter(workspace_id=workspace_id).first()


class Workspace(models.Model):
    """An Intercom workspace: its secrets, its iTop, and the people whom it serves."""

    class Region(models.TextChoices):
        US = "US", "United States"
        EU = "EU", "European Union"
        AU = "AU", "Australia"

    class Verification(models.TextChoices):
        """Which contacts count as verified. The panel marks all others as "Not verified"."""

        USERS = "users", "Signed in to iTop, or an Intercom user (not a lead) with the person's name"
        ITOP = "itop", "Signed in to iTop only"

    workspace_id = models.CharField(
        "workspace ID",
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(r"^[A-Za-z0-9_-]+$", "Letters, digits, - and _ only, as Intercom shows it.")
        ],
        help_text="Eight letters and digits, in Intercom under Settings, Workspace, General.",
    )
    name = models.CharField(max_length=100, blank=True)
    enabled = models.BooleanField(
        default=True,
        help_text="While a workspace is disabled, its panel says so and the bridge writes nothing. When you enable it "
        "again, the bridge fetches the messages that it missed.",
    )
    region = models.CharField(max_length=2, choices=Region.choices, default=Region.US)
    scope = models.TextField(
        default="SELECT Organization",
        validators=[validate_scope],
        help_text="An OQL query for the people whom this workspace serves. A query on Organization serves the people "
        "in these organizations, one on Person serves these people, and one on User the people with these accounts.",
    )
    client_secret = SecretField(
        help_text="Proves that requests come from Intercom. Copy it from Basic information in the Developer Hub."
    )
    previous_client_secret = SecretField(
        "previous client secret",
        help_text="During a rotation, the bridge accepts this secret besides the new one, until the date below.",
    )
    previous_client_secret_until = models.DateTimeField("previous secret valid until", null=True, blank=True)
    # When Intercom last signed with each secret. This shows whether a rotation is complete.
    client_secret_used_at = models.DateTimeField("last used", null=True, editable=False)
    previous_client_secret_used_at = models.DateTimeField(
        "previous secret last used", null=True, editable=False
    )
    access_token = SecretField(
        help_text="Allows the bridge to read conversations and to post in them. Copy it from Authentication in the "
        "Developer Hub."
    )
    itop = models.ForeignKey(ItopInstance, models.PROTECT, verbose_name=ITOP, related_name="workspaces")
    profile = models.ForeignKey(
        TicketProfile, models.PROTECT, verbose_name="ticket profile", related_name="workspaces"
    )
    # Whether the profile's class in this iTop has the PHP extension's attributes; null until a response shows this.
    has_extension_attributes = models.BooleanField(null=True, editable=False)
    external_id_attribute = models.CharField(
        "iTop attribute for external_id",
        max_length=100,
        blank=True,
        validators=[
            RegexValidator(
                r"\A[A-Za-z_][A-Za-z0-9_]*\Z", "The code of an attribute in iTop, like employee_number."
            )
        ],
        help_text="Use this only if your software sets the external_id of Intercom's contacts to a value that iTop "
        "also has. Enter the code of the Person attribute with this value, for example employee_number, or id for "
        "the ID in iTop. The external_id takes precedence over the e-mail address. Enable identity verification in "
        "Intercom, because otherwise a visitor can claim any external_id. If empty, the bridge ignores external_id.",
    )
    default_caller_id = models.PositiveBigIntegerField(
        "caller for unknown customers",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="The ID of an iTop Person in the scope. This person is the caller of tickets for customers whom "
        "iTop does not know; their descriptions begin with the customer's name. If empty, a teammate has to find or "
        "create the customer in iTop before creating a ticket.",
    )
    verification = models.CharField(
        "verified contacts",
        max_length=8,
        choices=Verification.choices,
        default=Verification.USERS,
        help_text="The panel marks all other contacts as “Not verified”. Only the Messenger of the iTop extension "
        "proves that somebody is signed in to iTop.",
    )
    language = models.CharField(max_length=5, choices=LANGUAGES, default="en")
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_time_zone],
        help_text="The time zone of dates in the panel.",
    )
    announce_tickets = models.BooleanField(
        "tell customers about new tickets",
        default=True,
        help_text="When a ticket is created, the customer gets a message in the teammate's name, with a link if the "
        "customer has a portal account. In the create form, the teammate can turn off the message.",
    )
    announce_failures = models.BooleanField(
        "tell teammates about failures",
        default=True,
        help_text="When a message or a new ticket has failed and will not be retried automatically, a note in the "
        "conversation says why, and what to do. Each ticket gets at most one note per reason.",
    )
    copies_files = models.BooleanField(
        "copy files to iTop",
        default=True,
        help_text="Files in messages, and pictures in their text, become attachments of the linked tickets.",
    )
    copies_files_of_notes = models.BooleanField(
        "copy files of internal notes, too",
        default=False,
        help_text="iTop has no private attachments: customers see all files of their tickets in iTop's portal. A "
        "picture in the text of a note is shown in the private log in any case, if pictures are shown there.",
    )
    max_file_mb = models.PositiveIntegerField(
        "largest file in MB",
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_FILE_MB)],
        help_text="Larger files are only named in the ticket. iTop's web server, PHP and database have limits, too: "
        "“Test connection” uploads a file of this size, and names the limit that is too low.",
    )
    max_ticket_files_mb = models.PositiveIntegerField(
        "all files of a ticket in MB",
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TICKET_FILES_MB)],
        help_text="This limits the files that the bridge copies. Files that people add in iTop are not counted. iTop "
        "reads all files of a ticket whenever the ticket changes: with 235 MB, adding an entry took eleven seconds. "
        "With PHP's default memory_limit (128 MB), iTop cannot change a ticket with more than about 100 MB.",
    )
    forbidden_file_types = models.TextField(
        "file types that are not copied",
        blank=True,
        default=FORBIDDEN_FILE_TYPES,
        help_text="Enter file extensions, separated by spaces or commas. The bridge does not copy such files in either "
        "direction. It also recognises their content if a file has another extension.",
    )
    file_hosts = models.TextField(
        "additional hosts of files",
        blank=True,
        help_text="The bridge downloads files only from the hosts of Intercom's region and from these hosts. Enter one "
        "host name per line. *.example.com stands for all subdomains of example.com.",
    )
    shows_pictures_in_log = models.BooleanField(
        "show pictures in the log",
        default=True,
        help_text="This works only if the bridge's account in iTop is an Administrator. Otherwise, or if a picture "
        "cannot be copied at once, the log contains a link to the picture.",
    )
    deletes_redacted_files = models.BooleanField(
        "delete files of redacted messages",
        default=True,
        help_text="When a message is redacted in Intercom, the bridge deletes the copies of its files in iTop.",
    )
    keep_payloads_days = models.PositiveIntegerField(
        "days to keep messages",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_DAYS)],
        help_text="How long the bridge keeps the texts of messages. If empty, the setting KEEP_PAYLOADS_DAYS applies.",
    )
    keep_failed_payloads_days = models.PositiveIntegerField(
        "days to keep failed messages",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_DAYS)],
        help_text="How long failed messages can be retried. If empty, the setting KEEP_FAILED_PAYLOADS_DAYS applies.",
    )
    # How Intercom marks the parts that our app has posted. Stored from the response to our first post.
    app_package_code = models.CharField(max_length=100, blank=True, editable=False)
    # When each webhook topic was first and last received, in Unix seconds: topic -> [first, last].
    topics_received = models.JSONField(default=dict, db_default={}, blank=True, editable=False)
    # Values that an import set and the admin has not changed: attribute -> value (config_import).
    imported = models.JSONField(default=dict, blank=True, editable=False)

    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        ordering = ["workspace_id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.workspace_id})" if self.name else self.workspace_id

    def clean(self) -> None:
        for label, secret in (("Client secret", self.client_secret), ("Access token", self.access_token)):
            if isinstance(secret, Secret) and secret.is_readable and secret.reveal().startswith(PLACEHOLDER):
                raise ValidationError(f"{label}: this is a placeholder from the documentation, not a secret.")

    @property
    def zone(self) -> dt.tzinfo:
        return zoneinfo.ZoneInfo(self.time_zone)

    @property
    def max_file_bytes(self) -> int:
        return self.max_file_mb * 1_000_000

    def client_secrets(self) -> dict[str, str]:
        """Return the secrets that Intercom may sign with now, by column. Skip empty and undecryptable secrets."""
        columns = ["client_secret"]
        if self.previous_client_secret_until and self.previous_client_secret_until > timezone.now():
            columns.append("previous_client_secret")
        secrets = {}
        for column in columns:
            try:
                secret = getattr(self, column).reveal()
            except SecretDecryptionError:
                continue
            if secret:
                secrets[column] = secret
        return secrets

    def note_use(self, column: str) -> None:
        """Store that a request was signed with the secret in this column. At most one write per minute."""
        used_at_column = f"{column}_used_at"
        last_used_at, now = getattr(self, used_at_column), timezone.now()
        if last_used_at is not None and now - last_used_at < NOTED_EVERY:
            return
        setattr(self, used_at_column, now)
        # Update nothing if an admin has replaced the secret since this row was read: the new secret was not used.
        unchanged = type(self).objects.filter(pk=self.pk, **{column: getattr(self, column)})
        try:
            unchanged.update(**{used_at_column: now})
        except DatabaseError as error:
            # The request can still be answered if the database is read-only.
            log.warning("workspace.use_not_noted", workspace=self.workspace_id, error=type(error).__name__)

    def note_topic(self, topic: str) -> None:
        """Store that a notification with this topic was received. At most one write per topic and hour."""
        now = int(timezone.now().timestamp())
        # For a topic that was never received, 0 makes `last` old enough to be replaced.
        _first, last = self.topics_received.get(topic, (now, 0))
        if now - last < TOPIC_NOTED_EVERY_SECONDS:
            return
        try:
            with transaction.atomic():
                # The lock keeps another process from storing another topic before this one has saved.
                locked = type(self).objects.select_for_update()
                self.refresh_from_db(fields=["topics_received"], from_queryset=locked)
                first, _last = self.topics_received.get(topic, (now, 0))
                self.topics_received = {**self.topics_received, topic: [first, now]}
                self.save(update_fields=["topics_received"])
        except DatabaseError as error:
            # The notification itself is already stored, so the webhook can be answered.
            log.warning("workspace.topic_not_noted", workspace=self.workspace_id, error=type(error).__name__)

    def missing_topics(self, topics: Iterable[str]) -> list[str]:
        """Return the topics that were never received, although others have been received for at least a week.

        The app is perhaps not subscribed to them. Intercom's API does not return the topics of a subscription.
        """
        if not self.topics_received:
            return []
        earliest = min(first for first, _last in self.topics_received.values())
        latest = max(last for _first, last in self.topics_received.values())
        if latest - earliest < TOPIC_EXPECTED_SECONDS:
            return []
        return [topic for topic in topics if topic not in self.topics_received]

    def learn_attributes(self, *, exist: bool) -> None:
        """Store whether the profile's class in this iTop has the PHP extension's attributes."""
        self.has_extension_attributes = exist
        self.save(update_fields=["has_extension_attributes"])

    def reset_outdated(self, changed_columns: Iterable[str]) -> list[str]:
        """Clear the fields that no longer apply after a change of these columns. Return the names of fields to save.

        A worker will find out `has_extension_attributes` again.
        """
        changed_columns = set(changed_columns)
        outdated = [f"{column}_used_at" for column in CLIENT_SECRETS & changed_columns]
        if {"itop", "profile"} & changed_columns:
            outdated.append("has_extension_attributes")
        for name in outdated:
            setattr(self, name, None)
        return outdated

    @property
    def intercom_api_url(self) -> str:
        """Return the URL to use instead of the region's API host, or "" to use the region's host."""
        return str(settings.INTERCOM_API_URL)
