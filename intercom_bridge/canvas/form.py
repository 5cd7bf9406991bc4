"""The create form: what it asks, what was typed, what is wrong with it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import click
from intercom_bridge.desk import Choice, Desk, Person
from intercom_bridge.intercom.html import first_line, to_text
from intercom_bridge.intercom.payloads import CanvasRequest, clean_text
from intercom_bridge.labels import CHOICES
from intercom_bridge.models import TicketProfile

TITLE_LIMIT = 255
PREFILLED_TITLE = 100
PREFILLED_DESCRIPTION = 4000
# What a canvas and its stored data may take of their 64 KB each for all that was typed.
TYPED_BYTES = 36_000

SERVICE, SUBCATEGORY = "service_id", "servicesubcategory_id"
_KEY = re.compile(r"[0-9a-f]{16}")
# Changing the left one clears the right one.
DEPENDENTS = {SERVICE: (SUBCATEGORY,), "request_type": (SUBCATEGORY,)}


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One attribute as the form asks for it. kind: line, text, choice (fixed values), pick (objects), unsupported."""

    code: str
    kind: str
    is_mandatory: bool = False

    @property
    def component_id(self) -> str:
        return click("field", self.code)


def fields_of(profile: TicketProfile) -> tuple[FormField, ...]:
    return tuple(_field(code, profile) for code in profile.form_attributes)


def _field(code: str, profile: TicketProfile) -> FormField:
    if code == profile.code("title"):
        return FormField(code=code, kind="line", is_mandatory=True)
    if code == profile.code("description"):
        return FormField(code=code, kind="text", is_mandatory=True)
    if code in CHOICES:
        return FormField(code=code, kind="choice")
    if code in (SERVICE, SUBCATEGORY):
        return FormField(code=code, kind="pick")
    return FormField(code=code, kind="unsupported" if code.endswith("_id") else "line")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form on its way: its key (one ticket for each), what was typed, and the errors by attribute code."""

    key: str
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def opened(cls, desk: Desk) -> Form:
        """A new form, with the conversation's first words filled in."""
        conversation = desk.request.conversation
        first = next((part for part in conversation.messages if to_text(part.body).strip()), None)
        words = to_text(first.body).strip() if first else ""
        title = conversation.title or (first.subject if first else "") or first_line(words, PREFILLED_TITLE)
        values = {
            desk.profile.code("title"): first_line(to_text(title), PREFILLED_TITLE),
            desk.profile.code("description"): words[:PREFILLED_DESCRIPTION],
        }
        return cls(key=new_key(), values={code: value for code, value in values.items() if value})

    @classmethod
    def read(cls, request: CanvasRequest, profile: TicketProfile) -> Form:
        """What came back: stored values under what stands in the fields now. Other names are not looked at."""
        stored = request.stored_data.get("form")
        stored = stored if isinstance(stored, Mapping) else {}
        kept = stored.get("values")
        values = {
            one.code: value
            for one in fields_of(profile)
            if isinstance(kept, Mapping) and (value := clean_text(kept.get(one.code)))
        }
        for one in fields_of(profile):
            typed = request.input_values.get(one.component_id)
            if isinstance(typed, str):
                values = _changed(values, one.code, typed)
        key = stored.get("key")
        return cls(key=key if isinstance(key, str) and _KEY.fullmatch(key) else new_key(), values=values)

    def choose(self, code: str, value: str) -> Form:
        return replace(self, values=_changed(dict(self.values), code, value))

    def stored(self) -> dict[str, Any]:
        """For `stored_data`: it survives every step, and comes back with the next click."""
        return {"form": {"key": self.key, "values": fitting(self.values)}}

    def that_fits(self) -> Form:
        """With as much of what was typed as a canvas has room for; what was cut says so at its field."""
        values = fitting(self.values)
        cut = {
            code: _("Too long for this form: only its first %(count)d characters are left.")
            % {"count": len(value)}
            for code, value in values.items()
            if value != self.values[code]
        }
        return replace(self, values=values, errors={**cut, **self.errors})

    def checked(self, desk: Desk, person: Person) -> Form:
        """With the errors of a press of Create: what iTop would refuse, and what it accepts but makes no sense."""
        errors: dict[str, str] = {}
        for one in fields_of(desk.profile):
            value = self.values.get(one.code, "")
            if one.is_mandatory and not value.strip():
                errors[one.code] = _("This is needed.")
            elif one.code == desk.profile.code("title") and len(value) > TITLE_LIMIT:
                errors[one.code] = _("Too long: %(count)d characters of %(limit)d.") % {
                    "count": len(value),
                    "limit": TITLE_LIMIT,
                }
            elif value and one.kind == "choice" and value not in CHOICES[one.code]:
                errors[one.code] = _("This is none of the choices.")
            elif (
                value
                and one.kind == "pick"
                and value not in {c.id for c in self.choices(one.code, desk, person)}
            ):
                errors[one.code] = _("This is no longer among the choices. Please choose again.")
        return replace(self, errors=errors)

    def choices(self, code: str, desk: Desk, person: Person) -> list[Choice]:
        """The objects that an external key may point to, given what else was chosen."""
        if code == SERVICE:
            return desk.choices.services(person)
        service = self.values.get(SERVICE, "")
        return desk.choices.subcategories(service, self.values.get("request_type", "")) if service else []

    def for_itop(self, profile: TicketProfile) -> dict[str, str]:
        """What was filled in, as text; fields that cannot be asked for are not in it."""
        return {
            one.code: value
            for one in fields_of(profile)
            if one.kind != "unsupported" and (value := self.values.get(one.code, "").strip())
        }


def _changed(values: dict[str, str], code: str, value: str) -> dict[str, str]:
    if values.get(code, "") == value:
        return values
    gone = DEPENDENTS.get(code, ())
    return {one: kept for one, kept in values.items() if one not in gone and one != code} | {code: value}


def new_key() -> str:
    # Digits of one case: it is part of a marker, and iTop compares markers without regard to case.
    return secrets.token_hex(8)


def fitting(values: Mapping[str, str]) -> dict[str, str]:
    """The values with the longest ones cut until all fit into a canvas, by the bytes of their JSON."""
    fits = dict(values)
    while sum(len(json.dumps(value)) for value in fits.values()) > TYPED_BYTES:
        longest = max(fits, key=lambda code: len(json.dumps(fits[code])))
        fits[longest] = fits[longest][: len(fits[longest]) * 9 // 10]
    return fits
