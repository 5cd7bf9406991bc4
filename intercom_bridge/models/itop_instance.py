import datetime as dt
import hashlib
import hmac
import re
import secrets
import zoneinfo
from typing import Final
from urllib.parse import urlencode, urlsplit

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from .encryption import Secret, SecretField
from .reason import ReasonCode

# Begins with an invisible word joiner, because Django's admin capitalizes the first letter: “ITop”.
ITOP = "\u2060iTop"

# How many characters of a URL are compared.
_MAX_COMPARED_LENGTH: Final = 2_000
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
PUSH_NOTED_EVERY = dt.timedelta(minutes=1)
_USER_ID = re.compile(r"itop-([0-9a-f]{8})-([1-9][0-9]{0,17})-([0-9a-f]{24})")


def new_public_id() -> str:
    return secrets.token_hex(4)


def new_identity_secret() -> Secret:
    return Secret.seal(secrets.token_urlsafe(32))


def validate_time_zone(name: str) -> None:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValidationError(f"“{name}” is not a time zone. Write it like Europe/Paris.") from error


def base_address(url: str) -> str:
    """Return an iTop's base URL, given the URL of any of its pages."""
    url = url.rstrip("/")
    for page in ("/webservices/rest.php", "/pages/UI.php", "/index.php"):
        url = url.removesuffix(page).rstrip("/")
    return url


def _comparable(url: str) -> str:
    """Return the host, the port and the path of a URL in lower case; "" if the URL is not a valid http(s) URL.

    The scheme and a default port are left out: a server usually has the same pages with http and https.
    """
    try:
        # Cut, because `urlsplit` normalizes the host in quadratic time.
        parts = urlsplit(url[:_MAX_COMPARED_LENGTH].lower())
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _DEFAULT_PORTS:
        return ""
    port_suffix = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.hostname}{port_suffix}{parts.path}"


class ItopInstance(models.Model):
    """An iTop: its address, the bridge's account, and its detected capabilities."""

    name = models.CharField(max_length=100, unique=True, help_text="Your name for this iTop.")
    url = models.URLField(
        "address",
        max_length=255,
        help_text="The address of iTop's home page, for example https://itop.example.com/itop",
    )
    token = SecretField(
        "account token", help_text="The token that iTop shows when you create an application token."
    )
    user = models.CharField(
        "account",
        max_length=100,
        blank=True,
        help_text="The name of an iTop account, if you do not use a token.",
    )
    password = SecretField("password", help_text="The password of this account, if you do not use a token.")
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_time_zone],
        help_text="The time zone of iTop's server. Dates in iTop have no time zone. With a wrong time zone, the dates "
        "in the panel, in notes and on copied files are wrong.",
    )
    portal_url = models.URLField(
        "portal address",
        max_length=255,
        blank=True,
        help_text="The address of a ticket for customers. The bridge replaces {class} and {id} in it. If empty, "
        "customers get links to iTop's standard portal.",
    )
    # Identifies this iTop in the Messenger's user ids.
    public_id = models.CharField(max_length=16, unique=True, default=new_public_id, editable=False)
    # Makes these user ids impossible to guess. If it changed, Intercom would take every user for a new contact.
    identity_secret = SecretField(default=new_identity_secret, editable=False)
    # Authenticates iTop's push requests (views/itop_push.py). Empty until an admin creates it.
    push_secret = SecretField(editable=False)
    push_received_at = models.DateTimeField("last push", null=True, blank=True, editable=False)
    # Whether the bridge's account is an Administrator; null until a response of iTop shows this.
    is_administrator = models.BooleanField(null=True, editable=False)
    # Whether iTop records a change for each write to a log: "UserRequest.public_log" -> True or False. Idempotency keys
    # can be found only in such changes.
    tracked_logs = models.JSONField(default=dict, blank=True, editable=False)
    # The names of all classes in the imported data model; [] if none was imported.
    class_names = models.JSONField(default=list, blank=True, editable=False)
    # The circuit breaker: while it is open, only one probe at a time is written, and no message fails.
    # `paused_until` is the earliest time of the next probe; null while the breaker is closed.
    paused_until = models.DateTimeField(null=True, blank=True, editable=False)
    paused_since = models.DateTimeField(null=True, blank=True, editable=False)
    pause_code = models.CharField(max_length=40, choices=ReasonCode.choices, blank=True, editable=False)
    pause_detail = models.CharField(max_length=500, blank=True, editable=False)
    failures_in_a_row = models.PositiveIntegerField(default=0, editable=False)
    last_success_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Values that an import set and the admin has not changed: attribute -> value (config_import).
    imported = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        verbose_name = ITOP
        verbose_name_plural = f"{ITOP}s"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.url = base_address(self.url)
        if not self.token and not (self.user and self.password):
            raise ValidationError("Enter the account's token, or its name and its password.")

    def user_id_of(self, person_id: int) -> str:
        """Return the Messenger's user id for a Person. It never changes, and only the bridge can compute it.

        Raise SecretDecryptionError.
        """
        name = f"itop-{self.public_id}-{person_id}"
        mac = hmac.new(self.identity_secret.reveal().encode(), name.encode(), hashlib.sha256)
        return f"{name}-{mac.hexdigest()[:24]}"

    def person_of(self, user_id: str) -> int:
        """Return the id of the Person with this user id (`user_id_of`), or 0 if the text is not a valid user id.

        Raise SecretDecryptionError.
        """
        match = _USER_ID.fullmatch(user_id)
        if match is None or match[1] != self.public_id:
            return 0
        person_id = int(match[2])
        # The user id comes from outside, so its signature is verified.
        return person_id if hmac.compare_digest(self.user_id_of(person_id), user_id) else 0

    def renew_push_secret(self) -> str:
        """Replace the secret of iTop's push requests and return the new one. The old one is no longer accepted."""
        secret = secrets.token_urlsafe(32)
        self.push_secret, self.push_received_at = Secret.seal(secret), None
        self.save(update_fields=["push_secret", "push_received_at"])
        return secret

    def delete_push_secret(self) -> None:
        """Delete the secret of push requests. They are refused until an admin creates a new one."""
        self.push_secret, self.push_received_at = Secret(), None
        self.save(update_fields=["push_secret", "push_received_at"])

    def note_push(self) -> None:
        """Store that a push request was received. At most one write per minute."""
        now = timezone.now()
        if self.push_received_at is None or now - self.push_received_at >= PUSH_NOTED_EVERY:
            type(self).objects.filter(pk=self.pk).update(push_received_at=now)

    def learn(self, *, is_administrator: bool) -> None:
        """Store whether the bridge's account is an Administrator, as a response has shown."""
        self.is_administrator = is_administrator
        self.save(update_fields=["is_administrator"])

    def probe_now(self) -> bool:
        """If the circuit breaker is open, allow the next probe now. Return False if it is closed."""
        paused = type(self).objects.filter(pk=self.pk, paused_until__isnull=False)
        return bool(paused.update(paused_until=timezone.now()))

    def reset_capabilities(self) -> list[str]:
        """Reset what iTop's responses have shown, after a change of address or account. Return the fields to save.

        Also delete the cached answers. Workers will find out the workspaces' `has_extension_attributes` again.
        """
        self.answers.all().delete()
        self.workspaces.update(has_extension_attributes=None)
        initial_values: dict[str, object] = {
            "is_administrator": None,
            "tracked_logs": {},
            "paused_until": None,
            "paused_since": None,
            "last_success_at": None,
            "pause_code": "",
            "pause_detail": "",
            "failures_in_a_row": 0,
        }
        for name, value in initial_values.items():
            setattr(self, name, value)
        return list(initial_values)

    def learn_tracking(self, log: str, *, is_tracked: bool) -> None:
        """Store whether this iTop records a change for each write to the log, for example "UserRequest.public_log"."""
        with transaction.atomic():
            # The lock keeps another process from storing the same about another log before this one has saved.
            locked = type(self).objects.select_for_update()
            self.refresh_from_db(fields=["tracked_logs"], from_queryset=locked)
            self.tracked_logs = {**self.tracked_logs, log: is_tracked}
            self.save(update_fields=["tracked_logs"])

    @property
    def zone(self) -> dt.tzinfo:
        return zoneinfo.ZoneInfo(self.time_zone)

    def has_page(self, url: str) -> bool:
        """Return whether the URL is this iTop's address, or an address below it, in any spelling."""
        own_address = _comparable(self.url).rstrip("/")
        return bool(own_address) and f"{_comparable(url)}/".startswith(f"{own_address}/")

    def is_console_page(self, url: str) -> bool:
        """Return whether the URL is a page of this iTop that customers cannot open.

        They can open the portals, which are pages of exec.php or have the address `portal_url`, and iTop's home page,
        which redirects them to their portal.
        """
        if not self.has_page(url):
            return False
        page, own_address = _comparable(url), _comparable(self.url).rstrip("/")
        path = page.removeprefix(own_address)
        portal = _comparable(self.portal_url.partition("{")[0])  # up to its first placeholder
        # If the placeholder follows the iTop's own address at once, the rest does not distinguish the portal's pages.
        has_portal_address = portal.rstrip("/") not in ("", own_address) and page.startswith(portal)
        is_in_portal = path.startswith("/pages/exec.php") or has_portal_address
        is_home_page = path in ("", "/", "/index.php")
        return not is_in_portal and not is_home_page

    def has_console_page_in(self, text: str) -> bool:
        """Return whether the text contains the address of a page of this iTop that customers cannot open.

        The address may have no scheme, or be a parameter of another address. It must not be percent-encoded.
        """
        host = re.split("[:/]", _comparable(self.url))[0]
        # Without a scheme, a host without a dot is an ordinary word, such as "iTop" in "iTop/Intercom".
        start = r"(?<![\w.-])" if "." in host else "(?<=//)"
        # A parameter ends with "&". Within lookahead, because an address may contain another one.
        address = re.compile(rf"{start}(?=({re.escape(host)}[^\s<>\"'&?#]{{0,2000}}))", re.IGNORECASE)
        return bool(host) and any(
            self.is_console_page(f"{scheme}://{match[1]}")
            for match in address.finditer(text)
            for scheme in _DEFAULT_PORTS
        )

    def backoffice_url(self, ticket_class: str, ticket_id: int) -> str:
        """Return the ticket's address for agents."""
        return f"{self.url}/pages/UI.php?operation=details&class={ticket_class}&id={ticket_id}"

    def attachment_url(self, attachment_id: int) -> str:
        """Return the address of an Attachment for people who are logged in to iTop's console."""
        return (
            f"{self.url}/pages/ajax.document.php?operation=download_document&class=Attachment&field=contents"
            f"&id={attachment_id}"
        )

    def new_person_url(self, name: str, email: str) -> str:
        """Return the address of iTop's own form for a new person, with the name and the e-mail address filled in.

        The last word of the name is taken for the last name. The console reads `default[attribute]` since iTop 2.7.
        """
        first_name, _space, last_name = name.strip().rpartition(" ")
        values = {"first_name": first_name, "name": last_name, "email": email}
        defaults = {f"default[{code}]": value.strip() for code, value in values.items() if value.strip()}
        query = urlencode({"operation": "new", "class": "Person"} | defaults)
        return f"{self.url}/pages/UI.php?{query}"

    def customer_url(self, ticket_class: str, ticket_id: int) -> str:
        """Return the ticket's address for the customer: `portal_url`, or else iTop's standard portal."""
        if self.portal_url:
            return self.portal_url.replace("{class}", ticket_class).replace("{id}", str(ticket_id))
        page = f"{self.url}/pages/exec.php/object/edit/{ticket_class}/{ticket_id}"
        return f"{page}?exec_module=itop-portal-base&exec_page=index.php&portal_id=itop-portal"
