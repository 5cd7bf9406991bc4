from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding
from intercom_bridge.models import Conversation, Workspace
from intercom_bridge.sync.tasks import wake_for_everything

from .base import STYLES, columns_of
from .connect import ConnectForm
from .connection_test import ConnectionTestAdmin
from .scope_tester import ScopeTesterAdmin
from .secrets import SECRET_OVERRIDES, SecretsForm

CONNECT = "intercom_bridge_workspace_connect"
TOPICS = ("conversation.user.replied", "conversation.admin.replied", "conversation.admin.noted")


@admin.register(Workspace)
class WorkspaceAdmin(ConnectionTestAdmin, ScopeTesterAdmin):
    change_form_template = "admin/intercom_bridge/workspace.html"
    form = SecretsForm
    formfield_overrides = SECRET_OVERRIDES
    list_display = ("workspace_id", "name", "enabled", "region", "itop", "profile", "complete")
    list_display_links = ("workspace_id", "name")
    list_filter = ("enabled", "region", "itop")
    list_select_related = ("itop", "profile")
    search_fields = ("workspace_id", "name")
    readonly_fields = ("addresses", "client_secret_used_at", "previous_client_secret_used_at")
    save_on_top = True
    change_list_template = "admin/intercom_bridge/workspaces.html"
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
                    "client_secret_used_at",
                    "access_token",
                    "previous_client_secret",
                    "previous_client_secret_until",
                    "previous_client_secret_used_at",
                ),
                "description": "Kept encrypted and never shown again. To rotate the client secret, put the one in use "
                "now under “previous”, give it a date, and enter the new one above. Once only the new one is still "
                "being used, remove the previous one.",
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
        (
            "How long contents are kept",
            {
                "fields": ("keep_payloads_days", "keep_failed_payloads_days"),
                "description": "Then what messages said is removed here; iTop and Intercom keep theirs. That they were "
                "written stays known, so that none is written twice.",
            },
        ),
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

    def get_urls(self) -> list[URLPattern]:
        page = path("connect/", self.admin_site.admin_view(self.connect), name=CONNECT)
        return [page, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        connect_url = reverse(f"admin:{CONNECT}") if self.has_add_permission(request) else ""
        links = {"connect_url": connect_url, "scopes_url": self.scopes_url()}
        return super().changelist_view(request, {**(extra_context or {}), **links})

    def connect(self, request: HttpRequest) -> HttpResponse:
        """Everything that a new workspace needs, on one page and in the order of the work."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ConnectForm(
            request.POST if request.method == "POST" else None,
            may_add_itop=request.user.has_perm("intercom_bridge.add_itopinstance"),
            may_add_profile=request.user.has_perm("intercom_bridge.add_ticketprofile"),
        )
        if request.method == "POST" and form.is_valid():
            workspace, made = form.save()
            for row in made:
                self.log_addition(request, row, "Connected.")
            if not self.has_change_permission(request, workspace):
                # The test is not for them.
                self.message_user(request, f"{workspace} is stored.", messages.SUCCESS)
                return self.response_post_save_add(request, workspace)
            next_step = "is stored. See whether it works: press “Test now”."
            self.message_user(request, f"{workspace} {next_step}", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:intercom_bridge_workspace_test", args=[workspace.pk]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Connect a workspace",
            "form": form,
            "addresses": self.addresses(None),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/intercom_bridge/connect.html", context)

    def save_model(self, request: HttpRequest, obj: Workspace, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Only what was typed: meanwhile keys may be rotated, or a secret's use be noted.
        changed = columns_of(obj, form.changed_data)
        obj.save(update_fields={*changed, *obj.forget_use(changed)})
        if obj.enabled and "enabled" in changed:
            Conversation.objects.look_for_missed(obj)
            transaction.on_commit(wake_for_everything)

    def examine(self, row: Workspace) -> Iterator[Finding]:
        return doctor.examine(row, doctor.PAGE_SECONDS)

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
        js = ("intercom_bridge/copy.js",)
