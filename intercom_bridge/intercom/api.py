"""Intercom's REST interface, as far as we use it: read a conversation, write into one, ask who we are.

    IntercomError
    ├── IntercomUnreachable     no connection: nothing was processed                          retry
    ├── IntercomNoAnswer        sent, and no complete answer came in time                     retry, may have run
    ├── IntercomRateLimited     429: not before `.until`                                      retry
    ├── IntercomTrouble         Intercom's own: 5xx, a page of HTML, an answer without sense  retry, may have run
    ├── IntercomTokenRefused    401, 403: the access token, or what it may do
    └── IntercomRefused         the request's fault: 400, 404, 422 ...; `.code` says why

Intercom knows no idempotency key: after an error that says `may_have_run`, look at the conversation before a reply
is repeated. No text of an error holds the access token.
https://developers.intercom.com/docs/references/rest-api/ (version 2.14)
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import requests

from itop_client.transport import Answer, NoAnswer, Unreachable, exchange, open_session

from . import payloads
from .html import to_text
from .text import clean_text, cut

API_VERSION: Final = "2.14"
"""The last one whose notifications hold HTML; REST answers hold it in all of them."""

RATE_WINDOW_SECONDS: Final = 10
"""Intercom counts calls in windows of this length."""

LONGEST_WAIT_SECONDS: Final = 3600
"""A reset that is farther away than this is a clock that is wrong, ours or theirs."""


@dataclass(frozen=True)
class Hosts:
    """Where a region's REST interface and its Inbox are."""

    api: str
    app: str


REGIONS: Final[Mapping[str, Hosts]] = {
    "US": Hosts(api="https://api.intercom.io", app="https://app.intercom.com"),
    "EU": Hosts(api="https://api.eu.intercom.io", app="https://app.eu.intercom.com"),
    "AU": Hosts(api="https://api.au.intercom.io", app="https://app.au.intercom.com"),
}


def hosts_of(region: str) -> Hosts:
    """The region's hosts. Intercom documents no list of regions: an unknown one is sent to the US, which routes on."""
    return REGIONS.get(region.strip().upper(), REGIONS["US"])


def conversation_url(region: str, workspace_id: str, conversation_id: str) -> str:
    """The conversation in the Inbox, in the form Intercom's own documentation shows."""
    workspace, conversation = quote(workspace_id, safe=""), quote(conversation_id, safe="")
    return f"{hosts_of(region).app}/a/inbox/{workspace}/inbox/shared/all/conversation/{conversation}"


# --- Errors ---


class IntercomError(Exception):
    """Something between us and Intercom.

    `retry`: the same request may succeed later with nothing changed. `may_have_run`: a write may have been executed,
    or may yet be. `status` is the HTTP status (0 for none), `code` Intercom's own word for it, `request_id` what its
    support asks for.
    """

    retry = False
    may_have_run = False

    def __init__(self, message: str, *, status: int = 0, code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class IntercomUnreachable(IntercomError):
    """No connection could be made, so nothing was processed."""

    retry = True


class IntercomNoAnswer(IntercomError):
    """The request was sent and no complete answer came before the deadline."""

    retry = True
    may_have_run = True


class IntercomRateLimited(IntercomError):
    """Too many calls. `until` is when the next may be made, in seconds since 1970."""

    retry = True

    def __init__(
        self, message: str, *, until: int, status: int = 429, code: str = "", request_id: str = ""
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.until = until


class IntercomTrouble(IntercomError):
    """Intercom's own trouble: 5xx, HTML instead of JSON, an answer that lacks what it must hold."""

    retry = True
    may_have_run = True


class IntercomTokenRefused(IntercomError):
    """The access token is wrong, expired, or not allowed to do this: somebody has to look at it."""


class IntercomRefused(IntercomError):
    """The request's own fault; repeating it changes nothing. `code` is Intercom's, "not_found" for example."""


# --- The client ---


@dataclass(frozen=True)
class Me:
    """Whose access token it is, and of which workspace. `region` is US, EU or AU.

    `verifies_identities`: whether Intercom checks who its contacts claim to be; None where it does not say.
    """

    admin_id: str
    workspace_id: str
    region: str
    app_name: str
    verifies_identities: bool | None = None


class IntercomClient:
    """One workspace's REST interface. Thread safe. Deadlines are wall time in seconds of a whole call.

    Every method may raise any IntercomError. `base_url` takes the place of the region's host (for a stand-in).
    `on_call(method, seconds, outcome)` hears of each call once it is over; outcome is "ok" or the error's class name.
    """

    def __init__(
        self,
        access_token: str,
        *,
        region: str = "US",
        base_url: str = "",
        session: requests.Session | None = None,
        deadline: float = 10.0,
        on_call: Callable[[str, float, str], None] | None = None,
    ) -> None:
        self._on_call = on_call
        self._token = access_token
        self._base = (base_url or hosts_of(region).api).rstrip("/")
        self._session = session or open_session()
        self._deadline = deadline

    def __repr__(self) -> str:
        return f"IntercomClient({self._base!r})"

    def conversation(self, conversation_id: str, *, deadline: float | None = None) -> payloads.Conversation:
        """The conversation with its source and its parts, the 500 newest at most (see `is_complete`)."""
        return self._conversation(self._call("GET", _path(conversation_id), deadline=deadline))

    def reply(
        self, conversation_id: str, *, admin_id: str, body: str, note: bool, deadline: float | None = None
    ) -> payloads.Part:
        """Writes a note (`note`) or a reply that the customer sees, as the teammate; answers the part it became.

        `body` is HTML; p, br, b, i, a, ul, ol, li are safe. The part is the newest one of that teammate in the
        answer, of the kind that was asked for and with these words if there is one.
        """
        found = self._conversation(
            self._call(
                "POST",
                _path(conversation_id) + "/reply",
                json={
                    "message_type": "note" if note else "comment",
                    "type": "admin",
                    "admin_id": admin_id,
                    "body": body,
                },
                deadline=deadline,
            )
        )
        own = [part for part in found.parts if part.author.id == admin_id and part.body]
        # A reply that assigns the conversation as well comes back as an `assignment`.
        alike = [part for part in own if (part.part_type == "note") is note]
        if not alike:
            raise IntercomTrouble("Intercom took the message, and its answer does not hold it", status=200)
        # The teammate may have written something meanwhile.
        words = to_text(body)
        return next((part for part in reversed(alike) if to_text(part.body) == words), alike[-1])

    def me(self, *, deadline: float | None = None) -> Me:
        """Whose token it is: the way to check one, and to learn the workspace's id and region."""
        found = self._call("GET", "/me", deadline=deadline)
        app = found.get("app")
        app = app if isinstance(app, dict) else {}
        admin, workspace_id = (
            payloads.Admin.parse(found),
            payloads.workspace_id_of({"app_id": app.get("id_code")}),
        )
        if not workspace_id:
            raise IntercomTrouble("Intercom's answer names no workspace", status=200)
        return Me(
            admin_id=admin.id,
            workspace_id=workspace_id,
            region=clean_text(app.get("region")).strip().upper(),
            app_name=clean_text(app.get("name")).strip(),
            verifies_identities=verifies
            if isinstance(verifies := app.get("identity_verification"), bool)
            else None,
        )

    def _conversation(self, answer: Mapping[str, Any]) -> payloads.Conversation:
        try:
            return payloads.Conversation.parse(answer)
        except payloads.PayloadError as error:
            raise IntercomTrouble(f"Intercom's answer is no conversation: {error}", status=200) from None

    def _call(
        self, method: str, path: str, *, json: Mapping[str, Any] | None = None, deadline: float | None = None
    ) -> dict[str, Any]:
        began, outcome = time.monotonic(), "ok"
        try:
            return self._converse(method, path, json, deadline)
        except IntercomError as error:
            outcome = type(error).__name__
            raise
        finally:
            if self._on_call is not None:
                self._on_call(method, time.monotonic() - began, outcome)

    def _converse(
        self, method: str, path: str, json: Mapping[str, Any] | None, deadline: float | None
    ) -> dict[str, Any]:
        try:
            answer = exchange(
                self._session,
                method,
                self._base + path,
                deadline=self._deadline if deadline is None else deadline,
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Accept": "application/json",
                    "Intercom-Version": API_VERSION,
                },
                json=json,
            )
        except Unreachable as error:
            raise IntercomUnreachable(f"Intercom cannot be reached: {error}") from None
        except NoAnswer as error:
            raise IntercomNoAnswer(f"Intercom did not answer: {error}") from None
        return _judged(answer)


def _path(conversation_id: str) -> str:
    # An id from elsewhere must not lead to another address: "..", "last" or none would.
    if not re.fullmatch(r"[0-9A-Za-z_-]+", conversation_id) or conversation_id == "last":
        raise IntercomRefused(f"{cut(conversation_id, 40)!r} is no conversation id", code="not_found")
    return f"/conversations/{conversation_id}"


def _judged(answer: Answer) -> dict[str, Any]:
    """The answer's object where the status says it is good, else the error it stands for."""
    found = _read(answer.body)
    status = answer.status
    if 200 <= status < 300:
        if found is None:
            raise IntercomTrouble("Intercom's answer is not JSON", status=status)
        return found
    code, words, request_id = _error(found or {})
    what = f"Intercom answered {status}" + (f" {code}" if code else "") + (f": {words}" if words else "")
    if status == 429:
        until = _reset(answer.headers)
        raise IntercomRateLimited(what, until=until, status=status, code=code, request_id=request_id)
    if status in (401, 403):
        raise IntercomTokenRefused(what, status=status, code=code, request_id=request_id)
    # A 4xx without Intercom's own error list comes from something in between, and says nothing about the request.
    if 400 <= status < 500 and status != 408 and (code or words):
        raise IntercomRefused(what, status=status, code=code, request_id=request_id)
    raise IntercomTrouble(what, status=status, code=code, request_id=request_id)


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _error(found: Mapping[str, Any]) -> tuple[str, str, str]:
    """Code, words and request id of Intercom's `error.list`."""
    errors = found.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    first = first if isinstance(first, dict) else {}
    words = cut(" ".join(clean_text(first.get("message")).split()), 200)
    code = cut(clean_text(first.get("code")).strip(), 60)
    return code, words, cut(clean_text(found.get("request_id")).strip(), 60)


def _reset(headers: Mapping[str, str]) -> int:
    """When calls are allowed again, in seconds since 1970: X-RateLimit-Reset, or after a whole window."""
    now = int(time.time())
    stated = headers.get("X-RateLimit-Reset", "")
    if (
        stated.isascii()
        and stated.isdigit()
        and len(stated) < 12
        and now < int(stated) <= now + LONGEST_WAIT_SECONDS
    ):
        return int(stated)
    return now + RATE_WINDOW_SECONDS
