from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding
from intercom_bridge.models import Delivery, ItopInstance, PersonMatch

from .base import STYLES, columns_of, in_short
from .connection_test import ConnectionTestAdmin
from .datamodels import DataModelAdmin
from .secrets import SECRET_OVERRIDES, SecretsForm

# Another one of these, and what was learned is of another account.
ACCOUNT = {"token", "user", "password"}


@admin.register(ItopInstance)
class ItopInstanceAdmin(ConnectionTestAdmin, DataModelAdmin):
    form = SecretsForm
    formfield_overrides = {**SECRET_OVERRIDES, models.URLField: {"assume_scheme": "https"}}
    list_display = ("name", "url", "account", "standing", "administrator", "extension")
    list_select_related = ()
    actions = ("try_now",)
    search_fields = ("name", "url")
    readonly_fields = (
        "standing",
        "paused_since",
        "paused_until",
        "pause_reason",
        "failures_in_a_row",
        "last_success_at",
        "administrator",
        "extension",
        "kept_changes",
        "data_model",
    )
    save_on_top = True
    fieldsets = (
        (None, {"fields": ("name", "url", "time_zone")}),
        (
            "Account",
            {
                "fields": ("token", "user", "password"),
                "description": "A token-based account with the profiles REST Services User and Administrator (iTop "
                "lets only the latter write into a log in somebody's name). Or, without a token, an account and its "
                "password. Secrets are kept encrypted and never shown again.",
            },
        ),
        ("For customers", {"fields": ("portal_url",), "classes": ("collapse",)}),
        (
            "Learned from its data model",
            {
                "fields": ("data_model",),
                "description": "The classes of tickets, their attributes and labels. Import it again after each "
                "change of the data model.",
            },
        ),
        (
            "Learned from its answers",
            {
                "fields": ("administrator", "extension", "kept_changes"),
                "description": "Not known until this iTop has been asked, or written to, for the first time.",
            },
        ),
        (
            "How it stands",
            {
                "fields": (
                    "standing",
                    "paused_since",
                    "paused_until",
                    "pause_reason",
                    "failures_in_a_row",
                    "last_success_at",
                ),
                "description": "In trouble it is paused, and all messages wait: none fails for it. When a pause is "
                "over, one write is tried.",
            },
        ),
    )

    @admin.display(description="account")
    def account(self, itop: ItopInstance) -> str:
        if itop.token:
            return "token"
        return itop.user or "none"

    @admin.display(description="how it stands", ordering="paused_since")
    def standing(self, itop: ItopInstance) -> str:
        if itop.paused_until is None:
            return "working" if itop.last_success_at else "nothing written yet"
        failures = "1 failure" if itop.failures_in_a_row == 1 else f"{itop.failures_in_a_row} failures"
        since = f"paused since {in_short(itop.paused_since)}" if itop.paused_since else "paused"
        if itop.paused_until > timezone.now():
            since += f", until {in_short(itop.paused_until)}"
        return f"{since}, after {failures} in a row: {itop.pause_reason}"

    @admin.display(description="Administrator", ordering="is_administrator")
    def administrator(self, itop: ItopInstance) -> str:
        return _known(itop.is_administrator)

    @admin.display(description="PHP extension's attributes", ordering="has_intercom_attributes")
    def extension(self, itop: ItopInstance) -> str:
        return _known(itop.has_intercom_attributes)

    @admin.display(description="keeps changes of its logs")
    def kept_changes(self, itop: ItopInstance) -> str:
        """Whether a write's marker can be found in iTop, log by log."""
        if not itop.tracked_logs:
            return _known(None)
        explained = {
            True: "yes: each write is found by its marker",
            False: "no: before a repeat the log itself is read",
        }
        return format_html_join(
            "\n",
            "<div>{}: {}</div>",
            ((log, explained[bool(kept)]) for log, kept in itop.tracked_logs.items()),
        )

    def examine(self, row: ItopInstance) -> Iterator[Finding]:
        return doctor.examine_itop(row, doctor.PAGE_SECONDS)

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        return ("try_now",) if row.paused_until else ()

    @admin.action(description="Try now", permissions=["act"])
    def try_now(self, request: HttpRequest, queryset: QuerySet[ItopInstance]) -> None:
        self.act(
            request,
            queryset,
            lambda itops: sum(_probe(itop) for itop in itops),
            eligible=lambda itops: itops.filter(paused_until__isnull=False),
            recorded="Ended its pause: to be tried now.",
            done="will be tried now, with one write.",
            refused="only what is paused can be tried now.",
        )

    def save_model(self, request: HttpRequest, obj: ItopInstance, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Only what was typed: meanwhile a worker may have paused it or learned something, or keys be rotated.
        fields = columns_of(obj, form.changed_data)
        # As it was cleaned: a page's address may have been pasted over the same base.
        is_elsewhere = obj.url != form.initial["url"]
        if is_elsewhere or fields & ACCOUNT:
            fields |= set(obj.forget())
            obj.answers.all().delete()
        if is_elsewhere:
            PersonMatch.objects.filter(itop=obj).delete()
        obj.save(update_fields=fields)

    class Media:
        css = STYLES


def _probe(itop: ItopInstance) -> bool:
    Delivery.objects.hasten(itop)
    return itop.probe_now()


def _known(fact: bool | None) -> str:
    return {True: "yes", False: "no", None: "not known yet"}[fact]
