"""Findings: levels, redaction and certificates."""

from __future__ import annotations

import pytest

from intercom_bridge.doctor.certificate import describe_problem, examine_certificate
from intercom_bridge.doctor.finding import Finding, Subject, exit_status, overall, summary
from itop_client import CertificateProblem

SUBJECT = Subject("iTop “Service desk”")
OK = SUBJECT.check("itop.answer").ok("answers in 73 ms (REST 1.3)")
WARNING = SUBJECT.check("itop.clock").warning("is late", "Set it.")
FAILURE = SUBJECT.check("itop.account").failure("refuses", "Enable it.")
DAY = 86_400


@pytest.mark.parametrize(
    ("findings", "status", "text"),
    [
        ([], 0, "0 ok, 0 warnings, 0 failures"),
        ([OK, OK], 0, "2 ok, 0 warnings, 0 failures"),
        ([OK, WARNING], 1, "1 ok, 1 warning, 0 failures"),
        ([FAILURE, WARNING, OK], 2, "1 ok, 1 warning, 1 failure"),
        ([FAILURE, FAILURE], 2, "0 ok, 0 warnings, 2 failures"),
    ],
)
def test_the_exit_status_is_that_of_the_worst(findings: list[Finding], status: int, text: str) -> None:
    assert (exit_status(findings), summary(findings)) == (status, text)
    assert overall(findings).value == ("ok", "warning", "failure")[status]


def test_secrets_are_redacted_as_whole_words() -> None:
    finding = SUBJECT.check("x").failure(
        "iTop said: bad token s3cr3t!", "Replace s3cr3t. s3cr3ts and Administrator stay."
    )
    hidden = finding.redacted(["s3cr3t", "", "Admin"])
    assert hidden.found == "iTop said: bad token ••••!"
    assert hidden.to_do == "Replace ••••. s3cr3ts and Administrator stay."


@pytest.mark.parametrize(("days", "level"), [(-1, "warning"), (20, "warning"), (21, "ok"), (300, "ok")])
def test_a_certificate_is_to_be_renewed_three_weeks_before_it_expires(
    days: int, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_790_000_000.0)
    (found,) = examine_certificate(SUBJECT.check("x"), 1_790_000_000 + days * DAY + 5)
    assert found.level.value == level
    assert "until 2026-" in found.found or "until 2027-" in found.found


def test_without_tls_there_is_no_certificate_finding() -> None:
    assert list(examine_certificate(SUBJECT.check("x"), None)) == []


@pytest.mark.parametrize("problem", CertificateProblem)
def test_each_certificate_problem_is_explained(problem: CertificateProblem) -> None:
    assert "its certificate" in describe_problem(problem)
    assert describe_problem(None) == ""
