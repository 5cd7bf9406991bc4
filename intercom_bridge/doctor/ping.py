"""Call this service's public address as Intercom does, through the network and the proxy."""

import json
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.urls import reverse

from intercom_bridge import USER_AGENT
from intercom_bridge.intercom.signature import WEBHOOK_HEADER, webhook_signature
from intercom_bridge.models import Workspace
from intercom_bridge.models.webhook_event import DOCTOR_ID_PREFIX
from itop_client import Deadline, open_session
from itop_client.http import HttpError, Response, exchange

from .certificate import CERTIFICATE_TO_DO, describe_problem, examine_certificate
from .finding import Finding, Subject
from .probe import request_seconds

# How long Intercom waits for a response.
RESPONSE_SECONDS = 5.0
# A little less than the largest request that this service accepts, 10 MB.
LARGE_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE - 1024
UPLOAD_SECONDS = 20.0


def webhook_address() -> str:
    return f"{settings.PUBLIC_URL}{reverse('webhooks-intercom')}"


def examine_address(subject: Subject) -> Iterator[Finding]:
    """Check that the address responds, and that it accepts requests as large as Intercom's."""
    try:
        response = _call("HEAD")
    except HttpError as error:
        yield _unreachable_finding(subject, error)
        return
    if response.status != 200:
        yield subject.check("service.address").failure(*_describe_wrong_status(response, "HEAD"))
        return
    yield subject.check("service.address").ok(f"{webhook_address()} responds")
    if urlsplit(settings.PUBLIC_URL).scheme != "https":
        yield subject.check("service.certificate").warning(
            f"PUBLIC_URL is not https: Intercom cannot call {settings.PUBLIC_URL}",
            "Acceptable for a trial on this machine. Otherwise run a proxy with a certificate in front of the service.",
        )
    yield from examine_certificate(subject.check("service.certificate"), response.certificate_end)
    yield _examine_size(subject)


def _examine_size(subject: Subject) -> Finding:
    """Send a large request with a wrong signature: the service reads it and rejects it with 401, and stores nothing."""
    check = subject.check("service.size")
    start, end = b'{"app_id":"","doctor":"', b'"}'
    body = start + b"x" * (LARGE_BYTES - len(start) - len(end)) + end
    try:
        response = _call("POST", body=body, signature="sha1=wrong", seconds=UPLOAD_SECONDS)
    except HttpError as error:
        return check.warning(
            f"a request of 10 MB got no response: {error}",
            "Allow bodies of 20 MB in the proxy (nginx: client_max_body_size 20m). Intercom's requests contain whole "
            "conversations.",
        )
    if response.status == 401:
        return check.ok("accepts requests of 10 MB")
    if response.status == 413:
        return check.failure(
            "the proxy rejects requests of 10 MB (413): in long conversations, the panel does not open, and messages "
            "are lost",
            "Allow bodies of 20 MB in the proxy (nginx: client_max_body_size 20m).",
        )
    return check.warning(
        f"a request of 10 MB with a wrong signature got the status {response.status} instead of 401",
        "Find out which part of the proxy responds to such requests.",
    )


def examine_ping(workspace: Workspace, subject: Subject, deadline: Deadline) -> Iterator[Finding]:
    """Check that this service accepts a signed notification, which leaves a webhook event with the topic ping."""
    check = subject.check("workspace.ping")
    now = int(time.time())
    notification = {
        "type": "notification_event",
        "app_id": workspace.workspace_id,
        "id": f"{DOCTOR_ID_PREFIX}{uuid.uuid4()}",
        "topic": "ping",
        "created_at": now,
        "first_sent_at": now,
        "delivery_attempts": 1,
        "data": {
            "type": "notification_event_data",
            "item": {"type": "ping", "message": "From the service itself"},
        },
    }
    body = json.dumps(notification).encode()
    first_secret = next(iter(workspace.client_secrets().values()))
    seconds = request_seconds(deadline, RESPONSE_SECONDS)
    began = time.monotonic()
    try:
        response = _call("POST", body=body, signature=webhook_signature(body, first_secret), seconds=seconds)
    except HttpError as error:
        yield _unreachable_finding(subject, error)
        return
    milliseconds = (time.monotonic() - began) * 1000
    if response.status == 200:
        yield check.ok(f"a signed ping sent to PUBLIC_URL was accepted in {milliseconds:.0f} ms")
    else:
        yield check.failure(*_describe_wrong_status(response, "a signed ping"))


def _call(
    method: str, *, body: bytes = b"", signature: str = "", seconds: float = RESPONSE_SECONDS
) -> Response:
    headers = {"Content-Type": "application/json"}
    if signature:
        headers[WEBHOOK_HEADER] = signature
    with open_session(user_agent=USER_AGENT) as session:
        return exchange(
            session, method, webhook_address(), deadline=seconds, headers=headers, data=body or None
        )


def _unreachable_finding(subject: Subject, error: HttpError) -> Finding:
    if problem := describe_problem(error.certificate_problem):
        return subject.check("service.certificate").failure(
            f"Intercom cannot trust {settings.PUBLIC_URL}: {problem}", CERTIFICATE_TO_DO
        )
    return subject.check("service.address").failure(
        f"{webhook_address()} cannot be reached from this machine: {error}",
        "Check PUBLIC_URL, that the proxy and the web server run, and that Intercom can reach them. If a firewall "
        "blocks only this machine's access to its own public address, try it from another machine.",
    )


def _describe_wrong_status(response: Response, request: str) -> tuple[str, str]:
    """Return two texts: what was found, and what to do. `request` names the request, like "a signed ping"."""
    status = response.status
    if 300 <= status < 400:
        return _describe_redirect(response, request)
    no_server = "The proxy does not reach the web server: check that gunicorn runs, and at which address."
    to_do = {
        400: "The proxy must forward the Host header (nginx: proxy_set_header Host $host), and ALLOWED_HOSTS must "
        "contain that host.",
        401: "The proxy changes the body or removes the header X-Hub-Signature; or the web server uses another "
        "database, or other FIELD_ENCRYPTION_KEYS, than this process.",
        403: "The proxy or a web application firewall rejects the request: allow /webhooks/ and /canvas-kit/.",
        404: "The proxy sends this path elsewhere, or PUBLIC_URL is not the address of this service.",
        405: "The proxy does not allow HEAD, which Intercom uses to validate the address.",
        413: "Allow bodies of 20 MB in the proxy (nginx: client_max_body_size 20m).",
        502: no_server,
        503: no_server,
        504: no_server,
    }.get(status, "Read the logs of the proxy and the web server.")
    return f"{webhook_address()} responded to {request} with {status}", to_do


def _describe_redirect(response: Response, request: str) -> tuple[str, str]:
    target = urlsplit(urljoin(webhook_address(), response.headers.get("Location", "")))
    # Leave out the query and the user name, which may contain secrets.
    location = f"{target.scheme}://{target.hostname or '?'}{target.path}"
    found = f"{webhook_address()} responded to {request} with a redirect to {location}, which Intercom does not follow"
    if location == webhook_address():
        # Django redirected to https because it took the proxy's request for http.
        return found, (
            "The proxy must say that it was called with https (nginx: proxy_set_header X-Forwarded-Proto $scheme)."
        )
    return (
        found,
        "Set PUBLIC_URL to the address that responds without a redirect, and use the same address in Intercom.",
    )
