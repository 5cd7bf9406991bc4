from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


class Log(models.TextChoices):
    """A case log of a ticket. The values are keys of STOCK_ATTRIBUTES."""

    PUBLIC = "public_log", "public"
    PRIVATE = "private_log", "private"


# Our names of attributes, with their codes in a standard iTop. A profile's mapping overrides the codes.
STOCK_ATTRIBUTES = {
    "org_id": "org_id",
    "caller_id": "caller_id",
    "status": "status",
    "title": "title",
    "description": "description",
    "origin": "origin",
    Log.PUBLIC.value: "public_log",
    Log.PRIVATE.value: "private_log",
    "intercom_ref": "intercom_ref",
    "intercom_url": "intercom_url",
    "intercom_sync_activated": "intercom_sync_activated",
}

# The keys of STOCK_ATTRIBUTES that the bridge or iTop fills in, so that a form must not contain them.
FILLED_IN = (
    "org_id",
    "caller_id",
    "status",
    "origin",
    *Log.values,
    "intercom_ref",
    "intercom_url",
    "intercom_sync_activated",
)

# Nobody works on a resolved ticket, but it can be reopened. All of iTop's standard life cycles have this state.
RESOLVED_STATES = ("resolved",)
# The origin of the tickets that the bridge creates, if the ticket class has this value.
ORIGIN = "chat"


def _stock_form() -> list[str]:
    return ["title", "description", "service_id", "servicesubcategory_id", "urgency"]


def _stock_states() -> list[str]:
    return ["rejected", "closed"]


def _stock_details() -> list[str]:
    return [
        "status",
        "description",
        "service_id",
        "priority",
        "agent_id",
        "team_id",
        "start_date",
        "last_update",
    ]


def _are_codes(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and value.isidentifier() for value in values)


def validate_codes(value: Any) -> None:
    """Accept a JSON list of iTop attribute codes or state codes."""
    if not isinstance(value, list) or not _are_codes(value):
        raise ValidationError('Write a list of codes, like ["title", "description"].')
    if len(set(value)) != len(value):
        raise ValidationError("The list contains a code twice.")


def validate_mapping(value: Any) -> None:
    """Accept a JSON object that maps our names of attributes to codes of the data model."""
    if not isinstance(value, dict):
        raise ValidationError('Write an object, like {"public_log": "public_log"}.')
    unknown = sorted(set(value) - set(STOCK_ATTRIBUTES))
    if unknown:
        raise ValidationError(
            f"Unknown: {', '.join(unknown)}. These can be mapped: {', '.join(STOCK_ATTRIBUTES)}."
        )
    if not _are_codes(value.values()):
        raise ValidationError("Each value is the code of an attribute in iTop, like public_log.")


def validate_defaults(value: Any) -> None:
    """Accept a JSON object that maps attribute codes to the default values of a new ticket."""
    if not isinstance(value, dict) or not _are_codes(value):
        raise ValidationError('Write an object with codes and values, like {"urgency": "3"}.')
    for code, default in value.items():
        if isinstance(default, bool) or not isinstance(default, str | int):
            raise ValidationError(f'The value of {code} must be a text or a number, like {{"{code}": "3"}}.')


class TicketProfile(models.Model):
    """The tickets of a workspace: their class, their attributes' codes, and the content of panel and form."""

    name = models.CharField(max_length=100, unique=True)
    ticket_class = models.CharField(
        max_length=100,
        default="UserRequest",
        help_text="The iTop class of the tickets, for example UserRequest.",
    )
    attributes_mapping = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_mapping],
        help_text="The attributes that have other codes than in a standard iTop, for example "
        '{"public_log": "customer_log"}.',
    )
    form_attributes = models.JSONField(
        default=_stock_form,
        validators=[validate_codes],
        help_text="The fields of the create form, in this order.",
    )
    defaults = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_defaults],
        help_text='Initial values of new tickets, for example {"urgency": "3"}. Use the values that iTop stores, '
        "such as the ID of a service. Attributes that are not in the form may have defaults too.",
    )
    excluded_states = models.JSONField(
        default=_stock_states,
        blank=True,
        validators=[validate_codes],
        help_text="Tickets in these states are not listed as ongoing.",
    )
    subtitle_attribute = models.CharField(
        max_length=100, default="title", help_text="Lists show this attribute below the ticket's reference."
    )
    details_attributes = models.JSONField(
        default=_stock_details,
        blank=True,
        validators=[validate_codes],
        help_text="The attributes that the panel shows on a ticket's page, in this order.",
    )
    show_open_in_backoffice_button = models.BooleanField(
        "show “Open in iTop”", default=True, help_text="Only useful if teammates have iTop accounts."
    )
    # Values that an import set and the admin has not changed: attribute -> value (config_import).
    imported = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if wrong := self.not_for_the_form():
            raise ValidationError(
                {"form_attributes": f"Filled in automatically, so not in the form: {', '.join(wrong)}."}
            )
        if isinstance(self.attributes_mapping, dict) and isinstance(self.defaults, dict):
            wrong = [code for code in self.defaults if code in self.filled_in()]
            if wrong:
                raise ValidationError(
                    {"defaults": f"Filled in automatically, so without a default value: {', '.join(wrong)}."}
                )

    def not_for_the_form(self) -> list[str]:
        """Return the attributes in the form that the bridge or iTop fills in. Return [] if a field is invalid."""
        if not isinstance(self.attributes_mapping, dict) or not isinstance(self.form_attributes, list):
            return []
        filled_in = self.filled_in()
        return [code for code in self.form_attributes if isinstance(code, str) and code in filled_in]

    def filled_in(self) -> frozenset[str]:
        """Return the codes of the attributes that the bridge or iTop fills in."""
        # `ref` is not in FILLED_IN, because it cannot be mapped.
        return frozenset({"ref", *map(self.code, FILLED_IN)})

    def default_of(self, code: str) -> str:
        """Return the default value of an attribute of a new ticket; "" if there is none."""
        return str(self.defaults.get(code, "")) if isinstance(self.defaults, dict) else ""

    def reset_extension_attributes(self) -> None:
        """Let a worker find out again whether the ticket class has the attributes of Combodo's extension."""
        self.workspaces.update(has_extension_attributes=None)

    def code(self, stock_code: str) -> str:
        """Return the code that an attribute of STOCK_ATTRIBUTES has in this profile's ticket class."""
        return str(self.attributes_mapping.get(stock_code) or STOCK_ATTRIBUTES[stock_code])
