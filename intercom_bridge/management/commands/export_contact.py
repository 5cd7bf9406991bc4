import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.privacy.contact import Contact

from ._contact import add_contact_arguments, contacts_meant


class Command(BaseCommand):
    help = "Write all stored data about one Intercom contact as JSON: matches, conversations, messages, creations."

    def add_arguments(self, parser: CommandParser) -> None:
        add_contact_arguments(parser)
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="the file to write; default: standard output"
        )

    def handle(self, *args: Any, workspace: str, contact: str, file: Path | None, **options: Any) -> None:
        known = [Contact(*meant).export() for meant in contacts_meant(workspace, contact)]
        text = json.dumps(known, indent=2, ensure_ascii=False)
        # Lone surrogates cannot be encoded; escaped they are still valid JSON.
        text = text.encode("utf-8", "backslashreplace").decode()
        if file is None:
            self.stdout.write(text)
            return
        try:
            file.touch(mode=0o600)
            # Also for an existing file.
            file.chmod(0o600)
            file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"Written to {file}, readable only by you.")
