from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.events.attributes import create_missing
from intercom_bridge.intercom.client import IntercomError
from intercom_bridge.models.encryption import SecretDecryptionError

from ._rows import find_workspace


class Command(BaseCommand):
    help = (
        "Create the conversation attributes “iTop ticket” and “iTop status” in Intercom, unless they exist. The bridge "
        "keeps them up to date, so that inbox views and workflows can use them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--workspace", required=True, metavar="ID", help="the id of the workspace")

    def handle(self, *args: Any, workspace: str, **options: Any) -> None:
        row = find_workspace(workspace)
        try:
            created = create_missing(row)
        except (IntercomError, SecretDecryptionError) as error:
            raise CommandError(
                f"{error}. You can run the command again. If Intercom does not allow it, create the attributes in "
                "Intercom: Settings, Data, Conversations."
            ) from error
        self.stdout.write(f"Created: {', '.join(created)}." if created else "Both exist already.")
