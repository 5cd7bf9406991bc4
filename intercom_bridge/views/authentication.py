"""Verify the signature over the raw bytes of a request, as a DRF authentication class.

Responses: 413 if the body is too large, 400 if it is not a JSON object, 401 if the signature is missing, wrong or
given twice, and also 401 for an unknown workspace, so that the existing workspaces cannot be probed. The body is not
trusted before its signature matches: it is parsed only to find the secrets to try.
"""

import json
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request

from intercom_bridge.intercom import signature
from intercom_bridge.intercom.payloads import workspace_id_of
from intercom_bridge.models import Workspace
from intercom_bridge.models.webhook_event import DOCTOR_ID_PREFIX

# Used for an unknown workspace, so that the comparison takes as long as for a known one.
_UNUSED_SECRET = "no request is signed with this"  # noqa: S105


@dataclass(frozen=True)
class SignedBody:
    """The signed bytes and their JSON. It becomes `request.auth`."""

    raw: bytes
    data: Any


class BodyTooLargeError(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is larger than 10 MB."


class BodyMalformedError(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = "The request body is not a JSON object."


class Signature(BaseAuthentication):
    """Authenticate as (workspace, SignedBody). Subclasses define the header and the signature algorithm."""

    header = ""

    def sign(self, body: bytes, secret: str) -> str:
        raise NotImplementedError

    def authenticate(self, request: Request) -> tuple[Workspace, SignedBody]:
        raw = _raw_body(request)
        data = _parse(raw)
        workspace = Workspace.objects.for_signed_request(workspace_id_of(data))
        secrets = workspace.client_secrets() if workspace else {}
        expected = {
            name: self.sign(raw, secret) for name, secret in (secrets or {"": _UNUSED_SECRET}).items()
        }
        signed_with = signature.match_signature(request.headers.get(self.header, ""), expected)
        if workspace is None or not signed_with:
            raise AuthenticationFailed("The signature does not match.")
        # The doctor's own ping does not show which secret Intercom uses.
        if not str(data.get("id", "")).startswith(DOCTOR_ID_PREFIX):
            workspace.note_use(signed_with)
        return workspace, SignedBody(raw=raw, data=data)

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


def _raw_body(request: Request) -> bytes:
    try:
        return bytes(request._request.body)  # noqa: SLF001 - the only way to the HttpRequest
    except RequestDataTooBig as error:
        raise BodyTooLargeError from error


def _parse(raw: bytes) -> Any:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BodyMalformedError from error
    if not isinstance(data, dict):
        raise BodyMalformedError
    return data
