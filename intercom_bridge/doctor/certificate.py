"""A certificate: until when it is good, and in plain words why it is not."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator

from .finding import Finding, Subject

RENEW_DAYS = 21


def examine_certificate(subject: Subject, about: str, end: float | None) -> Iterator[Finding]:
    """`end`: until when it is valid, in seconds since 1970; None, and nothing is said, where there is none."""
    if end is None:
        return
    days = int((end - time.time()) // 86_400)
    until = f"{dt.datetime.fromtimestamp(end, dt.UTC):%Y-%m-%d}"
    if days < RENEW_DAYS:
        yield subject.warning(
            about,
            f"its certificate is valid for {days} more {'day' if days == 1 else 'days'} only, until {until}",
            "Renew it before then, or find out why it was not renewed by itself: after that day nothing gets through.",
        )
    else:
        yield subject.ok(about, f"its certificate is valid until {until}")


def what_is_wrong(reason: str) -> str:
    """What a refused certificate's error means; "" when the reason is no certificate's."""
    said = reason.lower()
    if "certificate" not in said:
        return ""
    if "self-signed certificate in certificate chain" in said or "unable to get local issuer" in said:
        return "its certificate was issued by an authority that this machine does not know"
    if "self-signed" in said or "self signed" in said:
        return "its certificate is self-signed: nobody vouches for it"
    if "expired" in said:
        return "its certificate has expired"
    if "not valid for" in said or "doesn't match" in said or "mismatch" in said:
        return "its certificate was made for another name than the one in its address"
    return f"its certificate is not accepted ({reason})"


WHAT_TO_DO = (
    "Give that server a certificate of an authority that this machine knows, its intermediate certificates included. "
    "Or, for an authority of your own, name a file with its certificate and all others in REQUESTS_CA_BUNDLE."
)
