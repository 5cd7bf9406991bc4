"""Verify the signature over the raw bytes of a request, as a DRF authentication class.

Responses: 413 if the body is too large, 401 if the signature is missing, wrong or given twice, and also 401 for an
unknown workspace, so that the existing workspaces cannot be probed; 400 if a signed body is not a JSON object; 503
if too many large bodies are being read. An unsigned body is never parsed: its bytes are searched for the workspaces
whose secrets are to be tried.
"""

import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from secrets import token_hex
from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request

from intercom_bridge.intercom import signature
from intercom_bridge.intercom.payloads import workspace_id_of
from intercom_bridge.models import Secret, Workspace
from intercom_bridge.models.webhook_event import DOCTOR_ID_PREFIX

# Used for a workspace whose secrets cannot be used.
_UNUSED_SECRET = "no request is signed with this"  # noqa: S105

_NO_MATCH = "The signature does not match."
_WORKSPACE_ID = re.compile(
    rb'"(?:workspace_id|app_id)"[ \t\r\n]{0,50}:[ \t\r\n]{0,50}("(?:[^"\\]|\\.){1,200}"|[0-9]{1,30})'
)
# A payload names one workspace, and may name others in values of its own.
_MAX_WORKSPACES = 8
# So many large bodies are in memory at once, in each process. Intercom's are rarely as large.
LARGE_BODY_BYTES = 1024 * 1024
_large_bodies = threading.BoundedSemaphore(2)
MAX_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class SignedBody:
    """The signed bytes and their JSON. It becomes `request.auth`."""

    raw: bytes
    data: Any


class BodyTooLargeError(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is larger than 10 MB."


class BusyError(APIException):
    """Too many large bodies are being read. Intercom sends a notification again after a minute."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "Too many large requests at once. Send it again in a minute."


class BodyMalformedError(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = "The request body is not a JSON object."


@cache
def random_secret() -> Secret:
    """Return a random secret, encrypted like all others, in place of that of a sender who does not exist."""
    return Secret.seal(token_hex())


@cache
def _unknown_workspace() -> Workspace:
    return Workspace(client_secret=random_secret())  # type: ignore[misc] # the plugin expects text


class Signature(BaseAuthentication):
    """Authenticate as (workspace, SignedBody). Subclasses define the header and the signature algorithm."""

    header = ""

    def sign(self, body: bytes, secret: str) -> str:
        raise NotImplementedError

    def authenticate(self, request: Request) -> tuple[Workspace, SignedBody]:
        given = request.headers.get(self.header, "")
        if len(given) != len(self.sign(b"", _UNUSED_SECRET)):
            # Refused before the body is read into memory.
            raise AuthenticationFailed(_NO_MATCH)
        with _turn(request):
            authenticated = self._verify(request, given)
        if authenticated is None:
            raise AuthenticationFailed(_NO_MATCH)
        workspace, secret_name, body = authenticated
        # The doctor's own ping does not show which secret Intercom uses.
        if not str(body.data.get("id", "")).startswith(DOCTOR_ID_PREFIX):
            workspace.note_use(secret_name)
        return workspace, body

    def _verify(self, request: Request, given: str) -> tuple[Workspace, str, SignedBody] | None:
        """Return the workspace that has signed the body, and its secret's name; None if there is no such workspace."""
        raw = _raw_body(request)
        signed_with = self._match(raw, given)
        if not signed_with:
            _free_body(request)
            return None
        # Only a body that somebody with a secret has signed is worth its parsing.
        data = _parse(raw)
        workspace_id = workspace_id_of(data)
        if workspace_id not in signed_with:
            return None
        workspace = Workspace.objects.for_signed_request(workspace_id)
        return (workspace, signed_with[workspace_id], SignedBody(raw=raw, data=data)) if workspace else None

    def _match(self, raw: bytes, given: str) -> dict[str, str]:
        """Return the workspaces named in the body, at any depth, whose secret has signed it, and the secret's name.

        The same work is done for a workspace that does not exist, so that the time taken does not tell.
        """
        matching = {}
        for workspace_id in _named_workspaces(raw) or [""]:
            workspace = Workspace.objects.with_secrets(workspace_id)
            secrets = (workspace or _unknown_workspace()).client_secrets() or {"": _UNUSED_SECRET}
            expected = {name: self.sign(raw, secret) for name, secret in secrets.items()}
            secret_name = signature.match_signature(given, expected)
            if workspace is not None and secret_name:
                matching[workspace_id] = secret_name
        return matching

    def authenticate_header(self, request: Request) -> str:
        """Make DRF respond with 401 instead of 403."""
        return self.header


class CanvasSignature(Signature):
    header = signature.CANVAS_HEADER
    sign = staticmethod(signature.canvas_signature)


class WebhookSignature(Signature):
    header = signature.WEBHOOK_HEADER
    sign = staticmethod(signature.webhook_signature)


class SignedPostMixin:
    """Require a signature for POST only: HEAD is never signed, and other methods are not allowed."""

    def perform_authentication(self, request: Request) -> None:
        if request.method == "POST":
            super().perform_authentication(request)  # type: ignore[misc]


@contextmanager
def _turn(request: Request) -> Iterator[None]:
    """Wait until a large body may be read into memory. Raise BusyError if that takes too long."""
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not length.isdecimal() or int(length) <= LARGE_BODY_BYTES:
        yield
        return
    if not _large_bodies.acquire(timeout=MAX_WAIT_SECONDS):
        raise BusyError
    try:
        yield
    finally:
        _large_bodies.release()


def _raw_body(request: Request) -> bytes:
    try:
        return bytes(request._request.body)  # noqa: SLF001 - the only way to the HttpRequest
    except RequestDataTooBig as error:
        raise BodyTooLargeError from error


def _free_body(request: Request) -> None:
    """Free the bytes now: the request is part of reference cycles, so the garbage collector may free it late."""
    http: Any = request._request  # noqa: SLF001 - the only way to the HttpRequest
    http._body, http._stream = b"", io.BytesIO()  # noqa: SLF001 - Django has no method for it


def _named_workspaces(raw: bytes) -> list[str]:
    """Return the different values of `workspace_id` and `app_id`, without building the document.

    A quote within a JSON string is escaped, so that the text of a message is never taken for a key.
    """
    named: dict[str, None] = {}
    for found in _WORKSPACE_ID.finditer(raw):
        with suppress(ValueError):
            named[workspace_id_of({"app_id": json.loads(found[1])})] = None
        if len(named) == _MAX_WORKSPACES:
            break
    return [workspace_id for workspace_id in named if workspace_id]


def _parse(raw: bytes) -> Any:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BodyMalformedError from error
    if not isinstance(data, dict):
        raise BodyMalformedError
    return data
