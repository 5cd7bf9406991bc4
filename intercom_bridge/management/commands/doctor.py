import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from intercom_bridge import doctor
from intercom_bridge.doctor import NO_DATABASE, Finding, Level

from ._rows import find_workspace


class Command(BaseCommand):
    help = (
        "Check iTop, Intercom, the public address and the worker with live requests. Report the findings and what to "
        "do. Exit status 0: everything is well; 1: there are warnings; 2: there are failures."
    )
    # The doctor must also run when system checks fail: its findings say more than the messages of the system checks.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", metavar="ID", help="only this workspace and its iTop")
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end")

    def handle(self, *_: Any, **options: Any) -> None:
        findings = []
        for finding in _findings(options["workspace"]):
            findings.append(finding)
            if not options["json"]:
                self._print(finding)
        if options["json"]:
            report = {
                "overall": doctor.overall(findings).value,
                "findings": [finding.to_json() for finding in findings],
            }
            self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))
        else:
            self.stdout.write(doctor.summary(findings))
        if status := doctor.exit_status(findings):
            sys.exit(status)

    def _print(self, finding: Finding) -> None:
        style = {
            Level.OK: self.style.SUCCESS,
            Level.WARNING: self.style.WARNING,
            Level.FAILURE: self.style.ERROR,
        }[finding.level]
        self.stdout.write(f"{style(f'{finding.level.value:<8}')} {finding.subject}: {finding.found}")
        if finding.to_do:
            self.stdout.write(f"{'':9}{finding.to_do}")


def _findings(workspace_id: str | None) -> Iterator[Finding]:
    """Yield the findings. If the database fails, end with NO_DATABASE, unless a finding has already reported this."""
    has_reported_failure = False
    try:
        for finding in _examine(workspace_id):
            if finding.about == NO_DATABASE.about and finding.level is Level.FAILURE:
                has_reported_failure = True
            yield finding
    except DatabaseError:
        if not has_reported_failure:
            yield NO_DATABASE


def _examine(workspace_id: str | None) -> Iterator[Finding]:
    if workspace_id is None:
        yield from doctor.examine_everything()
    else:
        yield from doctor.examine(find_workspace(workspace_id))
