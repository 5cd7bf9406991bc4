"""Give each request an id, which is part of its log lines and its response."""

import re
import secrets
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponseBase

HEADER = "X-Request-ID"
# A proxy's id is used if it is harmless: other characters could forge log lines.
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        request_id = given if _VALID_ID.fullmatch(given) else secrets.token_hex(8)
        # A thread serves one request at a time.
        structlog.contextvars.clear_contextvars()
        with structlog.contextvars.bound_contextvars(request=request_id):
            response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response
