"""Report when a TLS certificate expires, or why it was not accepted."""

import datetime as dt
import time
from collections.abc import Iterator

from itop_client import CertificateProblem

from .finding import Check, Finding

MIN_DAYS_LEFT = 21
CERTIFICATE_TO_DO = (
    "Install a certificate from an authority that this machine knows, including the intermediate certificates. If the "
    "authority is private, set REQUESTS_CA_BUNDLE to a file with its certificate and the certificates of all other "
    "authorities that this service needs."
)
_PROBLEMS = {
    CertificateProblem.EXPIRED: "its certificate has expired",
    CertificateProblem.SELF_SIGNED: "its certificate is self-signed",
    CertificateProblem.UNKNOWN_AUTHORITY: "its certificate was issued by an authority that this machine does not know",
    CertificateProblem.WRONG_NAME: "its certificate is for another host name",
    CertificateProblem.OTHER: "its certificate is not accepted",
}


def examine_certificate(check: Check, expires_at: float | None) -> Iterator[Finding]:
    """Report whether a certificate expires soon.

    `expires_at` is in seconds since 1970. It is None if the connection uses no certificate.
    """
    if expires_at is None:
        return
    days = int((expires_at - time.time()) // 86_400)
    last_day = f"{dt.datetime.fromtimestamp(expires_at, dt.UTC):%Y-%m-%d}"
    if days < MIN_DAYS_LEFT:
        yield check.warning(
            f"its certificate is valid for {days} more {'day' if days == 1 else 'days'}, until {last_day}",
            "Renew it, or find out why automatic renewal failed. Once it has expired, all connections fail.",
        )
    else:
        yield check.ok(f"its certificate is valid until {last_day}")


def describe_problem(problem: CertificateProblem | None) -> str:
    """Return why a certificate was not accepted; "" if there is no problem."""
    return _PROBLEMS[problem] if problem else ""
