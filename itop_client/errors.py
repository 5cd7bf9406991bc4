"""Errors of iTop's REST interface, and whose fault each one is.

    RemoteError
    └── ItopError                        retry  may have run
        ├── ItopUnreachableError         retry                no connection: the request was never processed
        ├── ItopNoResponseError          retry  may have run  sent, but no complete response came in time
        ├── ItopUnavailableError         retry  may have run  the instance's fault: HTTP 5xx, HTML, maintenance,
        │   │                                                 read-only, any response that is not known
        │   ├── UnclassifiedError        retry  may have run  a response that is not known: perhaps the request's
        │   │                                                 fault; a read shows whether iTop works
        │   │   └── OutOfResourcesError  retry  may have run  PHP's memory or the database's connection gave out
        │   ├── ItopLoginError           retry                token, password or account refused
        │   └── ItopPermissionError      retry                the account lacks permissions, or iTop is read-only
        │       └── ItopNotAdministratorError  retry          only Administrators set a log entry's author
        └── ItopRejectedError                                 the request's fault, in one of the known ways
            ├── InvalidValueError                             missing, too long, not allowed, no such object
            ├── UnknownAttributeError
            ├── UnknownClassError
            ├── InvalidQueryError                             OQL that does not parse
            ├── ObjectNotFoundError                           the object itself does not exist
            ├── NoMatchError                                  a query or criteria that found nothing
            ├── MultipleMatchesError                          ... or more than the one object it had to find
            ├── LogFullError                                  a case log holds about 300 entries
            ├── UnsupportedCharacterError                     the database's character set lacks a character
            ├── RequestTooLargeError                          for the web server, PHP or the database
            │   └── FileTooLargeError                         because of the file in it, or a file to read is
            ├── CheckFailedError                              a check of the data model or of the site's own
            ├── InvalidStimulusError                          wrong state, unknown, or a mandatory field is missing
            └── MalformedRequestError

`retry`: repeating the request may succeed with nothing changed. `may_have_run`: a write may have been executed, or
may still be. A rejection is recognised by its meaning, whatever the language of the account and the version of iTop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from .http import CertificateProblem


def redact(text: str, secrets: Iterable[str], replacement: str = "***") -> str:
    """Return the text with each secret replaced.

    Only whole words are replaced: a password "admin" must not make "Administrator" unreadable.
    """
    for secret in filter(None, secrets):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", lambda _: replacement, text)
    return text


class RemoteError(Exception):
    """A request to a remote system did not succeed.

    `code` identifies the kind of error for programs. `detail` is what the remote system or the network said, without
    secrets. `str()` is a readable English sentence that contains both.
    """

    code: ClassVar[str] = ""
    summary: ClassVar[str] = "The request failed"
    retry: ClassVar[bool] = True
    may_have_run: ClassVar[bool] = True

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.summary}: {self.detail}" if self.detail else f"{self.summary}."

    def redact(self, secrets: Iterable[str]) -> None:
        """Replace these secrets in the error, in case the remote system repeated them."""
        self.detail = redact(self.detail, secrets)
        self.args = (self.detail,)


class ItopError(RemoteError):
    """A call to iTop did not succeed."""

    code = "itop_unavailable"
    summary = "The call to iTop failed"


class ItopUnreachableError(ItopError):
    """No connection: the request was certainly never processed.

    `certificate_problem` is set when the server's TLS certificate was not accepted.
    """

    code = "itop_unreachable"
    summary = "iTop cannot be reached"
    may_have_run = False

    def __init__(self, detail: str = "", *, certificate_problem: CertificateProblem | None = None) -> None:
        super().__init__(detail)
        self.certificate_problem = certificate_problem


class ItopNoResponseError(ItopError):
    """Sending began and no complete response came in time: a write may have run, or may still run."""

    code = "itop_no_response"
    summary = "iTop did not respond in time"


class ItopUnavailableError(ItopError):
    """The instance cannot process requests, or its response is not known. It is not the request's fault.

    `status` is the HTTP status, 0 if it does not matter.
    """

    code = "itop_unavailable"
    summary = "iTop is not working correctly"

    def __init__(self, detail: str = "", *, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status


class UnclassifiedError(ItopUnavailableError):
    """iTop, or a proxy in front of it, answered in an unknown way.

    Either the instance is not working, or this one request makes it fail: a read shows which.
    """

    code = "itop_unknown_response"
    summary = "iTop responded in an unknown way"


class OutOfResourcesError(UnclassifiedError):
    """PHP's memory or the database's connection gave out while iTop processed the request.

    Either the server is overloaded, or this one request is too large for it: a read shows which.
    """


class LoginProblem(StrEnum):
    """Why iTop refused an account."""

    CREDENTIALS = "credentials"
    DISABLED = "disabled"
    PORTAL_USER = "portal_user"
    NO_REST_PROFILE = "no_rest_profile"


class ItopLoginError(ItopUnavailableError):
    """The token or password was refused, or the account may not use REST. Nothing was executed."""

    code = "itop_login_refused"
    summary = "iTop refused the account"
    may_have_run = False

    def __init__(
        self, detail: str = "", *, status: int = 0, problem: LoginProblem = LoginProblem.CREDENTIALS
    ) -> None:
        super().__init__(detail, status=status)
        self.problem = problem


class ItopPermissionError(ItopUnavailableError):
    """The account lacks permissions on the class, or iTop is in read-only mode. Nothing was executed.

    iTop's response is the same in both cases: only a later attempt shows which it was.
    """

    code = "itop_not_allowed"
    summary = "The iTop account lacks permissions"
    may_have_run = False


class ItopNotAdministratorError(ItopPermissionError):
    """The account may not set the author of a log entry. Nothing was executed."""

    code = "itop_not_administrator"
    summary = "Only an Administrator account can set a log entry's author"


class ItopRejectedError(ItopError):
    """iTop will not execute the request, now or later.

    `attribute` is the code of the attribute that iTop named, or "".
    """

    code = "rejected"
    summary = "iTop rejected the request"
    retry = False
    may_have_run = False

    def __init__(self, detail: str = "", *, attribute: str = "") -> None:
        super().__init__(detail)
        self.attribute = attribute


class ProblemKind(StrEnum):
    """The kind of problem that a value has; OTHER when iTop's text is not known."""

    MISSING = "missing"
    NOT_ALLOWED = "not_allowed"
    TOO_LONG = "too_long"
    NO_SUCH_OBJECT = "no_such_object"
    INVALID_DATE = "invalid_date"
    INVALID_FORMAT = "invalid_format"
    OTHER = "other"


@dataclass(frozen=True)
class ValueProblem:
    """One value that iTop did not accept. `label` may be ""; `detail` is iTop's own text.

    `length` and `max_length` are set when the value was too long.
    """

    attribute: str
    label: str = ""
    detail: str = ""
    kind: ProblemKind = ProblemKind.OTHER
    length: int = 0
    max_length: int = 0


class InvalidValueError(ItopRejectedError):
    """A value is missing, too long, not allowed or names no object. iTop may report several `problems`."""

    code = "invalid_value"
    summary = "iTop rejected a value"

    def __init__(
        self, detail: str = "", *, attribute: str = "", problems: tuple[ValueProblem, ...] = ()
    ) -> None:
        super().__init__(detail, attribute=attribute or (problems[0].attribute if problems else ""))
        self.problems = problems or (ValueProblem(self.attribute, "", detail),)

    def redact(self, secrets: Iterable[str]) -> None:
        """Replace these secrets in the error and in its problems."""
        secrets = tuple(secrets)
        super().redact(secrets)
        self.problems = tuple(
            replace(problem, detail=redact(problem.detail, secrets)) for problem in self.problems
        )


class UnknownAttributeError(ItopRejectedError):
    """The class has no such attribute. `known`: the valid names, where iTop lists them."""

    summary = "iTop does not know the attribute"

    def __init__(self, detail: str = "", *, attribute: str = "", known: tuple[str, ...] = ()) -> None:
        super().__init__(detail, attribute=attribute)
        self.known = known


class UnknownClassError(ItopRejectedError):
    """The data model has no class `class_name`. `known`: its classes, where iTop lists them."""

    summary = "iTop does not know the class"

    def __init__(self, detail: str = "", *, class_name: str = "", known: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.class_name = class_name
        self.known = known


class InvalidQueryError(ItopRejectedError):
    """The OQL does not parse, or is ambiguous."""

    summary = "iTop cannot read the query"


class ObjectNotFoundError(ItopRejectedError):
    """The object to read or write does not exist."""

    code = "ticket_not_found"
    summary = "The object does not exist in iTop"


class NoMatchError(ItopRejectedError):
    """The query or criteria found nothing. `attribute` is set when they were the value of an external key."""

    summary = "iTop found no matching object"


class MultipleMatchesError(ItopRejectedError):
    """The query or criteria found more than the one object they had to find."""

    summary = "iTop found several matching objects"


class LogFullError(ItopRejectedError):
    """The log's index is full (about 300 entries): it accepts no further entry."""

    code = "log_full"
    summary = "The log is full"


class UnsupportedCharacterError(ItopRejectedError):
    """The database's character set lacks a character of a value, for example an emoji in an old installation."""

    code = "unsupported_character"
    summary = "iTop's database does not accept a character"


class RequestTooLargeError(ItopRejectedError):
    """The request is larger than the web server, PHP or the database accepts. It was not executed."""

    code = "request_too_large"
    summary = "The request is too large for iTop"


class FileTooLargeError(RequestTooLargeError):
    """One file is larger than iTop accepts or than the caller's limit. The instance works, and other files may pass.

    `size` is the size of the file in bytes (of one that was being read: what had been read of it), 0 if unknown.
    """

    code = "file_too_large_for_itop"
    summary = "The file is too large"

    def __init__(self, detail: str = "", *, size: int = 0) -> None:
        super().__init__(detail)
        self.size = size


class CheckFailedError(ItopRejectedError):
    """A check of the data model refused the object, in words of its own."""

    summary = "A check in iTop refused the object"


class InvalidStimulusError(ItopRejectedError):
    """The stimulus is unknown, not valid in this state, or lacks a mandatory field (`attribute`: the first)."""

    summary = "iTop rejected the change of state"


class MalformedRequestError(ItopRejectedError):
    """iTop could not read the request."""

    summary = "iTop could not read the request"
