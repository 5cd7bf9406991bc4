"""Our own public address, called as Intercom calls it: through the network, the proxy and all."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.urls import reverse

from intercom_bridge.intercom.signature import HEADERS, webhook_signature
from intercom_bridge.models import Workspace
from intercom_bridge.models.notification import DOCTORS
from itop_client import open_session
from itop_client.transport import Answer, NoAnswer, Unreachable, exchange

from .certificate import WHAT_TO_DO, examine_certificate, what_is_wrong
from .finding import Finding, Subject

# Intercom waits for five.
ANSWER_SECONDS = 5.0
# Nobody's signature: what is this large is to be refused for it, after it was read, and leaves no row.
LARGE_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE - 1024
UPLOAD_SECONDS = 20.0


def webhook_address() -> str:
    return f"{settings.PUBLIC_URL}{reverse('webhooks-intercom')}"


def examine_address(subject: Subject) -> Iterator[Finding]:
    """Whether it is there for anybody, and for a request as large as Intercom's may be."""
    try:
        answer = _call("HEAD", b"", "", ANSWER_SECONDS)
    except (Unreachable, NoAnswer) as error:
        yield _unreachable(subject, str(error))
        return
    if answer.status != 200:
        yield subject.failure("service.address", *_wrong_answer(answer, "HEAD"))
        return
    yield subject.ok("service.address", f"{webhook_address()} answers")
    if urlsplit(settings.PUBLIC_URL).scheme != "https":
        yield subject.warning(
            "service.certificate",
            f"PUBLIC_URL is not https: Intercom cannot call {settings.PUBLIC_URL}",
            "Fine for a rehearsal on this machine. Otherwise put a proxy with a certificate in front.",
        )
    yield from examine_certificate(subject, "service.certificate", answer.certificate_end)
    yield _examine_size(subject)


def _examine_size(subject: Subject) -> Finding:
    body = b'{"app_id":"","doctor":"' + b"x" * (LARGE_BYTES - 25) + b'"}'
    try:
        answer = _call("POST", body, "sha1=of-nobody", UPLOAD_SECONDS)
    except (Unreachable, NoAnswer) as error:
        return subject.warning(
            "service.size",
            f"a request of 10 MB got no answer: {error}",
            "Let the proxy take bodies of 20 MB (nginx: client_max_body_size 20m). Intercom's requests carry the whole "
            "conversation.",
        )
    if answer.status == 401:
        return subject.ok("service.size", "takes requests of 10 MB")
    if answer.status == 413:
        return subject.failure(
            "service.size",
            "the proxy takes no requests of 10 MB (413): long conversations get no panel and lose messages",
            "Let the proxy take bodies of 20 MB (nginx: client_max_body_size 20m).",
        )
    return subject.warning(
        "service.size",
        f"a request of 10 MB was answered {answer.status}, where its wrong signature should have got 401",
        "Look which part of the proxy answers such requests.",
    )


def examine_ping(workspace: Workspace, subject: Subject) -> Iterator[Finding]:
    """Whether a notification that is signed as Intercom signs this workspace's is taken. It leaves one row, a ping."""
    now = int(time.time())
    notification = {
        "type": "notification_event",
        "app_id": workspace.workspace_id,
        "id": f"{DOCTORS}{uuid.uuid4()}",
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
    began = time.monotonic()
    try:
        signature = webhook_signature(body, next(iter(workspace.client_secrets().values())))
        answer = _call("POST", body, signature, ANSWER_SECONDS)
    except (Unreachable, NoAnswer) as error:
        yield _unreachable(subject, str(error))
        return
    milliseconds = (time.monotonic() - began) * 1000
    if answer.status == 200:
        yield subject.ok(
            "workspace.ping", f"a signed ping through PUBLIC_URL was taken in {milliseconds:.0f} ms"
        )
    else:
        yield subject.failure("workspace.ping", *_wrong_answer(answer, "a signed ping"))


def _call(method: str, body: bytes, signature: str, seconds: float) -> Answer:
    headers = {"Content-Type": "application/json"}
    if signature:
        headers[HEADERS.WEBHOOK] = signature
    with open_session() as session:
        return exchange(
            session, method, webhook_address(), deadline=seconds, headers=headers, data=body or None
        )


def _unreachable(subject: Subject, reason: str) -> Finding:
    if wrong := what_is_wrong(reason):
        return subject.failure(
            "service.certificate", f"Intercom cannot trust {settings.PUBLIC_URL}: {wrong}", WHAT_TO_DO
        )
    return subject.failure(
        "service.address",
        f"{webhook_address()} cannot be reached from here: {reason}",
        "See that PUBLIC_URL is right, that the proxy and the web server run, and that Intercom may reach them. Where "
        "a firewall keeps only this machine from its own public address, try it from another one.",
    )


def _wrong_answer(answer: Answer, what: str) -> tuple[str, str]:
    """What is found, and what is to be done."""
    status = answer.status
    found = f"{webhook_address()} answered {what} with {status}"
    if 300 <= status < 400:
        return _redirected(answer, what)
    to_do = {
        400: "The proxy has to hand on the Host that was called (nginx: proxy_set_header Host $host), and "
        "ALLOWED_HOSTS has to hold it.",
        401: "Something between changes the body or drops the header X-Hub-Signature; or the web server uses another "
        "database, or other FIELD_ENCRYPTION_KEYS, than this process.",
        403: "The proxy or a firewall for web applications refuses it: let /webhooks/ and /canvas-kit/ through.",
        404: "The proxy sends this path somewhere else, or PUBLIC_URL is not this service.",
        405: "Something before this service does not let HEAD through; Intercom validates the address with it.",
        413: "Let the proxy take bodies of 20 MB (nginx: client_max_body_size 20m).",
    }.get(status)
    if to_do is None and status in (502, 503, 504):
        to_do = "The proxy does not reach the web server: see that gunicorn runs, and at the address the proxy has."
    return found, to_do or "Look into the logs of the proxy and of the web server."


def _redirected(answer: Answer, what: str) -> tuple[str, str]:
    target = urlsplit(urljoin(webhook_address(), answer.headers.get("Location", "")))
    # Without its query and user: a place for secrets.
    shown = f"{target.scheme}://{target.hostname or '?'}{target.path}"
    found = f"{webhook_address()} answered {what} with a redirect to {shown}, which Intercom does not follow"
    if shown == webhook_address():
        return found, (
            "The proxy has to say that it was called by https (nginx: proxy_set_header X-Forwarded-Proto $scheme)."
        )
    return found, "Set PUBLIC_URL to the address that answers by itself, and use the same in Intercom."
