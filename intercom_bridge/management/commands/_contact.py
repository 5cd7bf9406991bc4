"""The command-line arguments that name a contact, and the search for the stored contacts that match."""

from django.core.management.base import CommandError, CommandParser

from intercom_bridge.privacy.contact import Contact, find_contacts

from ._rows import find_workspace


def add_contact_arguments(parser: CommandParser) -> None:
    parser.add_argument("workspace", metavar="WORKSPACE", help="the workspace's ID, like abcd1234")
    parser.add_argument(
        "contact",
        metavar="CONTACT",
        help="the contact's id in Intercom, the e-mail address, or the Person's id in iTop",
    )


def find_known_contacts(workspace_id: str, contact: str) -> list[Contact]:
    """Return the contacts with this id, e-mail address or Person. Several may match, for example a user and a lead.

    Raise CommandError if there is no such workspace, or if nothing is stored about the contact.
    """
    workspace = find_workspace(workspace_id)
    matches = [Contact(workspace, contact_id) for contact_id in find_contacts(workspace, contact.strip())]
    stored = [match for match in matches if match.is_known]
    if not stored:
        raise CommandError(
            f"Nothing is stored about {contact} in the workspace {workspace_id}. A contact that was never found in "
            "iTop is stored without an e-mail address: enter its id in Intercom."
        )
    return stored
