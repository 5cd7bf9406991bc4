"""Receive push requests, which Combodo's webhook extension sends when a ticket in iTop changes.

A push request only makes the bridge poll a linked ticket sooner. If one is lost, the next poll finds the change. A
forged or repeated request does no harm. iTop sends the request while it saves the agent's change, so the agent waits
for the response. iTop does not sign the request and ignores the status of the response.
"""

import hmac
import json
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured, RequestDataTooBig
from django.db import DatabaseError
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed, ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from intercom_bridge.events.poll import poll_soon
from intercom_bridge.models import ItopInstance, Secret, Ticket
from intercom_bridge.models.encryption import SecretDecryptionError

from .authentication import random_secret
from .throttling import RateLimit

log = structlog.get_logger(__name__)

MAX_PER_SECOND = 50
MAX_BODY_BYTES = 64 * 1024
_SCHEME = "Bearer "
_NO_MATCH = "The secret does not match."


class UnavailableError(APIException):
    """Respond with 503. iTop does not repeat the request, but the next poll finds the change."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The bridge's database does not respond. The change is found by the next poll."


class PushSecret(BaseAuthentication):
    """Authenticate an iTop by the bearer token in the Authorization header.

    All refusals have the same status and text, so they do not reveal which iTops exist.
    """

    def authenticate(self, request: Request) -> tuple[ItopInstance, None]:
        given_header = request.headers.get("Authorization", "")
        public_id = request.parser_context["kwargs"]["public_id"]
        try:
            itop = ItopInstance.objects.filter(public_id=public_id).first()
        except DatabaseError as error:
            raise UnavailableError from error
        # Without a stored secret, a random one causes the same work. The response time does not reveal the difference.
        expected_secret = _reveal(itop.push_secret if itop and itop.push_secret else random_secret())
        is_equal = hmac.compare_digest(
            given_header.encode("utf-8", "replace"), f"{_SCHEME}{expected_secret}".encode()
        )
        if itop is None or not expected_secret or not is_equal:
            raise AuthenticationFailed(_NO_MATCH)
        return itop, None

    def authenticate_header(self, request: Request) -> str:
        """Make DRF respond with 401 instead of 403."""
        return _SCHEME.strip()


class PushRateLimit(RateLimit):
    kind = "itop_push"

    def per_second(self) -> int:
        return MAX_PER_SECOND


class ItopPushView(APIView):
    """The body names a ticket. If the ticket is linked, make the bridge poll it now.

    200 whether or not the ticket is linked; 400 if the body does not name a ticket; 401 if the secret does not match;
    429 above the rate limit; 503 if the database does not respond.
    """

    authentication_classes = [PushSecret]
    throttle_classes = [PushRateLimit]
    http_method_names = ["post"]

    def post(self, request: Request, public_id: str) -> Response:
        itop: ItopInstance = request.user
        ticket_class, object_id = _read_ticket_id(request)
        try:
            itop.note_push()
            linked = Ticket.objects.filter(
                itop=itop, ticket_class=ticket_class, object_id=object_id, links__isnull=False
            )
            is_linked = linked.exists()
            if is_linked:
                poll_soon(linked)
        except DatabaseError as error:
            raise UnavailableError from error
        log.info(
            "itop_push.received", itop=itop.name, ticket_class=ticket_class, id=object_id, linked=is_linked
        )
        return Response({"status": "ok"})


def _read_ticket_id(request: Request) -> tuple[str, int]:
    """Return the class and the id of the ticket that the body names. Raise ParseError if it does not name one."""
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
            raise ParseError("The body is larger than 64 kB.")
        data: Any = json.loads(request._request.body)  # noqa: SLF001 - the only way to the HttpRequest
        ticket_class, object_id = data["class"], str(data["id"])
    except (ValueError, TypeError, KeyError, RecursionError, RequestDataTooBig) as error:
        raise ParseError('The body is not an object like {"class": "UserRequest", "id": "42"}.') from error
    if not isinstance(ticket_class, str) or not ticket_class.isidentifier():
        raise ParseError("“class” is not the name of a class.")
    # A longer number does not fit a database column.
    if not (object_id.isascii() and object_id.isdigit() and len(object_id) < 19):
        raise ParseError("“id” is not the id of an object.")
    return ticket_class, int(object_id)


def _reveal(secret: Secret) -> str:
    """Return the secret; "" if it cannot be decrypted. The caller then refuses every request."""
    try:
        return secret.reveal()
    except (SecretDecryptionError, ImproperlyConfigured):
        log.error("itop_push.secret_unreadable")
        return ""
