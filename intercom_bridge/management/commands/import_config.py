from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils.text import capfirst

from intercom_bridge.config_import import (
    BridgeFile,
    ConfigError,
    ExtensionImport,
    Report,
    Source,
    read_file,
    read_parameters,
    read_secret_variable,
)


class Command(BaseCommand):
    help = (
        "Import a configuration from a file: the JSON file that export_config writes, or the configuration of iTop's "
        "own Intercom extension (config-itop.php, a part of it, or the XML data model). Values that were set in the "
        "admin are kept."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file",
            type=Path,
            metavar="FILE",
            help="the JSON file, config-itop.php, a part of it, or the XML data model",
        )
        parser.add_argument(
            "--itop-url",
            default="",
            metavar="URL",
            help="the iTop's address; default: app_root_url in the file, or the address of the only iTop",
        )
        parser.add_argument(
            "--itop-token-env",
            default="",
            metavar="NAME",
            help="the environment variable that holds the token of the iTop account",
        )
        parser.add_argument(
            "--itop-name",
            default="",
            metavar="NAME",
            help="the iTop's name in the admin: that of an existing iTop, or the name for a new one",
        )
        parser.add_argument("--dry-run", action="store_true", help="report the changes without making them")
        parser.add_argument(
            "--overwrite", action="store_true", help="replace values that were set in the admin, too"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            report = _import(read_file(options["file"]), options)
        except ConfigError as error:
            raise CommandError(f"Nothing was imported. {capfirst(str(error))}") from None
        except ImproperlyConfigured as error:
            raise CommandError(f"Nothing was imported. {error}") from None
        except DatabaseError as error:
            raise CommandError(
                f"Nothing was imported: the database said “{error}”. Has `manage.py migrate` been run?"
            ) from error
        self._print(report, dry_run=options["dry_run"])

    def _print(self, report: Report, *, dry_run: bool) -> None:
        colours = {"set": self.style.SUCCESS, "changed": self.style.WARNING, "kept": self.style.NOTICE}
        for section in report.sections:
            self.stdout.write(self.style.MIGRATE_HEADING(section.title))
            width = max((len(line.field) for line in section.lines), default=0)
            for line in section.lines:
                colour = colours.get(line.outcome, str)
                detail = f": {line.detail}" if line.detail else ""
                self.stdout.write(f"  {line.field:<{width}}  {colour(line.outcome)}{detail}")
        for note in report.notes:
            self.stdout.write(f"Note: {note}")
        counts = [
            f"{report.count(outcome)} {outcome}"
            for outcome in ("set", "changed", "unchanged", "kept")
            if report.count(outcome)
        ]
        summary = ", ".join(counts) or "the file contains no rows"
        if dry_run:
            self.stdout.write(f"Dry run, nothing was written: {summary}.")
        elif report.count("set") or report.count("changed"):
            self.stdout.write(self.style.SUCCESS(f"Imported: {summary}."))
        else:
            self.stdout.write(f"Nothing changed: {summary}.")
        if report.count("kept"):
            self.stdout.write("Kept values stay as they were set in the admin; --overwrite replaces them.")


def _import(file: Source | BridgeFile, options: dict[str, Any]) -> Report:
    if isinstance(file, BridgeFile):
        if options["itop_url"] or options["itop_name"] or options["itop_token_env"]:
            raise ConfigError(
                "--itop-url, --itop-name and --itop-token-env cannot be used with a file that export_config wrote."
            )
        return file.apply(overwrite=options["overwrite"], dry_run=options["dry_run"])
    return ExtensionImport(
        read_parameters(file),
        itop_url=options["itop_url"].strip(),
        itop_name=options["itop_name"].strip(),
        # Not an argument: every user of the machine can see the arguments of a command.
        itop_token=read_secret_variable(options["itop_token_env"]) if options["itop_token_env"] else "",
        overwrite=options["overwrite"],
    ).run(dry_run=options["dry_run"])
