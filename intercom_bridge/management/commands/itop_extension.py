import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.messenger.itop_extension import build_extension
from intercom_bridge.models import ItopInstance
from intercom_bridge.models.encryption import SecretDecryptionError


class Command(BaseCommand):
    help = (
        "Write the iTop extension that shows the Messenger, as a zip, to standard output. It contains a key: keep the "
        "file secret, and delete it after the installation."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--itop", required=True, metavar="NAME", help="the name of the iTop in the admin")

    def handle(self, *args: Any, itop: str, **options: Any) -> None:
        row = ItopInstance.objects.filter(name=itop).first()
        if row is None:
            known = ", ".join(ItopInstance.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no iTop named {itop}. Existing: {known}.")
        if sys.stdout.isatty():
            raise CommandError("Redirect the output into a file: itop_extension --itop NAME > extension.zip")
        try:
            sys.stdout.buffer.write(build_extension(row))
        except SecretDecryptionError as error:
            raise CommandError(str(error)) from error
