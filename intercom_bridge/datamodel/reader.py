"""The classes of tickets in iTop's compiled data model, with what they inherit and how people call it all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import BinaryIO
from xml.etree.ElementTree import Element

from .attribute import Attribute, TicketClass, Value
from .design import FILE, ClassDesign, DataModelError, read_design
from .field import FieldDesign, rank, read_field

TICKET = "Ticket"
# Classes that iTop has in its own code: where the chain of parents ends.
_BUILT_IN = {"", "DBObject", "CMDBObject", "cmdbAbstractObject"}


@dataclass(frozen=True, kw_only=True)
class DataModel:
    """What was learned of a file: the classes that were asked for, the names of all, the languages of the labels."""

    classes: Mapping[str, TicketClass]
    names: tuple[str, ...]
    languages: tuple[str, ...]


def read_data_model(stream: BinaryIO, also: Sequence[str] = ()) -> DataModel:
    """Every class that descends from Ticket and can have objects, and those of `also` that are in the file.

    Takes about a second for the 10 MB that iTop writes. Raises DataModelError: nothing is half read.
    """
    classes = _Classes(also)
    labels = read_design(stream, classes.add, classes.is_wanted)
    if not classes.names:
        raise DataModelError(f"there are no classes in this file. Give iTop's {FILE}.")
    if not classes.learned:
        raise DataModelError(
            f"no class in this file descends from {TICKET}: it is one module's part, or no service desk. "
            f"Give iTop's {FILE}."
        )
    return DataModel(
        classes={name: _Labelled(classes.chain(name), labels).ticket_class for name in classes.learned},
        names=classes.names,
        languages=tuple(sorted({language for texts in labels.values() for language in texts})),
    )


@dataclass(frozen=True, kw_only=True)
class _Class:
    """A class as far as it says something itself; the flags are of the states it defines."""

    name: str
    parent: str
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
    """All classes of the file. Which are wanted is known when all are there."""

    def __init__(self, also: Sequence[str]) -> None:
        self._also = also
        self._classes: dict[str, _Class] = {}

    def add(self, design: ClassDesign) -> None:
        self._classes[design.name] = _Class(
            name=design.name,
            parent=design.parent,
            is_abstract=design.is_abstract,
            fields={
                code: read_field(one, design.name) for one in design.fields if (code := one.get("id", ""))
            },
            states={one.get("id", ""): _state(one) for one in design.states},
            state_attribute=design.state_attribute,
            details=tuple(_codes(design.details)),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._classes)

    @cached_property
    def learned(self) -> tuple[str, ...]:
        tickets = [
            name
            for name, one in self._classes.items()
            if name != TICKET and not one.is_abstract and TICKET in self._ancestry(name)
        ]
        named = [name for name in self._also if name in self._classes]
        return tuple(dict.fromkeys([*tickets, *named]))

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(one.name for name in self.learned for one in self.chain(name))

    def is_wanted(self, name: str) -> bool:
        """Whether the class's labels are those of a learned class or of its parents."""
        return name in self._wanted

    def chain(self, name: str) -> list[_Class]:
        """The class, then its parents. Raises DataModelError when one of them is missing, or its own descendant."""
        ancestry = self._ancestry(name)
        last = self._classes.get(ancestry[-1])
        if last is None and ancestry[-1] not in _BUILT_IN:
            raise DataModelError(
                f"{ancestry[-1]}, a parent of {name}, is not in this file: it is one module's part. "
                f"Give iTop's {FILE}."
            )
        if last is not None and last.parent in ancestry:
            raise DataModelError(f"{last.parent} is its own parent's parent.")
        return [self._classes[one] for one in ancestry if one in self._classes]

    def _ancestry(self, name: str) -> list[str]:
        """The names from the class up, as far as the file knows them, and one further."""
        ancestry = [name]
        while (one := self._classes.get(ancestry[-1])) and one.parent and one.parent not in ancestry:
            ancestry.append(one.parent)
        return ancestry


class _Labelled:
    """A class and its parents, nearest first, as one TicketClass with its labels."""

    def __init__(self, chain: Sequence[_Class], labels: Mapping[str, Mapping[str, str]]) -> None:
        self._chain = chain
        self._labels = labels

    @property
    def ticket_class(self) -> TicketClass:
        flags = self._flags_of_a_new_ticket()
        attributes = {
            code: self._attribute(one, flags.get(code, frozenset())) for code, one in self._fields.items()
        }
        details = next((one.details for one in self._chain if one.details), ())
        return TicketClass(
            name=self._chain[0].name,
            attributes=attributes,
            details=tuple(code for code in dict.fromkeys(details) if code in attributes),
            labels=self._labels.get(f"Class:{self._chain[0].name}", {}),
        )

    @cached_property
    def _fields(self) -> Mapping[str, FieldDesign]:
        fields: dict[str, FieldDesign] = {}
        for one in reversed(self._chain):
            fields |= one.fields
        return fields

    def _attribute(self, design: FieldDesign, flags: frozenset[str]) -> Attribute:
        attribute = design.attribute
        values = tuple(
            Value(code=one.code, labels=self._called(f"Attribute:{attribute.code}/Value:{one.code}"))
            for one in attribute.values
        )
        if design.sort_by_label:
            values = tuple(sorted(values, key=lambda one: one.labels.get("en", one.code).casefold()))
        return replace(
            attribute,
            values=values,
            labels=self._called(f"Attribute:{attribute.code}"),
            is_mandatory=attribute.is_mandatory or "mandatory" in flags,
            is_read_only=attribute.is_read_only or "read_only" in flags,
        )

    def _called(self, what: str) -> Mapping[str, str]:
        """The labels, each language's from the nearest class that has one."""
        labels: dict[str, str] = {}
        for one in reversed(self._chain):
            labels |= self._labels.get(f"Class:{one.name}/{what}", {})
        return labels

    def _flags_of_a_new_ticket(self) -> Mapping[str, frozenset[str]]:
        states = next((one.states for one in self._chain if one.states), {})
        state_attribute = next((one.state_attribute for one in self._chain if one.state_attribute), "")
        field = self._fields.get(state_attribute)
        return _flags(states, field.attribute.default) if field else {}


def _flags(states: Mapping[str, _State], name: str) -> Mapping[str, frozenset[str]]:
    """A state's flags: of an attribute it does not name, those of the state it inherits from."""
    flags: dict[str, frozenset[str]] = {}
    seen: set[str] = set()
    while (state := states.get(name)) and name not in seen:
        seen.add(name)
        flags = {**state.flags, **flags}
        name = state.inherits_from
    return flags


def _state(element: Element) -> _State:
    return _State(
        inherits_from=(element.findtext("inherit_flags_from") or "").strip(),
        flags={
            one.get("id", ""): frozenset(flag.tag for flag in one)
            for one in element.findall("flags/attribute")
        },
    )


def _codes(items: Sequence[Element]) -> Iterator[str]:
    """The attributes in the order of the page: columns and fieldsets hold them, and have a colon in their name."""
    for item in sorted(items, key=rank):
        code = item.get("id", "")
        if ":" not in code:
            yield code
        yield from _codes(item.findall("items/item"))
