from __future__ import annotations

import datetime as dt
import zoneinfo

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from .encryption import SecretField

# A word joiner, which nobody sees, before it: Django's admin capitalizes what comes first, and “ITop” is no name.
ITOP = "\u2060iTop"


def validate_time_zone(name: str) -> None:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValidationError(f"“{name}” is not a time zone. Write it like Europe/Paris.") from error


def base_address(url: str) -> str:
    """An iTop's address as its row keeps it: of a page's address what all its pages have in common."""
    url = url.rstrip("/")
    for page in ("/webservices/rest.php", "/pages/UI.php", "/index.php"):
        url = url.removesuffix(page).rstrip("/")
    return url


class ItopInstance(models.Model):
    """An iTop: where it is, the account we use there, and what it can do (learned, not asked)."""

    name = models.CharField(max_length=100, unique=True, help_text="How people here call this iTop.")
    url = models.URLField(
        "address",
        max_length=255,
        help_text="The address people open iTop at, for example https://itop.example.com/itop",
    )
    token = SecretField("account token", help_text="The token of the token-based account (ITOP_USER_TOKEN).")
    user = models.CharField("account", max_length=100, blank=True, help_text="Only without a token.")
    password = SecretField("password", help_text="Only without a token.")
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_time_zone],
        help_text="The time zone of the iTop server: iTop's dates carry none.",
    )
    portal_url = models.URLField(
        "portal address",
        max_length=255,
        blank=True,
        help_text="For the link customers get: {class} and {id} are filled in. Empty: iTop's standard portal.",
    )
    # Learned from iTop's answers; null until then.
    has_intercom_attributes = models.BooleanField(null=True, editable=False)
    is_administrator = models.BooleanField(null=True, editable=False)
    # Whether it keeps a change for each write to a log, by the log's code: then a write's marker can be found.
    tracked_logs = models.JSONField(default=dict, blank=True, editable=False)
    # While it is in trouble nothing is written but one probe at a time. Rule: no message fails for it.
    paused_until = models.DateTimeField(null=True, blank=True, editable=False)
    paused_since = models.DateTimeField(null=True, blank=True, editable=False)
    pause_reason = models.CharField(max_length=500, blank=True, editable=False)
    failures_in_a_row = models.PositiveIntegerField(default=0, editable=False)
    last_success_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What the admin did not set but an import did: attribute -> value as imported (config_import.py).
    imported = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        verbose_name = ITOP
        verbose_name_plural = f"{ITOP}s"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.url = base_address(self.url)
        if not self.token and not (self.user and self.password):
            raise ValidationError("Give the account's token, or its name and password.")

    def learn(self, **facts: bool) -> None:
        """Keeps what an answer of iTop told us about it."""
        for name, value in facts.items():
            setattr(self, name, value)
        self.save(update_fields=list(facts))

    def probe_now(self) -> bool:
        """Lets the next write go out as a probe, whatever the pause said; False when there is no pause."""
        paused = type(self).objects.filter(pk=self.pk, paused_until__isnull=False)
        return bool(paused.update(paused_until=timezone.now()))

    def forget(self) -> list[str]:
        """Another address or account is another iTop: what was learned of the old one, and its pause, do not hold.

        Answers the fields to be saved.
        """
        self.has_intercom_attributes = self.is_administrator = None
        self.tracked_logs = {}
        self.paused_until = self.paused_since = self.last_success_at = None
        self.pause_reason, self.failures_in_a_row = "", 0
        return [
            "has_intercom_attributes",
            "is_administrator",
            "tracked_logs",
            "paused_until",
            "paused_since",
            "last_success_at",
            "pause_reason",
            "failures_in_a_row",
        ]

    def learn_tracking(self, log: str, *, kept: bool) -> None:
        """Keeps whether this iTop keeps a change for each write to a log ("UserRequest.public_log")."""
        self.refresh_from_db(fields=["tracked_logs"])
        self.tracked_logs = {**self.tracked_logs, log: kept}
        self.save(update_fields=["tracked_logs"])

    @property
    def zone(self) -> dt.tzinfo:
        return zoneinfo.ZoneInfo(self.time_zone)

    def backoffice_url(self, ticket_class: str, ticket_id: int) -> str:
        """Where an agent sees the ticket."""
        return f"{self.url}/pages/UI.php?operation=details&class={ticket_class}&id={ticket_id}"

    def customer_url(self, ticket_class: str, ticket_id: int) -> str:
        """Where the customer sees the ticket: iTop's standard portal unless another address is set."""
        if self.portal_url:
            return self.portal_url.replace("{class}", ticket_class).replace("{id}", str(ticket_id))
        page = f"{self.url}/pages/exec.php/object/edit/{ticket_class}/{ticket_id}"
        return f"{page}?exec_module=itop-portal-base&exec_page=index.php&portal_id=itop-portal"
