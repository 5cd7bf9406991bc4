"""What a person types into a field, and what iTop takes for it."""

from __future__ import annotations

import datetime as dt
import re

from django.utils.translation import gettext as _

from intercom_bridge.datamodel import Attribute, Kind
from intercom_bridge.intercom.html import text_to_html, to_text

DATE, DATETIME = "%Y-%m-%d", "%Y-%m-%d %H:%M"
# One that reads the same in every language, and whose day is no month.
EXAMPLE = dt.datetime(2026, 11, 24, 14, 30)  # noqa: DTZ001 - shown as it is, in no zone
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?", re.ASCII)
_DATETIME = re.compile(r"(\d{4}-\d\d?-\d\d?)[ T](\d\d?:\d\d)(:\d\d)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?", re.ASCII)
# What a column of iTop's holds.
LEAST, MOST = -(2**31), 2**31 - 1
FIRST_YEAR = 1000


class Malformed(ValueError):
    """What was typed cannot be meant; the text says what to write instead."""


def to_itop(attribute: Attribute, typed: str, zone: dt.tzinfo, itop_zone: dt.tzinfo) -> str:
    """The value as iTop takes it, dates in its own zone; "" when nothing was typed. Raises Malformed."""
    typed = typed.strip()
    if not typed:
        return ""
    match attribute.kind:
        case Kind.INTEGER:
            return _integer(typed)
        case Kind.DECIMAL:
            return _decimal(typed)
        case Kind.DATE:
            return _date(typed)
        case Kind.DATETIME:
            return _moment(typed, zone, itop_zone)
        case Kind.HTML:
            return _short_enough(attribute, typed, text_to_html(typed))
        case Kind.LINE:
            return _short_enough(attribute, typed, typed.replace("\n", " "))
        case _:
            return _short_enough(attribute, typed, typed)


def from_itop(attribute: Attribute, value: str, zone: dt.tzinfo, itop_zone: dt.tzinfo) -> str:
    """What a person would have typed for a value as iTop keeps it: its dates in the person's zone, HTML as text."""
    if attribute.kind == Kind.HTML:
        return to_text(value).strip()
    if attribute.kind != Kind.DATETIME:
        return value
    try:
        moment = dt.datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=itop_zone)
        return moment.astimezone(zone).strftime(DATETIME)
    except (ValueError, OverflowError):
        return value


def example(attribute: Attribute) -> str:
    """How it is written; "" for what is written as one likes."""
    match attribute.kind:
        case Kind.DATE:
            return EXAMPLE.strftime(DATE)
        case Kind.DATETIME:
            return EXAMPLE.strftime(DATETIME)
        case Kind.INTEGER:
            return "12"
        case Kind.DECIMAL:
            return "12.5"
        case _:
            return ""


def too_long(count: int, limit: int) -> str:
    return _("Too long: %(count)d characters of %(limit)d.") % {"count": count, "limit": limit}


def _short_enough(attribute: Attribute, typed: str, value: str) -> str:
    """iTop counts characters, not bytes, and of HTML those of the tags too."""
    if attribute.limit and len(value) > attribute.limit:
        if len(typed) > attribute.limit or attribute.kind != Kind.HTML:
            raise Malformed(too_long(len(typed), attribute.limit))
        raise Malformed(
            _(
                "Too long: with the marks of its paragraphs and links it has %(count)d characters of %(limit)d."
            )
            % {"count": len(value), "limit": attribute.limit}
        )
    return value


def _integer(typed: str) -> str:
    if not _INTEGER.fullmatch(typed):
        raise Malformed(_("Write a whole number, like %(example)s.") % {"example": "12"})
    number = int(typed)
    if not LEAST <= number <= MOST:
        raise Malformed(_("Write a number from %(least)d to %(most)d.") % {"least": LEAST, "most": MOST})
    return str(number)


def _decimal(typed: str) -> str:
    # A comma is a thousand in one country and a part of one in the next.
    if not _DECIMAL.fullmatch(typed):
        raise Malformed(_("Write a number with a point, like %(example)s.") % {"example": "12.5"})
    return typed.removeprefix("+")


def _date(typed: str) -> str:
    wrong = Malformed(_("Write a date like %(example)s.") % {"example": EXAMPLE.strftime(DATE)})
    if not _DATE.fullmatch(typed):
        raise wrong
    try:
        day = dt.date(*(int(number) for number in typed.split("-")))
    except ValueError:
        raise wrong from None
    if day.year < FIRST_YEAR:
        raise wrong
    return day.isoformat()


def _moment(typed: str, zone: dt.tzinfo, itop_zone: dt.tzinfo) -> str:
    wrong = Malformed(
        _("Write a date and a time like %(example)s.") % {"example": EXAMPLE.strftime(DATETIME)}
    )
    match = _DATETIME.fullmatch(typed)
    if match is None:
        raise wrong
    try:
        day = dt.date.fromisoformat(_date(match[1]))
        hour, minute = (int(number) for number in match[2].split(":"))
        time = dt.time(hour, minute, int((match[3] or ":0")[1:]))
        local = dt.datetime.combine(day, time, zone)
        there = local.astimezone(itop_zone)
        is_skipped = local.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != local.replace(
            tzinfo=None
        )
    except (ValueError, OverflowError):
        raise wrong from None
    if is_skipped:
        raise Malformed(_("There is no such time on that day: the clocks are put forward over it."))
    return there.strftime("%Y-%m-%d %H:%M:%S")
