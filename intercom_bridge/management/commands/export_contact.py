import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge.privacy.person_copy import person_copy

from ._contact import add_contact_arguments, find_known_contacts

PERSON, CONTROLLER = "person", "controller"


class Command(BaseCommand):
    help = (
        "Write the stored data about one Intercom contact as JSON. The export for the person contains their own "
        "messages, tickets and times. The export for the controller contains everything, including internal notes and "
        "data of others."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_contact_arguments(parser)
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="the file to write; default: standard output"
        )
        parser.add_argument(
            "--for",
            dest="audience",
            choices=(PERSON, CONTROLLER),
            default=PERSON,
            help="who receives the export; default: the person",
        )

    def handle(
        self, *args: Any, workspace: str, contact: str, file: Path | None, audience: str, **options: Any
    ) -> None:
        text = json.dumps(_export(workspace, contact, audience), indent=2, ensure_ascii=False)
        # UTF-8 cannot encode lone surrogates. As escapes like \udc80, they are valid JSON.
        text = text.encode("utf-8", "backslashreplace").decode()
        if file is None:
            self.stdout.write(text)
            return
        try:
            file.touch(mode=0o600)
            file.chmod(0o600)  # `touch` does not change an existing file's mode
            file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"Written for the {audience} to {file}, readable only by you.")


def _export(workspace: str, contact: str, audience: str) -> Any:
    """Return the export as JSON data.

    Raise CommandError if no contact matches, or if several match and the export is for the person.
    """
    matches = find_known_contacts(workspace, contact)
    if audience == CONTROLLER:
        return [match.export() for match in matches]
    if len(matches) > 1:
        ids = ", ".join(match.contact_id for match in matches)
        raise CommandError(
            f"Several contacts match: {ids}. Anyone can type another person's e-mail address, so find out which ones "
            "are this person, and export each by its ID."
        )
    return person_copy(matches[0])
