"""Give each request an id, which is part of its response. Its log lines contain the id and the client's address."""

import re
import secrets
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponseBase

from .client_ip import client_address

HEADER = "X-Request-ID"
# A proxy's id is used if it is harmless: other characters could forge log lines.
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        request_id = given if _VALID_ID.fullmatch(given) else secrets.token_hex(8)
        # A thread serves one request at a time. Django logs a response of 400 or more after this
        # returns, so the id stays. gunicorn.conf.py removes it with the last line of the request.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id, client=client_address(request))
        response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response
