"""Read the ticket classes of iTop's compiled data model, with inherited attributes, flags and labels.

Format: https://www.itophub.io/wiki/page?id=latest:customization:xml_reference.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO
from xml.etree.ElementTree import Element

from .attribute import LINE_LIMIT, TEXT_LIMIT, Attribute, Kind, TicketClass, Value
from .xml_stream import FILE, NESTED_IN, DataModelError, read_design

TICKET = "Ticket"
# A complete iTop has about 300 classes, with at most six ancestors each.
MAX_CLASSES = 1_000
MAX_ANCESTORS = 100
# The limit of the work that inheritance causes (_Classes.chains). For a standard iTop it is about 10,000.
MAX_MERGE_COST = 500_000
# The topmost ancestors. iTop's PHP code defines them, so the file does not contain them.
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
# iTop computes their values, so they are read-only.
_COMPUTED = {"AttributeMetaEnum"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, kw_only=True)
class DataModel:
    """What `read_data_model` returns: `classes` by name, the `names` of all classes, and the labels' `languages`."""

    classes: Mapping[str, TicketClass]
    names: tuple[str, ...]
    languages: tuple[str, ...]


def read_data_model(stream: BinaryIO, also: Sequence[str] = ()) -> DataModel:
    """Read the ticket classes (all concrete descendants of Ticket), and the classes in `also` if the file has them.

    A file of 10 MB takes about a second. Raise DataModelError if the file cannot be used.
    """
    classes = _Classes(also)
    labels = read_design(stream, classes.add, classes.is_wanted)
    if not classes.names:
        raise DataModelError(f"there are no classes in this file. Choose iTop's {FILE}.")
    if not classes.chains:
        raise DataModelError(
            f"no class in this file descends from {TICKET}: the file belongs to a single module, or to an iTop without "
            f"tickets. Choose iTop's {FILE}."
        )
    return DataModel(
        classes={name: _merge(chain, labels) for name, chain in classes.chains.items()},
        names=classes.names,
        languages=tuple(sorted({language for texts in labels.values() for language in texts})),
    )


class _Class:
    """A <class> of the file, without what it inherits. `size` is its number of XML elements."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self.name = element.get("id", "")
        self.parent = _text(element, "parent") or element.get(NESTED_IN, "")
        self.is_abstract = _text(element, "properties/abstract") == "true"
        self.size = sum(1 for _ in element.iter())


class _Classes:
    """All classes of the file. Use the properties only after all classes have been added."""

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
        """Return the chain of each class to read, by name: the class itself, then its ancestors, nearest first."""
        tickets = [
            name
            for name, candidate in self._classes.items()
            if name != TICKET and not candidate.is_abstract and TICKET in self._lineage(name)
        ]
        chains = {name: self._chain(name) for name in [*tickets, *self._also] if name in self._classes}
        merge_cost = sum(len(chain) * sum(member.size for member in chain) for chain in chains.values())
        if merge_cost > MAX_MERGE_COST:
            raise DataModelError(
                f"the ticket classes inherit more than those of any iTop. Choose iTop's {FILE}."
            )
        return chains

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(member.name for chain in self.chains.values() for member in chain)

    def is_wanted(self, name: str) -> bool:
        """Return whether this class is in the chain of a class to read, so that its labels are needed."""
        return name in self._wanted

    def _chain(self, name: str) -> list[_Class]:
        """Return the class and its ancestors, nearest first.

        Raise DataModelError if an ancestor is not in the file, or if a class is its own ancestor.
        """
        lineage = self._lineage(name)
        topmost = self._classes.get(lineage[-1])
        if topmost is None and lineage[-1] not in _ROOT_CLASSES:
            raise DataModelError(
                f"{lineage[-1]}, an ancestor of {name}, is not in this file: the file belongs to a single module. "
                f"Choose iTop's {FILE}."
            )
        if topmost is not None and topmost.parent in lineage:
            raise DataModelError(f"{topmost.parent} is its own ancestor.")
        return [self._classes[member] for member in lineage if member in self._classes]

    def _lineage(self, name: str) -> list[str]:
        """Return the name of the class and the names of its ancestors, nearest first.

        The list ends with a class without a parent, or with the first name that is not in the file. In a cycle, it
        ends before a name would be repeated.
        """
        lineage = [name]
        while lineage[-1] in self._classes:
            parent = self._classes[lineage[-1]].parent
            if not parent or parent in lineage:
                break
            lineage.append(parent)
            if len(lineage) > MAX_ANCESTORS + 1:
                raise DataModelError(
                    f"the class {name} has more than {MAX_ANCESTORS} ancestors. Choose iTop's {FILE}."
                )
        return lineage


def _merge(chain: Sequence[_Class], labels: Mapping[str, Mapping[str, str]]) -> TicketClass:
    """Return a class with what it inherits. The chain contains the class and its ancestors, nearest first."""

    def labels_of(key: str) -> Mapping[str, str]:
        """Return the label in each language, from the nearest class that has one."""
        merged: dict[str, str] = {}
        for member in reversed(chain):
            merged |= labels.get(f"Class:{member.name}/{key}", {})
        return merged

    fields: dict[str, Element] = {}
    defining_classes: dict[str, str] = {}
    # The farthest ancestor comes first, so that nearer classes override its fields.
    for member in reversed(chain):
        for field in member.element.iterfind("fields/field"):
            if code := field.get("id"):
                fields[code], defining_classes[code] = field, member.name
    flags = _initial_flags(chain, fields)
    details = _codes_in_page_order(_nearest(chain, "presentation/details/items/item"))
    return TicketClass(
        name=chain[0].name,
        attributes={
            code: _attribute(field, defining_classes[code], labels_of, flags.get(code, set()))
            for code, field in fields.items()
        },
        details=tuple(code for code in dict.fromkeys(details) if code in fields),
        labels=labels.get(f"Class:{chain[0].name}", {}),
    )


def _nearest(chain: Sequence[_Class], path: str) -> Sequence[Element]:
    """Return the elements at this path in the nearest class that has any."""
    return next(filter(None, (member.element.findall(path) for member in chain)), ())


def _initial_flags(chain: Sequence[_Class], fields: Mapping[str, Element]) -> Mapping[str, set[str]]:
    """Return the flags that each attribute has in the initial state, such as mandatory or read_only.

    An attribute that the state does not list has the flags of the state in `inherit_flags_from`.
    """
    states = {state.get("id"): state for state in _nearest(chain, "lifecycle/states/state")}
    state_field = fields.get(_state_attribute(chain))
    flags: dict[str, set[str]] = {}
    if state_field is None:
        return flags
    state_code = _text(state_field, "default_value")
    while state_code in states:
        # `pop` ends the loop if states inherit from each other.
        state = states.pop(state_code)
        for attribute in state.iterfind("flags/attribute"):
            flags.setdefault(attribute.get("id", ""), {flag.tag for flag in attribute})
        state_code = _text(state, "inherit_flags_from")
    return flags


def _state_attribute(chain: Sequence[_Class]) -> str:
    """Return the code of the attribute that contains the state, or "" if the class has no states."""
    # The newer and the older versions of the file format use different elements.
    paths = ("properties/fields_semantic/state_attribute", "lifecycle/attribute")
    codes = (_text(member.element, path) for member in chain for path in paths)
    return next(filter(None, codes), "")


def _codes_in_page_order(items: Sequence[Element]) -> Iterator[str]:
    """Yield the attribute codes of a page. Ids with a colon are columns and fieldsets, which contain other items."""
    for item in sorted(items, key=_rank):
        item_id = item.get("id", "")
        if ":" not in item_id:
            yield item_id
        yield from _codes_in_page_order(item.findall("items/item"))


def _attribute(
    field: Element, defining_class: str, labels_of: Callable[[str], Mapping[str, str]], flags: set[str]
) -> Attribute:
    """Return the attribute that a <field> defines. The flags are those of the initial state."""
    code, type_name = field.get("id", ""), field.get(_TYPE, "")
    kind = _KINDS.get(type_name, Kind.OTHER)
    if kind is Kind.TEXT and _text(field, "format") == "html":
        kind = Kind.HTML
    default = _text(field, "default_value")
    if kind is Kind.KEY and default == "0":  # iTop's notation for an empty key
        default = ""
    # iTop computes a date from a default such as NOW(). So a form does not show this default, and requires no date.
    is_computed_date = kind in (Kind.DATE, Kind.DATETIME) and bool(default) and not _DATE.match(default)
    is_required = _text(field, "is_null_allowed") == "false" and not is_computed_date
    target_class = oql_filter = ""
    if kind is Kind.KEY:
        # A hierarchical key has no target_class, because it refers to objects of its own class.
        target_class = _text(field, "target_class") or defining_class
        oql_filter = " ".join(_text(field, "filter").splitlines())
    dependencies = (item.get("id") for item in field.iterfind("dependencies/attribute"))
    return Attribute(
        code=code,
        kind=kind,
        labels=labels_of(f"Attribute:{code}"),
        values=_enum_values(field, labels_of) if kind is Kind.ENUM else (),
        is_mandatory=is_required or "mandatory" in flags,
        is_read_only=type_name in _COMPUTED or "read_only" in flags,
        default="" if is_computed_date else default,
        limit=_LIMITS.get(type_name, _LIMITS_OF_KINDS.get(kind, 0)),
        target_class=target_class,
        filter=oql_filter,
        depends_on=tuple(filter(None, dependencies)),
    )


def _enum_values(field: Element, labels_of: Callable[[str], Mapping[str, str]]) -> tuple[Value, ...]:
    """Return the values of an enum: by code or by English label if `sort_type` says so, otherwise by rank."""
    ranked = sorted(field.findall("values/value"), key=_rank)
    codes = [_text(value, "code") or value.get("id", "") for value in ranked]
    sort_type = _text(field, "sort_type")
    if sort_type == "code":
        codes.sort()
    values = [
        Value(code=code, labels=labels_of(f"Attribute:{field.get('id', '')}/Value:{code}"))
        for code in dict.fromkeys(filter(None, codes))
    ]
    if sort_type == "label":
        values.sort(key=lambda value: value.labels.get("en", value.code).casefold())
    return tuple(values)


def _rank(element: Element) -> float:
    """Return the element's sort key. Elements without a rank come first."""
    try:
        return float(_text(element, "rank") or 0)
    except ValueError:
        return 0.0


def _text(element: Element, path: str) -> str:
    """Return the text of the child element at this path, or "" if there is none."""
    return (element.findtext(path) or "").strip()
