from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import pluralize

from intercom_bridge.privacy.contact import CreationPendingError

from ._contact import add_contact_arguments, contacts_meant


class Command(BaseCommand):
    help = (
        "Erases what is kept here of one Intercom contact: who they are in iTop, what they said, what was typed for "
        "them. Nothing is erased in Intercom or in iTop. It cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_contact_arguments(parser)
        parser.add_argument("--no-input", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, workspace: str, contact: str, no_input: bool, **options: Any) -> None:
        known = contacts_meant(workspace, contact)
        for one in known:
            talks, told = one.conversation_count, one.webhook_events.count()
            self.stdout.write(
                f"Contact {one.contact_id}: {talks} conversation{pluralize(talks)}, "
                f"{told} notification{pluralize(told)}."
            )
        if (
            not no_input
            and input("Erase it here? It cannot be undone. [yes/no] ").strip().casefold() != "yes"
        ):
            raise CommandError("Nothing was erased.")
        for one in known:
            try:
                erased = one.erase()
            except CreationPendingError:
                raise CommandError(
                    f"Of contact {one.contact_id} nothing was erased: a ticket is just being created. Run it again "
                    "once that is done."
                ) from None
            for name, count in erased.items():
                self.stdout.write(f"{count:>7}  {name}")
        self.stdout.write(
            "Erased here. Erase the contact in Intercom, and the person and tickets in iTop, as well."
        )
