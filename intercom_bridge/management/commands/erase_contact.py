from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import pluralize

from intercom_bridge.privacy.contact import CreationPendingError

from ._contact import add_contact_arguments, find_known_contacts


class Command(BaseCommand):
    help = (
        "Erase what this service stores about one Intercom contact: who the contact is in iTop, their messages, and "
        "what was entered in forms. Nothing is erased in Intercom or in iTop. This cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_contact_arguments(parser)
        parser.add_argument("--no-input", action="store_true", help="Do not ask for confirmation.")

    def handle(self, *args: Any, workspace: str, contact: str, no_input: bool, **options: Any) -> None:
        matches = find_known_contacts(workspace, contact)
        for match in matches:
            conversations, events = match.conversation_count, match.webhook_events.count()
            self.stdout.write(
                f"Contact {match.contact_id}: {conversations} conversation{pluralize(conversations)}, "
                f"{events} notification{pluralize(events)}."
            )
        if not no_input and not _is_confirmed():
            raise CommandError("Nothing was erased.")
        for match in matches:
            try:
                erased = match.erase()
            except CreationPendingError:
                raise CommandError(
                    f"Contact {match.contact_id} was not erased, because a ticket is being created for it. Run the "
                    "command again in a minute."
                ) from None
            for name, count in erased.items():
                self.stdout.write(f"{count:>7}  {name}")
        self.stdout.write(
            "Erased from this service. Also erase the contact in Intercom, and the person and the tickets in iTop."
        )


def _is_confirmed() -> bool:
    try:
        answer = input("Erase all this data? This cannot be undone. [yes/no] ")
    except EOFError:
        raise CommandError(
            "Nothing was erased: there is no terminal on which you could confirm. Use --no-input."
        ) from None
    return answer.strip().casefold() == "yes"
