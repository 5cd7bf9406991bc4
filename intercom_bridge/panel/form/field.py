"""A field of the create form: the attribute that it asks for, and whether it is required."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from intercom_bridge.datamodel import Attribute, Kind, TicketClass
from intercom_bridge.datamodel.attribute import LINE_LIMIT
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.models import TicketProfile
from intercom_bridge.models.ticket_profile import STOCK_ATTRIBUTES
from intercom_bridge.panel.click import click_id
from intercom_bridge.tickets.choices import depends_on

# Kinds that no component can enter.
NOT_EDITABLE = (Kind.LOG, Kind.OTHER)


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One attribute in the create form."""

    attribute: Attribute
    is_mandatory: bool = False

    @property
    def code(self) -> str:
        return self.attribute.code

    @property
    def component_id(self) -> str:
        return click_id("field", self.code)

    @property
    def is_editable(self) -> bool:
        return self.attribute.kind not in NOT_EDITABLE

    @property
    def has_choices(self) -> bool:
        return self.attribute.kind in (Kind.ENUM, Kind.KEY)


def fields_of(
    profile: TicketProfile, ticket_class: TicketClass, added: Collection[str] = ()
) -> tuple[FormField, ...]:
    """Return the profile's fields in its order, then others that iTop requires, then those `added` to this form."""
    codes = dict.fromkeys((*profile.form_attributes, *_required_codes(profile, ticket_class), *added))
    fields = (_field(code, profile, ticket_class) for code in codes)
    return tuple(field for field in fields if not field.attribute.is_read_only)


def dependent_codes(fields: Collection[FormField], code: str) -> frozenset[str]:
    """Return the fields whose choices depend on this field, directly or through other fields."""
    found: set[str] = set()
    pending = [code]
    while pending:
        changed = pending.pop()
        for field in fields:
            is_new = field.code not in found and field.code != code
            if is_new and changed in depends_on(field.attribute):
                found.add(field.code)
                pending.append(field.code)
    return frozenset(found)


def _required_codes(profile: TicketProfile, ticket_class: TicketClass) -> list[str]:
    """Return the mandatory attributes that neither the bridge nor a default fills in."""
    # An attribute that is mapped to another code here is not asked for under its standard code: iTop says so if it
    # requires it.
    mapped = {standard for part, standard in STOCK_ATTRIBUTES.items() if profile.code(part) != standard}
    filled_in = profile.filled_in() | mapped
    return [
        code
        for code, attribute in ticket_class.attributes.items()
        if attribute.is_mandatory
        and not attribute.is_read_only
        and code not in filled_in
        and not (attribute.default or profile.default_of(code))
    ]


def _field(code: str, profile: TicketProfile, ticket_class: TicketClass) -> FormField:
    attribute = ticket_class.attributes.get(code) or _guess_attribute(code, profile, ticket_class)
    is_text = code in (profile.code("title"), profile.code("description"))
    return FormField(attribute=attribute, is_mandatory=is_text or attribute.is_mandatory)


def _guess_attribute(code: str, profile: TicketProfile, ticket_class: TicketClass) -> Attribute:
    """Return an attribute that the data model does not describe."""
    if code == profile.code("title"):
        return Attribute(code=code, kind=Kind.LINE, limit=LINE_LIMIT)
    if code == profile.code("description"):
        return Attribute(code=code, kind=Kind.HTML)
    if not ticket_class.attributes and (standard := BUILTIN_CLASSES["UserRequest"].attributes.get(code)):
        # Nothing is known of the class: use what the standard class says, except for its constraints.
        return replace(standard, is_mandatory=False, is_read_only=False, default="")
    return Attribute(code=code, kind=Kind.OTHER if code.endswith("_id") else Kind.LINE)
