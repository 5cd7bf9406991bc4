from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.rotation import rotate_keys


class Command(BaseCommand):
    help = (
        "Encrypts all stored secrets anew under the first of FIELD_ENCRYPTION_KEYS. Put the new key in front of "
        "the old one, restart all processes, run this, and take the old key out. It may be interrupted, and run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        try:
            rotation = rotate_keys(dry_run=dry_run)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        verb = "would be encrypted anew" if dry_run else "encrypted anew"
        self.stdout.write(f"{rotation.renewed:>5}  {verb}")
        self.stdout.write(f"{rotation.current:>5}  under the newest key already")
        if rotation.unreadable:
            names = "".join(f"\n  {stored}" for stored in rotation.unreadable)
            raise CommandError(
                f"{len(rotation.unreadable)} can be read with none of the keys, and are left as they are:{names}\n"
                "Put the key they were stored under at the end of FIELD_ENCRYPTION_KEYS and run this again, or enter "
                "them again in the admin."
            )
        if not dry_run:
            self.stdout.write(
                "Only the first key is needed now: the others can be taken out of FIELD_ENCRYPTION_KEYS."
            )
