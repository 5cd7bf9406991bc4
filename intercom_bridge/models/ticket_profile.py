from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

# What a stock iTop calls the things we need. A profile's mapping overrides any of them.
STOCK_ATTRIBUTES = {
    "org_id": "org_id",
    "caller_id": "caller_id",
    "status": "status",
    "title": "title",
    "description": "description",
    "origin": "origin",
    "public_log": "public_log",
    "private_log": "private_log",
    "intercom_ref": "intercom_ref",
    "intercom_url": "intercom_url",
    "intercom_sync_activated": "intercom_sync_activated",
}

# What the bridge fills in by itself, or iTop does: not to be asked for in a form. `ref` cannot be mapped.
FILLED_IN = (
    "org_id",
    "caller_id",
    "status",
    "origin",
    "public_log",
    "private_log",
    "intercom_ref",
    "intercom_url",
    "intercom_sync_activated",
)


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


def validate_codes(value: Any) -> None:
    """A JSON list of iTop attribute codes or state codes."""
    if not isinstance(value, list) or not all(
        isinstance(code, str) and code.isidentifier() for code in value
    ):
        raise ValidationError('Write a list of codes, like ["title", "description"].')
    if len(set(value)) != len(value):
        raise ValidationError("A code stands in the list twice.")


def validate_mapping(value: Any) -> None:
    """A JSON object from our word for an attribute to the data model's code."""
    if not isinstance(value, dict):
        raise ValidationError('Write an object, like {"public_log": "public_log"}.')
    unknown = sorted(set(value) - set(STOCK_ATTRIBUTES))
    if unknown:
        raise ValidationError(
            f"Unknown: {', '.join(unknown)}. These can be mapped: {', '.join(STOCK_ATTRIBUTES)}."
        )
    if not all(isinstance(code, str) and code.isidentifier() for code in value.values()):
        raise ValidationError("Each value is the code of an attribute in iTop, like public_log.")


def validate_defaults(value: Any) -> None:
    """A JSON object from attribute codes to the values that a new ticket gets unless the teammate says otherwise."""
    if not isinstance(value, dict) or not all(
        isinstance(code, str) and code.isidentifier() for code in value
    ):
        raise ValidationError('Write an object from codes to values, like {"urgency": "3"}.')
    for code, one in value.items():
        if isinstance(one, bool) or not isinstance(one, str | int):
            raise ValidationError(
                f'The value of {code} has to be a text or a number, like {{"{code}": "3"}}.'
            )


class TicketProfile(models.Model):
    """What a ticket is for a workspace: its class, which attribute plays which part, what is shown and asked."""

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
        help_text='Only what differs from stock iTop, for example {"public_log": "customer_log"}.',
    )
    form_attributes = models.JSONField(
        default=_stock_form, validators=[validate_codes], help_text="The fields of the create form, in order."
    )
    defaults = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_defaults],
        help_text='What a new ticket gets unless the teammate says otherwise, for example {"urgency": "3"}: values as '
        "iTop keeps them, the id of a service. Those of attributes that the form does not ask for are sent as well.",
    )
    excluded_states = models.JSONField(
        default=_stock_states,
        blank=True,
        validators=[validate_codes],
        help_text="States in which a ticket is no longer ongoing.",
    )
    subtitle_attribute = models.CharField(
        max_length=100, default="title", help_text="Shown under the reference in lists."
    )
    details_attributes = models.JSONField(
        default=_stock_details,
        blank=True,
        validators=[validate_codes],
        help_text="Shown on a ticket, in order.",
    )
    show_open_in_backoffice_button = models.BooleanField(
        "show “Open in iTop”",
        default=True,
        help_text="Only makes sense when teammates have accounts in iTop.",
    )
    imported = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if wrong := self.not_for_the_form():
            raise ValidationError(
                {"form_attributes": f"Filled in by itself, and not to be asked for: {', '.join(wrong)}."}
            )
        if isinstance(self.attributes_mapping, dict) and isinstance(self.defaults, dict):
            wrong = [code for code in self.defaults if code in self.filled_in()]
            if wrong:
                raise ValidationError({"defaults": f"Filled in by itself: {', '.join(wrong)}."})

    def not_for_the_form(self) -> list[str]:
        """Those of the form's attributes that the bridge or iTop fills in; [] too when a list or mapping is none."""
        if not isinstance(self.attributes_mapping, dict) or not isinstance(self.form_attributes, list):
            return []
        filled_in = self.filled_in()
        return [code for code in self.form_attributes if isinstance(code, str) and code in filled_in]

    def filled_in(self) -> frozenset[str]:
        """The data model's codes that the bridge or iTop fills in: never asked for."""
        return frozenset({"ref", *map(self.code, FILLED_IN)})

    def default_of(self, code: str) -> str:
        """What a new ticket gets for this attribute unless the teammate says otherwise; "" when nothing is set."""
        return str(self.defaults.get(code, "")) if isinstance(self.defaults, dict) else ""

    def code(self, part: str) -> str:
        """The data model's code for one of STOCK_ATTRIBUTES."""
        return str(self.attributes_mapping.get(part) or STOCK_ATTRIBUTES[part])
