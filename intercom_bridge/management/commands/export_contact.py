from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.privacy import Contact

from ._contact import add_contact_arguments, contacts_meant


class Command(BaseCommand):
    help = "Writes what is kept here of one Intercom contact as JSON: matches, conversations, messages, creations."

    def add_arguments(self, parser: CommandParser) -> None:
        add_contact_arguments(parser)
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="where to; the screen when it is left out"
        )

    def handle(self, *args: Any, workspace: str, contact: str, file: Path | None, **options: Any) -> None:
        known = [Contact(*meant).export() for meant in contacts_meant(workspace, contact)]
        text = json.dumps(known, indent=2, ensure_ascii=False)
        # Half a character, as some send it, cannot be written. Spelt out it is JSON all the same.
        text = text.encode("utf-8", "backslashreplace").decode()
        if file is None:
            self.stdout.write(text)
            return
        try:
            file.touch(mode=0o600)
            # Also where there was one that others may read.
            file.chmod(0o600)
            file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"Written to {file}, for you alone to read.")
