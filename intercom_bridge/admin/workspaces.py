from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding
from intercom_bridge.models import Workspace

from .base import STYLES
from .connection_test import ConnectionTestAdmin
from .secrets import SECRET_OVERRIDES, SecretsForm

TOPICS = ("conversation.user.replied", "conversation.admin.replied", "conversation.admin.noted")


@admin.register(Workspace)
class WorkspaceAdmin(ConnectionTestAdmin):
    change_form_template = "admin/intercom_bridge/workspace.html"
    form = SecretsForm
    formfield_overrides = SECRET_OVERRIDES
    list_display = ("workspace_id", "name", "enabled", "region", "itop", "profile", "complete")
    list_display_links = ("workspace_id", "name")
    list_filter = ("enabled", "region", "itop")
    list_select_related = ("itop", "profile")
    search_fields = ("workspace_id", "name")
    readonly_fields = ("addresses",)
    save_on_top = True
    fieldsets = (
        (None, {"fields": ("workspace_id", "name", "enabled", "region")}),
        (
            "To paste into Intercom's Developer Hub",
            {
                "fields": ("addresses",),
                "description": "In Intercom: Settings, Integrations, Developer Hub, your app, Configure.",
            },
        ),
        (
            "Secrets",
            {
                "fields": (
                    "client_secret",
                    "access_token",
                    "previous_client_secret",
                    "previous_client_secret_until",
                ),
                "description": "Kept encrypted and never shown again. To rotate the client secret, put the one in use "
                "now under “previous”, give it a date, and enter the new one above.",
            },
        ),
        (
            "iTop",
            {
                "fields": ("itop", "profile", "scope", "external_id_attribute"),
                "description": "In the scope, :current_contact_id and :current_contact->attribute stand for the "
                "customer who writes.",
            },
        ),
        ("The panel", {"fields": ("language", "time_zone")}),
    )

    @admin.display(description="secrets", boolean=True)
    def complete(self, workspace: Workspace) -> bool:
        """Whether both secrets are stored."""
        return bool(workspace.client_secret and workspace.access_token)

    @admin.display(description="addresses")
    def addresses(self, _workspace: Workspace | None) -> str:
        def url(name: str) -> str:
            return f"{settings.PUBLIC_URL}{reverse(name)}"

        return render_to_string(
            "admin/intercom_bridge/addresses.html",
            {
                "rows": [
                    ("Canvas Kit, For teammates, Initialize URL", url("canvas-initialize")),
                    ("Canvas Kit, For teammates, Submit URL", url("canvas-submit")),
                    ("Webhooks, Endpoint URL", url("webhooks-intercom")),
                ],
                "topics": TOPICS,
                "is_https": settings.PUBLIC_URL.startswith("https://"),
            },
        )

    def examine(self, row: Workspace) -> Iterator[Finding]:
        return doctor.examine(row)

    def get_readonly_fields(self, request: HttpRequest, obj: Workspace | None = None) -> tuple[str, ...]:
        # Another id would be another workspace: its conversations and links hang on it.
        return (*self.readonly_fields, "workspace_id") if obj else self.readonly_fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        return super().get_queryset(request).select_related("itop", "profile")

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(*args, **kwargs)
        if "scope" in form.base_fields:
            form.base_fields["scope"].widget.attrs.update(rows=3, spellcheck="false")
        return form

    class Media:
        css = STYLES
