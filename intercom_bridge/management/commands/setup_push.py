import os
import sys
from collections.abc import Callable, Iterable, Mapping
from getpass import getpass
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from intercom_bridge import USER_AGENT
from intercom_bridge.models import ItopInstance, Log, TicketProfile
from intercom_bridge.models.encryption import SecretDecryptionError
from itop_client import (
    Client,
    ItopError,
    ItopLoginError,
    ItopObject,
    ItopPermissionError,
    UnknownAttributeError,
    UnknownClassError,
    quote,
)

from ._rows import find_itop

TOKEN_VARIABLE = "ITOP_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
COMMENT = "Intercom bridge: setup_push"
PAYLOAD = '{"class": "$this->finalclass$", "id": "$this->id$"}'
# A trigger without a context also fires for writes over REST, such as those of the bridge.
CONTEXT = "GUI:Console, GUI:Portal"
# Besides the status and the logs, the trigger watches these attributes, if the ticket class has them.
OTHER_WATCHED = ("agent_id", "team_id", "solution", "pending_reason")
EXPLANATION = (
    "Done. When an agent saves a ticket, iTop now calls the bridge, and the agent waits for it: some milliseconds, or "
    "up to five seconds if the bridge does not respond. iTop can also call in the background, if its cron.php runs: "
    "set “Asynchronous” of the action, or prefer_asynchronous of the module combodo-webhook-integration in iTop's "
    "configuration. To test the push, change a linked ticket in iTop, and look at “last push” on the iTop's page in "
    "the admin."
)
NO_EXTENSION = (
    "This iTop cannot send webhooks. Install Combodo's extension “Webhooks” (combodo-webhook-integration) in iTop, or "
    "do without push: the bridge then finds changes by polling."
)


class Command(BaseCommand):
    help = (
        "Make iTop tell the bridge at once when somebody changes a ticket, so that the bridge need not wait for the "
        "next poll. Create a connection, an action and triggers in iTop, which needs Combodo's extension “Webhooks”. "
        "If they exist, correct what differs. The command needs the token of an Administrator: it reads the token from "
        f"{TOKEN_VARIABLE} or asks for it, and does not store it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--itop", required=True, metavar="NAME", help="the name of the iTop in the admin")
        parser.add_argument(
            "--dry-run", action="store_true", help="report what would be done, and change nothing"
        )
        parser.add_argument("--remove", action="store_true", help="remove what this command created in iTop")

    def handle(self, *_: Any, itop: str, dry_run: bool, remove: bool, **__: Any) -> None:
        setup = PushSetup(find_itop(itop), _read_token(), self.stdout.write, dry_run=dry_run)
        try:
            if remove:
                setup.remove()
            else:
                setup.create()
        except UnknownClassError as error:
            # An unknown class with any other name is the ticket class of a profile.
            is_extension_missing = error.class_name.startswith(("Remote", "ActionWebhook"))
            raise CommandError(NO_EXTENSION if is_extension_missing else str(error)) from error
        except (ItopLoginError, ItopPermissionError) as error:
            raise CommandError(
                f"{str(error).rstrip('.')}. Use the token of an account with the profiles Administrator and REST "
                "Services User."
            ) from error
        except (ItopError, SecretDecryptionError) as error:
            raise CommandError(
                f"{str(error).rstrip('.')}. Correct the cause, and run the command again: it does the rest."
            ) from error


class PushSetup:
    """Creates and removes the objects in iTop that make it send push requests.

    Their names contain the iTop's public id. The command finds the objects again by these names.
    """

    def __init__(
        self, itop: ItopInstance, token: str, report: Callable[[str], object], *, dry_run: bool
    ) -> None:
        self.itop = itop
        self.name = f"Intercom bridge {itop.public_id}"
        self._client = Client(itop.url, token=token, user_agent=USER_AGENT)
        self._report = report
        self._dry_run = dry_run
        # Class and id of each deleted object. In a dry run, iTop still returns these objects.
        self._deleted: set[tuple[str, int]] = set()

    def create(self) -> None:
        """Create what is missing and correct what differs. Raise ItopError."""
        profiles = list(TicketProfile.objects.filter(workspaces__itop=self.itop).distinct())
        if not profiles:
            raise CommandError(f"No workspace uses {self.itop}. Connect one first.")
        url = f"{settings.PUBLIC_URL}{reverse('webhooks-itop', args=[self.itop.public_id])}"
        # The extension usually brings a type “Generic”. If this iTop has none, create a type of our own.
        generic = self._find("RemoteApplicationType", {"name": "Generic"})
        type_id = generic.id if generic else self._ensure("RemoteApplicationType", {"name": self.name}, {})
        connection = self._ensure(
            "RemoteApplicationConnection",
            {"name": self.name},
            {"remoteapplicationtype_id": type_id, "environment": "3-production", "url": url},
        )
        headers = f"Content-type: application/json\nAuthorization: Bearer {self._current_or_new_secret()}"
        action = self._ensure(
            "ActionWebhook",
            {"name": self.name},
            {
                "status": "enabled",
                "remoteapplicationconnection_id": connection,
                "method": "post",
                "path": "",
                "headers": headers,
                "payload": PAYLOAD,
            },
        )
        for ticket_class, codes in self._watched_attributes(profiles).items():
            trigger = self._ensure(
                "TriggerOnObjectUpdate",
                {"description": f"{self.name}: {ticket_class}"},
                {"target_class": ticket_class, "target_attcodes": ", ".join(codes), "context": CONTEXT},
            )
            self._ensure("lnkTriggerAction", {"trigger_id": trigger, "action_id": action}, {})
        if not self._dry_run:
            self._report(EXPLANATION)

    def remove(self) -> None:
        """Delete what `create` has created, unless something else in iTop uses it. Raise ItopError.

        Begin with the objects that refer to the others.
        """
        action = self._find("ActionWebhook", {"name": self.name})
        action_id = action.id if action else 0
        pattern = quote(f"{self.name}: %")
        query = f"SELECT TriggerOnObjectUpdate AS t WHERE t.description LIKE {pattern}"
        for trigger in self._client.get("TriggerOnObjectUpdate", query):
            for link in self._referring_objects(trigger, "lnkTriggerAction", "trigger_id"):
                if link.integer("action_id") == action_id:
                    self._delete(link)
            self._delete_unless_used(trigger, "lnkTriggerAction", "trigger_id")
        if action:
            self._delete_unless_used(action, "lnkTriggerAction", "action_id")
        if connection := self._find("RemoteApplicationConnection", {"name": self.name}):
            self._delete_unless_used(connection, "ActionWebhook", "remoteapplicationconnection_id")
        if own_type := self._find("RemoteApplicationType", {"name": self.name}):
            self._delete_unless_used(own_type, "RemoteApplicationConnection", "remoteapplicationtype_id")
        if not self._dry_run:
            self.itop.delete_push_secret()
            self._report("The bridge now refuses push requests of this iTop, and finds changes by polling.")

    def _watched_attributes(self, profiles: Iterable[TicketProfile]) -> dict[str, list[str]]:
        """Return, by ticket class, the codes of the attributes whose changes iTop is to report."""
        codes_by_class: dict[str, set[str]] = {}
        for profile in profiles:
            codes = codes_by_class.setdefault(profile.ticket_class, set())
            codes.update(profile.code(name) for name in (*Log, "status"))
            codes.update(OTHER_WATCHED)
        return {name: self._existing_codes(name, sorted(codes)) for name, codes in codes_by_class.items()}

    def _existing_codes(self, class_name: str, codes: list[str]) -> list[str]:
        """Return those of the codes that are attributes of the class."""
        # iTop names only the first attribute that it does not know, so ask again without this attribute.
        while True:
            try:
                self._client.get(class_name, f"SELECT {class_name} AS o WHERE o.id = 0", fields=codes)
            except UnknownAttributeError as error:
                if error.attribute not in codes:
                    raise
                codes = [code for code in codes if code != error.attribute]
            else:
                return codes

    def _current_or_new_secret(self) -> str:
        """Return the secret that iTop sends. If there is none, create it; in a dry run, return "".

        Raise SecretDecryptionError if the secret cannot be decrypted.
        """
        if self.itop.push_secret:
            return str(self.itop.push_secret.reveal())
        return "" if self._dry_run else self.itop.renew_push_secret()

    def _find(
        self, class_name: str, identity: Mapping[str, str | int], fields: Iterable[str] = ("friendlyname",)
    ) -> ItopObject | None:
        """Return the first object of the class whose attributes have the values in `identity`."""
        conditions = " AND ".join(f"o.{code} = {quote(value)}" for code, value in identity.items())
        objects = self._client.get(class_name, f"SELECT {class_name} AS o WHERE {conditions}", fields=fields)
        return next(iter(objects), None)

    def _ensure(
        self, class_name: str, identity: Mapping[str, str | int], values: Mapping[str, str | int]
    ) -> int:
        """Find the object with this identity and correct its values, or create it.

        Return its id. In a dry run, return 0 for an object that would be created.
        """
        name = next(iter(identity.values()))
        # A lnkTriggerAction is identified by two ids and has no name.
        label = f"{class_name} “{name}”" if isinstance(name, str) else class_name
        existing = self._find(class_name, identity, ("id", *values))
        if existing is None:
            self._report(f"{'Would create' if self._dry_run else 'Creates'} {label}")
            if self._dry_run:
                return 0
            return self._client.create(class_name, {**identity, **values}, comment=COMMENT).id
        wrong = {
            code: value for code, value in values.items() if not _is_equal(existing.text(code), str(value))
        }
        if not wrong:
            self._report(f"Unchanged: {label}")
            return existing.id
        # Only the codes are reported, because one of the values contains the secret.
        self._report(f"{'Would correct' if self._dry_run else 'Corrects'} {label}: {', '.join(wrong)}")
        if not self._dry_run:
            self._client.update(class_name, existing.id, wrong, comment=COMMENT)
        return existing.id

    def _referring_objects(self, target: ItopObject, class_name: str, key: str) -> list[ItopObject]:
        """Return the objects of a class whose external key `key` refers to the target and that are not deleted."""
        query = f"SELECT {class_name} AS o WHERE o.{key} = {target.id}"
        fields = ["friendlyname", key]
        if class_name == "lnkTriggerAction":
            fields.append("action_id")  # `remove` reads it
        objects = self._client.get(class_name, query, fields=fields)
        return [found for found in objects if (found.class_name, found.id) not in self._deleted]

    def _delete_unless_used(self, target: ItopObject, class_name: str, key: str) -> None:
        """Delete the target, unless the external key `key` of an object refers to it: iTop would delete both."""
        label = f"{target.class_name} “{target.text('friendlyname')}”"
        if users := self._referring_objects(target, class_name, key):
            self._report(f"Left in iTop, because other objects use it ({len(users)} {class_name}): {label}")
            return
        self._report(f"{'Would delete' if self._dry_run else 'Deletes'} {label}")
        self._delete(target)

    def _delete(self, target: ItopObject) -> None:
        self._deleted.add((target.class_name, target.id))
        if not self._dry_run:
            self._client.delete(target.class_name, target.id, comment=COMMENT)


def _is_equal(stored: str, wanted: str) -> bool:
    """Compare a value with the one in iTop. iTop may change the order of codes, and stores line breaks as CR LF."""
    return sorted(stored.replace(",", " ").split()) == sorted(wanted.replace(",", " ").split())


def _read_token() -> str:
    """Return the token in TOKEN_VARIABLE, or ask for it. Raise CommandError if there is no terminal to ask."""
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    if not sys.stdin.isatty():
        raise CommandError(f"Set {TOKEN_VARIABLE} to the token of an iTop Administrator.")
    return getpass("Token of an iTop Administrator (not displayed, not stored): ").strip()
