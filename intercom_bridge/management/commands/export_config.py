from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.config_import import export


class Command(BaseCommand):
    help = (
        "Writes the whole configuration (iTops, ticket profiles, workspaces) as one JSON file, which import_config "
        "reads. It holds no secret: each is to be entered again, or named as an environment variable in the file."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="where to; the screen when it is left out"
        )

    def handle(self, *args: Any, file: Path | None, **options: Any) -> None:
        text = export()
        if file is None:
            self.stdout.write(text, ending="")
            return
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"Written to {file}. It holds no secret.")
