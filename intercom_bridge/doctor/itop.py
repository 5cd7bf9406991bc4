"""An iTop: whether it answers, as whom we are let in, and whether all that we need of it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from intercom_bridge.connections import itop_client
from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopInstance, Workspace
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.models.workspace import PLACEHOLDER
from itop_client import (
    Greeting,
    ItopError,
    ItopLoginRefused,
    ItopNoAnswer,
    ItopNotAllowed,
    ItopRefused,
    ItopUnreachable,
    MalformedRequest,
)

from .account import examine_account
from .asking import Asking, OutOfTime, subject_of
from .certificate import WHAT_TO_DO, examine_certificate, what_is_wrong
from .extension import examine_extension
from .finding import Finding, Subject
from .portal import examine_portal
from .profile import examine_profiles
from .scope import examine_scopes
from .traces import examine_traces
from .triggers import examine_triggers

CLOCK_SECONDS = 60.0
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def examine(
    itop: ItopInstance, workspaces: Sequence[Workspace], deadline: Deadline | None = None
) -> Iterator[Finding]:
    """Everything about one iTop, for these workspaces. The first question that iTop cannot answer is the last, or the
    first for which there is no time until the deadline."""
    subject = subject_of(itop)
    try:
        client = itop_client(itop)
        placeholder = any(secret.reveal().startswith(PLACEHOLDER) for secret in (itop.token, itop.password))
    except (SecretUnreadable, ImproperlyConfigured):
        yield subject.failure(
            "itop.secret",
            "the secret of its account cannot be read with FIELD_ENCRYPTION_KEYS",
            "Put the key it was stored under back at the end of the list, or enter the secret again in the admin.",
        )
        return
    if placeholder:
        yield subject.failure(
            "itop.secret",
            f"the secret of its account is a placeholder of the documentation ({PLACEHOLDER}...)",
            "Enter the real one in the admin.",
        )
        return
    asking = Asking(itop, workspaces, client, deadline)
    has_answered = False
    try:
        greeting = client.greet(deadline=asking.seconds)
        has_answered = True
        yield from _examine_answer(asking, greeting)
        yield from examine_account(asking)
        yield from examine_profiles(asking)
        yield from examine_scopes(asking)
        yield from examine_traces(asking)
        yield from examine_extension(asking)
        yield from examine_triggers(asking)
        yield from examine_portal(asking)
    except OutOfTime:
        yield subject.warning(
            "itop.time",
            "was not asked everything: the time that somebody waits for this page is used up",
            "Run: python manage.py doctor - it takes the time that it needs, and says who is slow.",
        )
    except ItopError as error:
        yield _trouble(subject, error, has_answered=has_answered)


def _examine_answer(asking: Asking, greeting: Greeting) -> Iterator[Finding]:
    subject = asking.subject
    yield subject.ok(
        "itop.answer", f"answers in {greeting.seconds * 1000:.0f} ms (REST {greeting.version or '?'})"
    )
    parts = urlsplit(asking.client.url)
    if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        yield subject.warning(
            "itop.certificate",
            "its address is not https: the secret of its account travels for everybody to read",
            "Give the https address of this iTop in the admin.",
        )
    yield from examine_certificate(subject, "itop.certificate", greeting.certificate_end)
    yield _judge_clock(subject, greeting)


def _judge_clock(subject: Subject, greeting: Greeting) -> Finding:
    if greeting.date is None:
        return subject.ok("itop.clock", "its clock is not known: its answers have no date")
    ahead = greeting.date - time.time()
    if abs(ahead) <= CLOCK_SECONDS:
        return subject.ok("itop.clock", "its clock and ours agree")
    return subject.warning(
        "itop.clock",
        f"its clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} ours",
        "Have both machines take their time from a time server (NTP): messages bear Intercom's time in iTop's logs, "
        "and what iTop writes there itself bears its own.",
    )


def _trouble(subject: Subject, error: ItopError, *, has_answered: bool) -> Finding:
    if has_answered and isinstance(error, ItopNotAllowed | ItopRefused):
        return subject.failure(
            "itop.stopped",
            f"refused what it was asked, so the rest was not looked at: {error.reason}",
            "See what is said of its account and of the ticket profile.",
        )
    if has_answered and not isinstance(error, ItopLoginRefused):
        return subject.failure(
            "itop.stopped",
            f"stopped answering, so the rest was not looked at: {error.reason}",
            "Ask again in a while. If it stays so, look into the error log of iTop's web server.",
        )
    if isinstance(error, ItopLoginRefused):
        return subject.failure("itop.account", *_refused_login(error.reason))
    if isinstance(error, ItopUnreachable):
        if wrong := what_is_wrong(error.reason):
            return subject.failure("itop.certificate", wrong, WHAT_TO_DO)
        return subject.failure(
            "itop.answer",
            f"cannot be reached: {error.reason}",
            "Compare its address in the admin with the one in your browser, and ask whether a firewall lets this "
            "machine through. Messages wait meanwhile: none fails for it.",
        )
    if isinstance(error, ItopNoAnswer):
        return subject.failure(
            "itop.answer",
            f"was reached and did not answer: {error.reason}",
            "Look how busy iTop's web server and its database are. Messages wait meanwhile: none fails for it.",
        )
    if isinstance(error, MalformedRequest):
        return subject.failure(
            "itop.answer",
            f"does not understand REST 1.3: {error.reason}",
            "Update this iTop: 2.7 and later have it.",
        )
    return subject.failure(
        "itop.answer",
        f"answers, but not as its REST interface does: {error.reason}",
        "The address in the admin has to be iTop's base, without a page, and the one it is really at. If it is, iTop "
        "may be in maintenance, or a proxy answers in its place.",
    )


def _refused_login(reason: str) -> tuple[str, str]:
    if "Portal user" in reason:
        return (
            "refuses its account: it is a portal user",
            "Take the profile Portal user from the account in iTop; give it REST Services User and Administrator.",
        )
    if "REST Services User" in reason or "not authorized to use the web services" in reason:
        return (
            "refuses its account: it lacks the profile REST Services User",
            "Add that profile to the account in iTop. Administrators need it, too.",
        )
    if reason == "Bad user":
        return ("refuses its account: it is disabled", "Enable the account in iTop, or use another one.")
    return (
        "refuses the token, or the name and password, of its account",
        "Make a new token for the account in iTop (or set its password) and enter it in the admin. A token also has to "
        "be made for REST, and must not have expired.",
    )
