"""From what the file says to our rows: what is set, changed, kept; all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db import transaction

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from intercom_bridge.models.itop_instance import base_address

from .applying import Row, apply, line_of
from .parameters import FORM_ATTRIBUTES, Given, Parameters, WorkspaceParameters
from .report import Report
from .source import ConfigError


@dataclass(frozen=True)
class Import:
    """One run. `itop_*` are what the command line says about the iTop; `overwrite` gives the file the last word."""

    parameters: Parameters
    itop_url: str = ""
    itop_name: str = ""
    itop_token: str = ""
    overwrite: bool = False

    def run(self, *, dry_run: bool = False) -> Report:
        """Writes the rows, in one transaction. With `dry_run` the same is done and then undone.

        Raises ConfigError when anything at all is refused; nothing is written then.
        """
        report = Report(notes=list(self.parameters.notes))
        with transaction.atomic():
            itop = self._itop(report)
            profile = self._profile(itop, report)
            for given in self.parameters.workspaces:
                self._workspace(given, itop, profile, report)
            self._name_the_missing(itop, report)
            if dry_run:
                transaction.set_rollback(True)
        return report

    # The iTop

    def _itop(self, report: Report) -> ItopInstance:
        found = self._known_itop()
        fields = {name: given for name, given in self.parameters.itop.items() if name != "url"}
        if self.itop_token:
            fields["token"] = Given(self.itop_token)
        if found is not None:
            if self.itop_name:
                fields["name"] = Given(self.itop_name)
            account = (found.token, found.user, found.password)
            self._apply(found, fields, f"iTop {found.url}", report)
            if (found.token, found.user, found.password) != account:
                found.save(update_fields=found.forget())
                found.answers.all().delete()
            return found
        url = _address(self.itop_url) or _address(self._url_in_the_file)
        if not url:
            raise ConfigError(
                "it is not known which iTop this is: say so with --itop-url https://itop.example.com/itop."
            )
        if not self.itop_token:
            raise ConfigError(
                f"there is no iTop at {url} yet. Put the token of its account into an environment variable and name "
                "that variable with --itop-token-env, or make the iTop in the admin first."
            )
        fields = {"name": Given(self.itop_name or _free_name(url)), "url": Given(url), **fields}
        row = ItopInstance()
        self._apply(row, fields, f"iTop {url}", report)
        return row

    def _known_itop(self) -> ItopInstance | None:
        known = list(ItopInstance.objects.all())
        if self.itop_url:
            return _at_address(known, self.itop_url)
        if self.itop_name and (named := [one for one in known if one.name == self.itop_name]):
            return named[0]
        if url := self._url_in_the_file:
            at = _at_address(known, url)
            if at is None and known and not self.itop_token:
                raise ConfigError(
                    f"the file is of the iTop at {url} (app_root_url), and the database holds "
                    f"{', '.join(one.url for one in known)}. Say with --itop-url which one is meant.",
                    self.parameters.itop["url"].line,
                )
            return at
        if len(known) == 1:
            return known[0]
        ids = [one.workspace_id for one in self.parameters.workspaces]
        used = {one.itop for one in Workspace.objects.select_related("itop").filter(workspace_id__in=ids)}
        if len(used) == 1:
            return used.pop()
        if known:
            raise ConfigError(
                f"the database holds several iTops: say with --itop-url which one is meant "
                f"({', '.join(one.url for one in known)})."
            )
        return None

    @property
    def _url_in_the_file(self) -> str:
        given = self.parameters.itop.get("url")
        return str(given.value) if given else ""

    # The profile

    def _profile(self, itop: ItopInstance, report: Report) -> TicketProfile:
        found = self._known_profile(itop)
        if found is None:
            found = TicketProfile(name=itop.name)
        fields: dict[str, Given] = dict(self.parameters.profile)
        _drop_what_is_filled_in(found, fields, report)
        if found.pk is None:
            fields = {"name": Given(found.name), **fields}
        self._apply(found, fields, f"Ticket profile {found.name}", report)
        if "title" not in found.form_attributes:
            report.notes.append(
                f"The create form of the ticket profile {found.name} has no title, which iTop asks for."
            )
        return found

    def _known_profile(self, itop: ItopInstance) -> TicketProfile | None:
        """The one that the file's workspaces use, unless other workspaces elsewhere use it too."""
        ids = [one.workspace_id for one in self.parameters.workspaces]
        ours = {one.workspace_id: one for one in Workspace.objects.filter(workspace_id__in=ids)}
        for workspace_id in ids:
            workspace = ours.get(workspace_id)
            if workspace is None:
                continue
            others = workspace.profile.workspaces.exclude(workspace_id__in=ids).exclude(itop=itop)
            if not others.exists():
                return workspace.profile
        return TicketProfile.objects.filter(name=itop.name).first()

    # The workspaces

    def _workspace(
        self, given: WorkspaceParameters, itop: ItopInstance, profile: TicketProfile, report: Report
    ) -> None:
        row = Workspace.objects.filter(workspace_id=given.workspace_id).first()
        fields = {**given.fields, "itop": Given(itop, given.line), "profile": Given(profile, given.line)}
        if row is None:
            row = Workspace(workspace_id=given.workspace_id)
            if "scope" not in given.fields:
                raise ConfigError(
                    f"workspace {given.workspace_id} has no scope, and without one it would serve everybody. Write "
                    "'scope' => 'SELECT Organization ...'.",
                    given.line,
                )
            fields = {"workspace_id": Given(given.workspace_id, given.line), **fields}
            report.notes.append(
                f"Workspace {given.workspace_id}: the file does not say its region. It is {row.region}; set another "
                "in the admin if Intercom hosts it in the EU or in Australia."
            )
        self._apply(row, fields, f"Workspace {given.workspace_id}", report)

    def _apply(self, row: Row, fields: Mapping[str, Given], title: str, report: Report) -> None:
        report.sections.append(apply(row, fields, title, overwrite=self.overwrite))

    def _name_the_missing(self, itop: ItopInstance, report: Report) -> None:
        ids = [one.workspace_id for one in self.parameters.workspaces]
        for row in Workspace.objects.filter(itop=itop).exclude(workspace_id__in=ids).exclude(imported={}):
            report.notes.append(
                f"Workspace {row.workspace_id} was imported before and is not in this file. It is left as it is; turn "
                "it off in the admin if it is no longer served."
            )


def _drop_what_is_filled_in(row: TicketProfile, fields: dict[str, Given], report: Report) -> None:
    """Takes out of the form what may not be asked for, by the mapping that the file gives, else by the row's."""
    form = fields.get("form_attributes")
    if form is None:
        return
    mapping = fields.get("attributes_mapping")
    asked = TicketProfile(
        attributes_mapping=mapping.value if mapping else row.attributes_mapping, form_attributes=form.value
    )
    if wrong := asked.not_for_the_form():
        kept = [code for code in form.value if code not in wrong]
        fields["form_attributes"] = Given(kept, form.line)
        report.notes += [
            f"{code} in {FORM_ATTRIBUTES}{line_of(form)} is filled in by itself, and left out."
            for code in wrong
        ]


def _address(url: str) -> str:
    """An iTop's address as its row keeps it. Raises ConfigError for what is none."""
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url} is not an address. Write it like https://itop.example.com/itop.")
    if parts.username or parts.password:
        raise ConfigError(
            "the iTop's address must not hold an account. Give its token with --itop-token-env."
        )
    return base_address(url)


def _at_address(known: list[ItopInstance], url: str) -> ItopInstance | None:
    wanted = _address(url).lower()
    return next((one for one in known if base_address(one.url).lower() == wanted), None)


def _free_name(url: str) -> str:
    host = urlsplit(url).hostname or url
    taken = set(ItopInstance.objects.values_list("name", flat=True))
    return next(
        name for name in (host, url[:100], *(f"{host} {n}" for n in range(2, 1000))) if name not in taken
    )
