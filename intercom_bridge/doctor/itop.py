"""Run all checks of an iTop: its response, the bridge's account, and what the bridge and its workspaces need there."""

import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from intercom_bridge.connections import itop_client
from intercom_bridge.models import ItopInstance, Workspace
from intercom_bridge.models.workspace import PLACEHOLDER
from itop_client import (
    Deadline,
    ItopError,
    ItopLoginError,
    ItopNoResponseError,
    ItopPermissionError,
    ItopRejectedError,
    ItopUnreachableError,
    LoginProblem,
    MalformedRequestError,
    ServerInfo,
)

from .account import examine_account
from .certificate import CERTIFICATE_TO_DO, describe_problem, examine_certificate
from .events import examine_events
from .extension import examine_extension
from .files import examine_files
from .finding import Finding, Subject
from .messenger import examine_messengers
from .portal import examine_portal
from .probe import OutOfTimeError, Probe, out_of_time, subject_of
from .profile import examine_profiles
from .scope import examine_scopes
from .traces import examine_traces
from .triggers import examine_triggers

MAX_CLOCK_DIFFERENCE = 60.0
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def examine(itop: ItopInstance, workspaces: Sequence[Workspace], deadline: Deadline) -> Iterator[Finding]:
    """Check an iTop for these workspaces, until a request fails or no time is left."""
    subject = subject_of(itop)
    secrets = (itop.token, itop.password)
    if not all(secret.is_readable for secret in secrets):
        yield subject.check("itop.secret").failure(
            "the secret of its account cannot be decrypted with FIELD_ENCRYPTION_KEYS",
            "Append the key that it was encrypted with to this setting, or enter the secret again in the admin.",
        )
        return
    if any(secret.reveal().startswith(PLACEHOLDER) for secret in secrets):
        yield subject.check("itop.secret").failure(
            f"the secret of its account is a placeholder from the documentation ({PLACEHOLDER}…)",
            "Enter the real value in the admin.",
        )
        return
    probe = Probe(itop, workspaces, itop_client(itop), deadline)
    has_responded = False
    try:
        info = probe.client.server_info(deadline=probe.request_seconds)
        has_responded = True
        yield from _examine_server(probe, info)
        yield from examine_account(probe)
        yield from examine_profiles(probe)
        yield from examine_scopes(probe)
        yield from examine_messengers(probe)
        yield from examine_traces(probe)
        yield from examine_extension(probe)
        yield from examine_triggers(probe)
        yield from examine_events(probe)
        yield from examine_portal(probe)
        yield from examine_files(probe)
    except OutOfTimeError:
        yield out_of_time(subject, "itop.time")
    except ItopError as error:
        yield error_finding(subject, error, has_responded=has_responded)


def _examine_server(probe: Probe, info: ServerInfo) -> Iterator[Finding]:
    subject = probe.subject
    yield subject.check("itop.answer").ok(
        f"responds in {info.seconds * 1000:.0f} ms (REST {info.version or '?'})"
    )
    parts = urlsplit(probe.client.url)
    if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        yield subject.check("itop.certificate").warning(
            "its address is not https: the secret of its account is sent unencrypted",
            "Enter the https address of this iTop in the admin.",
        )
    yield from examine_certificate(subject.check("itop.certificate"), info.certificate_end)
    yield _clock_finding(subject, info)


def _clock_finding(subject: Subject, info: ServerInfo) -> Finding:
    check = subject.check("itop.clock")
    if info.date is None:
        return check.ok("its clock is unknown: its responses have no date")
    seconds_ahead = info.date - time.time()
    if abs(seconds_ahead) <= MAX_CLOCK_DIFFERENCE:
        return check.ok("its clock is correct")
    return check.warning(
        f"its clock is {abs(seconds_ahead):.0f} seconds {'ahead of' if seconds_ahead > 0 else 'behind'} ours",
        "Synchronise both machines with a time server (NTP). In iTop's logs, the bridge's entries have Intercom's "
        "time, and all others have the time of iTop's clock.",
    )


def error_finding(subject: Subject, error: ItopError, *, has_responded: bool) -> Finding:
    """Return the finding about an error that ended the checks.

    `has_responded` is whether an earlier request succeeded. If so, the address in the admin is correct.
    """
    if isinstance(error, ItopLoginError):
        return subject.check("itop.account").failure(*_REFUSED_LOGINS[error.problem])
    if has_responded:
        return _interruption_finding(subject, error)
    if isinstance(error, ItopUnreachableError) and (problem := describe_problem(error.certificate_problem)):
        return subject.check("itop.certificate").failure(problem, CERTIFICATE_TO_DO)
    found, to_do = next((found, to_do) for kind, found, to_do in _FIRST_ERRORS if isinstance(error, kind))
    return subject.check("itop.answer").failure(f"{found}: {error.detail}", to_do)


# Errors of the first request: class, what was found, what to do. The first class that fits is used.
_FIRST_ERRORS: tuple[tuple[type[ItopError], str, str], ...] = (
    (
        ItopUnreachableError,
        "cannot be reached",
        "Compare its address in the admin with the one in your browser, and check whether a firewall blocks this "
        "machine. Messages are queued in the meantime; none will fail.",
    ),
    (
        ItopNoResponseError,
        "did not respond in time",
        "Check the load of iTop's web server and database. Messages are queued in the meantime; none will fail.",
    ),
    (MalformedRequestError, "does not support REST 1.3", "Update this iTop: 2.7 and later support it."),
    (
        ItopError,
        "responds, but not with its REST interface",
        "The address in the admin must be iTop's base URL, without a page and without a redirect. If it is, iTop may "
        "be in maintenance, or a proxy responds instead.",
    ),
)


# For each problem: what was found, what to do.
_REFUSED_LOGINS = {
    LoginProblem.PORTAL_USER: (
        "refuses its account: it is a portal user",
        "In iTop, remove the profile Portal user from the account, and add REST Services User and a profile that may "
        "write tickets, such as Support Agent.",
    ),
    LoginProblem.NO_REST_PROFILE: (
        "refuses its account: it lacks the profile REST Services User",
        "Add that profile to the account in iTop. Administrators need it as well.",
    ),
    LoginProblem.DISABLED: (
        "refuses its account: it is disabled",
        "Enable the account in iTop, or use another one.",
    ),
    LoginProblem.CREDENTIALS: (
        "refuses the token, or the user name and password, of its account",
        "Create a new token for the account in iTop (or set its password) and enter it in the admin. The token must "
        "have the scope REST/JSON, and must not have expired.",
    ),
}


def _interruption_finding(subject: Subject, error: ItopError) -> Finding:
    check = subject.check("itop.stopped")
    if isinstance(error, ItopPermissionError | ItopRejectedError):
        return check.failure(
            f"rejected a request, so the rest was not checked: {error.detail}",
            "See the findings about its account and the ticket profile.",
        )
    return check.failure(
        f"stopped responding, so the rest was not checked: {error.detail}",
        "Try again later. If that does not help, read the error log of iTop's web server.",
    )
