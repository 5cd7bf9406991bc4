"""Which contact a command means."""

from django.core.management.base import CommandError, CommandParser

from intercom_bridge.models import Workspace
from intercom_bridge.privacy.contact import Contact, find_contacts


def add_contact_arguments(parser: CommandParser) -> None:
    parser.add_argument("workspace", metavar="WORKSPACE", help="the workspace's ID, like abcd1234")
    parser.add_argument(
        "contact",
        metavar="CONTACT",
        help="the contact's id in Intercom, the e-mail address, or the Person's id in iTop",
    )


def contacts_meant(workspace_id: str, words: str) -> list[Contact]:
    """Return one contact or more: an address may be of a user and of a lead.

    Raise CommandError if nothing is known.
    """
    workspace = Workspace.objects.select_related("itop").filter(workspace_id=workspace_id).first()
    if workspace is None:
        raise CommandError(f"There is no workspace {workspace_id}.")
    found = (Contact(workspace, contact_id) for contact_id in find_contacts(workspace, words.strip()))
    known = [contact for contact in found if contact.is_known]
    if not known:
        raise CommandError(
            f"Nothing is known here of {words} in the workspace {workspace_id}. Who was never found in iTop is "
            "known by the contact's id in Intercom only, and not by the address."
        )
    return known
