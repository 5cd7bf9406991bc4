"""Errors of iTop's REST interface, and whose fault each one is.

    RemoteError
    └── ItopError                        retry  may have run
        ├── ItopUnreachableError         retry                no connection: the request was never processed
        ├── ItopNoResponseError          retry  may have run  sent, but no complete response came in time
        ├── ItopUnavailableError         retry  may have run  the instance's fault: HTTP 5xx, HTML, maintenance,
        │   │                                                 a response with impossible data
        │   ├── UnclassifiedError        retry  may have run  an unknown response. It may be the request's fault:
        │   │                                                 a read shows whether iTop works
        │   │   └── OutOfResourcesError  retry  may have run  PHP ran out of memory, or iTop lost its database
        │   ├── ItopLoginError           retry                iTop refused the token, password or account
        │   └── ItopPermissionError      retry                the account lacks permissions, or iTop is read-only
        │       └── ItopNotAdministratorError  retry          only Administrators may set a log entry's author
        └── ItopRejectedError                                 the request's fault, recognised with certainty
            ├── InvalidValueError                             missing, too long, not allowed, no such object
            ├── UnknownAttributeError
            ├── UnknownClassError
            ├── InvalidQueryError                             OQL that does not parse
            ├── ObjectNotFoundError                           the object itself does not exist
            ├── NoMatchError                                  a query or criteria found nothing
            ├── MultipleMatchesError                          a query or criteria found more than the one object
            ├── LogFullError                                  a case log accepts only about 300 entries
            ├── UnsupportedCharacterError                     the database's character set lacks a character
            ├── RequestTooLargeError                          for the web server, PHP or the database
            │   └── FileTooLargeError                         the file to send or to receive is the cause
            ├── CheckFailedError                              a check of iTop or of the site refused the object
            ├── InvalidStimulusError                          wrong state, unknown, or a mandatory field is missing
            └── MalformedRequestError

`retry`: the same request may succeed later. `may_have_run`: iTop may have executed a write, or may still execute it.
Rejections are recognised in every language of the account and in every supported version of iTop.
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

    A secret is replaced only where it is a whole word. So the password "admin" leaves "Administrator" readable.
    """
    for secret in filter(None, secrets):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", lambda _: replacement, text)
    return text


class RemoteError(Exception):
    """A request to a remote system did not succeed.

    `code` identifies the kind of error for programs, `summary` for people (in English). `detail` is the text of the
    remote system or of the network, without secrets. `str()` combines `summary` and `detail`.
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
        """Replace these secrets in the error's text, because a remote system may repeat them in its response."""
        self.detail = redact(self.detail, secrets)
        self.args = (self.detail,)


class ItopError(RemoteError):
    """A call to iTop did not succeed."""

    code = "itop_unavailable"
    summary = "The call to iTop failed"


class ItopUnreachableError(ItopError):
    """No connection: iTop certainly never processed the request.

    `certificate_problem` is set if the server's TLS certificate was not accepted.
    """

    code = "itop_unreachable"
    summary = "iTop cannot be reached"
    may_have_run = False

    def __init__(self, detail: str = "", *, certificate_problem: CertificateProblem | None = None) -> None:
        super().__init__(detail)
        self.certificate_problem = certificate_problem


class ItopNoResponseError(ItopError):
    """Sending began, but no complete response came in time. iTop may have executed a write, or may still execute it."""

    code = "itop_no_response"
    summary = "iTop did not respond in time"


class ItopUnavailableError(ItopError):
    """The instance cannot process requests. This is not the fault of the single request.

    `status` is the HTTP status, 0 if the error was recognised by something else.
    """

    code = "itop_unavailable"
    summary = "iTop is not working correctly"

    def __init__(self, detail: str = "", *, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status


class UnclassifiedError(ItopUnavailableError):
    """iTop, or a proxy in front of it, sent an unknown response.

    Either the instance is not working, or only this request makes it fail. A harmless read shows which.
    """

    code = "itop_unknown_response"
    summary = "iTop responded in an unknown way"


class OutOfResourcesError(UnclassifiedError):
    """PHP ran out of memory, or the database closed the connection, while iTop processed the request.

    Either the server is overloaded, or only this request is too large for it. A harmless read shows which.
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

    iTop's response is the same in both cases. If a later attempt succeeds, it was the read-only mode.
    """

    code = "itop_not_allowed"
    summary = "The iTop account lacks permissions"
    may_have_run = False


class ItopNotAdministratorError(ItopPermissionError):
    """The account may not set the author of a log entry. Nothing was executed."""

    code = "itop_not_administrator"
    summary = "Only an Administrator account can set a log entry's author"


class ItopRejectedError(ItopError):
    """iTop will never execute this request, so a retry is useless.

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
    """What is wrong with a value. OTHER means that iTop's text is unknown."""

    MISSING = "missing"
    NOT_ALLOWED = "not_allowed"
    TOO_LONG = "too_long"
    NO_SUCH_OBJECT = "no_such_object"
    INVALID_DATE = "invalid_date"
    INVALID_FORMAT = "invalid_format"
    OTHER = "other"


@dataclass(frozen=True)
class ValueProblem:
    """One value that iTop did not accept.

    `attribute` and `label` are the attribute's code and label. Each is "" if iTop did not name it. `detail` is iTop's
    own text. `length` and `max_length` are 0 unless the value was too long.
    """

    attribute: str
    label: str = ""
    detail: str = ""
    kind: ProblemKind = ProblemKind.OTHER
    length: int = 0
    max_length: int = 0


class InvalidValueError(ItopRejectedError):
    """A value is missing, too long or not allowed, or refers to no object. iTop may report several `problems`."""

    code = "invalid_value"
    summary = "iTop rejected a value"

    def __init__(
        self, detail: str = "", *, attribute: str = "", problems: tuple[ValueProblem, ...] = ()
    ) -> None:
        problems = problems or (ValueProblem(attribute, "", detail),)
        super().__init__(detail, attribute=attribute or problems[0].attribute)
        self.problems = problems

    def redact(self, secrets: Iterable[str]) -> None:
        """Replace these secrets in the error and in its problems."""
        secrets = tuple(secrets)
        super().redact(secrets)
        self.problems = tuple(
            replace(problem, detail=redact(problem.detail, secrets)) for problem in self.problems
        )


class UnknownAttributeError(ItopRejectedError):
    """The class lacks an attribute in the request. `known` are its attributes' names, () if iTop does not list them."""

    summary = "iTop does not know the attribute"

    def __init__(self, detail: str = "", *, attribute: str = "", known: tuple[str, ...] = ()) -> None:
        super().__init__(detail, attribute=attribute)
        self.known = known


class UnknownClassError(ItopRejectedError):
    """The data model has no class `class_name`. `known` are its classes, () if iTop does not list them."""

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
    """The query or criteria found nothing. `attribute` is set if they were given as the value of an external key."""

    summary = "iTop found no matching object"


class MultipleMatchesError(ItopRejectedError):
    """The query or criteria found more than the one object they had to find."""

    summary = "iTop found several matching objects"


class LogFullError(ItopRejectedError):
    """The log accepts no further entry, because its index is full (after about 300 entries)."""

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
    """One file is larger than iTop accepts, or larger than the caller's limit. Smaller files can still be copied.

    `size` is the size of the file in bytes, 0 if unknown. For a download, it is the number of bytes that were read.
    """

    code = "file_too_large_for_itop"
    summary = "The file is too large"

    def __init__(self, detail: str = "", *, size: int = 0) -> None:
        super().__init__(detail)
        self.size = size


class CheckFailedError(ItopRejectedError):
    """A check of the data model refused the object. `detail` is the check's own text."""

    summary = "A check in iTop refused the object"


class InvalidStimulusError(ItopRejectedError):
    """The stimulus is unknown or not valid in this state, or a mandatory attribute is missing.

    `attribute` is the first missing one, "" if none is missing.
    """

    summary = "iTop rejected the change of state"


class MalformedRequestError(ItopRejectedError):
    """iTop could not read the request."""

    summary = "iTop could not read the request"
