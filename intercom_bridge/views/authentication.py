"""Who is calling: the signature over the raw bytes, as a DRF authentication class.

A body that is too large is answered 413, one that is not JSON 400; a wrong, missing or doubled signature and an
unknown workspace alike 401, so that nobody learns which workspaces there are. Nothing in the body is believed
before its signature matches: it is read only to find the secrets to try.
"""

from __future__ import annotations

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
from intercom_bridge.models.notification import DOCTORS

# What an unknown workspace is compared with, so that it takes as long as a known one.
_NOBODYS_SECRET = "nobody signs with this"  # noqa: S105


@dataclass(frozen=True)
class SignedBody:
    """What was signed: the bytes, and the JSON in them. Becomes `request.auth`."""

    raw: bytes
    data: Any


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is larger than 10 MB."


class BodyMalformed(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = "The request body is not a JSON object."


class Signature(BaseAuthentication):
    """Answers (workspace, SignedBody). Subclasses say which header, and how it is made."""

    header = ""

    def sign(self, body: bytes, secret: str) -> str:
        raise NotImplementedError

    def authenticate(self, request: Request) -> tuple[Workspace, SignedBody]:
        raw = _raw_body(request)
        data = _parse(raw)
        workspace = Workspace.objects.for_signed_request(workspace_id_of(data))
        secrets = workspace.client_secrets() if workspace else {}
        expected = {name: self.sign(raw, one) for name, one in (secrets or {"": _NOBODYS_SECRET}).items()}
        signed_with = signature.which(request.headers.get(self.header, ""), expected)
        if workspace is None or not signed_with:
            raise AuthenticationFailed("The signature does not match.")
        # A ping of our own says nothing of the secret that Intercom signs with.
        if not str(data.get("id", "")).startswith(DOCTORS):
            workspace.note_use(signed_with)
        return workspace, SignedBody(raw=raw, data=data)

    def authenticate_header(self, request: Request) -> str:
        """Makes DRF answer 401 rather than 403."""
        return self.header


class CanvasSignature(Signature):
    header = signature.HEADERS.CANVAS
    sign = staticmethod(signature.canvas_signature)


class WebhookSignature(Signature):
    header = signature.HEADERS.WEBHOOK
    sign = staticmethod(signature.webhook_signature)


class SignedPostMixin:
    """Asks for the signature where there is something signed: any other method is refused, or a plain HEAD."""

    def perform_authentication(self, request: Request) -> None:
        if request.method == "POST":
            super().perform_authentication(request)  # type: ignore[misc]


def _raw_body(request: Request) -> bytes:
    try:
        return bytes(request._request.body)
    except RequestDataTooBig as error:
        raise BodyTooLarge from error


def _parse(raw: bytes) -> Any:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BodyMalformed from error
    if not isinstance(data, dict):
        raise BodyMalformed
    return data
