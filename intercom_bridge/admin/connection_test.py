"""The "Test connection" page of workspaces and iTops. It displays the doctor's findings."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding, Level

from .base import ModelAdmin

FAILURES_FIRST = tuple(reversed(Level))


class ConnectionTestAdmin(ModelAdmin):
    """An admin with a "Test connection" page. It requires the permission to change the row."""

    def examine(self, row: Any) -> Iterator[Finding]:
        raise NotImplementedError

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        return {**super().row_pages(), "test": self.test_connection}

    def test_connection(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Explain the test (GET), or run it and display its findings (POST).

        The test sends requests to iTop, Intercom and the bridge's own address, so it takes seconds.
        """
        row = self.changeable_row(request, pk)
        findings: list[Finding] | None = None
        if request.method == "POST":
            findings = worst_first(self.examine(row))
            self.log_change(request, row, f"Tested the connection: {doctor.summary(findings)}.")
        return self.page(
            request,
            "test_connection.html",
            "Test connection",
            original=row,
            findings=findings,
            summary=doctor.summary(findings or ()),
            overall=doctor.overall(findings or ()),
        )


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings sorted by level, failures first. Findings with the same level keep their order."""
    return sorted(findings, key=lambda finding: FAILURES_FIRST.index(finding.level))
