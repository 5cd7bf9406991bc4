"""A ticket class and its attributes, as far as the panel needs them. Plain data: imports no model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

# The lengths of iTop's columns, in characters.
LINE_LIMIT = 255
TEXT_LIMIT = 65535


class Kind(Enum):
    """How a value is entered and displayed."""

    LINE = "line"
    TEXT = "text"
    HTML = "html"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    DATETIME = "datetime"
    ENUM = "enum"
    # An object of `target_class`, one of those that `filter` finds.
    KEY = "key"
    LOG = "log"
    # Can neither be entered nor displayed: link sets, images, stopwatches, external fields.
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of an enum. `labels` by language ("en", "fr" …), empty if not translated."""

    code: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """An attribute.

    `is_mandatory` and `is_read_only` apply to a new ticket (the initial state's flags). `filter` is OQL that may
    contain `:this->attribute`, "" for all objects of the class; `depends_on` are the attributes that it reads.
    `limit` is the maximum number of characters, 0 for no limit.
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
    """A ticket class. `details` are its attributes in the order of iTop's own page."""

    name: str
    attributes: Mapping[str, Attribute]
    details: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
