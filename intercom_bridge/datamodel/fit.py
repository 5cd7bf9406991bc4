"""Whether a ticket profile fits a class as the data model has it, and what would."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from intercom_bridge.models import TicketProfile
from intercom_bridge.models.ticket_profile import FILLED_IN, STOCK_ATTRIBUTES

from .attribute import Attribute, Kind, TicketClass

# Without these nothing can be found, created or copied; the other parts are left out where iTop lacks them.
_NEEDED = ("org_id", "caller_id", "status", "title", "description", "public_log", "private_log")
_NOT_ASKED_FOR = {
    Kind.LOG: "is a log: a form cannot ask for it",
    Kind.OTHER: "is of a type that a form cannot ask for",
}
_OF_EVERY_CLASS = {"id", "friendlyname", "finalclass", "obsolescence_flag", "obsolescence_date"}
# A ticket is looked at in a narrow panel: so many rows at most are proposed.
MOST_DETAILS = 12


class Fit:
    """A profile held against a class. What is wrong stands at the profile's field that says it."""

    def __init__(self, profile: TicketProfile, ticket_class: TicketClass) -> None:
        self._profile = profile
        self._class = ticket_class

    def mistakes(self) -> Mapping[str, list[str]]:
        """The profile's field -> sentences. Empty: every code is one of the class."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for code in self._profile.form_attributes:
            one = self._class.attributes.get(code)
            if one is None:
                found["form_attributes"].append(self._unknown(code))
            elif one.kind in _NOT_ASKED_FOR:
                found["form_attributes"].append(f"{code} {_NOT_ASKED_FOR[one.kind]}.")
        for code in self._profile.details_attributes:
            if not self._has(code):
                found["details_attributes"].append(self._unknown(code))
        for code in self._profile.defaults:
            if not self._has(code):
                found["defaults"].append(self._unknown(code))
        if not self._has(self._profile.subtitle_attribute):
            found["subtitle_attribute"].append(self._unknown(self._profile.subtitle_attribute))
        for part in STOCK_ATTRIBUTES:
            code = self._profile.code(part)
            if (part in _NEEDED or part in self._profile.attributes_mapping) and not self._has(code):
                found["attributes_mapping"].append(f"{self._unknown(code)} Say here which one is its {part}.")
        states = self._states()
        for state in self._profile.excluded_states:
            if states and state not in states:
                found["excluded_states"].append(
                    f"{self._class.name} has no state {state}.{meant(state, states)}"
                )
        if "form_attributes" in found:
            found["form_attributes"].append(f"A form that fits: {', '.join(self.form())}.")
        if "details_attributes" in found:
            found["details_attributes"].append(
                f"In the order of iTop's own page: {', '.join(self.details())}."
            )
        return found

    def lacking(self) -> list[str]:
        """What a new ticket needs and nobody gives: no field of the form, no default of iTop, not the bridge."""
        return [one.code for one in self._to_be_asked() if one.code not in self._profile.form_attributes]

    def form(self) -> list[str]:
        """The form's fields that can be asked for, with those that it lacks."""
        kept = [code for code in self._profile.form_attributes if self._can_be_asked_for(code)]
        return [*kept, *self.lacking()]

    def details(self) -> list[str]:
        """What iTop's own page shows of a ticket, in its order, as far as it fits into the panel."""
        beside = {self._profile.code("title"), self._profile.code("org_id"), self._profile.code("caller_id")}
        shown = [
            code
            for code in self._class.details or self._class.attributes
            if self._class.attributes[code].kind not in _NOT_ASKED_FOR and code not in beside
        ]
        return shown[:MOST_DETAILS]

    def adapt(self) -> list[str]:
        """Replaces in the profile what does not fit by what does; answers the fields that changed."""
        wrong = self.mistakes()
        fitting: dict[str, object] = {"form_attributes": self.form()}
        if "details_attributes" in wrong:
            fitting["details_attributes"] = self.details()
        if "subtitle_attribute" in wrong and self._has(self._profile.code("title")):
            fitting["subtitle_attribute"] = self._profile.code("title")
        if "excluded_states" in wrong:
            fitting["excluded_states"] = [
                one for one in self._profile.excluded_states if one in self._states()
            ]
        changed = [name for name, value in fitting.items() if getattr(self._profile, name) != value]
        for name in changed:
            setattr(self._profile, name, fitting[name])
        return changed

    def _to_be_asked(self) -> Iterable[Attribute]:
        filled_in = {self._profile.code(part) for part in FILLED_IN}
        return (
            one
            for one in self._class.attributes.values()
            if one.is_mandatory
            and not one.is_read_only
            and not (one.default or self._profile.default_of(one.code))
            and one.code not in filled_in
            and one.kind not in _NOT_ASKED_FOR
        )

    def _can_be_asked_for(self, code: str) -> bool:
        one = self._class.attributes.get(code)
        return one is not None and one.kind not in _NOT_ASKED_FOR

    def _has(self, code: str) -> bool:
        """Whether iTop can show it: what the class defines, and what iTop adds to any class and external key."""
        if code in self._class.attributes or code in _OF_EVERY_CLASS:
            return True
        key = self._class.attributes.get(code.removesuffix("_friendlyname"))
        return key is not None and key.kind is Kind.KEY

    def _states(self) -> list[str]:
        status = self._class.attributes.get(self._profile.code("status"))
        return [one.code for one in status.values] if status else []

    def _unknown(self, code: str) -> str:
        return f"{self._class.name} has no attribute {code}.{meant(code, self._class.attributes)}"


def meant(code: str, codes: Collection[str]) -> str:
    """ " Did you mean ...?" with the codes near to one that is not there; "" when there are none."""
    near = difflib.get_close_matches(code, codes, 3, 0.7)
    return f" Did you mean {' or '.join(near)}?" if near else ""
