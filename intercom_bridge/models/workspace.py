from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import DatabaseError, models
from django.utils import timezone

from itop_client import OqlError, parse

from .encryption import Secret, SecretField, SecretUnreadable
from .itop_instance import ITOP, ItopInstance, validate_time_zone
from .ticket_profile import TicketProfile

log = structlog.get_logger(__name__)

LANGUAGES = [("en", "English"), ("fr", "Français"), ("de", "Deutsch"), ("es", "Español")]
PLACEHOLDER = "PUT_YOUR_"
SIGNING = frozenset(("client_secret", "previous_client_secret"))
NOTED_EVERY = dt.timedelta(minutes=1)
# As of KEEP_PAYLOADS_DAYS: so many days ago there was a date.
MOST_DAYS = 99_999


def validate_scope(text: str) -> None:
    try:
        query = parse(text)
    except OqlError as error:
        raise ValidationError(f"This is not an OQL query that iTop understands: {error}") from error
    strange = sorted(
        name
        for name in query.placeholders
        if name != "current_contact_id" and not name.startswith("current_contact->")
    )
    if strange:
        raise ValidationError(
            f"Only :current_contact_id and :current_contact->attribute can be filled in, not :{strange[0]}."
        )


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def for_signed_request(self, workspace_id: str) -> Workspace | None:
        """The workspace whose secrets a request that names it must be signed with; also a disabled one."""
        return self.select_related("itop", "profile").filter(workspace_id=workspace_id).first()


class Workspace(models.Model):
    """An Intercom workspace that we serve: what signs its requests, which iTop it works on, for whom."""

    class Region(models.TextChoices):
        US = "US", "United States"
        EU = "EU", "European Union"
        AU = "AU", "Australia"

    workspace_id = models.CharField(
        "workspace ID",
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(r"^[A-Za-z0-9_-]+$", "Letters, digits, - and _ only, as Intercom shows it.")
        ],
        help_text="In Intercom: Settings, Workspace, General. Eight letters and digits.",
    )
    name = models.CharField(max_length=100, blank=True)
    enabled = models.BooleanField(
        default=True,
        help_text="Off: the panel says so, and nothing is written. What comes meanwhile is looked for in Intercom once "
        "it is on again.",
    )
    region = models.CharField(max_length=2, choices=Region.choices, default=Region.US)
    scope = models.TextField(
        default="SELECT Organization",
        validators=[validate_scope],
        help_text="OQL: which people of iTop this workspace serves. A query on Organization means the people of those "
        "organizations; on Person those people; on User the people with such an account.",
    )
    client_secret = SecretField(
        help_text="Checks that what comes in is from Intercom (Basic information, Client secret)."
    )
    previous_client_secret = SecretField(
        "previous client secret",
        help_text="Still accepted beside the new one while you rotate, until the date below.",
    )
    previous_client_secret_until = models.DateTimeField("previous secret valid until", null=True, blank=True)
    # When Intercom last signed with the one, and with the other: then a rotation is over.
    client_secret_used_at = models.DateTimeField("last used", null=True, editable=False)
    previous_client_secret_used_at = models.DateTimeField(
        "previous secret last used", null=True, editable=False
    )
    access_token = SecretField(help_text="Lets us write into conversations (Authentication, Access token).")
    itop = models.ForeignKey(ItopInstance, models.PROTECT, verbose_name=ITOP, related_name="workspaces")
    profile = models.ForeignKey(
        TicketProfile, models.PROTECT, verbose_name="ticket profile", related_name="workspaces"
    )
    external_id_attribute = models.CharField(
        "what the external id is in iTop",
        max_length=100,
        blank=True,
        validators=[
            RegexValidator(
                r"\A[A-Za-z_][A-Za-z0-9_]*\Z", "The code of an attribute in iTop, like employee_number."
            )
        ],
        help_text="Only if the external_id that your software gives to Intercom's contacts also stands in iTop: the "
        "code of the Person attribute that holds it, for example employee_number, or id for iTop's own number. "
        "They are then found by it before their e-mail address. Have identity verification on in Intercom: without "
        "it a visitor can claim any external id. Empty: it is not looked at.",
    )
    language = models.CharField(max_length=5, choices=LANGUAGES, default="en")
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_time_zone],
        help_text="Dates on the panel are shown in it.",
    )
    keep_payloads_days = models.PositiveIntegerField(
        "days that contents are kept",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_DAYS)],
        help_text="How many days the texts of what was handled are kept here. Empty: as KEEP_PAYLOADS_DAYS says.",
    )
    keep_failed_payloads_days = models.PositiveIntegerField(
        "days that contents of what failed are kept",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_DAYS)],
        help_text="So long what failed can be tried again. Empty: as KEEP_FAILED_PAYLOADS_DAYS says.",
    )
    # The code Intercom gives to what our app posts; learned from the answer to our first post.
    app_package_code = models.CharField(max_length=100, blank=True, editable=False)
    imported = models.JSONField(default=dict, blank=True, editable=False)

    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        ordering = ["workspace_id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.workspace_id})" if self.name else self.workspace_id

    def clean(self) -> None:
        for label, secret in (("Client secret", self.client_secret), ("Access token", self.access_token)):
            if isinstance(secret, Secret) and secret.is_readable and secret.reveal().startswith(PLACEHOLDER):
                raise ValidationError(f"{label}: this is the placeholder of the documentation, not a secret.")

    @property
    def zone(self) -> dt.tzinfo:
        return zoneinfo.ZoneInfo(self.time_zone)

    def client_secrets(self) -> dict[str, str]:
        """The secrets that a signature may have been made with now, by their columns; {} when none is readable."""
        columns = ["client_secret"]
        if self.previous_client_secret_until and self.previous_client_secret_until > timezone.now():
            columns.append("previous_client_secret")
        plain = {}
        for column in columns:
            try:
                plain[column] = getattr(self, column).reveal()
            except SecretUnreadable:
                continue
        return {column: secret for column, secret in plain.items() if secret}

    def note_use(self, column: str) -> None:
        """Keeps that a request was signed with the secret in this column; to the minute, to write but seldom."""
        used_at = f"{column}_used_at"
        last, now = getattr(self, used_at), timezone.now()
        if last is not None and now - last < NOTED_EVERY:
            return
        setattr(self, used_at, now)
        # Another secret may have been entered meanwhile: that one was not used.
        still = type(self).objects.filter(pk=self.pk, **{column: getattr(self, column)})
        try:
            still.update(**{used_at: now})
        except DatabaseError as error:
            # A database that takes no writes can still show a panel.
            log.warning("workspace.use_not_noted", workspace=self.workspace_id, error=type(error).__name__)

    def forget_use(self, columns: Iterable[str]) -> list[str]:
        """Other secrets stand in these columns now, and were not used yet. Answers the fields to be saved."""
        used_at = [f"{column}_used_at" for column in SIGNING.intersection(columns)]
        for name in used_at:
            setattr(self, name, None)
        return used_at

    @property
    def intercom_api_url(self) -> str:
        """ "" for the region's own host."""
        return str(settings.INTERCOM_API_URL)
