from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.ops.key_rotation import rotate_keys


class Command(BaseCommand):
    help = (
        "Encrypt all stored secrets with the first of FIELD_ENCRYPTION_KEYS. Put the new key before the old one, "
        "restart all processes, run this command, and remove the old key. It may be interrupted and repeated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count the secrets")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        try:
            rotation = rotate_keys(dry_run=dry_run)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        verb = "would be re-encrypted" if dry_run else "re-encrypted"
        self.stdout.write(f"{rotation.renewed:>5}  {verb}")
        self.stdout.write(f"{rotation.current:>5}  already encrypted with the newest key")
        if rotation.unreadable:
            names = "".join(f"\n  {stored}" for stored in rotation.unreadable)
            raise CommandError(
                f"No key can decrypt these secrets, and they were not changed ({len(rotation.unreadable)}):{names}\n"
                "Append the key that they were encrypted with to FIELD_ENCRYPTION_KEYS and run this command again, or "
                "enter the secrets again in the admin."
            )
        if not dry_run:
            self.stdout.write(
                "Only the first key is still needed. Remove the others from FIELD_ENCRYPTION_KEYS."
            )
