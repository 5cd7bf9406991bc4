"""The admin of workspaces, with the page that connects a new one."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding
from intercom_bridge.models import Conversation, Workspace
from intercom_bridge.sync.intake import FOLLOWED_TOPICS
from intercom_bridge.wake import EVERYTHING, wake

from .base import STYLES, columns_of
from .connect import ConnectForm
from .connection_test import ConnectionTestAdmin
from .scope_tester import PAGE as SCOPES_PAGE
from .scope_tester import ScopeTesterAdmin
from .secrets import SECRET_OVERRIDES, SecretsForm

CONNECT_PAGE = "intercom_bridge_workspace_connect"


@admin.register(Workspace)
class WorkspaceAdmin(ConnectionTestAdmin, ScopeTesterAdmin):
    """Workspaces are connected, edited and tested here."""

    change_form_template = "admin/intercom_bridge/workspace.html"
    form = SecretsForm
    formfield_overrides = SECRET_OVERRIDES
    list_display = ("workspace_id", "name", "enabled", "region", "itop", "profile", "has_secrets")
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
            "Addresses for Intercom's Developer Hub",
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
                "description": "Secrets are encrypted and never displayed again. To rotate the client secret, enter "
                "the current one as the previous secret with an end date, and the new one as the client secret. "
                "Remove the previous secret once Intercom has stopped using it.",
            },
        ),
        (
            "iTop",
            {
                "fields": ("itop", "profile", "scope", "external_id_attribute", "verification"),
                "description": "In the scope, :current_contact_id and :current_contact->attribute refer to the "
                "customer in the conversation.",
            },
        ),
        ("Panel", {"fields": ("language", "time_zone", "announce_tickets")}),
        (
            "Data retention",
            {
                "fields": ("keep_payloads_days", "keep_failed_payloads_days"),
                "description": "Message texts are deleted here after this time, not in iTop or Intercom. A record "
                "that they were written is kept, so that no message is written twice.",
            },
        ),
    )

    class Media:
        """The style sheet, and the script of the copy buttons."""

        css = STYLES
        js = ("intercom_bridge/copy.js",)

    @admin.display(description="secrets", boolean=True)
    def has_secrets(self, workspace: Workspace) -> bool:
        return bool(workspace.client_secret and workspace.access_token)

    @admin.display(description="addresses")
    def addresses(self, _workspace: Workspace | None) -> str:
        names = (
            ("Canvas Kit, For teammates, Initialize URL", "canvas-initialize"),
            ("Canvas Kit, For teammates, Submit URL", "canvas-submit"),
            ("Webhooks, Endpoint URL", "webhooks-intercom"),
        )
        return render_to_string(
            "admin/intercom_bridge/addresses.html",
            {
                "rows": [(label, f"{settings.PUBLIC_URL}{reverse(name)}") for label, name in names],
                "topics": FOLLOWED_TOPICS,
                "is_https": settings.PUBLIC_URL.startswith("https://"),
            },
        )

    def get_urls(self) -> list[URLPattern]:
        page = path("connect/", self.admin_site.admin_view(self.connect), name=CONNECT_PAGE)
        return [page, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the links above the list."""
        connect_url = reverse(f"admin:{CONNECT_PAGE}") if self.has_add_permission(request) else ""
        links = {"connect_url": connect_url, "scopes_url": reverse(f"admin:{SCOPES_PAGE}")}
        return super().changelist_view(request, {**(extra_context or {}), **links})

    def connect(self, request: HttpRequest) -> HttpResponse:
        """Display the page that connects a workspace, and save what was entered."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ConnectForm(
            request.POST if request.method == "POST" else None,
            may_add_itop=request.user.has_perm("intercom_bridge.add_itopinstance"),
            may_add_profile=request.user.has_perm("intercom_bridge.add_ticketprofile"),
        )
        if request.method == "POST" and form.is_valid():
            workspace, created = form.save()
            for row in created:
                self.log_addition(request, row, "Connected.")
            if not self.has_change_permission(request, workspace):
                # This user may not open the connection test.
                self.message_user(request, f"{workspace} was saved.", messages.SUCCESS)
                return self.response_post_save_add(request, workspace)
            text = f"{workspace} was saved. Select “Test now” to check the connection."
            self.message_user(request, text, messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:intercom_bridge_workspace_test", args=[workspace.pk]))
        return self.page(
            request, "connect.html", "Connect a workspace", form=form, addresses=self.addresses(None)
        )

    def save_model(self, request: HttpRequest, obj: Workspace, form: Any, change: bool) -> None:
        """Save what was edited. A workspace that was enabled is compared with Intercom."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Only the edited columns: since the page was opened, keys may have been rotated or the use of a secret noted.
        changed = columns_of(obj, form.changed_data)
        if {"itop_id", "itop", "profile_id", "profile"} & set(changed):
            obj.has_intercom_attributes = None
            changed = {*changed, "has_intercom_attributes"}
        obj.save(update_fields={*changed, *obj.forget_use(changed)})
        if obj.enabled and "enabled" in changed:
            Conversation.objects.look_for_missed(obj)
            transaction.on_commit(lambda: wake(EVERYTHING))

    def examine(self, row: Workspace) -> Iterator[Finding]:
        return doctor.examine(row, doctor.PAGE_SECONDS)

    def get_readonly_fields(self, request: HttpRequest, obj: Workspace | None = None) -> tuple[str, ...]:
        """Return the read-only fields, and the ID of a saved workspace: its conversations depend on it."""
        return (*self.readonly_fields, "workspace_id") if obj else self.readonly_fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        return super().get_queryset(request).select_related("itop", "profile")

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(*args, **kwargs)
        if "scope" in form.base_fields:
            form.base_fields["scope"].widget.attrs.update(rows=3, spellcheck="false")
        return form
