"""The create form: what it asks, what was typed, what is wrong with it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.canvas.field import FormField, dependents, fields_of
from intercom_bridge.canvas.refusals import at_fields, is_unknown
from intercom_bridge.canvas.typed import Malformed, from_itop, to_itop
from intercom_bridge.datamodel import Kind
from intercom_bridge.datamodel.known import attribute_label, value_label
from intercom_bridge.desk import Choice, Desk, Offer, Person
from intercom_bridge.desk.creations import created, creations_in, named_by_itop
from intercom_bridge.desk.evidence import positive
from intercom_bridge.intercom.html import first_line, to_text
from intercom_bridge.intercom.text import clean_text

PREFILLED_TITLE = 100
PREFILLED_DESCRIPTION = 4000
# What a canvas and its stored data may take of their 64 KB each for all that was typed.
TYPED_BYTES = 36_000

_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form on its way: its key (one ticket for each), what was typed, and the errors by attribute code.

    `added`: attributes that iTop asked for and the profile does not. `cleared`: those whose value went because another
    field was changed in the click at hand. `seen`: the newest creation from this conversation that the teammate knows
    of. `warned`: possible duplicates were shown.
    """

    key: str
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    cleared: frozenset[str] = frozenset()
    seen: int = 0
    warned: bool = False

    @classmethod
    def opened(cls, desk: Desk) -> Form:
        """A new form, with the defaults and the conversation's first words filled in."""
        conversation = desk.request.conversation
        first = next((part for part in conversation.messages if to_text(part.body).strip()), None)
        words = to_text(first.body).strip() if first else ""
        title = conversation.title or (first.subject if first else "") or first_line(words, PREFILLED_TITLE)
        said = {
            desk.profile.code("title"): first_line(to_text(title), PREFILLED_TITLE),
            desk.profile.code("description"): words[:PREFILLED_DESCRIPTION],
        }
        values = {
            one.code: value
            for one in fields_of(desk.profile, desk.ticket_class)
            if (value := said.get(one.code) or _default(one, desk))
        }
        return cls(key=new_key(), values=values, seen=newest_creation(desk))

    @classmethod
    def read(cls, desk: Desk) -> Form:
        """What came back: stored values under what stands in the fields now. Other names are not looked at."""
        stored = desk.request.stored_data.get("form")
        stored = stored if isinstance(stored, Mapping) else {}
        key = stored.get("key")
        seen = stored.get("seen")
        form = cls(
            key=key if isinstance(key, str) and _KEY.fullmatch(key) else new_key(),
            values={},
            added=_added(stored.get("added"), desk),
            seen=seen if isinstance(seen, int) and not isinstance(seen, bool) else 0,
            warned=stored.get("warned") is True,
        )
        fields = form.fields(desk)
        kept = stored.get("values")
        before = {
            one.code: value
            for one in fields
            if isinstance(kept, Mapping) and (value := clean_text(kept.get(one.code)))
        }
        inputs = desk.request.input_values
        typed = {
            one.code: text
            for one in fields
            if one.is_asked and isinstance(text := inputs.get(one.component_id), str)
        }
        return replace(form, values=before)._changed(typed, fields)

    def fields(self, desk: Desk) -> tuple[FormField, ...]:
        return fields_of(desk.profile, desk.ticket_class, self.added)

    def choose(self, code: str, value: str, desk: Desk) -> Form:
        return self._changed({code: value}, self.fields(desk))

    def _changed(self, values: Mapping[str, str], fields: tuple[FormField, ...]) -> Form:
        """With these values; what hangs on one that is another now and was not itself touched is cleared."""
        changed = {code for code, value in values.items() if self.values.get(code, "") != value}
        hanging = frozenset[str]().union(*(dependents(fields, code) for code in changed)) - changed
        cleared = frozenset(code for code in hanging if self.values.get(code))
        kept = {code: value for code, value in {**self.values, **values}.items() if code not in cleared}
        return replace(self, values=kept, cleared=self.cleared | cleared)

    def refused(self, problems: Iterable[Iterable[str]], desk: Desk) -> Form:
        """Another form with the same values, since its next press is a new one; and with what iTop asked for."""
        problems = [(code, reason) for code, reason in problems]
        known = {one.code for one in self.fields(desk)} | desk.profile.filled_in()
        missing = dict.fromkeys(
            code for code, reason in problems if code not in known and not is_unknown(reason)
        )
        return replace(self, key=new_key(), errors=at_fields(problems), added=(*self.added, *missing))

    def stored(self) -> dict[str, Any]:
        """For `stored_data`: it survives every step, and comes back with the next click."""
        stored: dict[str, Any] = {"key": self.key, "values": fitting(self.values), "seen": self.seen}
        if self.added:
            stored["added"] = list(self.added)
        if self.warned:
            stored["warned"] = True
        return {"form": stored}

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
        errors = {
            one.code: error
            for one in self.fields(desk)
            if one.is_asked and (error := self._error(one, desk, person))
        }
        return replace(self, errors=errors)

    def _error(self, one: FormField, desk: Desk, person: Person) -> str:
        value = self.values.get(one.code, "")
        if one.code in self.cleared and not value:
            return _("Please choose again: this depends on what was changed.")
        if not value.strip():
            return _("This is needed.") if one.is_mandatory else ""
        if one.has_choices:
            return self._choice_error(one, value, desk, person)
        try:
            to_itop(one.attribute, value, desk.workspace.zone, desk.itop.zone)
        except Malformed as wrong:
            return str(wrong)
        return ""

    def _choice_error(self, one: FormField, value: str, desk: Desk, person: Person) -> str:
        offer = self.offer(one, desk, person)
        if offer.label_of(value) or (not offer.is_whole and self.choice_of(one, value, desk, person)):
            return ""
        if one.attribute.kind == Kind.ENUM:
            return _("This is none of the choices.")
        if offer.first:
            label = attribute_label(desk.ticket_class, offer.first)
            return _("Please choose %(field)s first.") % {"field": label}
        return _("This is no longer among the choices. Please choose again.")

    # What may be chosen

    def offer(self, one: FormField, desk: Desk, person: Person) -> Offer:
        """The choices of an enum or an external key, given what else was chosen."""
        if one.attribute.kind == Kind.ENUM:
            choices = tuple(
                Choice(value.code, value_label(desk.ticket_class, one.code, value.code) or value.code)
                for value in one.attribute.values
                if value.code.strip()
            )
            return Offer(choices=choices, total=len(choices))
        asked = [other.code for other in self.fields(desk) if other.is_asked]
        return desk.choices.of(one.attribute, self._this(desk, person), asked)

    def found(self, one: FormField, words: list[str], desk: Desk, person: Person) -> Offer:
        """Those of them with all these words in their names."""
        offer = self.offer(one, desk, person)
        if not words:
            return offer
        if not offer.is_whole:
            return desk.choices.find(one.attribute, self._this(desk, person), words)
        wanted = [word.casefold() for word in words]
        found = tuple(
            choice for choice in offer.choices if all(word in choice.label.casefold() for word in wanted)
        )
        return replace(offer, choices=found, total=len(found))

    def choice_of(self, one: FormField, value: str, desk: Desk, person: Person) -> Choice | None:
        """The choice with this id out of more than a list holds."""
        choice_id = positive(value)
        if not choice_id:
            return None
        return desk.choices.choice(one.attribute, self._this(desk, person), choice_id)

    def _this(self, desk: Desk, person: Person) -> dict[str, str | int]:
        """The new ticket as iTop's filters ask for it: `:this->code`. Keys are numbers, 0 for none."""
        code = desk.profile.code
        this: dict[str, str | int] = {}
        for attribute in desk.ticket_class.attributes.values():
            default = desk.profile.default_of(attribute.code) or attribute.default
            this[attribute.code] = positive(default) if attribute.kind == Kind.KEY else default
        for one in self.fields(desk):
            value = self.values.get(one.code, "")
            this[one.code] = positive(value) if one.attribute.kind == Kind.KEY else value
        ours: dict[str, str | int] = {
            "id": 0,
            "finalclass": desk.profile.ticket_class,
            code("org_id"): person.org_id,
            f"{code('org_id')}_friendlyname": person.org_name,
            "org_name": person.org_name,
            code("caller_id"): person.id,
            f"{code('caller_id')}_friendlyname": person.name,
            code("origin"): "chat",
        }
        return this | ours

    def for_itop(self, desk: Desk) -> dict[str, str]:
        """What was filled in as iTop takes it, and the profile's defaults of what the form does not ask for.

        Raises Malformed; not after `checked` has found nothing.
        """
        fields = {one.code: one for one in self.fields(desk)}
        values = {code: desk.profile.default_of(code) for code in desk.profile.defaults}
        values = {
            code: value for code, value in values.items() if code not in fields or not fields[code].is_asked
        }
        for code, one in fields.items():
            if one.is_asked:
                typed = self.values.get(code, "")
                values[code] = to_itop(one.attribute, typed, desk.workspace.zone, desk.itop.zone)
        filled_in = desk.profile.filled_in()
        return {code: value for code, value in values.items() if value and code not in filled_in}


def _default(one: FormField, desk: Desk) -> str:
    """What stands in the field when the form is opened: the profile's, else iTop's own where a person could type it."""
    zones = (desk.workspace.zone, desk.itop.zone)
    value = desk.profile.default_of(one.code)
    if value or not one.attribute.default or not one.is_asked:
        return from_itop(one.attribute, value, *zones)
    value = from_itop(one.attribute, one.attribute.default, *zones)
    if one.attribute.kind == Kind.KEY:
        return value if positive(value) else ""
    if one.attribute.kind == Kind.ENUM:
        return value if value in {each.code for each in one.attribute.values} else ""
    try:
        to_itop(one.attribute, value, *zones)
    except Malformed:
        # A default that iTop computes, such as today's date: it does so when nothing is sent.
        return ""
    return value


def _added(stored: object, desk: Desk) -> tuple[str, ...]:
    """Those of the stored codes that iTop has asked for in this conversation: others are somebody's own idea."""
    if not isinstance(stored, list) or not stored:
        return ()
    presses = creations_in(desk.workspace, desk.request.conversation.id)
    named = named_by_itop(presses) - desk.profile.filled_in()
    return tuple(dict.fromkeys(code for code in stored if isinstance(code, str) and code in named))


def newest_creation(desk: Desk) -> int:
    """The newest creation from this conversation; 0 when there is none."""
    newest = created(creations_in(desk.workspace, desk.request.conversation.id)).first()
    return newest.pk if newest else 0


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
