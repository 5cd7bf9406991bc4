"""Check whether a ticket profile fits a class of the data model, and correct the profile."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from intercom_bridge.models import TicketProfile
from intercom_bridge.models.ticket_profile import FILLED_IN, STOCK_ATTRIBUTES

from .attribute import Attribute, Kind, TicketClass
from .lookup import value_label

# Keys of STOCK_ATTRIBUTES. The bridge needs these attributes to find, create and update tickets; others are optional.
_REQUIRED = ("org_id", "caller_id", "status", "title", "description", "public_log", "private_log")
# The kinds that cannot be form fields, each with the end of the sentence about such an attribute.
_NOT_EDITABLE = {
    Kind.LOG: "is a log, which cannot be a form field",
    Kind.OTHER: "has a type that cannot be a form field",
}
_ATTRIBUTES_OF_EVERY_CLASS = {"id", "friendlyname", "finalclass", "obsolescence_flag", "obsolescence_date"}
# `details` suggests at most this many attributes, because the panel is narrow.
MAX_DETAILS = 12
MAX_LISTED_VALUES = 12
# The regular expression of a valid default value, and a description for the sentence about an invalid one.
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
        """Return sentences about what does not fit, by field name of the profile. Return {} if everything fits."""
        profile = self._profile
        mistakes = {
            "form_attributes": self._form_mistakes(),
            "defaults": [*self.default_mistakes(), *self._unknown_attributes(profile.defaults)],
            "details_attributes": self._unknown_attributes(profile.details_attributes),
            "subtitle_attribute": self._unknown_attributes([profile.subtitle_attribute]),
            "attributes_mapping": self._mapping_mistakes(),
            "excluded_states": self._state_mistakes(),
        }
        if mistakes["form_attributes"]:
            suggestion = ", ".join(self.form())
            mistakes["form_attributes"].append(f"A form that fits: {suggestion}.")
        if mistakes["details_attributes"]:
            suggestion = ", ".join(self.details())
            mistakes["details_attributes"].append(
                f"Attributes that fit, in the order of iTop's page: {suggestion}."
            )
        return {name: sentences for name, sentences in mistakes.items() if sentences}

    def _form_mistakes(self) -> list[str]:
        sentences = []
        for code in self._profile.form_attributes:
            attribute = self._class.attributes.get(code)
            if attribute is None:
                sentences.append(self._unknown_attribute(code))
            elif attribute.kind in _NOT_EDITABLE:
                sentences.append(f"{code} {_NOT_EDITABLE[attribute.kind]}.")
        return sentences

    def default_mistakes(self) -> list[str]:
        """Return sentences about default values that their attributes do not allow."""
        known = [code for code in self._profile.defaults if code in self._class.attributes]
        sentences = [
            self._value_mistake(self._class.attributes[code], self._profile.default_of(code))
            for code in known
        ]
        return list(filter(None, sentences))

    def _value_mistake(self, attribute: Attribute, value: str) -> str:
        """Return a sentence if the attribute does not allow the default value, or ""."""
        code, kind = attribute.code, attribute.kind
        allowed = [known.code for known in attribute.values]
        if kind is Kind.ENUM and allowed and value not in allowed:
            listed = [_with_label(self._class, code, known) for known in allowed[:MAX_LISTED_VALUES]]
            more = f" and {len(allowed) - len(listed)} more" if len(allowed) > len(listed) else ""
            return f"{code} has no value “{value}”. Its values: {', '.join(listed)}{more}."
        pattern, description = _FORMATS.get(kind, ("", ""))
        if pattern and not re.fullmatch(pattern, value):
            needed = description.format(target_class=attribute.target_class)
            return f"{code} needs {needed}, not “{value}”."
        if attribute.limit and len(value) > attribute.limit:
            return f"{code} can have at most {attribute.limit} characters; its default has {len(value)}."
        return ""

    def _mapping_mistakes(self) -> list[str]:
        sentences = []
        for stock_code in STOCK_ATTRIBUTES:
            code = self._profile.code(stock_code)
            is_used = stock_code in _REQUIRED or stock_code in self._profile.attributes_mapping
            if is_used and not self._has(code):
                advice = f"Map {stock_code} to the attribute that this class has instead."
                sentences.append(f"{self._unknown_attribute(code)} {advice}")
        return sentences

    def _state_mistakes(self) -> list[str]:
        states = self._states()
        return [
            f"{self._class.name} has no state {state}.{did_you_mean(state, states)}"
            for state in self._profile.excluded_states
            if states and state not in states
        ]

    def missing(self) -> list[str]:
        """Return the mandatory attributes that neither the form, nor a default, nor the bridge fills in."""
        profile = self._profile
        required = [
            attribute
            for attribute in self._class.attributes.values()
            if attribute.is_mandatory and not attribute.is_read_only and attribute.code in self._editable
        ]
        without_default = [
            attribute.code
            for attribute in required
            if not attribute.default and not profile.default_of(attribute.code)
        ]
        filled_in = {*profile.form_attributes, *map(profile.code, FILLED_IN)}
        return [code for code in without_default if code not in filled_in]

    def form(self) -> list[str]:
        """Return a form that fits: the profile's form fields that are valid, plus the missing attributes."""
        valid = [code for code in self._profile.form_attributes if code in self._editable]
        return [*valid, *self.missing()]

    def details(self) -> list[str]:
        """Return at most MAX_DETAILS attributes to display, in the order of the ticket's page in iTop."""
        shown_elsewhere = {self._profile.code(stock_code) for stock_code in ("title", "org_id", "caller_id")}
        codes = [
            code
            for code in self._class.details or self._class.attributes
            if code in self._editable and code not in shown_elsewhere
        ]
        return codes[:MAX_DETAILS]

    def autofill(self) -> list[str]:
        """Correct the profile without saving it, and return the names of the fields that changed."""
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
        """Return whether objects of the class have this attribute, including those that iTop adds itself."""
        if code in self._class.attributes or code in _ATTRIBUTES_OF_EVERY_CLASS:
            return True
        # For each key, such as agent_id, iTop adds the name of the object: agent_id_friendlyname.
        key = self._class.attributes.get(code.removesuffix("_friendlyname"))
        return key is not None and key.kind is Kind.KEY

    def _states(self) -> list[str]:
        status = self._class.attributes.get(self._profile.code("status"))
        return [value.code for value in status.values] if status else []

    def _unknown_attributes(self, codes: Iterable[str]) -> list[str]:
        return [self._unknown_attribute(code) for code in codes if not self._has(code)]

    def _unknown_attribute(self, code: str) -> str:
        return f"{self._class.name} has no attribute {code}.{did_you_mean(code, self._class.attributes)}"


def did_you_mean(code: str, codes: Collection[str]) -> str:
    """Return " Did you mean …?" with similar codes, or "" if none is similar."""
    similar = difflib.get_close_matches(code, codes, n=3, cutoff=0.7)
    return f" Did you mean {' or '.join(similar)}?" if similar else ""


def missing_from_form(codes: Iterable[str], class_name: str) -> str:
    """Return a sentence about the result of ProfileCheck.missing."""
    return f"The form does not contain {', '.join(codes)}, required in a new {class_name}."


def _with_label(ticket_class: TicketClass, code: str, value: str) -> str:
    label = value_label(ticket_class, code, value)
    return f"{value} ({label})" if label != value else value
