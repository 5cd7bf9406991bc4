"""Write the extension's parameters to our rows, either all of them or none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.db import transaction

from intercom_bridge.config_import.applying import Report, Row, apply
from intercom_bridge.config_import.values import ConfigError, SourceValue
from intercom_bridge.models import ItopInstance, Messenger, TicketProfile, Workspace
from intercom_bridge.models.itop_instance import base_address

from .parameters import FORM_ATTRIBUTES, Parameters, WorkspaceParameters


@dataclass(frozen=True)
class ExtensionImport:
    """One import of the extension's parameters.

    The `itop_*` values come from the command line. Values that an admin has set are kept, unless `overwrite` is true.
    """

    parameters: Parameters
    itop_url: str = ""
    itop_name: str = ""
    itop_token: str = ""
    overwrite: bool = False
    report: Report = field(default_factory=Report)

    def run(self, *, dry_run: bool = False) -> Report:
        """Write the rows in one transaction, and roll it back if `dry_run` is true.

        Raise ConfigError if any part of the file is refused; then nothing is written.
        """
        self.report.notes.extend(self.parameters.notes)
        with transaction.atomic():
            itop = self._import_itop()
            profile = self._import_profile(itop)
            for position, workspace in enumerate(self.parameters.workspaces):
                row = self._import_workspace(workspace, itop, profile)
                self._import_messenger(row, position)
            self._report_unlisted_workspaces(itop)
            if dry_run:
                transaction.set_rollback(True)
        return self.report

    @property
    def _workspace_ids(self) -> list[str]:
        return [workspace.workspace_id for workspace in self.parameters.workspaces]

    @property
    def _url_in_file(self) -> str:
        value = self.parameters.itop.get("url")
        return str(value.value) if value else ""

    def _apply(self, row: Row, fields: Mapping[str, SourceValue], title: str) -> None:
        self.report.sections.append(apply(row, fields, title, overwrite=self.overwrite))

    def _import_itop(self) -> ItopInstance:
        """Add the iTop, or update the existing row, whose address and name stay.

        Raise ConfigError if the existing iTop does not have the name on the command line: the name may be misspelled.
        """
        fields = {name: value for name, value in self.parameters.itop.items() if name != "url"}
        if self.itop_token:
            fields["token"] = SourceValue(self.itop_token)
        existing = self._find_itop()
        if existing is None:
            return self._add_itop(fields)
        if self.itop_name not in ("", existing.name):
            raise ConfigError(
                f"the iTop at {existing.url} is named “{existing.name}”, not “{self.itop_name}”. Correct or omit "
                "--itop-name. Rename an iTop in the admin."
            )
        self._apply(existing, fields, f"iTop {existing.url}")
        return existing

    def _add_itop(self, fields: Mapping[str, SourceValue]) -> ItopInstance:
        """Add an iTop with these fields, its address and a name. Raise ConfigError without an address or a token."""
        url = _validated_url(self.itop_url) or _validated_url(self._url_in_file)
        if not url:
            raise ConfigError(
                "the file does not say which iTop this is. Add --itop-url https://itop.example.com/itop."
            )
        if not self.itop_token:
            raise ConfigError(
                f"there is no iTop at {url} yet. Put the token of its account into an environment variable and name "
                "that variable with --itop-token-env, or add the iTop in the admin first."
            )
        row = ItopInstance()
        identity = {"name": SourceValue(self.itop_name or _unused_name(url)), "url": SourceValue(url)}
        self._apply(row, {**identity, **fields}, f"iTop {url}")
        return row

    def _find_itop(self) -> ItopInstance | None:
        """Return the existing iTop to which the file belongs; None if a new one is to be added.

        The command line's address or name decides, then the file's address. Without these, return the only iTop, or
        the one that the file's workspaces use. Raise ConfigError if several iTops are possible.
        """
        itops = list(ItopInstance.objects.all())
        if self.itop_url:
            return _at_url(itops, self.itop_url)
        itop_of_name = next((itop for itop in itops if itop.name == self.itop_name), None)
        if itop_of_name is not None:
            return itop_of_name
        if self._url_in_file:
            itop_at_url = _at_url(itops, self._url_in_file)
            # With a token, a new iTop can be added. Without one, an existing iTop must be meant.
            if itop_at_url is None and itops and not self.itop_token:
                raise ConfigError(
                    f"the file belongs to the iTop at {self._url_in_file} (app_root_url), and the database contains "
                    f"{_urls(itops)}. Choose one with --itop-url.",
                    self.parameters.itop["url"].line,
                )
            return itop_at_url
        return self._only_itop(itops)

    def _only_itop(self, itops: list[ItopInstance]) -> ItopInstance | None:
        if len(itops) == 1:
            return itops[0]
        used = ItopInstance.objects.filter(workspaces__workspace_id__in=self._workspace_ids).distinct()
        if len(used) == 1:
            return used[0]
        if itops:
            raise ConfigError(
                f"the database contains several iTops. Choose one with --itop-url ({_urls(itops)})."
            )
        return None

    def _import_profile(self, itop: ItopInstance) -> TicketProfile:
        profile = self._find_profile(itop) or TicketProfile(name=itop.name)
        fields = dict(self.parameters.profile)
        self._remove_automatic_attributes(profile, fields)
        if profile.pk is None:
            fields = {"name": SourceValue(profile.name), **fields}
        self._apply(profile, fields, f"Ticket profile {profile.name}")
        if "title" not in profile.form_attributes:
            self.report.notes.append(
                f"The create form of the ticket profile {profile.name} has no title, which iTop requires."
            )
        return profile

    def _find_profile(self, itop: ItopInstance) -> TicketProfile | None:
        """Return a profile that a workspace of the file uses, and that no workspace of another iTop shares.

        If there is none, return the profile with the iTop's name, or None.
        """
        ids = self._workspace_ids
        existing = Workspace.objects.in_bulk(ids, field_name="workspace_id")
        in_file_order = [existing[workspace_id] for workspace_id in ids if workspace_id in existing]
        for profile in (workspace.profile for workspace in in_file_order):
            other_workspaces = profile.workspaces.exclude(workspace_id__in=ids).exclude(itop=itop)
            if not other_workspaces.exists():
                return profile
        return TicketProfile.objects.filter(name=itop.name).first()

    def _remove_automatic_attributes(self, profile: TicketProfile, fields: dict[str, SourceValue]) -> None:
        """Remove from the form the attributes that the bridge fills in, and add a note for each.

        The file's attribute mapping decides which attributes these are, or the profile's if the file has none.
        """
        form = fields.get("form_attributes")
        if form is None:
            return
        mapping = fields.get("attributes_mapping")
        candidate = TicketProfile(
            attributes_mapping=mapping.value if mapping else profile.attributes_mapping,
            form_attributes=form.value,
        )
        automatic = candidate.not_for_the_form()
        remaining = [code for code in form.value if code not in automatic]
        fields["form_attributes"] = SourceValue(remaining, form.line)
        self.report.notes += [
            f"{code} in {FORM_ATTRIBUTES}{form.position} is filled in automatically, and ignored."
            for code in automatic
        ]

    def _import_workspace(
        self, parameters: WorkspaceParameters, itop: ItopInstance, profile: TicketProfile
    ) -> Workspace:
        workspace_id, line = parameters.workspace_id, parameters.line
        row = Workspace.objects.filter(workspace_id=workspace_id).first()
        fields = {**parameters.fields, "itop": SourceValue(itop, line), "profile": SourceValue(profile, line)}
        if row is None:
            row = Workspace(workspace_id=workspace_id)
            if "scope" not in parameters.fields:
                raise ConfigError(
                    f"workspace {workspace_id} has no scope, and without one it would serve everybody. Write "
                    "'scope' => 'SELECT Organization ...'.",
                    line,
                )
            fields = {"workspace_id": SourceValue(workspace_id, line), **fields}
            self.report.notes.append(
                f"Workspace {workspace_id}: the file does not name its region. It is set to {row.region}; change it "
                "in the admin if Intercom hosts the workspace in the EU or in Australia."
            )
        self._apply(row, fields, f"Workspace {workspace_id}")
        return row

    def _import_messenger(self, workspace: Workspace, position: int) -> None:
        """Import where the Messenger is shown, and to whom. A new one stays disabled until an admin enters its secret.

        `position` is the place of the workspace in the file.
        """
        if not self.parameters.messenger:
            return
        row = Messenger.objects.filter(workspace=workspace).first()
        fields = {"position": SourceValue(position), **self.parameters.messenger}
        if row is None:
            row = Messenger()
            fields = {"workspace": SourceValue(workspace), **fields}
            self.report.notes.append(
                f"The Messenger of {workspace} is disabled. Enter the Messenger API secret in the admin, enable it, "
                "and install the bridge's extension in iTop."
            )
        self._apply(row, fields, f"Messenger of {workspace.workspace_id}")

    def _report_unlisted_workspaces(self, itop: ItopInstance) -> None:
        unlisted = Workspace.objects.filter(itop=itop).exclude(workspace_id__in=self._workspace_ids)
        for row in unlisted.exclude(imported={}):
            self.report.notes.append(
                f"Workspace {row.workspace_id} was imported before and is not in this file. It is left as it is; "
                "disable it in the admin if it is no longer used."
            )


def _validated_url(url: str) -> str:
    """Return an iTop's URL as its row stores it. Raise ConfigError if it is not a plain http or https URL."""
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"the value {url} is not a URL. Write it like https://itop.example.com/itop.")
    if parts.username or parts.password:
        raise ConfigError(
            "the iTop's URL must not contain an account. Name a variable with its token by --itop-token-env."
        )
    return base_address(url)


def _at_url(itops: list[ItopInstance], url: str) -> ItopInstance | None:
    wanted = _validated_url(url).lower()
    return next((itop for itop in itops if base_address(itop.url).lower() == wanted), None)


def _urls(itops: list[ItopInstance]) -> str:
    return ", ".join(itop.url for itop in itops)


def _unused_name(url: str) -> str:
    host = urlsplit(url).hostname or url
    taken = set(ItopInstance.objects.values_list("name", flat=True))
    candidates = (host, url[:100], *(f"{host} {number}" for number in range(2, 1000)))
    return next(name for name in candidates if name not in taken)
