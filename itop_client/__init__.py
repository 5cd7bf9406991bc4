"""iTop's REST/JSON as Python.

A client with deadlines, an error tree that knows whose fault it is, safe OQL.
"""

from __future__ import annotations

from .caselog import LogEntry, LogItem, read_log
from .client import Client, Found, Greeting, ItopObject
from .errors import (
    BadQuery,
    BadStimulus,
    InvalidValue,
    ItopError,
    ItopLoginRefused,
    ItopNoAnswer,
    ItopNotAdministrator,
    ItopNotAllowed,
    ItopRefused,
    ItopTrouble,
    ItopUnreachable,
    LogFull,
    MalformedRequest,
    NoMatch,
    ObjectGone,
    SeveralMatch,
    UnknownAttribute,
    UnknownClass,
    classify,
)
from .oql import OqlError, Query, containing, ids, parse, quote
from .tickets import append, create, find_created, marker, written_markers
from .transport import open_session

__all__ = [
    "BadQuery",
    "BadStimulus",
    "Client",
    "Found",
    "Greeting",
    "InvalidValue",
    "ItopError",
    "ItopLoginRefused",
    "ItopNoAnswer",
    "ItopNotAdministrator",
    "ItopNotAllowed",
    "ItopObject",
    "ItopRefused",
    "ItopTrouble",
    "ItopUnreachable",
    "LogEntry",
    "LogFull",
    "LogItem",
    "MalformedRequest",
    "NoMatch",
    "ObjectGone",
    "OqlError",
    "Query",
    "SeveralMatch",
    "UnknownAttribute",
    "UnknownClass",
    "append",
    "classify",
    "containing",
    "create",
    "find_created",
    "ids",
    "marker",
    "open_session",
    "parse",
    "quote",
    "read_log",
    "written_markers",
]
