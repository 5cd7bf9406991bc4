from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from intercom_bridge.sync.retention import clean_payloads, count_payloads


class Command(BaseCommand):
    help = (
        "Delete message contents after their retention period: KEEP_PAYLOADS_DAYS, or KEEP_FAILED_PAYLOADS_DAYS if "
        "processing failed. A workspace may have its own limits. The rows without their contents are kept. The worker "
        "does this once a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count the rows")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        counts = count_payloads() if dry_run else clean_payloads()
        verb = "would be cleaned" if dry_run else "cleaned"
        for name, count in counts.items():
            self.stdout.write(f"{count:>10}  {name} {verb}")
        self.stdout.write(
            f"Retention: {settings.KEEP_PAYLOADS_DAYS} days; {settings.KEEP_FAILED_PAYLOADS_DAYS} days after failures, "
            "unless a workspace has its own limits."
        )
