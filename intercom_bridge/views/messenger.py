import datetime as dt
import hashlib
import hmac
import json
import re
import time
from typing import Any

import jwt
import structlog
from django.core.exceptions import ImproperlyConfigured, RequestDataTooBig
from django.db import DatabaseError
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from intercom_bridge.messenger.identity import CACHE_SECONDS, Question, QuestionError, identify
from intercom_bridge.models import MessengerKey, MessengerNonce, Secret
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.ops.metrics import messenger_seconds, observe
from itop_client import ItopError

from .authentication import random_secret
from .throttling import RateLimit

log = structlog.get_logger(__name__)

KEY_HEADER = "X-Bridge-Key"
SIGNATURE_HEADER = "X-Bridge-Signature"
# How far iTop's clock may be ahead of the bridge's, or behind it.
MAX_CLOCK_DIFFERENCE = dt.timedelta(minutes=5)
MAX_BODY_BYTES = 64 * 1024
_KEY_ID = re.compile(r"[0-9a-f]{32}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_NO_MATCH = "The signature does not match."
# Stands in for a key's secret that cannot be decrypted.
_UNUSED_SECRET = "no question is signed with this"  # noqa: S105


class UnavailableError(APIException):
    """Respond with 503. The extension then shows the page without the Messenger, and asks again on a later page."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = (
        "The bridge cannot determine at the moment whether the person is in scope. Ask again in a minute."
    )


class KeySignature(BaseAuthentication):
    """Authenticate an iTop by its key: `request.user` becomes the MessengerKey, and `request.auth` the Question.

    The body asks which Messenger a page in iTop shows to a person. It contains a time and a nonce. The signature is the
    HMAC-SHA256 of the body, in hex. A question is refused if its time differs by more than five minutes from the
    bridge's clock, or if its nonce was used before (see `_answer`). All refusals have the same status and text.
    """

    def authenticate(self, request: Request) -> tuple[MessengerKey, Question]:
        given_signature = request.headers.get(SIGNATURE_HEADER, "")
        key_id = request.headers.get(KEY_HEADER, "")
        if not (_SIGNATURE.fullmatch(given_signature) and _KEY_ID.fullmatch(key_id)):
            # Refused before the body is read into memory.
            raise AuthenticationFailed(_NO_MATCH)
        raw = _body(request)
        try:
            key = MessengerKey.objects.valid().filter(key_id=key_id).first()
        except DatabaseError as error:
            raise UnavailableError from error
        # An unknown key causes the same work as a known one, so the response time does not reveal which keys exist.
        secret = _reveal(key.secret if key else random_secret()) or _UNUSED_SECRET
        expected_signature = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
        is_signed = hmac.compare_digest(given_signature, expected_signature)
        if key is None or secret == _UNUSED_SECRET or not is_signed:
            raise AuthenticationFailed(_NO_MATCH)
        try:
            question = Question.parse(json.loads(raw))
        except (QuestionError, ValueError, RecursionError) as error:
            log.warning("messenger.question_malformed", itop=key.itop.name, error=str(error)[:200])
            raise AuthenticationFailed(_NO_MATCH) from error
        seconds_apart = abs(time.time() - question.asked_at)
        if seconds_apart > MAX_CLOCK_DIFFERENCE.total_seconds():
            log.warning("messenger.clock_differs", itop=key.itop.name, seconds=round(seconds_apart))
            raise AuthenticationFailed(_NO_MATCH)
        return key, question

    def authenticate_header(self, request: Request) -> str:
        """Make DRF respond with 401 instead of 403."""
        return SIGNATURE_HEADER


class MessengerRateLimit(RateLimit):
    kind = "messenger"
    setting = "MESSENGER_REQUESTS_PER_SECOND"

    def sender_id(self, request: Request) -> object:
        return request.user.itop_id


class IdentityView(APIView):
    """Return the settings of the Messenger that the extension in iTop shows on a page. The response is never logged.

    200 with `{"messenger": {"settings": {...}}, "cache_seconds": 600}`, or with `"messenger": null` if the person sees
    no Messenger on this page; 401 if the signature, the time or the nonce is not valid; 429 above the rate limit; 503
    if iTop or the database does not respond, or if a secret cannot be decrypted.
    """

    authentication_classes = [KeySignature]
    throttle_classes = [MessengerRateLimit]
    http_method_names = ["post"]

    def post(self, request: Request) -> Response:
        began = time.monotonic()
        key: MessengerKey = request.user
        question: Question = request.auth
        try:
            messenger = _answer(key, question)
        except (ItopError, SecretDecryptionError, DatabaseError, jwt.InvalidKeyError) as error:
            reason = getattr(error, "code", type(error).__name__)
            log.warning("messenger.unavailable", itop=key.itop.name, reason=reason)
            raise UnavailableError from error
        observe(messenger_seconds, time.monotonic() - began, key.itop.name, "shown" if messenger else "none")
        response = Response({"messenger": messenger, "cache_seconds": int(CACHE_SECONDS)})
        response["Cache-Control"] = "no-store"
        return response


def _answer(key: MessengerKey, question: Question) -> dict[str, Any] | None:
    """Return the Messenger's settings; None if the person sees no Messenger. Refuse a repeated question."""
    if not MessengerNonce.objects.use(key, question.nonce):
        log.warning("messenger.question_repeated", itop=key.itop.name)
        raise AuthenticationFailed(_NO_MATCH)
    key.note_use()
    identity = identify(key.itop, question)
    return {"settings": identity.settings()} if identity else None


def _body(request: Request) -> bytes:
    """Return the raw body. Raise AuthenticationFailed if it is larger than MAX_BODY_BYTES."""
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
            raise AuthenticationFailed(_NO_MATCH)
        return bytes(request._request.body)  # noqa: SLF001 - the only way to the HttpRequest
    except (RequestDataTooBig, ValueError) as error:
        raise AuthenticationFailed(_NO_MATCH) from error


def _reveal(secret: Secret) -> str:
    """Return the secret; "" if it cannot be decrypted, for example because no encryption key is set."""
    try:
        return secret.reveal()
    except (SecretDecryptionError, ImproperlyConfigured):
        log.error("messenger.key_unreadable")
        return ""
