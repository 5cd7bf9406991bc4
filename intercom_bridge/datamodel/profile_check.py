"""Check a ticket profile against a class of the data model, and correct it."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from intercom_bridge.models import TicketProfile
from intercom_bridge.models.ticket_profile import FILLED_IN, STOCK_ATTRIBUTES

from .attribute import Attribute, Kind, TicketClass
from .lookup import value_label

# Tickets cannot be found, created or written to without these; other mapped attributes are optional.
_REQUIRED_PARTS = ("org_id", "caller_id", "status", "title", "description", "public_log", "private_log")
_NOT_EDITABLE = {
    Kind.LOG: "is a log, which cannot be a form field",
    Kind.OTHER: "has a type that cannot be a form field",
}
_ATTRIBUTES_OF_EVERY_CLASS = {"id", "friendlyname", "finalclass", "obsolescence_flag", "obsolescence_date"}
# The panel is narrow.
MAX_DETAILS = 12
# Of an enum, in a sentence.
MAX_VALUES = 12
# Regular expression of a value, and its description.
_FORMATS = {
    Kind.KEY: (r"[1-9][0-9]*", "the ID of a {target_class}, a number"),
    Kind.INTEGER: (r"-?[0-9]+", "a whole number"),
    Kind.DECIMAL: (r"-?[0-9]+(\.[0-9]+)?", "a number, like 1.5"),
    Kind.DATE: (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a date, like 2026-12-31"),
    Kind.DATETIME: (
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2})?",
        "a date and time, like 2026-12-31 23:59:00",
    ),
}


class ProfileCheck:
    """A ticket profile compared with a ticket class."""

    def __init__(self, profile: TicketProfile, ticket_class: TicketClass) -> None:
        self._profile = profile
        self._class = ticket_class
        self._editable = {
            code for code, attribute in ticket_class.attributes.items() if attribute.kind not in _NOT_EDITABLE
        }

    def mistakes(self) -> Mapping[str, list[str]]:
        """Return sentences by name of the profile's field; empty if the profile fits the class."""
        profile = self._profile
        found = {
            "form_attributes": self._form_mistakes(),
            "defaults": [*self.default_mistakes(), *self._unknown(profile.defaults)],
            "details_attributes": self._unknown(profile.details_attributes),
            "subtitle_attribute": self._unknown([profile.subtitle_attribute]),
            "attributes_mapping": self._mapping_mistakes(),
            "excluded_states": self._state_mistakes(),
        }
        if sentences := found["form_attributes"]:
            sentences.append(f"A form that fits: {', '.join(self.form())}.")
        if sentences := found["details_attributes"]:
            sentences.append(f"In the order of iTop's own page: {', '.join(self.details())}.")
        return {name: sentences for name, sentences in found.items() if sentences}

    def _form_mistakes(self) -> list[str]:
        sentences = []
        for code in self._profile.form_attributes:
            attribute = self._class.attributes.get(code)
            if attribute is None:
                sentences.append(self._unknown_sentence(code))
            elif attribute.kind in _NOT_EDITABLE:
                sentences.append(f"{code} {_NOT_EDITABLE[attribute.kind]}.")
        return sentences

    def default_mistakes(self) -> list[str]:
        """Return sentences about default values that their attributes do not allow."""
        return [
            sentence
            for code in self._profile.defaults
            if (attribute := self._class.attributes.get(code))
            and (sentence := self._value_mistake(attribute, self._profile.default_of(code)))
        ]

    def _value_mistake(self, attribute: Attribute, value: str) -> str:
        code, kind = attribute.code, attribute.kind
        if kind is Kind.ENUM and attribute.values and value not in {known.code for known in attribute.values}:
            known = [_with_label(self._class, code, allowed.code) for allowed in attribute.values]
            more = f" and {len(known) - MAX_VALUES} more" if len(known) > MAX_VALUES else ""
            return f"{code} has no value “{value}”. Its values: {', '.join(known[:MAX_VALUES])}{more}."
        pattern, needed = _FORMATS.get(kind, ("", ""))
        if pattern and not re.fullmatch(pattern, value):
            return f"{code} needs {needed.format(target_class=attribute.target_class)}, not “{value}”."
        if attribute.limit and len(value) > attribute.limit:
            return f"{code} can have at most {attribute.limit} characters; its default has {len(value)}."
        return ""

    def _mapping_mistakes(self) -> list[str]:
        sentences = []
        for part in STOCK_ATTRIBUTES:
            code = self._profile.code(part)
            is_used = part in _REQUIRED_PARTS or part in self._profile.attributes_mapping
            if is_used and not self._has(code):
                sentences.append(
                    f"{self._unknown_sentence(code)} Map {part} to the attribute that this class has instead."
                )
        return sentences

    def _state_mistakes(self) -> list[str]:
        states = self._states()
        return [
            f"{self._class.name} has no state {state}.{did_you_mean(state, states)}"
            for state in self._profile.excluded_states
            if states and state not in states
        ]

    def missing(self) -> list[str]:
        """Return mandatory attributes that have no form field, no default, and no value from the bridge."""
        filled_in = {self._profile.code(part) for part in FILLED_IN}
        return [
            attribute.code
            for attribute in self._class.attributes.values()
            if attribute.is_mandatory
            and not attribute.is_read_only
            and not (attribute.default or self._profile.default_of(attribute.code))
            and attribute.code not in filled_in
            and attribute.code in self._editable
            and attribute.code not in self._profile.form_attributes
        ]

    def form(self) -> list[str]:
        """Return the valid form fields of the profile, plus the missing ones."""
        valid = [code for code in self._profile.form_attributes if code in self._editable]
        return [*valid, *self.missing()]

    def details(self) -> list[str]:
        """Return the attributes of iTop's own page, in its order, at most MAX_DETAILS."""
        shown_elsewhere = {self._profile.code(part) for part in ("title", "org_id", "caller_id")}
        codes = [
            code
            for code in self._class.details or self._class.attributes
            if code in self._editable and code not in shown_elsewhere
        ]
        return codes[:MAX_DETAILS]

    def autofill(self) -> list[str]:
        """Replace codes that do not fit; return the names of the profile's fields that changed."""
        profile, mistakes = self._profile, self.mistakes()
        corrected: dict[str, object] = {"form_attributes": self.form()}
        if "details_attributes" in mistakes:
            corrected["details_attributes"] = self.details()
        if "subtitle_attribute" in mistakes and self._has(profile.code("title")):
            corrected["subtitle_attribute"] = profile.code("title")
        if "excluded_states" in mistakes:
            states = self._states()
            corrected["excluded_states"] = [state for state in profile.excluded_states if state in states]
        changed = [name for name, value in corrected.items() if getattr(profile, name) != value]
        for name in changed:
            setattr(profile, name, corrected[name])
        return changed

    def _has(self, code: str) -> bool:
        """Return whether iTop can display it: defined by the class, or added by iTop to a class or key."""
        if code in self._class.attributes or code in _ATTRIBUTES_OF_EVERY_CLASS:
            return True
        key = self._class.attributes.get(code.removesuffix("_friendlyname"))
        return key is not None and key.kind is Kind.KEY

    def _states(self) -> list[str]:
        status = self._class.attributes.get(self._profile.code("status"))
        return [value.code for value in status.values] if status else []

    def _unknown(self, codes: Iterable[str]) -> list[str]:
        return [self._unknown_sentence(code) for code in codes if not self._has(code)]

    def _unknown_sentence(self, code: str) -> str:
        return f"{self._class.name} has no attribute {code}.{did_you_mean(code, self._class.attributes)}"


def did_you_mean(code: str, codes: Collection[str]) -> str:
    """Return " Did you mean …?" with similar codes, or "" if there are none."""
    similar = difflib.get_close_matches(code, codes, 3, 0.7)
    return f" Did you mean {' or '.join(similar)}?" if similar else ""


def missing_from_form(codes: Iterable[str], class_name: str) -> str:
    """Return a sentence about mandatory attributes that a profile's form lacks."""
    return f"The form does not contain {', '.join(codes)}, required in a new {class_name}."


def _with_label(ticket_class: TicketClass, code: str, value: str) -> str:
    label = value_label(ticket_class, code, value)
    return f"{value} ({label})" if label != value else value
