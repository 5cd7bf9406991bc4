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
# A trigger without this context also fires for writes over REST, such as those of the bridge.
CONTEXT = "GUI:Console, GUI:Portal"
# Attributes of a ticket whose changes are reported, where the class has them.
OTHER_WATCHED = ("agent_id", "team_id", "solution", "pending_reason")
USER_FIELDS = {"lnkTriggerAction": ("action_id",)}
EXPLANATION = (
    "Done. iTop now calls the bridge while an agent's save waits: for some milliseconds, or up to five seconds if the "
    "bridge does not respond. To let iTop call in the background instead, set “Asynchronous” of the action, or "
    "prefer_asynchronous of the module combodo-webhook-integration in iTop's configuration; iTop's cron.php must run. "
    "To test it, change a linked ticket in iTop, and look at “last push” on the iTop's page in the admin."
)
NO_EXTENSION = (
    "This iTop has no webhooks. Install Combodo's extension “Webhooks” (combodo-webhook-integration) in iTop, or do "
    "without push: the bridge then finds changes by polling."
)


class Command(BaseCommand):
    help = (
        "Let iTop tell the bridge at once that somebody changed a ticket, instead of waiting for the next poll. "
        "Creates a connection, an action and triggers in iTop, which needs Combodo's extension “Webhooks”. May be "
        f"repeated: it corrects what differs. The token of an Administrator is read from {TOKEN_VARIABLE} or prompted "
        "for, and not stored."
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
            # Or a ticket class of a profile, which the doctor reports.
            is_missing = error.class_name.startswith(("Remote", "ActionWebhook"))
            raise CommandError(NO_EXTENSION if is_missing else str(error)) from error
        except (ItopLoginError, ItopPermissionError) as error:
            raise CommandError(
                f"{str(error).rstrip('.')}. The token must be that of an account with the "
                "profiles Administrator and REST Services User."
            ) from error
        except (ItopError, SecretDecryptionError) as error:
            raise CommandError(
                f"{str(error).rstrip('.')}. Correct the cause, and run the command again: it continues."
            ) from error


class PushSetup:
    """The objects in iTop that make it send push requests. Their names contain the iTop's public id."""

    def __init__(
        self, itop: ItopInstance, token: str, report: Callable[[str], object], *, dry_run: bool
    ) -> None:
        self.itop = itop
        self.name = f"Intercom bridge {itop.public_id}"
        self._client = Client(itop.url, token=token, user_agent=USER_AGENT)
        self._report = report
        self._dry_run = dry_run
        self._removed: set[tuple[str, int]] = set()

    def create(self) -> None:
        """Create what is missing and correct what differs. Raise ItopError."""
        profiles = list(TicketProfile.objects.filter(workspaces__itop=self.itop).distinct())
        if not profiles:
            raise CommandError(f"No workspace uses {self.itop}. Connect one first.")
        url = f"{settings.PUBLIC_URL}{reverse('webhooks-itop', args=[self.itop.public_id])}"
        generic = self._find("RemoteApplicationType", {"name": "Generic"})
        kind = generic.id if generic else self._ensure("RemoteApplicationType", {"name": self.name}, {})
        connection = self._ensure(
            "RemoteApplicationConnection",
            {"name": self.name},
            {"remoteapplicationtype_id": kind, "environment": "3-production", "url": url},
        )
        headers = f"Content-type: application/json\nAuthorization: Bearer {self._secret()}"
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
        for ticket_class, codes in self._watched(profiles).items():
            trigger = self._ensure(
                "TriggerOnObjectUpdate",
                {"description": f"{self.name}: {ticket_class}"},
                {"target_class": ticket_class, "target_attcodes": ", ".join(codes), "context": CONTEXT},
            )
            self._ensure("lnkTriggerAction", {"trigger_id": trigger, "action_id": action}, {})
        if not self._dry_run:
            self._report(EXPLANATION)

    def remove(self) -> None:
        """Delete what `create` created, unless something else in iTop uses it. Raise ItopError."""
        action = self._find("ActionWebhook", {"name": self.name})
        action_id = action.id if action else 0
        pattern = quote(f"{self.name}: %")
        query = f"SELECT TriggerOnObjectUpdate AS t WHERE t.description LIKE {pattern}"
        for trigger in self._client.get("TriggerOnObjectUpdate", query):
            for link in self._users(trigger, "lnkTriggerAction", "trigger_id"):
                if link.integer("action_id") == action_id:
                    self._delete(link)
            self._remove(trigger, "lnkTriggerAction", "trigger_id")
        if action:
            self._remove(action, "lnkTriggerAction", "action_id")
        if connection := self._find("RemoteApplicationConnection", {"name": self.name}):
            self._remove(connection, "ActionWebhook", "remoteapplicationconnection_id")
        if kind := self._find("RemoteApplicationType", {"name": self.name}):
            self._remove(kind, "RemoteApplicationConnection", "remoteapplicationtype_id")
        if not self._dry_run:
            self.itop.delete_push_secret()
            self._report("Push requests of this iTop are refused now. The bridge finds changes by polling.")

    def _watched(self, profiles: Iterable[TicketProfile]) -> dict[str, list[str]]:
        """Return, by class, the codes of the attributes whose changes are reported."""
        watched: dict[str, list[str]] = {}
        for profile in profiles:
            codes = {*map(profile.code, (*Log, "status")), *OTHER_WATCHED}
            watched[profile.ticket_class] = sorted(codes | set(watched.get(profile.ticket_class, ())))
        return {name: self._existing(name, codes) for name, codes in watched.items()}

    def _existing(self, class_name: str, codes: list[str]) -> list[str]:
        """Return the attributes that the class has."""
        while True:
            try:
                self._client.get(class_name, f"SELECT {class_name} AS o WHERE o.id = 0", fields=codes)
            except UnknownAttributeError as error:
                if error.attribute not in codes:
                    raise
                codes = [code for code in codes if code != error.attribute]
            else:
                return codes

    def _secret(self) -> str:
        """Return the secret that iTop sends. Create it if there is none. Raise SecretDecryptionError."""
        if self.itop.push_secret:
            return str(self.itop.push_secret.reveal())
        return "" if self._dry_run else self.itop.renew_push_secret()

    def _find(
        self, class_name: str, names: Mapping[str, str | int], fields: Iterable[str] = ("friendlyname",)
    ) -> ItopObject | None:
        conditions = " AND ".join(f"o.{code} = {quote(value)}" for code, value in names.items())
        found = self._client.get(class_name, f"SELECT {class_name} AS o WHERE {conditions}", fields=fields)
        return next(iter(found), None)

    def _ensure(
        self, class_name: str, names: Mapping[str, str | int], values: Mapping[str, str | int]
    ) -> int:
        """Create the object with these names, or correct its values. Return its id, 0 if it would be created."""
        name = next(iter(names.values()))
        label = f"{class_name} “{name}”" if isinstance(name, str) else class_name
        found = self._find(class_name, names, ("id", *values))
        if found is None:
            self._report(f"{'Would create' if self._dry_run else 'Creates'} {label}")
            if self._dry_run:
                return 0
            return self._client.create(class_name, {**names, **values}, comment=COMMENT).id
        wrong = {code: value for code, value in values.items() if not _is_equal(found.text(code), str(value))}
        if not wrong:
            self._report(f"Unchanged: {label}")
            return found.id
        # Without the values: one of them contains the secret.
        self._report(f"{'Would correct' if self._dry_run else 'Corrects'} {label}: {', '.join(wrong)}")
        if not self._dry_run:
            self._client.update(class_name, found.id, wrong, comment=COMMENT)
        return found.id

    def _users(self, row: ItopObject, class_name: str, key: str) -> list[ItopObject]:
        """Return the objects of this class that refer to the row and are not removed."""
        query = f"SELECT {class_name} AS u WHERE u.{key} = {row.id}"
        found = self._client.get(
            class_name, query, fields=("friendlyname", key, *USER_FIELDS.get(class_name, ()))
        )
        return [each for each in found if (each.class_name, each.id) not in self._removed]

    def _remove(self, row: ItopObject, class_name: str, key: str) -> None:
        """Delete the row. Leave it if objects refer to it, since iTop would delete those, too."""
        label = f"{row.class_name} “{row.text('friendlyname')}”"
        if users := self._users(row, class_name, key):
            self._report(f"Left in iTop, because it is used by {len(users)} {class_name} of others: {label}")
            return
        self._report(f"{'Would delete' if self._dry_run else 'Deletes'} {label}")
        self._delete(row)

    def _delete(self, row: ItopObject) -> None:
        self._removed.add((row.class_name, row.id))
        if not self._dry_run:
            self._client.delete(row.class_name, row.id, comment=COMMENT)


def _is_equal(stored: str, wanted: str) -> bool:
    """Compare values as iTop stores them: sets of codes in another order, line breaks as CR LF."""
    return sorted(stored.replace(",", " ").split()) == sorted(wanted.replace(",", " ").split())


def _read_token() -> str:
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    if not sys.stdin.isatty():
        raise CommandError(f"Set {TOKEN_VARIABLE} to the token of an iTop Administrator.")
    return getpass("Token of an iTop Administrator (not displayed, not stored): ").strip()
