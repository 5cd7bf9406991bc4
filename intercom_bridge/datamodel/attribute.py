"""An attribute of a ticket class, as far as a panel has to know it. Imports no model and asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """How a value is asked for and shown."""

    LINE = "line"
    TEXT = "text"
    HTML = "html"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    DATETIME = "datetime"
    ENUM = "enum"
    # An object of `target_class` that `filter` finds.
    KEY = "key"
    LOG = "log"
    # Nothing that a form can ask for, nor a table show: sets of links, images, computed clocks, external fields.
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of an enum. `labels`: by language ("en", "fr", ...); empty where nobody has translated it."""

    code: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """`is_mandatory` and `is_read_only` are those of a new ticket (the initial state's flags).

    `filter` is OQL with `:this->attribute` in it, "" for all objects of the class; `depends_on` are the attributes
    whose change makes the choices others. `limit`: the most characters of a text, 0 for none.
    """

    code: str
    kind: Kind
    labels: Mapping[str, str] = field(default_factory=dict)
    values: tuple[Value, ...] = ()
    is_mandatory: bool = False
    is_read_only: bool = False
    default: str = ""
    limit: int = 0
    target_class: str = ""
    filter: str = ""
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TicketClass:
    """What is known of a class of tickets; `details` are its attributes in the order of iTop's own page."""

    name: str
    attributes: Mapping[str, Attribute]
    details: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
