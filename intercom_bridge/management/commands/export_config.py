from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.config_import import export


class Command(BaseCommand):
    help = (
        "Write the configuration (iTops, ticket profiles, workspaces with their rules, Messengers) to one JSON file, "
        "which import_config reads. It contains no secrets: enter them again, or name environment variables in it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="the file to write; default: standard output"
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
        self.stdout.write(f"Written to {file}. It contains no secrets.")
