"""A field of the create form: which attribute it asks for, and how."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from intercom_bridge.canvas.click import click
from intercom_bridge.datamodel import Attribute, Kind, TicketClass
from intercom_bridge.datamodel.stock import LINE_LIMIT, STOCK_CLASSES
from intercom_bridge.desk.choices import needs_of
from intercom_bridge.models import TicketProfile
from intercom_bridge.models.ticket_profile import STOCK_ATTRIBUTES

NOT_ASKED = (Kind.LOG, Kind.OTHER)


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One attribute as the form asks for it."""

    attribute: Attribute
    is_mandatory: bool = False

    @property
    def code(self) -> str:
        return self.attribute.code

    @property
    def component_id(self) -> str:
        return click("field", self.code)

    @property
    def is_asked(self) -> bool:
        return self.attribute.kind not in NOT_ASKED

    @property
    def has_choices(self) -> bool:
        return self.attribute.kind in (Kind.ENUM, Kind.KEY)


def fields_of(
    profile: TicketProfile, ticket_class: TicketClass, added: Collection[str] = ()
) -> tuple[FormField, ...]:
    """The profile's fields in its order, then what iTop needs beyond them, then those `added` to this form."""
    codes = dict.fromkeys((*profile.form_attributes, *_needed(profile, ticket_class), *added))
    fields = (_field(code, profile, ticket_class) for code in codes)
    return tuple(one for one in fields if not one.attribute.is_read_only)


def _needed(profile: TicketProfile, ticket_class: TicketClass) -> list[str]:
    """What a new ticket cannot be without and nobody else gives it."""
    # A part that has another code here has its stock code nowhere, or for something else: iTop says so if it needs it.
    elsewhere = {stock for part, stock in STOCK_ATTRIBUTES.items() if profile.code(part) != stock}
    filled_in = profile.filled_in() | elsewhere
    return [
        code
        for code, one in ticket_class.attributes.items()
        if one.is_mandatory
        and not one.is_read_only
        and code not in filled_in
        and not (one.default or profile.default_of(code))
    ]


def _field(code: str, profile: TicketProfile, ticket_class: TicketClass) -> FormField:
    attribute = ticket_class.attributes.get(code) or _guessed(code, profile, ticket_class)
    if code in (profile.code("title"), profile.code("description")):
        return FormField(attribute=attribute, is_mandatory=True)
    return FormField(attribute=attribute, is_mandatory=attribute.is_mandatory)


def _guessed(code: str, profile: TicketProfile, ticket_class: TicketClass) -> Attribute:
    """An attribute that nobody told us about."""
    if code == profile.code("title"):
        return Attribute(code=code, kind=Kind.LINE, limit=LINE_LIMIT)
    if code == profile.code("description"):
        return Attribute(code=code, kind=Kind.HTML)
    if not ticket_class.attributes and (stock := STOCK_CLASSES["UserRequest"].attributes.get(code)):
        # Nothing is known of the class: what bears a stock name is taken for it, but for what it must have.
        return replace(stock, is_mandatory=False, is_read_only=False, default="")
    return Attribute(code=code, kind=Kind.OTHER if code.endswith("_id") else Kind.LINE)


def dependents(fields: Collection[FormField], code: str) -> frozenset[str]:
    """The fields whose choices are others once this one is changed, and those that hang on them."""
    found: set[str] = set()
    waiting = [code]
    while waiting:
        changed = waiting.pop()
        for one in fields:
            if one.code not in found and one.code != code and changed in needs_of(one.attribute):
                found.add(one.code)
                waiting.append(one.code)
    return frozenset(found)
