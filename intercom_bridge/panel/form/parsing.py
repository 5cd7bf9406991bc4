"""Convert a person's input to iTop's format, and back."""

import datetime as dt
import re

from django.utils.translation import gettext as _

from intercom_bridge.datamodel import Attribute, Kind
from intercom_bridge.datamodel.attribute import TEXT_LIMIT
from intercom_bridge.events.markup import to_plain_text
from intercom_bridge.intercom.html import text_to_html
from intercom_bridge.models import ItopInstance
from intercom_bridge.panel.errors import too_long

DATE, DATETIME = "%Y-%m-%d", "%Y-%m-%d %H:%M"
# A date whose day, 24, cannot be mistaken for a month.
EXAMPLE = dt.datetime(2026, 11, 24, 14, 30)  # noqa: DTZ001 - displayed as it is, in no zone
EXAMPLES = {
    Kind.DATE: EXAMPLE.strftime(DATE),
    Kind.DATETIME: EXAMPLE.strftime(DATETIME),
    Kind.INTEGER: "12",
    Kind.DECIMAL: "12.5",
}
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?", re.ASCII)
_DATETIME = re.compile(r"(\d{4}-\d\d?-\d\d?)[ T](\d\d?):(\d\d)(?::(\d\d))?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?", re.ASCII)
# The range of iTop's integer columns.
MIN_INTEGER, MAX_INTEGER = -(2**31), 2**31 - 1
# MySQL, iTop's database, supports dates from this year on.
MIN_YEAR = 1000


class InvalidInputError(ValueError):
    """The input is not valid. The exception's text tells the teammate what to enter instead."""


def to_itop(  # noqa: PLR0911 - one per kind
    attribute: Attribute, typed: str, zone: dt.tzinfo, itop_zone: dt.tzinfo
) -> str:
    """Convert what a person typed to iTop's format, and a time from `zone` to `itop_zone`. Return "" for blank input.

    Raise InvalidInputError if the input is not valid.
    """
    typed = typed.strip()
    if not typed:
        return ""
    match attribute.kind:
        case Kind.INTEGER:
            return _parse_integer(typed)
        case Kind.DECIMAL:
            return _parse_decimal(typed)
        case Kind.DATE:
            return _parse_date(typed)
        case Kind.DATETIME:
            return _parse_datetime(typed, zone, itop_zone)
        case Kind.HTML:
            return _check_length(attribute, typed, text_to_html(typed))
        case Kind.LINE:
            return _check_length(attribute, typed, typed.replace("\n", " "))
        case _:
            return _check_length(attribute, typed, typed)


def from_itop(attribute: Attribute, value: str, zone: dt.tzinfo, itop: ItopInstance) -> str:
    """Return a value from iTop as a person would type it: HTML as plain text, a time in `zone`.

    A time that iTop did not write in its usual format is returned unchanged.
    """
    if attribute.kind == Kind.HTML:
        return to_plain_text(value, itop).strip()
    if attribute.kind != Kind.DATETIME:
        return value
    try:
        moment = dt.datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=itop.zone)
        return moment.astimezone(zone).strftime(DATETIME)
    except (ValueError, OverflowError):
        return value


def example(attribute: Attribute) -> str:
    """Return an example of the format, or "" for free text."""
    return EXAMPLES.get(attribute.kind, "")


def _check_length(attribute: Attribute, typed: str, value: str) -> str:
    """Return `value`, the typed text after its conversion to iTop's format. Raise InvalidInputError if it is too long.

    iTop limits the number of characters, including those of HTML tags. For a long text, iTop's database also limits
    the number of bytes.
    """
    if attribute.limit and len(value) > attribute.limit:
        if len(typed) > attribute.limit or attribute.kind != Kind.HTML:
            # Even without HTML tags the text is too long.
            raise InvalidInputError(too_long(len(typed), attribute.limit))
        raise InvalidInputError(
            _(
                "Too long: with its formatting, this text has %(count)d characters. At most %(limit)d are allowed."
            )
            % {"count": len(value), "limit": attribute.limit}
        )
    size = len(value.encode("utf-8", "replace"))
    if attribute.kind in (Kind.TEXT, Kind.HTML) and size > TEXT_LIMIT:
        raise InvalidInputError(
            _("Too long: the text takes %(count)d bytes in iTop, and at most %(limit)d are allowed.")
            % {"count": size, "limit": TEXT_LIMIT}
        )
    return value


def _parse_integer(typed: str) -> str:
    if not _INTEGER.fullmatch(typed):
        raise InvalidInputError(
            _("Enter a whole number, like %(example)s.") % {"example": EXAMPLES[Kind.INTEGER]}
        )
    number = int(typed)
    if not MIN_INTEGER <= number <= MAX_INTEGER:
        raise InvalidInputError(
            _("Enter a number from %(min)d to %(max)d.") % {"min": MIN_INTEGER, "max": MAX_INTEGER}
        )
    return str(number)


def _parse_decimal(typed: str) -> str:
    # A comma is not accepted, because it separates thousands in some countries and decimals in others.
    if not _DECIMAL.fullmatch(typed):
        raise InvalidInputError(
            _("Enter a number with a decimal point, like %(example)s.") % {"example": EXAMPLES[Kind.DECIMAL]}
        )
    return typed.removeprefix("+")


def _parse_date(typed: str) -> str:
    """Return the date as YYYY-MM-DD. Month and day may be typed with one digit."""
    error = InvalidInputError(_("Enter a date like %(example)s.") % {"example": EXAMPLES[Kind.DATE]})
    if not _DATE.fullmatch(typed):
        raise error
    try:
        day = dt.date(*(int(number) for number in typed.split("-")))
    except ValueError:
        raise error from None
    if day.year < MIN_YEAR:
        raise error
    return day.isoformat()


def _parse_datetime(typed: str, zone: dt.tzinfo, itop_zone: dt.tzinfo) -> str:
    """Convert a time that was typed in `zone` to iTop's format and zone. The typed time may lack seconds."""
    error = InvalidInputError(
        _("Enter a date and time like %(example)s.") % {"example": EXAMPLES[Kind.DATETIME]}
    )
    match = _DATETIME.fullmatch(typed)
    if match is None:
        raise error
    try:
        day = dt.date.fromisoformat(_parse_date(match[1]))
        time = dt.time(hour=int(match[2]), minute=int(match[3]), second=int(match[4] or 0))
        local = dt.datetime.combine(day, time, zone)
        in_itop = local.astimezone(itop_zone)
        round_trip = local.astimezone(dt.UTC).astimezone(zone)
    except (ValueError, OverflowError):
        # InvalidInputError from `_parse_date` is a ValueError.
        raise error from None
    # A time that the clock skips in spring comes back from UTC as another time.
    if round_trip.replace(tzinfo=None) != local.replace(tzinfo=None):
        raise InvalidInputError(
            _("This time does not exist on that day: clocks change to daylight saving time.")
        )
    return in_itop.strftime("%Y-%m-%d %H:%M:%S")
