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
    """iTops are edited and tested here. A pause after failures can be ended."""

    form = SecretsForm
    formfield_overrides = {**SECRET_OVERRIDES, models.URLField: {"assume_scheme": "https"}}
    list_display = ("name", "url", "account", "status", "administrator", "extension")
    list_select_related = ()
    actions = ("retry_now",)
    retry_now = RowAction(
        short_description="Retry now",
        eligible=lambda itops: itops.filter(paused_until__isnull=False),
        change=lambda itops, _: sum(_end_pause(itop) for itop in itops),
        history="Pause ended.",
        done="will be retried now, with one write.",
        refused="not paused.",
    )
    search_fields = ("name", "url")
    readonly_fields = (*STATUS_FIELDS, *CHANGES_FIELDS, *CAPABILITIES, "data_model")
    save_on_top = True
    fieldsets = (
        section(None, ("name", "url", "time_zone")),
        section(
            "Account",
            ("token", "user", "password"),
            description="A token user with the profile REST Services User and one that may write tickets, such as "
            "Support Agent. It needs the profile Administrator instead only if log entries are to be written under "
            "their authors' accounts. Without a token: a user and a password. Secrets are encrypted and never "
            "displayed again.",
        ),
        section("For customers", ("portal_url",), is_collapsed=True),
        section(
            "Data model",
            ("data_model",),
            description="Ticket classes, their attributes and labels. Import the data model again whenever it "
            "changes in iTop.",
        ),
        section(
            "Detected capabilities",
            CAPABILITIES,
            description="Detected with the first requests to this iTop.",
        ),
        section(
            "Changes in iTop",
            CHANGES_FIELDS,
            description="The bridge asks every few seconds which linked tickets have changed. Each workspace "
            "has rules for what is reported: “Rules for changes in iTop” on the workspace's page.",
        ),
        section(
            "Writing to iTop",
            STATUS_FIELDS,
            description="After failures, writing to this iTop is paused and messages are queued; none will "
            "fail. After each pause, one write is tried.",
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
        """Return the text of iTop's last error. It may quote a message."""
        return itop.pause_detail if self.may_read else ""

    @admin.display(description="Administrator", ordering="is_administrator")
    def administrator(self, itop: ItopInstance) -> str:
        return _yes_no_unknown(itop.is_administrator)

    @admin.display(description="PHP extension's attributes")
    def extension(self, itop: ItopInstance) -> str:
        """Return, for each ticket class in use, whether it has the attributes."""
        workspaces = itop.workspaces.all() if itop.pk else ()
        found = {row.profile.ticket_class: _yes_no_unknown(row.has_intercom_attributes) for row in workspaces}
        return ", ".join(f"{name}: {answer}" for name, answer in found.items()) or _yes_no_unknown(None)

    @admin.display(description="change tracking")
    def change_tracking(self, itop: ItopInstance) -> str:
        """Return, for each log, whether iTop records its changes and a write can be found by its key."""
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
        """Save the edited columns. If the address or the account has changed, reset the detected capabilities."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Only the edited columns: since the page was opened, a worker may have changed others, or keys were rotated.
        fields = columns_of(obj, form.changed_data)
        # Compares cleaned addresses: the address of a page of the same iTop is the same address.
        is_other_address = obj.url != form.initial["url"]
        if is_other_address or fields & ACCOUNT_FIELDS:
            fields |= set(obj.reset_capabilities())
            obj.answers.all().delete()
            obj.workspaces.update(has_intercom_attributes=None)
        if is_other_address:
            PersonMatch.objects.filter(itop=obj).delete()
        obj.save(update_fields=fields)


def _end_pause(itop: ItopInstance) -> bool:
    Delivery.objects.release_postponed(itop)
    return itop.probe_now()


def _yes_no_unknown(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]
