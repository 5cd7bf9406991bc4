"""iTop's refusals of a value, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.utils.translation import gettext as _

from .typed import too_long

# iTop's own texts, as recorded (tests/recordings/itop, 063 to 086).
_TOO_LONG = re.compile(r"String too long \(found (\d+), limited to (\d+)\)")


def in_plain_words(reason: str) -> str:
    """What the reason that iTop gives for a field means for who fills it in; an unknown one as iTop said it."""
    if reason.startswith("Null not allowed"):
        return _("iTop needs this.")
    if reason.startswith("Value not allowed"):
        return _("This is none of the values that iTop allows.")
    if found := _TOO_LONG.match(reason):
        return too_long(int(found[1]), int(found[2]))
    if re.search(r"(^|: )(Invalid object |No item found |Several items found )", reason):
        return _("iTop does not have this, or not any more. Please choose again.")
    if reason.startswith("Wrong format for date"):
        return _("iTop cannot read this as a date.")
    if reason.startswith("Wrong format"):
        return _("iTop cannot read this: it is not in the form that it needs.")
    if is_unknown(reason):
        return _("This iTop has no such attribute. An admin can take it out of the ticket profile.")
    return reason


def is_unknown(reason: str) -> bool:
    """iTop's data model has no such attribute."""
    return "Unknown attribute" in reason


def at_fields(problems: Iterable[Iterable[str]]) -> dict[str, str]:
    """Plain words by attribute, from pairs of an attribute's code and iTop's reason."""
    found: dict[str, str] = {}
    for code, reason in problems:
        found.setdefault(code, in_plain_words(reason))
    return found
