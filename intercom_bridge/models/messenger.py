from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from .encryption import Secret, SecretField
from .itop_instance import ItopInstance
from .workspace import Workspace

# Stands for iTop's console in the list of pages. The PHP extension's configuration uses the same word.
BACKOFFICE = "backoffice"
_ATTRIBUTE_CODE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_CLAIM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]{0,189}")
# Claims that the bridge sets itself, and the registered claims of JSON Web Tokens.
RESERVED_CLAIMS = frozenset(
    ("user_id", "email", "name", "company", "itop_contact_class", "itop_contact_id", "language_override")
) | {"iat", "exp", "nbf", "iss", "sub", "aud", "jti"}


def default_pages() -> list[str]:
    return ["itop-portal"]


def validate_names(value: object) -> None:
    """Raise ValidationError unless the value is a list of texts without line breaks."""
    if not isinstance(value, list) or not all(isinstance(name, str) and name.isprintable() for name in value):
        raise ValidationError("This must be a list of names.")


def validate_person_attributes(value: object) -> None:
    """Raise ValidationError unless the value maps names of Intercom attributes to codes of Person attributes."""
    if not isinstance(value, dict):
        raise ValidationError('This must be an object like {"employee_number": "employee_number"}.')
    for name, code in value.items():
        if not _CLAIM_NAME.fullmatch(name) or name in RESERVED_CLAIMS:
            raise ValidationError(f"“{name}” cannot be the name of a custom attribute in Intercom.")
        if not isinstance(code, str) or not _ATTRIBUTE_CODE.fullmatch(code):
            raise ValidationError(f"“{code}” is not the code of an attribute in iTop.")


class MessengerQuerySet(models.QuerySet["Messenger"]):
    def shown_in(self, itop: ItopInstance) -> MessengerQuerySet:
        """Return the enabled Messengers of this iTop's workspaces. The first that serves a person is shown."""
        enabled = self.filter(enabled=True, workspace__enabled=True, workspace__itop=itop)
        related = enabled.select_related("workspace__itop", "workspace__profile")
        return related.order_by("position", "workspace__workspace_id")


class Messenger(models.Model):
    """The settings of the chat widget that iTop's pages show to the people in a workspace's scope."""

    workspace = models.OneToOneField(Workspace, models.CASCADE, related_name="messenger")
    enabled = models.BooleanField(
        default=False, help_text="Show the Messenger to the people in the workspace's scope."
    )
    position = models.PositiveSmallIntegerField(
        default=0,
        help_text="If several workspaces serve a person, the Messenger with the lowest number is shown.",
    )
    api_secret = SecretField(
        "Messenger API secret",
        help_text="The bridge signs the person's identity with this secret. Copy it from Settings, Channels, "
        "Messenger, Security in Intercom.",
    )
    next_api_secret = SecretField(
        "next Messenger API secret",
        help_text="To replace the secret, create a second one in Intercom and enter it here. The bridge uses it from "
        "the date below.",
    )
    next_api_secret_from = models.DateTimeField("next secret is used from", null=True, blank=True)
    pages = models.JSONField(
        "shown in",
        default=default_pages,
        blank=True,
        validators=[validate_names],
        help_text=f"The ids of portals, one per line, and “{BACKOFFICE}” for the console.",
    )
    allowed_profiles = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_names],
        help_text="Profiles of iTop's users, one per line, for example Portal user. Only users who have at least one "
        "of them see the Messenger. If the list is empty, all users see it.",
    )
    sends_company = models.BooleanField(
        "send the organization",
        default=True,
        help_text="The person's organization becomes the company of the contact in Intercom.",
    )
    sends_language = models.BooleanField(
        "send the language",
        default=True,
        help_text="The Messenger uses the language of the person's iTop account.",
    )
    person_attributes = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_person_attributes],
        help_text="Further attributes to send. Write the name of the custom attribute in Intercom, then the code of "
        'the Person attribute in iTop, for example {"employee_number": "employee_number"}.',
    )
    # Values that an import set and the admin has not changed: attribute -> value (config_import).
    imported = models.JSONField(default=dict, blank=True, editable=False)

    objects = MessengerQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "messengers"
        ordering = ["position", "workspace__workspace_id"]

    def __str__(self) -> str:
        return f"Messenger of {self.workspace}"

    def clean(self) -> None:
        # Django does not validate empty values, so "" or None may be left instead of an empty list or object.
        self.pages, self.allowed_profiles = self.pages or [], self.allowed_profiles or []
        self.person_attributes = self.person_attributes or {}
        if self.enabled and not self.api_secret:
            raise ValidationError("Enter the Messenger API secret, or disable the Messenger.")
        if self.next_api_secret and not self.next_api_secret_from:
            raise ValidationError("Enter the date from which the next Messenger API secret is used.")

    def signing_secret(self) -> str:
        """Return the secret to sign with now. Raise SecretDecryptionError if it cannot be decrypted."""
        next_from = self.next_api_secret_from
        is_next_due = bool(self.next_api_secret) and next_from is not None and next_from <= timezone.now()
        secret: Secret = self.next_api_secret if is_next_due else self.api_secret
        return secret.reveal()
