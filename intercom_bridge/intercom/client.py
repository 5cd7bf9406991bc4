"""Client for the part of Intercom's REST API that the bridge uses.

    RemoteError
    └── IntercomError                    retry  may have run
        ├── IntercomUnreachableError     retry                no connection: nothing was processed
        ├── IntercomNoResponseError      retry  may have run  sent, but no complete response came in time
        ├── IntercomRateLimitedError     retry                429: not before `.until`
        ├── IntercomUnavailableError     retry  may have run  Intercom's fault: 5xx, HTML, an unexpected response
        ├── IntercomAuthenticationError                       401, 403: the access token or its permissions
        └── IntercomRejectedError                             the request's fault: 400, 404, 422 ...

Intercom has no idempotency keys. After an error with `may_have_run`, look for the message in the conversation before
you repeat a reply. No error contains the access token.
https://developers.intercom.com/docs/references/rest-api/ (version 2.14)
"""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from intercom_bridge import USER_AGENT
from itop_client import CertificateProblem, RemoteError, open_session
from itop_client.http import HttpNoResponseError, HttpUnreachableError, Response, exchange
from itop_client.streams import FILE_DATA

from . import payloads
from .html import comparable
from .text import clean_text, cut

API_VERSION: Final = "2.14"
"""The last version whose notifications contain HTML. REST responses contain HTML in all versions."""

ATTRIBUTES_VERSION: Final = "2.16"
"""The first version that creates conversation attributes."""

RATE_LIMIT_WINDOW_SECONDS: Final = 10
"""Intercom counts calls in windows of this length."""

MAX_RATE_LIMIT_SECONDS: Final = 3600
"""A reset time that is further away is ignored: our clock or Intercom's is wrong."""

CALL_SECONDS: Final = 10.0
"""The default time limit of a call."""

MAX_FILES: Final = 10
"""The number of files that Intercom accepts in one reply."""

# Divisible by three, so that the pieces' base64, joined, is the base64 of the whole file.
_PIECE_BYTES: Final = 49_152

REGIONS: Final[Mapping[str, str]] = {"US": "", "EU": ".eu", "AU": ".au"}
"""What each region's host names contain: api.eu.intercom.io and app.eu.intercom.com, for example."""


def conversation_url(region: str, workspace_id: str, conversation_id: str) -> str:
    """Return the conversation's URL in Intercom's Inbox, in the form that Intercom's documentation uses."""
    workspace, conversation = quote(workspace_id, safe=""), quote(conversation_id, safe="")
    inbox = f"https://app{_region_infix(region)}.intercom.com/a/inbox/{workspace}/inbox"
    return f"{inbox}/shared/all/conversation/{conversation}"


def _region_infix(region: str) -> str:
    # An unknown region gets the hosts of the US, which redirect to the right ones. Intercom does not list its regions.
    return REGIONS.get(region.strip().upper(), "")


class IntercomError(RemoteError):
    """A call to Intercom did not succeed.

    `status` is the HTTP status, 0 without a response. `intercom_code` is Intercom's error code, such as "not_found".
    """

    code = "intercom_unavailable"
    summary = "The call to Intercom failed"

    def __init__(self, detail: str = "", *, status: int = 0, intercom_code: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.intercom_code = intercom_code


class IntercomUnreachableError(IntercomError):
    """There was no connection. `certificate_problem` is set if the server's TLS certificate was not accepted."""

    code = "intercom_unreachable"
    summary = "Intercom cannot be reached"
    may_have_run = False

    def __init__(self, detail: str = "", *, certificate_problem: CertificateProblem | None = None) -> None:
        super().__init__(detail)
        self.certificate_problem = certificate_problem


class IntercomNoResponseError(IntercomError):
    code = "intercom_no_response"
    summary = "Intercom did not respond in time"


class IntercomRateLimitedError(IntercomError):
    """Intercom's rate limit was reached. `until` is when the next call may be made, in seconds since 1970."""

    code = "intercom_rate_limited"
    summary = "Intercom's rate limit was reached"
    may_have_run = False

    def __init__(self, detail: str = "", *, until: int = 0, intercom_code: str = "") -> None:
        super().__init__(detail, status=429, intercom_code=intercom_code)
        self.until = until


class IntercomUnavailableError(IntercomError):
    summary = "Intercom is not working correctly"


class IntercomAuthenticationError(IntercomError):
    code = "intercom_token_refused"
    summary = "Intercom refused the access token"
    retry = False
    may_have_run = False


class IntercomRejectedError(IntercomError):
    code = "intercom_rejected"
    summary = "Intercom rejected the request"
    retry = False
    may_have_run = False


@dataclass(frozen=True)
class ReplyFile:
    """A file on disk that is sent with a reply. `size` is in bytes."""

    path: Path
    name: str
    content_type: str
    size: int


class _ReplyBody:
    """The JSON of a reply with `attachment_files`, as a stream: the files are read and encoded while it is sent."""

    def __init__(self, reply: Mapping[str, str], files: Sequence[ReplyFile]) -> None:
        entries = [
            {"content_type": file.content_type, "name": file.name, "data": FILE_DATA} for file in files
        ]
        content = json.dumps({**reply, "attachment_files": entries}).encode()
        self._files = files
        # The JSON before, between and after the files' data, for which FILE_DATA is a placeholder.
        self._texts = content.split(FILE_DATA.encode())

    def __len__(self) -> int:
        """Return the number of bytes, for the header Content-Length."""
        # Base64 encodes each three bytes, or fewer at the end, as four.
        file_bytes = sum((file.size + 2) // 3 * 4 for file in self._files)
        return sum(map(len, self._texts)) + file_bytes

    def __iter__(self) -> Iterator[bytes]:
        *texts_before_files, last_text = self._texts
        for text, file in zip(texts_before_files, self._files, strict=True):
            yield text
            yield from self._encoded(file)
        yield last_text

    @staticmethod
    def _encoded(file: ReplyFile) -> Iterator[bytes]:
        left = file.size
        with file.path.open("rb") as opened:
            while left:
                content = opened.read(min(_PIECE_BYTES, left))
                if not content:
                    raise ValueError("the file became shorter while it was sent")
                left -= len(content)
                yield base64.b64encode(content)


class IntercomClient:
    """REST client for one workspace. Threads can share it. Every method may raise any IntercomError.

    `base_url` replaces the host, for a stand-in of the API. `on_call(method, seconds, outcome)` is called after
    each call; outcome is "ok" or the error's class name. `deadline` limits the whole time of a call, in seconds.
    """

    def __init__(
        self,
        access_token: str,
        *,
        region: str = "US",
        base_url: str = "",
        on_call: Callable[[str, float, str], None] | None = None,
    ) -> None:
        self._on_call = on_call
        self._token = access_token
        self._base = (base_url or f"https://api{_region_infix(region)}.intercom.io").rstrip("/")
        self._session = open_session(user_agent=USER_AGENT)

    def __repr__(self) -> str:
        return f"IntercomClient({self._base!r})"

    def conversation(self, conversation_id: str, *, deadline: float = CALL_SECONDS) -> payloads.Conversation:
        """Return the conversation with its source and at most its 500 newest parts (see `is_complete`)."""
        response = self._call("GET", _path(conversation_id), deadline=deadline)
        try:
            return payloads.Conversation.parse(response)
        except payloads.PayloadError as error:
            raise IntercomUnavailableError(
                f"the response is not a conversation: {error}", status=200
            ) from None

    def has_contact(self, contact_id: str, *, deadline: float = CALL_SECONDS) -> bool:
        """Return whether Intercom has this contact. Return False if it was deleted or merged into another contact."""
        try:
            self._call("GET", _path(contact_id, "contact"), deadline=deadline)
        except IntercomRejectedError as error:
            if error.status in (404, 410):
                return False
            raise
        return True

    def reply(  # noqa: PLR0913 - who says what and where
        self,
        conversation_id: str,
        *,
        admin_id: str,
        body: str,
        note: bool,
        files: Sequence[ReplyFile] = (),
        deadline: float = CALL_SECONDS,
    ) -> payloads.Part | None:
        """Write as the teammate: with `note` an internal note, else a reply that the customer sees.

        `body` is HTML; p, br, b, i, a, ul, ol and li are safe. At most MAX_FILES `files` are uploaded. Raise
        IntercomRejectedError with status 413 if they are too large.

        Return the created part: the newest part of this kind in the response with the same text, or else the
        teammate's newest one. Return None if the message was posted, but the response does not show the part.
        """
        reply = {
            "message_type": "note" if note else "comment",
            "type": "admin",
            "admin_id": admin_id,
            "body": body,
        }
        content = _ReplyBody(reply, files[:MAX_FILES]) if files else reply
        response = self._call("POST", f"{_path(conversation_id)}/reply", json=content, deadline=deadline)
        try:
            parts = payloads.Conversation.parse(response).parts
        except payloads.PayloadError:
            return None
        # Not every reply is a `comment`: one that also assigns the conversation is an `assignment`.
        same_kind = [part for part in parts if part.body and (part.part_type == "note") is note]
        # The text is the better criterion: Intercom may show another author, and the teammate may write another message
        # at the same time.
        text = comparable(body)
        same_text = [part for part in same_kind if comparable(part.body) == text]
        by_teammate = [part for part in same_kind if part.author.id == admin_id]
        candidates = same_text or by_teammate
        return candidates[-1] if candidates else None

    def open(self, conversation_id: str, *, admin_id: str, deadline: float = CALL_SECONDS) -> None:
        """Open a closed or snoozed conversation as the teammate."""
        self._change(conversation_id, {"message_type": "open", "admin_id": admin_id}, deadline)

    def assign(
        self,
        conversation_id: str,
        *,
        admin_id: str,
        assignee_type: str,
        assignee_id: str,
        deadline: float = CALL_SECONDS,
    ) -> None:
        """Assign a conversation, as the teammate, to an "admin" or a "team". This opens a closed conversation."""
        change = {"message_type": "assignment", "type": assignee_type, "admin_id": admin_id}
        self._change(conversation_id, {**change, "assignee_id": assignee_id}, deadline)

    def _change(self, conversation_id: str, change: Mapping[str, str], deadline: float) -> None:
        self._call("POST", f"{_path(conversation_id)}/parts", json=change, deadline=deadline)

    def admins(self, *, deadline: float = CALL_SECONDS) -> tuple[payloads.Admin, ...]:
        """Return the workspace's teammates."""
        return payloads.parse_admins(self._call("GET", "/admins", deadline=deadline).get("admins"))

    def teams(self, *, deadline: float = CALL_SECONDS) -> tuple[payloads.Admin, ...]:
        """Return the workspace's teams. They have an id and a name."""
        return payloads.parse_admins(self._call("GET", "/teams", deadline=deadline).get("teams"))

    def conversation_attributes(self, *, deadline: float = CALL_SECONDS) -> list[str]:
        """Return the names of the conversation attributes that are not archived. Several may have the same name."""
        response = self._call("GET", "/data_attributes?model=conversation", deadline=deadline)
        attributes = response.get("data")
        names = []
        for attribute in attributes if isinstance(attributes, list) else []:
            is_object = isinstance(attribute, dict)
            if is_object and attribute.get("model") == "conversation" and not attribute.get("archived"):
                names.append(clean_text(attribute.get("name")))
        return names

    def create_conversation_attribute(self, name: str, description: str) -> None:
        """Create a conversation attribute for a line of text."""
        attribute = {"name": name, "data_type": "string", "description": description}
        self._call("POST", "/conversations/attributes", json=attribute, version=ATTRIBUTES_VERSION)

    def set_attributes(self, conversation_id: str, values: Mapping[str, str | None]) -> None:
        """Set values of conversation attributes, which must exist. None clears a value."""
        self._call("PUT", _path(conversation_id), json={"custom_attributes": dict(values)})

    def me(self, *, deadline: float = CALL_SECONDS) -> payloads.Me:
        """Return the teammate and the workspace that the access token belongs to. This also tests the token."""
        me = payloads.Me.parse(self._call("GET", "/me", deadline=deadline))
        if not me.workspace_id:
            raise IntercomUnavailableError("the response names no workspace", status=200)
        return me

    def _call(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | _ReplyBody | None = None,
        deadline: float = CALL_SECONDS,
        version: str = API_VERSION,
    ) -> dict[str, Any]:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json",
            "Intercom-Version": version,
        }
        body: dict[str, Any] = {"json": json}
        if isinstance(json, _ReplyBody):
            headers["Content-Type"] = "application/json"
            body = {"data": json}
        start, outcome = time.monotonic(), "ok"
        try:
            return _read(self._exchange(method, path, deadline=deadline, headers=headers, **body))
        except IntercomError as error:
            outcome = type(error).__name__
            error.redact((self._token,))
            raise
        finally:
            if self._on_call is not None:
                self._on_call(method, time.monotonic() - start, outcome)

    def _exchange(self, method: str, path: str, **request: Any) -> Response:
        try:
            return exchange(self._session, method, self._base + path, **request)
        except HttpUnreachableError as error:
            raise IntercomUnreachableError(
                str(error), certificate_problem=error.certificate_problem
            ) from None
        except HttpNoResponseError as error:
            raise IntercomNoResponseError(str(error)) from None


def _path(object_id: str, kind: str = "conversation") -> str:
    # Checked because an id such as "..", "last" or "" would lead to another endpoint.
    if not re.fullmatch(r"[0-9A-Za-z_-]+", object_id) or object_id == "last":
        raise IntercomRejectedError(f"{cut(object_id, 40)!r} is not a {kind} id", intercom_code="not_found")
    return f"/{kind}s/{object_id}"


def _read(response: Response) -> dict[str, Any]:
    """Return the response's JSON object. Raise the matching IntercomError if the status is not a success."""
    try:
        content = json.loads(response.body)
    except (ValueError, RecursionError):
        content = None
    if not 200 <= response.status < 300:
        raise _error(response, content if isinstance(content, dict) else {})
    if isinstance(content, dict):
        return content
    raise IntercomUnavailableError("the response is not JSON", status=response.status)


def _error(response: Response, content: Mapping[str, Any]) -> IntercomError:
    """Return the error for an unsuccessful response, with code and message from the first entry of `errors`."""
    status = response.status
    errors = content.get("errors")
    first_error = errors[0] if isinstance(errors, list) and errors else None
    fields = first_error if isinstance(first_error, dict) else {}
    code = cut(clean_text(fields.get("code")).strip(), 60)
    message = cut(" ".join(clean_text(fields.get("message")).split()), 200)
    detail = f"HTTP {status}" + (f" {code}" if code else "") + (f": {message}" if message else "")
    if status == 429:
        return IntercomRateLimitedError(detail, until=_reset_time(response.headers), intercom_code=code)
    # A 4xx without Intercom's own error comes from a proxy: except for 413, the request may be right. 408 is a timeout.
    is_intercoms_4xx = 400 <= status < 500 and status != 408 and bool(code or message)
    if status in (401, 403):
        kind: type[IntercomError] = IntercomAuthenticationError
    elif status == 413 or is_intercoms_4xx:
        kind = IntercomRejectedError
    else:
        kind = IntercomUnavailableError
    return kind(detail, status=status, intercom_code=code)


def _reset_time(headers: Mapping[str, str]) -> int:
    """Return when calls are allowed again, in seconds since 1970.

    This is X-RateLimit-Reset if the header is plausible, else the end of a whole window from now.
    """
    now = int(time.time())
    header = headers.get("X-RateLimit-Reset", "")
    if re.fullmatch(r"[0-9]{1,11}", header) and now < int(header) <= now + MAX_RATE_LIMIT_SECONDS:
        return int(header)
    return now + RATE_LIMIT_WINDOW_SECONDS
