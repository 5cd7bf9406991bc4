"""The fields of the create form: which attributes it asks for, and whether they are required."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from intercom_bridge.datamodel import Attribute, Kind, TicketClass
from intercom_bridge.datamodel.attribute import LINE_LIMIT
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.models import TicketProfile
from intercom_bridge.models.ticket_profile import STOCK_ATTRIBUTES
from intercom_bridge.panel.click import click_id
from intercom_bridge.tickets.choices import depends_on

# Kinds of attributes that no component of Canvas Kit can enter.
NOT_EDITABLE = (Kind.LOG, Kind.OTHER)


@dataclass(frozen=True, kw_only=True)
class FormField:
    """A field of the create form, for one attribute of the ticket."""

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
    profile: TicketProfile, ticket_class: TicketClass, added_codes: Collection[str] = ()
) -> tuple[FormField, ...]:
    """Return the fields of a create form in their order.

    First come the attributes that the profile lists, then further attributes that the data model requires, then
    `added_codes`. Read-only attributes are left out.
    """
    codes = (*profile.form_attributes, *_required_codes(profile, ticket_class), *added_codes)
    fields = (_field(code, profile, ticket_class) for code in dict.fromkeys(codes))
    return tuple(field for field in fields if not field.attribute.is_read_only)


def dependent_codes(fields: Collection[FormField], code: str) -> frozenset[str]:
    """Return the codes of the fields whose choices depend on the field `code`, directly or through other fields."""
    dependents: set[str] = set()
    pending = [code]
    while pending:
        parent = pending.pop()
        for field in fields:
            is_new = field.code not in dependents and field.code != code
            if is_new and parent in depends_on(field.attribute):
                dependents.add(field.code)
                pending.append(field.code)
    return frozenset(dependents)


def _required_codes(profile: TicketProfile, ticket_class: TicketClass) -> list[str]:
    """Return the codes of the mandatory attributes that neither the bridge nor a default fills in."""
    # If the profile maps `description` to another attribute, the class may still have an attribute `description`. The
    # form does not ask for `description`. If iTop requires it, the rejected form gets a field for it.
    remapped = {code for part, code in STOCK_ATTRIBUTES.items() if profile.code(part) != code}
    not_asked = profile.filled_in() | remapped
    required = []
    for code, attribute in ticket_class.attributes.items():
        is_required = attribute.is_mandatory and not attribute.is_read_only
        has_default = bool(attribute.default or profile.default_of(code))
        if is_required and not has_default and code not in not_asked:
            required.append(code)
    return required


def _field(code: str, profile: TicketProfile, ticket_class: TicketClass) -> FormField:
    attribute = ticket_class.attributes.get(code) or _guess_attribute(code, profile, ticket_class)
    is_title_or_description = code in (profile.code("title"), profile.code("description"))
    return FormField(attribute=attribute, is_mandatory=is_title_or_description or attribute.is_mandatory)


def _guess_attribute(code: str, profile: TicketProfile, ticket_class: TicketClass) -> Attribute:
    """Return an assumed definition of an attribute that the imported data model does not describe."""
    if code == profile.code("title"):
        return Attribute(code=code, kind=Kind.LINE, limit=LINE_LIMIT)
    if code == profile.code("description"):
        return Attribute(code=code, kind=Kind.HTML)
    standard = BUILTIN_CLASSES["UserRequest"].attributes.get(code)
    if standard and not ticket_class.attributes:
        # No data model was imported. The attribute is probably of the same kind as in the standard class, but its
        # constraints may differ.
        return replace(standard, is_mandatory=False, is_read_only=False, default="")
    # By iTop's convention, the code of an external key ends with "_id". Its target class is unknown, so no choices can
    # be offered.
    return Attribute(code=code, kind=Kind.OTHER if code.endswith("_id") else Kind.LINE)
