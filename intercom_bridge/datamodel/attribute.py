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
    # A reference to an object of `target_class`. The query `filter` selects the objects to choose from.
    KEY = "key"
    LOG = "log"
    # The panel can neither enter nor display these: link sets, images, stopwatches, external fields.
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of an enum. `labels` maps languages ("en", "fr" …) to labels."""

    code: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """An attribute of a ticket class.

    `is_mandatory` and `is_read_only` apply to a new ticket, so they include the flags of the initial state. `filter`
    is an OQL query, in which `:this->attribute` stands for the ticket's value; "" selects all objects of
    `target_class`. `depends_on` are the codes of the attributes in the filter. `limit` is the maximum number of
    characters; 0 means no limit.
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
    """A ticket class. `details` are the codes of the attributes on a ticket's page in iTop, in page order."""

    name: str
    attributes: Mapping[str, Attribute]
    details: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
