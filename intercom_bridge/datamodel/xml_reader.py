"""Read the ticket classes of iTop's compiled data model, with inherited attributes, flags and labels.

Format: https://www.itophub.io/wiki/page?id=latest:customization:xml_reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import BinaryIO
from xml.etree.ElementTree import Element

from .attribute import LINE_LIMIT, TEXT_LIMIT, Attribute, Kind, TicketClass, Value
from .xml_stream import FILE, DataModelError, read_design

TICKET = "Ticket"
# A complete iTop has about 300 classes, with at most six parents each.
MAX_CLASSES = 1_000
MAX_PARENTS = 100
# Elements of the ticket classes with those they inherit, times the classes of each chain. A standard iTop has 10,000.
MAX_INHERITED = 2_000_000
# Classes defined in iTop's code, where the chain of parents ends.
_ROOT_CLASSES = {"", "DBObject", "CMDBObject", "cmdbAbstractObject"}
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
_LIMITS = {"AttributeURL": 2048, "AttributeLongText": 0}
_LIMITS_OF_KINDS = {Kind.LINE: LINE_LIMIT, Kind.TEXT: TEXT_LIMIT, Kind.HTML: TEXT_LIMIT}
# Computed by iTop from another enum's value; not writable.
_COMPUTED = {"AttributeMetaEnum"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, kw_only=True)
class DataModel:
    """The content of a file: the requested classes, the names of all classes, the languages of the labels."""

    classes: Mapping[str, TicketClass]
    names: tuple[str, ...]
    languages: tuple[str, ...]


def read_data_model(stream: BinaryIO, also: Sequence[str] = ()) -> DataModel:
    """Read every concrete class that descends from Ticket, and those in `also` that the file contains.

    Takes about a second for a file of 10 MB. Raise DataModelError.
    """
    classes = _Classes(also)
    labels = read_design(stream, classes.add, classes.is_wanted)
    if not classes.names:
        raise DataModelError(f"there are no classes in this file. Choose iTop's {FILE}.")
    if not classes.selected:
        raise DataModelError(
            f"no class in this file descends from {TICKET}: it belongs to a single module, or to an iTop without "
            f"tickets. Choose iTop's {FILE}."
        )
    return DataModel(
        classes={name: _Merger(classes.chain(name), labels).ticket_class for name in classes.selected},
        names=classes.names,
        languages=tuple(sorted({language for texts in labels.values() for language in texts})),
    )


@dataclass(frozen=True)
class FieldDesign:
    """An attribute without labels. With `sort_by_label`, its values are displayed in the order of their labels."""

    attribute: Attribute
    sort_by_label: bool


@dataclass(frozen=True, kw_only=True)
class _Class:
    """A class without what it inherits. `size` is its number of elements."""

    name: str
    parent: str
    size: int
    is_abstract: bool
    fields: Mapping[str, FieldDesign]
    states: Mapping[str, _State]
    state_attribute: str
    details: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _State:
    inherits_from: str
    flags: Mapping[str, frozenset[str]]


class _Classes:
    """All classes of the file. Call the properties after all classes have been added."""

    def __init__(self, also: Sequence[str]) -> None:
        self._also = also
        self._classes: dict[str, _Class] = {}
        self._added = 0

    def add(self, element: Element) -> None:
        self._added += 1
        if self._added > MAX_CLASSES:
            raise DataModelError(f"the file has more than {MAX_CLASSES:,} classes. Choose iTop's {FILE}.")
        name = element.get("id", "")
        fields = {
            code: _read_field(field, name)
            for field in element.iterfind("fields/field")
            if (code := field.get("id"))
        }
        self._classes[name] = _Class(
            name=name,
            parent=_text(element, "parent") or element.get("_within", ""),
            size=sum(1 for _ in element.iter()),
            is_abstract=_text(element, "properties/abstract") == "true",
            fields=fields,
            states={
                state.get("id", ""): _state(state) for state in element.iterfind("lifecycle/states/state")
            },
            state_attribute=_text(element, "properties/fields_semantic/state_attribute")
            or _text(element, "lifecycle/attribute"),
            details=tuple(_codes(element.findall("presentation/details/items/item"))),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._classes)

    @cached_property
    def selected(self) -> tuple[str, ...]:
        tickets = [
            name
            for name, candidate in self._classes.items()
            if name != TICKET and not candidate.is_abstract and TICKET in self._ancestry(name)
        ]
        selected = tuple(dict.fromkeys([*tickets, *(name for name in self._also if name in self._classes)]))
        chains = [self.chain(name) for name in selected]
        if sum(len(chain) * sum(member.size for member in chain) for chain in chains) > MAX_INHERITED:
            raise DataModelError(
                f"the ticket classes inherit more than those of any iTop. Choose iTop's {FILE}."
            )
        return selected

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(member.name for name in self.selected for member in self.chain(name))

    def is_wanted(self, name: str) -> bool:
        """Return whether a selected class uses the labels of this class."""
        return name in self._wanted

    def chain(self, name: str) -> list[_Class]:
        """Return the class and its parents, nearest first. Raise DataModelError if one is missing or cyclic."""
        ancestry = self._ancestry(name)
        last = self._classes.get(ancestry[-1])
        if last is None and ancestry[-1] not in _ROOT_CLASSES:
            raise DataModelError(
                f"{ancestry[-1]}, a parent of {name}, is not in this file: it belongs to a single module. "
                f"Choose iTop's {FILE}."
            )
        if last is not None and last.parent in ancestry:
            raise DataModelError(f"{last.parent} is its own ancestor.")
        return [self._classes[member] for member in ancestry if member in self._classes]

    def _ancestry(self, name: str) -> list[str]:
        """Return the class's name and its parents', up to and including the first that is not in the file."""
        ancestry = {name: None}
        last = name
        while (member := self._classes.get(last)) and member.parent and member.parent not in ancestry:
            last = member.parent
            ancestry[last] = None
            if len(ancestry) > MAX_PARENTS + 1:
                raise DataModelError(
                    f"the class {name} has more than {MAX_PARENTS} parents. Choose iTop's {FILE}."
                )
        return list(ancestry)


class _Merger:
    """Merge a class, its parents (nearest first) and their labels into a TicketClass."""

    def __init__(self, chain: Sequence[_Class], labels: Mapping[str, Mapping[str, str]]) -> None:
        self._chain = chain
        self._labels = labels

    @property
    def ticket_class(self) -> TicketClass:
        flags = self._flags_of_a_new_ticket()
        attributes = {
            code: self._attribute(field, flags.get(code, frozenset())) for code, field in self._fields.items()
        }
        details = next((member.details for member in self._chain if member.details), ())
        return TicketClass(
            name=self._chain[0].name,
            attributes=attributes,
            details=tuple(code for code in dict.fromkeys(details) if code in attributes),
            labels=self._labels.get(f"Class:{self._chain[0].name}", {}),
        )

    @cached_property
    def _fields(self) -> Mapping[str, FieldDesign]:
        fields: dict[str, FieldDesign] = {}
        for member in reversed(self._chain):
            fields |= member.fields
        return fields

    def _attribute(self, design: FieldDesign, flags: frozenset[str]) -> Attribute:
        attribute = design.attribute
        values = tuple(
            Value(code=value.code, labels=self._labels_of(f"Attribute:{attribute.code}/Value:{value.code}"))
            for value in attribute.values
        )
        if design.sort_by_label:
            values = tuple(sorted(values, key=lambda value: value.labels.get("en", value.code).casefold()))
        return replace(
            attribute,
            values=values,
            labels=self._labels_of(f"Attribute:{attribute.code}"),
            is_mandatory=attribute.is_mandatory or "mandatory" in flags,
            is_read_only=attribute.is_read_only or "read_only" in flags,
        )

    def _labels_of(self, key: str) -> Mapping[str, str]:
        """Return the labels, each language's from the nearest class that has one."""
        labels: dict[str, str] = {}
        for member in reversed(self._chain):
            labels |= self._labels.get(f"Class:{member.name}/{key}", {})
        return labels

    def _flags_of_a_new_ticket(self) -> Mapping[str, frozenset[str]]:
        states = next((member.states for member in self._chain if member.states), {})
        state_attribute = next(
            (member.state_attribute for member in self._chain if member.state_attribute), ""
        )
        field = self._fields.get(state_attribute)
        return _flags(states, field.attribute.default) if field else {}


def _flags(states: Mapping[str, _State], name: str) -> Mapping[str, frozenset[str]]:
    """Return the flags by attribute. Attributes that the state does not list inherit another state's flags."""
    flags: dict[str, frozenset[str]] = {}
    seen: set[str] = set()
    while (state := states.get(name)) and name not in seen:
        seen.add(name)
        for code, flags_of_attribute in state.flags.items():
            flags.setdefault(code, flags_of_attribute)
        name = state.inherits_from
    return flags


def _state(element: Element) -> _State:
    return _State(
        inherits_from=(element.findtext("inherit_flags_from") or "").strip(),
        flags={
            attribute.get("id", ""): frozenset(flag.tag for flag in attribute)
            for attribute in element.findall("flags/attribute")
        },
    )


def _codes(items: Sequence[Element]) -> Iterator[str]:
    """Return the attributes in page order. Columns and fieldsets, which contain them, have a colon in their id."""
    for item in sorted(items, key=_rank):
        code = item.get("id", "")
        if ":" not in code:
            yield code
        yield from _codes(item.findall("items/item"))


def _read_field(element: Element, class_name: str) -> FieldDesign:
    name = element.get(_TYPE, "")
    kind = _KINDS.get(name, Kind.OTHER)
    if kind is Kind.TEXT and _text(element, "format") == "html":
        kind = Kind.HTML
    default = _text(element, "default_value")
    if kind is Kind.KEY and default == "0":  # iTop's notation for an empty key
        default = ""
    # iTop computes a date from NOW() and similar defaults, so a form neither shows nor requires it.
    is_computed_date = kind in (Kind.DATE, Kind.DATETIME) and bool(default) and not _DATE.match(default)
    attribute = Attribute(
        code=element.get("id", ""),
        kind=kind,
        values=_values(element) if kind is Kind.ENUM else (),
        is_mandatory=_text(element, "is_null_allowed") == "false" and not is_computed_date,
        is_read_only=name in _COMPUTED,
        default="" if is_computed_date else default,
        limit=_LIMITS.get(name, _LIMITS_OF_KINDS.get(kind, 0)),
        # A hierarchical key has no target_class: it points to its own class.
        target_class=(_text(element, "target_class") or class_name) if kind is Kind.KEY else "",
        filter=" ".join(_text(element, "filter").splitlines()) if kind is Kind.KEY else "",
        depends_on=tuple(
            code for item in element.findall("dependencies/attribute") if (code := item.get("id", ""))
        ),
    )
    return FieldDesign(attribute, sort_by_label=_text(element, "sort_type") == "label")


def _rank(element: Element) -> float:
    """Return the sort key of an item; items without a rank come first."""
    try:
        return float(_text(element, "rank") or 0)
    except ValueError:
        return 0.0


def _values(element: Element) -> tuple[Value, ...]:
    ranked = sorted(element.findall("values/value"), key=_rank)
    codes = [_text(value, "code") or value.get("id", "") for value in ranked]
    if _text(element, "sort_type") == "code":
        codes.sort()
    return tuple(Value(code=code) for code in dict.fromkeys(codes) if code)


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
