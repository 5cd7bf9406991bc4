"""A stand-in for a page of iTop's portal, as a signed-in person sees it if the bridge's extension is installed."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from typing import Any

import requests
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from intercom_bridge.models import MessengerKey

PEOPLE = {40: "Alice Martin", 41: "Bob Durand", 42: "Chloé Étienne"}
DEADLINE_SECONDS = 5


@require_safe
@ensure_csrf_cookie
def portal(request: HttpRequest) -> HttpResponse:
    """Display a page of the portal, with the Messenger if the bridge returns an identity.

    `?person=ID` is the person who is signed in, and `?page=PORTAL_ID` is the id of the portal.
    """
    given = request.GET.get("person", "")
    person_id = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else min(PEOPLE)
    page = request.GET.get("page", "itop-portal")
    status, answer = _ask(request.build_absolute_uri(reverse("messenger-identity")), person_id, page)
    context = {
        "people": PEOPLE,
        "person_id": person_id,
        "page": page,
        "status": status,
        "settings": (answer.get("messenger") or {}).get("settings"),
    }
    return render(request, "sandbox/portal.html", context)


def _ask(address: str, person_id: int, page: str) -> tuple[int, dict[str, Any]]:
    """Request an identity as the extension does. Return the status (0 without a response) and the bridge's JSON."""
    key = MessengerKey.objects.valid().order_by("-pk").first()
    if key is None:
        return 0, {}
    question = {
        "time": int(time.time()),
        "nonce": secrets.token_hex(16),
        "page": page,
        "person": {"class": "Person", "id": person_id},
        "profiles": ["Portal user"],
        "language": "EN US",
    }
    body = json.dumps(question).encode()
    signature = hmac.new(key.secret.reveal().encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Bridge-Key": key.key_id, "X-Bridge-Signature": signature}
    try:
        with requests.Session() as session:
            session.trust_env = False  # the same server needs no proxy
            answer = session.post(address, data=body, headers=headers, timeout=DEADLINE_SECONDS)
        return answer.status_code, answer.json()
    except (requests.RequestException, ValueError):
        return 0, {}
