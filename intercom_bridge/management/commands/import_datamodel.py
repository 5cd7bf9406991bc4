from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from intercom_bridge.datamodel.design import FILE, DataModelError
from intercom_bridge.datamodel.learning import Lesson, learn
from intercom_bridge.models import ItopInstance


class Command(BaseCommand):
    help = (
        f"Learns the classes of tickets of an iTop from its data model ({FILE} on iTop's server): their attributes, "
        "what a new ticket needs, what people call it all. Says what in the ticket profiles does not fit."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help=f"iTop's {FILE}")
        parser.add_argument(
            "--itop", required=True, metavar="NAME", help="how people here call the iTop it comes from"
        )
        parser.add_argument(
            "--class",
            action="append",
            default=[],
            dest="also",
            metavar="NAME",
            help="learn this class too, though it does not descend from Ticket; can be given several times",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="says what would be learned, and writes nothing"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            itop = _itop(options["itop"])
            with options["file"].open("rb") as stream:
                lesson = learn(
                    itop,
                    stream,
                    options["file"].name,
                    also=options["also"],
                    dry_run=options["dry_run"],
                )
        except OSError as error:
            raise CommandError(
                f"Nothing was changed. {options['file']} cannot be read: {error.strerror}."
            ) from None
        except DataModelError as error:
            message = str(error)
            raise CommandError(f"Nothing was changed. {message[:1].upper()}{message[1:]}") from None
        except DatabaseError as error:
            raise CommandError(
                f"Nothing was changed: the database said “{error}”. Has `manage.py migrate` been run?"
            ) from error
        self._print(itop, lesson, dry_run=options["dry_run"])

    def _print(self, itop: ItopInstance, lesson: Lesson, *, dry_run: bool) -> None:
        width = max(len(one.name) for one in lesson.classes)
        for one in lesson.classes:
            needed = sum(attribute.is_mandatory for attribute in one.attributes.values())
            self.stdout.write(f"{one.name:<{width}}  attributes: {len(one.attributes)}, mandatory: {needed}")
        self.stdout.write(f"Labels in: {', '.join(lesson.languages) or 'no language'}")
        for name in lesson.forgotten:
            self.stdout.write(self.style.WARNING(f"{name} is not in this data model: forgotten."))
        for sentence in lesson.misfits:
            self.stdout.write(self.style.WARNING(f"Does not fit: {sentence}"))
        count = f"{len(lesson.classes)} classes" if len(lesson.classes) > 1 else "1 class"
        if dry_run:
            self.stdout.write(f"Dry run, nothing was written: {count} for {itop}.")
        else:
            self.stdout.write(self.style.SUCCESS(f"Learned: {count} for {itop}."))


def _itop(name: str) -> ItopInstance:
    itop = ItopInstance.objects.filter(name=name).first()
    if itop is None:
        names = list(ItopInstance.objects.values_list("name", flat=True))
        known = f"There are: {', '.join(names)}." if names else "There is none yet: add it in the admin."
        raise DataModelError(f"there is no iTop called {name}. {known}")
    return itop
