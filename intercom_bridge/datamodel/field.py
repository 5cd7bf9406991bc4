"""A <field> of iTop's data model as an Attribute. Follows
https://www.itophub.io/wiki/page?id=latest:customization:xml_reference, "Fields".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from .attribute import Attribute, Kind, Value
from .stock import LINE_LIMIT, TEXT_LIMIT

_TYPE = "xsi:type"
_KINDS = {
    "AttributeString": Kind.LINE,
    "AttributeEmailAddress": Kind.LINE,
    "AttributePhoneNumber": Kind.LINE,
    "AttributeURL": Kind.LINE,
    "AttributeIPAddress": Kind.LINE,
    "AttributeTemplateString": Kind.LINE,
    "AttributeText": Kind.TEXT,
    "AttributeLongText": Kind.TEXT,
    "AttributeTemplateText": Kind.TEXT,
    "AttributeHTML": Kind.HTML,
    "AttributeTemplateHTML": Kind.HTML,
    "AttributeInteger": Kind.INTEGER,
    "AttributePercentage": Kind.INTEGER,
    "AttributeDecimal": Kind.DECIMAL,
    "AttributeDate": Kind.DATE,
    "AttributeDateTime": Kind.DATETIME,
    "AttributeEnum": Kind.ENUM,
    "AttributeMetaEnum": Kind.ENUM,
    "AttributeExternalKey": Kind.KEY,
    "AttributeHierarchicalKey": Kind.KEY,
    "AttributeCaseLog": Kind.LOG,
}
_LIMITS = {
    "AttributeURL": 2048,
    "AttributeLongText": 0,
}
_LIMITS_OF_KINDS = {Kind.LINE: LINE_LIMIT, Kind.TEXT: TEXT_LIMIT, Kind.HTML: TEXT_LIMIT}
# Another enum's value decides on it, and iTop takes no other.
_COMPUTED = {"AttributeMetaEnum"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class FieldDesign:
    """An attribute that has no labels yet. `sort_by_label`: its values are read in the order of their labels."""

    attribute: Attribute
    sort_by_label: bool


def read_field(element: Element, class_name: str) -> FieldDesign:
    name = element.get(_TYPE, "")
    kind = _KINDS.get(name, Kind.OTHER)
    if kind is Kind.TEXT and _text(element, "format") == "html":
        kind = Kind.HTML
    default = _text(element, "default_value")
    if kind is Kind.KEY and default == "0":  # how iTop writes that it points to nothing
        default = ""
    # Of NOW() and its like iTop makes a date by itself: nothing to show in a form, and nothing that is missing.
    is_computed_date = kind in (Kind.DATE, Kind.DATETIME) and bool(default) and not _DATE.match(default)
    attribute = Attribute(
        code=element.get("id", ""),
        kind=kind,
        values=_values(element) if kind is Kind.ENUM else (),
        is_mandatory=_text(element, "is_null_allowed") == "false" and not is_computed_date,
        is_read_only=name in _COMPUTED,
        default="" if is_computed_date else default,
        limit=_LIMITS.get(name, _LIMITS_OF_KINDS.get(kind, 0)),
        # A hierarchical key names no target: it points to its own class.
        target_class=(_text(element, "target_class") or class_name) if kind is Kind.KEY else "",
        filter=" ".join(_text(element, "filter").splitlines()) if kind is Kind.KEY else "",
        depends_on=tuple(
            code for one in element.findall("dependencies/attribute") if (code := one.get("id", ""))
        ),
    )
    return FieldDesign(attribute, sort_by_label=_text(element, "sort_type") == "label")


def rank(element: Element) -> float:
    """Where an item stands among its neighbours; without a rank, before those that have one."""
    try:
        return float(_text(element, "rank") or 0)
    except ValueError:
        return 0.0


def _values(element: Element) -> tuple[Value, ...]:
    ranked = sorted(element.findall("values/value"), key=rank)
    codes = [_text(one, "code") or one.get("id", "") for one in ranked]
    if _text(element, "sort_type") == "code":
        codes.sort()
    return tuple(Value(code=code) for code in dict.fromkeys(codes) if code)


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
