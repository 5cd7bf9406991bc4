"""Read the ticket classes of iTop's compiled data model, with inherited attributes, flags and labels.

Format: https://www.itophub.io/wiki/page?id=latest:customization:xml_reference.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
MAX_INHERITED = 500_000
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
    if not classes.chains:
        raise DataModelError(
            f"no class in this file descends from {TICKET}: it belongs to a single module, or to an iTop without "
            f"tickets. Choose iTop's {FILE}."
        )
    return DataModel(
        classes={name: _merge(chain, labels) for name, chain in classes.chains.items()},
        names=classes.names,
        languages=tuple(sorted({language for texts in labels.values() for language in texts})),
    )


class _Class:
    """A class without inherited elements. `size` is its number of elements."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self.name = element.get("id", "")
        self.parent = _text(element, "parent") or element.get("_within", "")
        self.size = sum(1 for _ in element.iter())


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
        self._classes[element.get("id", "")] = _Class(element)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._classes)

    @cached_property
    def chains(self) -> Mapping[str, Sequence[_Class]]:
        """Return the classes that are read, each with its parents, nearest first."""
        tickets = [
            name
            for name, candidate in self._classes.items()
            if name != TICKET
            and _text(candidate.element, "properties/abstract") != "true"
            and TICKET in self._ancestry(name)
        ]
        chains = {name: self._chain(name) for name in [*tickets, *self._also] if name in self._classes}
        if (
            sum(len(chain) * sum(member.size for member in chain) for chain in chains.values())
            > MAX_INHERITED
        ):
            raise DataModelError(
                f"the ticket classes inherit more than those of any iTop. Choose iTop's {FILE}."
            )
        return chains

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(member.name for chain in self.chains.values() for member in chain)

    def is_wanted(self, name: str) -> bool:
        """Return whether a class that is read uses the labels of this class."""
        return name in self._wanted

    def _chain(self, name: str) -> list[_Class]:
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


def _merge(chain: Sequence[_Class], labels: Mapping[str, Mapping[str, str]]) -> TicketClass:
    """Merge a class, its parents (nearest first) and their labels."""

    def labels_of(key: str) -> Mapping[str, str]:
        """Return the labels, each language's from the nearest class that has one."""
        found: dict[str, str] = {}
        for member in reversed(chain):
            found |= labels.get(f"Class:{member.name}/{key}", {})
        return found

    fields = {
        code: (field, member.name)
        for member in reversed(chain)
        for field in member.element.iterfind("fields/field")
        if (code := field.get("id"))
    }
    flags = _flags_of_a_new_ticket(chain, {code: field for code, (field, _name) in fields.items()})
    details = _codes(_nearest(chain, "presentation/details/items/item"))
    return TicketClass(
        name=chain[0].name,
        attributes={
            code: _attribute(field, name, labels_of, flags.get(code, set()))
            for code, (field, name) in fields.items()
        },
        details=tuple(code for code in dict.fromkeys(details) if code in fields),
        labels=labels.get(f"Class:{chain[0].name}", {}),
    )


def _nearest(chain: Sequence[_Class], path: str) -> Sequence[Element]:
    """Return the elements of the nearest class that has any."""
    return next(filter(None, (member.element.findall(path) for member in chain)), ())


def _flags_of_a_new_ticket(chain: Sequence[_Class], fields: Mapping[str, Element]) -> Mapping[str, set[str]]:
    """Return the flags by attribute. Attributes that a state does not list inherit another state's flags."""
    states = {state.get("id"): state for state in _nearest(chain, "lifecycle/states/state")}
    paths = ("properties/fields_semantic/state_attribute", "lifecycle/attribute")
    codes = (_text(member.element, path) for member in chain for path in paths)
    field = fields.get(next(filter(None, codes), ""))
    flags: dict[str, set[str]] = {}
    if field is None:
        return flags
    state = states.pop(_text(field, "default_value"), None)
    while state is not None:
        for attribute in state.iterfind("flags/attribute"):
            flags.setdefault(attribute.get("id", ""), {flag.tag for flag in attribute})
        state = states.pop(_text(state, "inherit_flags_from"), None)
    return flags


def _codes(items: Sequence[Element]) -> Iterator[str]:
    """Return the attributes in page order. Columns and fieldsets, which contain them, have a colon in their id."""
    for item in sorted(items, key=_rank):
        code = item.get("id", "")
        if ":" not in code:
            yield code
        yield from _codes(item.findall("items/item"))


def _attribute(
    element: Element, class_name: str, labels_of: Callable[[str], Mapping[str, str]], flags: set[str]
) -> Attribute:
    code, name = element.get("id", ""), element.get(_TYPE, "")
    kind = _KINDS.get(name, Kind.OTHER)
    if kind is Kind.TEXT and _text(element, "format") == "html":
        kind = Kind.HTML
    default = _text(element, "default_value")
    if kind is Kind.KEY and default == "0":  # iTop's notation for an empty key
        default = ""
    # iTop computes a date from NOW() and similar defaults, so a form neither shows nor requires it.
    is_computed_date = kind in (Kind.DATE, Kind.DATETIME) and bool(default) and not _DATE.match(default)
    is_required = _text(element, "is_null_allowed") == "false" and not is_computed_date
    values = [
        Value(code=value, labels=labels_of(f"Attribute:{code}/Value:{value}"))
        for value in (_values(element) if kind is Kind.ENUM else ())
    ]
    if _text(element, "sort_type") == "label":
        values.sort(key=lambda value: value.labels.get("en", value.code).casefold())
    return Attribute(
        code=code,
        kind=kind,
        labels=labels_of(f"Attribute:{code}"),
        values=tuple(values),
        is_mandatory=is_required or "mandatory" in flags,
        is_read_only=name in _COMPUTED or "read_only" in flags,
        default="" if is_computed_date else default,
        limit=_LIMITS.get(name, _LIMITS_OF_KINDS.get(kind, 0)),
        # A hierarchical key has no target_class: it points to its own class.
        target_class=(_text(element, "target_class") or class_name) if kind is Kind.KEY else "",
        filter=" ".join(_text(element, "filter").splitlines()) if kind is Kind.KEY else "",
        depends_on=tuple(
            filter(None, (item.get("id") for item in element.iterfind("dependencies/attribute")))
        ),
    )


def _rank(element: Element) -> float:
    """Return the sort key of an item; items without a rank come first."""
    try:
        return float(_text(element, "rank") or 0)
    except ValueError:
        return 0.0


def _values(element: Element) -> Iterable[str]:
    ranked = sorted(element.findall("values/value"), key=_rank)
    codes = [_text(value, "code") or value.get("id", "") for value in ranked]
    if _text(element, "sort_type") == "code":
        codes.sort()
    return dict.fromkeys(filter(None, codes))


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
