"""The admin of iTop instances."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding
from intercom_bridge.models import Delivery, ItopInstance, PersonMatch

from .base import columns_of, section
from .connection_test import ConnectionTestAdmin
from .datamodels import DataModelAdmin
from .display import datetime_text, stacked
from .itop_changes import CHANGES_FIELDS, ItopChangesAdmin
from .row_actions import RowAction
from .secrets import SECRET_OVERRIDES, SecretsForm

ACCOUNT_FIELDS = {"token", "user", "password"}
CAPABILITIES = ("administrator", "extension", "change_tracking")
STATUS_FIELDS = (
    "status",
    "paused_since",
    "paused_until",
    "pause_code",
    "pause_response",
    "failures_in_a_row",
    "last_success_at",
)


@admin.register(ItopInstance)
class ItopInstanceAdmin(ConnectionTestAdmin, DataModelAdmin, ItopChangesAdmin):
    """The admin in which iTops are edited and tested, and in which a pause after failures can be ended."""

    form = SecretsForm
    formfield_overrides = {**SECRET_OVERRIDES, models.URLField: {"assume_scheme": "https"}}
    list_display = ("name", "url", "account", "status", "administrator", "extension")
    # A tuple, because the actions pass it to select_related().
    list_select_related = ()
    actions = ("retry_now",)
    retry_now = RowAction(
        short_description="Retry now",
        eligible=lambda itops: itops.filter(paused_until__isnull=False),
        change=lambda itops, _: sum(_end_pause(itop) for itop in itops),
        history="Pause ended.",
        done="will be tried again now, with one write.",
        refused="writing is not paused.",
    )
    search_fields = ("name", "url")
    readonly_fields = (*STATUS_FIELDS, *CHANGES_FIELDS, *CAPABILITIES, "data_model")
    save_on_top = True
    fieldsets = (
        section(None, ("name", "url", "time_zone")),
        section(
            "Account",
            ("token", "user", "password"),
            description="Enter the token of a token user, or a user name and a password. The user needs the profile "
            "REST Services User and a profile that may write tickets, such as Support Agent. The profile Administrator "
            "is needed only if log entries are to be written under their authors' accounts. Secrets are stored "
            "encrypted and never displayed again.",
        ),
        section("For customers", ("portal_url",), is_collapsed=True),
        section(
            "Data model",
            ("data_model",),
            description="The data model contains the ticket classes, their attributes and the labels. Import it again "
            "whenever it changes in iTop.",
        ),
        section(
            "Detected capabilities",
            CAPABILITIES,
            description="The bridge detects these with its first requests to this iTop.",
        ),
        section(
            "Changes in iTop",
            CHANGES_FIELDS,
            description="The bridge asks iTop every few seconds which linked tickets have changed. Each workspace has "
            "rules for what is reported: see “Rules for changes in iTop” on the workspace's page.",
        ),
        section(
            "Writing to iTop",
            STATUS_FIELDS,
            description="After failures, the bridge pauses writing to this iTop. Messages then wait in the queue; they "
            "do not fail. After each pause, the bridge tries one write.",
        ),
    )

    @admin.display(description="account")
    def account(self, itop: ItopInstance) -> str:
        if itop.token:
            return "token"
        return itop.user or "none"

    @admin.display(description="status", ordering="paused_since")
    def status(self, itop: ItopInstance) -> str:
        if itop.paused_until is None:
            return "OK" if itop.last_success_at else "Nothing written yet"
        failures = "1 failure" if itop.failures_in_a_row == 1 else f"{itop.failures_in_a_row} failures"
        paused = f"Paused since {datetime_text(itop.paused_since)}" if itop.paused_since else "Paused"
        if itop.paused_until > timezone.now():
            paused += f", until {datetime_text(itop.paused_until)}"
        return f"{paused}, after {failures}: {self.reason(itop.pause_code, itop.pause_detail)}"

    @admin.display(description="response")
    def pause_response(self, itop: ItopInstance) -> str:
        """Return the text of iTop's last error, which can quote messages. Return "" if the viewer may not read them."""
        return itop.pause_detail if self.may_read else ""

    @admin.display(description="Administrator", ordering="is_administrator")
    def administrator(self, itop: ItopInstance) -> str:
        return _yes_no_unknown(itop.is_administrator)

    @admin.display(description="PHP extension's attributes")
    def extension(self, itop: ItopInstance) -> str:
        """Return whether each ticket class in use has the extension's attributes, for example "UserRequest: yes"."""
        workspaces = itop.workspaces.all() if itop.pk else ()
        answer_of = {
            workspace.profile.ticket_class: _yes_no_unknown(workspace.has_extension_attributes)
            for workspace in workspaces
        }
        if not answer_of:
            return _yes_no_unknown(None)
        return ", ".join(f"{ticket_class}: {answer}" for ticket_class, answer in answer_of.items())

    @admin.display(description="change tracking")
    def change_tracking(self, itop: ItopInstance) -> str:
        """Return for each log whether iTop records its changes.

        If it does, the bridge can search the changes for a write's key, to find out whether the write was executed.
        """
        if not itop.tracked_logs:
            return _yes_no_unknown(None)
        return stacked(
            f"{log}: {'on' if tracked else 'off, so the log itself is read before a retry'}"
            for log, tracked in itop.tracked_logs.items()
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ItopInstance]:
        return super().get_queryset(request).prefetch_related("workspaces__profile")

    def examine(self, row: ItopInstance) -> Iterator[Finding]:
        return doctor.examine_itop(row, doctor.PAGE_SECONDS)

    def save_model(self, request: HttpRequest, obj: ItopInstance, form: Any, change: bool) -> None:
        """Save the edited columns. After a change of the address or the account, reset what was detected.

        After a change of the address, person matches are deleted too, because another iTop has other persons.
        """
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Save only the edited columns. The others may have changed since the page was opened: a worker may have changed
        # the status, or the encryption keys may have been rotated.
        fields = columns_of(obj, form.changed_data)
        # `obj.url` is normalized, so the address of another page of the same iTop does not count as a change.
        is_other_address = obj.url != form.initial["url"]
        if is_other_address or fields & ACCOUNT_FIELDS:
            fields |= set(obj.reset_capabilities())
        if is_other_address:
            PersonMatch.objects.filter(itop=obj).delete()
        obj.save(update_fields=fields)


def _end_pause(itop: ItopInstance) -> bool:
    """Make waiting deliveries due and permit one write now. Return False if writing was not paused."""
    Delivery.objects.release_postponed(itop)
    return itop.probe_now()


def _yes_no_unknown(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]
