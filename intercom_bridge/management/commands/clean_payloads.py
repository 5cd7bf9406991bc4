from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from intercom_bridge.sync.retention import clean_payloads, count_payloads


class Command(BaseCommand):
    help = (
        "Removes the payloads of what was handled more than KEEP_PAYLOADS_DAYS ago, and of what failed more than "
        "KEEP_FAILED_PAYLOADS_DAYS ago, or as long ago as their workspace says. The rows stay. The worker does it by "
        "itself, once a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        counts = count_payloads() if dry_run else clean_payloads()
        verb = "would be cleaned" if dry_run else "cleaned"
        for name, count in counts.items():
            self.stdout.write(f"{count:>10}  {name} {verb}")
        self.stdout.write(
            f"Kept: {settings.KEEP_PAYLOADS_DAYS} days of what was handled, "
            f"{settings.KEEP_FAILED_PAYLOADS_DAYS} days of what failed; where a workspace says otherwise, as it says."
        )
