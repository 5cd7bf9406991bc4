"""Give each request an id. The response contains it as a header; log lines contain it and the client's address."""

import re
import secrets
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponseBase

from .client_ip import client_address

HEADER = "X-Request-ID"
# An id that the proxy has set is used only if it matches. Other characters could forge log lines.
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        request_id = given if _VALID_ID.fullmatch(given) else secrets.token_hex(8)
        # Remove the values of the thread's previous request now. They are not removed when a request ends, because
        # Django logs a response with a status of 400 or more after this method has returned. With gunicorn,
        # gunicorn.conf.py removes them after the request's last log line.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id, client=client_address(request))
        response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response
