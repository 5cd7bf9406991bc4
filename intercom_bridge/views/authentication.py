"""Verify Intercom's signature over the raw bytes of a request, as a DRF authentication class.

The body names the workspace whose secret has signed it. It is parsed only after a signature has matched. Before that,
a regular expression searches its bytes for workspace ids, and the secrets of these workspaces are tried.

| status | cause |
| --- | --- |
| 400 | the body is signed, but is not a JSON object |
| 401 | the signature is missing, wrong or sent twice, or the workspace is unknown |
| 413 | the body is too large |
| 503 | too many large bodies are being read |

An unknown workspace and a wrong signature get the same response. It does not reveal which workspaces exist.
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

# Stands in for the secrets of a workspace if none of them can be decrypted.
_UNUSED_SECRET = "no request is signed with this"  # noqa: S105

_NO_MATCH = "The signature does not match."
_WORKSPACE_ID = re.compile(
    rb'"(?:workspace_id|app_id)"[ \t\r\n]{0,50}:[ \t\r\n]{0,50}("(?:[^"\\]|\\.){1,200}"|[0-9]{1,30})'
)
# More than one, because objects nested in a payload may have `workspace_id` or `app_id` keys with other values.
_MAX_WORKSPACES = 8
# Intercom's bodies are rarely larger than this.
LARGE_BODY_BYTES = 1024 * 1024
# Limits memory: each process reads at most two large bodies at the same time.
_large_bodies = threading.BoundedSemaphore(2)
MAX_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class SignedBody:
    """The body of a signed request: its bytes, and the JSON object in them. DRF stores it as `request.auth`."""

    raw: bytes
    data: Any


class BodyTooLargeError(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is larger than 10 MB."


class BusyError(APIException):
    """Too many large bodies are being read. Intercom sends the notification again after a minute."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "Too many large requests at once. Send it again in a minute."


class BodyMalformedError(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = "The request body is not a JSON object."


@cache
def random_secret() -> Secret:
    """Return a random secret that stands in for the secret of an unknown sender.

    It is encrypted like a real one, so an unknown sender is refused after the same work as a known one.
    """
    return Secret.seal(token_hex())


@cache
def _unknown_workspace() -> Workspace:
    return Workspace(client_secret=random_secret())  # type: ignore[misc] # the plugin expects text


class Signature(BaseAuthentication):
    """Authenticate a request: `request.user` becomes the Workspace, and `request.auth` the SignedBody.

    Subclasses define the header with the signature, and the algorithm.
    """

    header = ""

    def sign(self, body: bytes, secret: str) -> str:
        raise NotImplementedError

    def authenticate(self, request: Request) -> tuple[Workspace, SignedBody]:
        given_signature = request.headers.get(self.header, "")
        expected_length = len(self.sign(b"", _UNUSED_SECRET))
        if len(given_signature) != expected_length:
            # Refused before the body is read into memory.
            raise AuthenticationFailed(_NO_MATCH)
        with _limit_large_bodies(request):
            signer = self._find_signer(request, given_signature)
        if signer is None:
            raise AuthenticationFailed(_NO_MATCH)
        workspace, secret_name, body = signer
        is_from_doctor = str(body.data.get("id", "")).startswith(DOCTOR_ID_PREFIX)
        # The admin shows when Intercom last used each secret. The doctor's own ping is not from Intercom.
        if not is_from_doctor:
            workspace.note_use(secret_name)
        return workspace, body

    def _find_signer(
        self, request: Request, given_signature: str
    ) -> tuple[Workspace, str, SignedBody] | None:
        """Return the workspace that has signed the body, the column of the secret used, and the body.

        Return None if no workspace has signed the body.
        """
        raw = _raw_body(request)
        secret_by_workspace = self._matching_secrets(raw, given_signature)
        if not secret_by_workspace:
            _free_body(request)  # anybody can send such bodies
            return None
        data = _parse(raw)
        workspace_id = workspace_id_of(data)
        if workspace_id not in secret_by_workspace:
            return None
        workspace = Workspace.objects.for_signed_request(workspace_id)
        if workspace is None:
            return None
        return workspace, secret_by_workspace[workspace_id], SignedBody(raw=raw, data=data)

    def _matching_secrets(self, raw: bytes, given_signature: str) -> dict[str, str]:
        """Return the column of the secret that matches the signature, by the id of its workspace.

        The first _MAX_WORKSPACES ids in the body, at any depth, are tried. An unknown workspace causes the same work as
        a known one, so the response time does not reveal which workspaces exist.
        """
        matching = {}
        # A body without ids is checked like one with an unknown id.
        for workspace_id in _named_workspaces(raw) or [""]:
            workspace = Workspace.objects.with_secrets(workspace_id)
            secrets = (workspace or _unknown_workspace()).client_secrets() or {"": _UNUSED_SECRET}
            expected = {name: self.sign(raw, secret) for name, secret in secrets.items()}
            secret_name = signature.match_signature(given_signature, expected)
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
    """Require a signature for POST only. Intercom does not sign HEAD, and no other method is allowed."""

    def perform_authentication(self, request: Request) -> None:
        if request.method == "POST":
            super().perform_authentication(request)  # type: ignore[misc]


@contextmanager
def _limit_large_bodies(request: Request) -> Iterator[None]:
    """Hold one of the two slots for large bodies while the block runs. A smaller body needs no slot.

    Raise BusyError if no slot becomes free within MAX_WAIT_SECONDS.
    """
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    is_large = length.isdecimal() and int(length) > LARGE_BODY_BYTES
    if not is_large:
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
    """Free the memory of a refused body now.

    The request is part of a reference cycle. Without this, the bytes would stay until the garbage collector runs.
    """
    http: Any = request._request  # noqa: SLF001 - the only way to the HttpRequest
    http._body, http._stream = b"", io.BytesIO()  # noqa: SLF001 - Django has no method for it


def _named_workspaces(raw: bytes) -> list[str]:
    """Return the distinct values of `workspace_id` and `app_id` in the body, found without parsing it.

    The text of a message cannot be mistaken for such a key, because JSON escapes the quotes in a text.
    """
    # A dict is an ordered set here: it keeps the first occurrence of each id.
    workspace_ids: dict[str, None] = {}
    for match in _WORKSPACE_ID.finditer(raw):
        # Normalize the id like that of a parsed body. Skip a match that is not valid JSON.
        with suppress(ValueError):
            workspace_ids[workspace_id_of({"app_id": json.loads(match[1])})] = None
        if len(workspace_ids) == _MAX_WORKSPACES:
            break
    return [workspace_id for workspace_id in workspace_ids if workspace_id]


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BodyMalformedError from error
    if not isinstance(data, dict):
        raise BodyMalformedError
    return data
