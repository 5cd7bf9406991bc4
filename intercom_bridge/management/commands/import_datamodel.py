from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils.text import capfirst

from intercom_bridge.datamodel.importing import ImportResult, import_data_model
from intercom_bridge.datamodel.xml_stream import FILE, DataModelError
from intercom_bridge.models import ItopInstance


class Command(BaseCommand):
    help = (
        f"Import the ticket classes of an iTop from its data model ({FILE} on iTop's server): attributes, mandatory "
        "fields and labels. Report which values of the ticket profiles do not fit them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help=f"iTop's {FILE}")
        parser.add_argument(
            "--itop",
            required=True,
            metavar="NAME",
            help="the iTop that the file comes from, by its name in the admin",
        )
        parser.add_argument(
            "--class",
            action="append",
            default=[],
            dest="also",
            metavar="NAME",
            help="also import this class, which does not descend from Ticket; may be repeated",
        )
        parser.add_argument("--dry-run", action="store_true", help="report the classes without storing them")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            itop = _find_itop(options["itop"])
            with options["file"].open("rb") as stream:
                result = import_data_model(
                    itop, stream, options["file"].name, also=options["also"], dry_run=options["dry_run"]
                )
        except OSError as error:
            raise CommandError(
                f"Nothing was changed. {options['file']} cannot be read: {error.strerror}."
            ) from None
        except DataModelError as error:
            raise CommandError(f"Nothing was changed. {capfirst(str(error))}") from None
        except DatabaseError as error:
            raise CommandError(
                f"Nothing was changed. The database failed: {error}. Did you run `manage.py migrate`?"
            ) from error
        self._print(itop, result, dry_run=options["dry_run"])

    def _print(self, itop: ItopInstance, result: ImportResult, *, dry_run: bool) -> None:
        width = max(len(ticket_class.name) for ticket_class in result.classes)
        for ticket_class in result.classes:
            attributes = ticket_class.attributes.values()
            mandatory = sum(attribute.is_mandatory for attribute in attributes)
            self.stdout.write(
                f"{ticket_class.name:<{width}}  attributes: {len(attributes)}, mandatory: {mandatory}"
            )
        self.stdout.write(f"Labels in: {', '.join(result.languages) or 'no language'}")
        for name in result.removed:
            self.stdout.write(self.style.WARNING(f"Removed: {name}, which is not in this data model."))
        for sentence in result.profile_warnings:
            self.stdout.write(self.style.WARNING(f"Does not fit: {sentence}"))
        count = f"{len(result.classes)} classes" if len(result.classes) > 1 else "1 class"
        if dry_run:
            self.stdout.write(f"Dry run: {count} for {itop}, nothing was stored.")
        else:
            self.stdout.write(self.style.SUCCESS(f"Imported: {count} for {itop}."))


def _find_itop(name: str) -> ItopInstance:
    """Return the iTop. If there is none, raise DataModelError with the existing names."""
    itop = ItopInstance.objects.filter(name=name).first()
    if itop is None:
        names = list(ItopInstance.objects.values_list("name", flat=True))
        hint = f"Existing: {', '.join(names)}." if names else "Add it in the admin first."
        raise DataModelError(f"there is no iTop named {name}. {hint}")
    return itop
