"""Python client for iTop's REST/JSON interface.

It has wall-clock deadlines, errors that say whose fault they are, writes that are safe to repeat, and safe OQL:

    client = Client("https://itop.example.com/itop", token=TOKEN, deadline=5)
    for ticket in client.get("UserRequest", "SELECT UserRequest WHERE status = 'new'", fields=("ref", "title")):
        print(ticket.text("ref"), ticket.text("title"))
    item = LogItem("<p>We are working on it.</p>", date=1_700_000_000)
    append(client, "UserRequest", 42, "public_log", item.to_json(), idempotency_key="Message 7, Alice Martin")

It needs requests and urllib3 only.
"""

from __future__ import annotations

from .attachments import (
    Attached,
    AttachmentFile,
    FileOwner,
    attach,
    create_inline_image,
    delete_attachments,
    find_attachments,
    list_attachments,
    read_attachment,
    read_inline_image,
)
from .caselog import LogEntry, LogItem, read_log
from .client import Client, Found, ServerInfo
from .errors import (
    CheckFailedError,
    FileTooLargeError,
    InvalidQueryError,
    InvalidStimulusError,
    InvalidValueError,
    ItopError,
    ItopLoginError,
    ItopNoResponseError,
    ItopNotAdministratorError,
    ItopPermissionError,
    ItopRejectedError,
    ItopUnavailableError,
    ItopUnreachableError,
    LogFullError,
    LoginProblem,
    MalformedRequestError,
    MultipleMatchesError,
    NoMatchError,
    ObjectNotFoundError,
    OutOfResourcesError,
    ProblemKind,
    RemoteError,
    RequestTooLargeError,
    UnclassifiedError,
    UnknownAttributeError,
    UnknownClassError,
    UnsupportedCharacterError,
    ValueProblem,
    redact,
)
from .http import CertificateProblem, Deadline, open_session
from .idempotent import CreateResult, append, apply_once, create, find_created, idempotency_key, written_keys
from .oql import OqlError, Query, containing, ids, parse, quote
from .response import ItopObject, classify

__all__ = [
    "Attached",
    "AttachmentFile",
    "CertificateProblem",
    "CheckFailedError",
    "Client",
    "CreateResult",
    "Deadline",
    "FileOwner",
    "FileTooLargeError",
    "Found",
    "InvalidQueryError",
    "InvalidStimulusError",
    "InvalidValueError",
    "ItopError",
    "ItopLoginError",
    "ItopNoResponseError",
    "ItopNotAdministratorError",
    "ItopObject",
    "ItopPermissionError",
    "ItopRejectedError",
    "ItopUnavailableError",
    "ItopUnreachableError",
    "LogEntry",
    "LogFullError",
    "LogItem",
    "LoginProblem",
    "MalformedRequestError",
    "MultipleMatchesError",
    "NoMatchError",
    "ObjectNotFoundError",
    "OqlError",
    "OutOfResourcesError",
    "ProblemKind",
    "Query",
    "RemoteError",
    "RequestTooLargeError",
    "ServerInfo",
    "UnclassifiedError",
    "UnknownAttributeError",
    "UnknownClassError",
    "UnsupportedCharacterError",
    "ValueProblem",
    "append",
    "apply_once",
    "attach",
    "classify",
    "containing",
    "create",
    "create_inline_image",
    "delete_attachments",
    "find_attachments",
    "find_created",
    "idempotency_key",
    "ids",
    "list_attachments",
    "open_session",
    "parse",
    "quote",
    "read_attachment",
    "read_inline_image",
    "read_log",
    "redact",
    "written_keys",
]
