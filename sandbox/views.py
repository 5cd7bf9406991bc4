"""The inbox page. Its requests are passed on to the Intercom stand-in, so the browser talks to only one origin."""

from __future__ import annotations

import os
import re

import requests
from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

DEFAULT_INTERCOM_URL = "http://127.0.0.1:8002"
DEFAULT_ITOP_URL = "http://127.0.0.1:8001"

# Longer than the ten seconds that the stand-in waits for a canvas.
DEADLINE_SECONDS = 15

# The size of a message with files, which are sent as base64 in JSON.
MAX_BODY = 60_000_000

# The only addresses of the stand-in that the page may request.
_ALLOWED = re.compile(
    r"(state|conversations|conversations/[0-9]+|conversations/[0-9]+/(messages|state)|messenger|canvas|faults)"
)


def intercom_url() -> str:
    """Return the address of the Intercom stand-in."""
    return _address("SANDBOX_INTERCOM_URL", DEFAULT_INTERCOM_URL)


def _address(name: str, default: str) -> str:
    """Return the setting of this name, or the environment variable, or the default."""
    return (getattr(settings, name, "") or os.environ.get(name) or default).rstrip("/")


@require_safe
@ensure_csrf_cookie
def inbox(request: HttpRequest) -> HttpResponseBase:
    """Display conversations, thread and panel, as a teammate sees them in Intercom."""
    # Pictures in messages come from the stand-in, which has another origin. In Intercom they come from another host,
    # too.
    return csp_update({"img-src": [intercom_url()]})(_draw)(request)


def _draw(request: HttpRequest) -> HttpResponse:
    return render(request, "sandbox/inbox.html", {"itop_url": _address("SANDBOX_ITOP_URL", DEFAULT_ITOP_URL)})


@require_http_methods(["GET", "POST"])
def pass_through(request: HttpRequest, path: str) -> HttpResponse:
    """Pass a request of the page on to the stand-in. Return 502 if the stand-in does not respond."""
    if not _ALLOWED.fullmatch(path):
        return JsonResponse({"error": "Unknown address."}, status=404)
    if int(request.headers.get("Content-Length") or 0) > MAX_BODY:
        return JsonResponse({"error": "The files are too large for the sandbox."}, status=413)
    try:
        with requests.Session() as session:
            session.trust_env = False  # two local servers need no proxy
            answer = session.request(
                request.method or "GET",
                f"{intercom_url()}/sandbox/{path}",
                data=request.read() or None,  # unlike `body`, it has no limit of a few megabytes
                headers={"Content-Type": "application/json"},
                timeout=DEADLINE_SECONDS,
            )
    except requests.RequestException as error:
        why = type(error).__name__
        return JsonResponse(
            {
                "error": f"The Intercom stand-in does not answer at {intercom_url()} ({why}). `make demo` starts it."
            },
            status=502,
        )
    return HttpResponse(answer.content, status=answer.status_code, content_type="application/json")
