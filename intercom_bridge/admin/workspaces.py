"""The admin of workspaces, with the page that connects a new workspace."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding, Level
from intercom_bridge.files.download import normalize_host
from intercom_bridge.models import Conversation, ItopInstance, Workspace
from intercom_bridge.models.outgoing_message import is_token_refused
from intercom_bridge.models.reason import reason_label
from intercom_bridge.sync.intake import FOLLOWED_TOPICS
from intercom_bridge.tickets.scope_report import scope_problem
from intercom_bridge.wake import EVERYTHING, wake

from .base import columns_of, section
from .connect import ConnectForm, entered_secrets, forget_secrets, keep_secrets, save_new
from .connection_test import ConnectionTestAdmin, worst_first
from .display import datetime_text, stacked, warning
from .event_rules import EventRulesAdmin
from .scope_tester import PAGE as SCOPES_PAGE
from .scope_tester import ScopeTesterAdmin
from .secrets import SECRET_OVERRIDES, SecretsForm

SAVE_ANYWAY = "save_anyway"
CONNECT_PAGE = "intercom_bridge_workspace_connect"


class WorkspaceForm(SecretsForm):
    """The form of a workspace. It also checks the host names from which files may be downloaded."""

    def clean_file_hosts(self) -> str:
        """Return the host names without duplicates, normalized, one per line. A name may begin with the wildcard *."""
        host_names = []
        for entry in str(self.cleaned_data.get("file_hosts") or "").split():
            wildcard = "*." if entry.startswith("*.") else ""
            try:
                host_names.append(wildcard + normalize_host(entry.removeprefix("*.")))
            except ValueError as error:
                text = (
                    f"“{entry}” is not a host name. Write names such as files.example.com or *.example.com."
                )
                raise ValidationError(text) from error
        return "\n".join(dict.fromkeys(host_names))


@admin.register(Workspace)
class WorkspaceAdmin(ConnectionTestAdmin, EventRulesAdmin, ScopeTesterAdmin):
    """The admin in which workspaces are connected, edited and tested."""

    change_form_template = "admin/intercom_bridge/workspace.html"
    form = WorkspaceForm
    formfield_overrides = SECRET_OVERRIDES
    list_display = ("workspace_id", "name", "enabled", "itop", "connection")
    list_display_links = ("workspace_id", "name")
    list_filter = ("enabled", "region", "itop")
    list_select_related = ("itop", "profile")
    search_fields = ("workspace_id", "name")
    readonly_fields = ("addresses", "client_secret_used_at", "previous_client_secret_used_at")
    save_on_top = True
    change_list_template = "admin/intercom_bridge/workspaces.html"
    fieldsets = (
        section(None, ("workspace_id", "name", "enabled", "region")),
        section(
            "Addresses for Intercom's Developer Hub",
            ("addresses",),
            description="In Intercom: Settings, Integrations, Developer Hub, your app, Configure.",
        ),
        section(
            "Secrets",
            (
                "client_secret",
                "client_secret_used_at",
                "access_token",
                "previous_client_secret",
                "previous_client_secret_until",
                "previous_client_secret_used_at",
            ),
            description="Secrets are stored encrypted and never displayed again. To rotate the client secret, enter "
            "the current secret as the previous client secret, with an end date, and the new secret as the client "
            "secret. Remove the previous secret once Intercom has stopped using it.",
        ),
        section(
            "iTop",
            ("itop", "profile", "scope", "external_id_attribute", "verification", "default_caller_id"),
            description="In the scope, :current_contact_id and :current_contact->attribute refer to the "
            "customer in the conversation.",
        ),
        section("Panel", ("language", "time_zone", "announce_tickets", "announce_failures")),
        section(
            "Files",
            (
                "copies_files",
                "copies_files_of_notes",
                "max_file_mb",
                "max_ticket_files_mb",
                "forbidden_file_types",
                "file_hosts",
                "shows_pictures_in_log",
                "deletes_redacted_files",
            ),
        ),
        section(
            "Data retention",
            ("keep_payloads_days", "keep_failed_payloads_days"),
            description="After this time, the bridge deletes the texts of messages in its own database. The texts in "
            "iTop and Intercom stay. The bridge keeps a record that each message was written, so no message is "
            "written twice.",
        ),
    )

    class Media:
        js = ("intercom_bridge/copy.js",)

    @admin.display(description="connection")
    def connection(self, workspace: Any) -> str:
        """Return the last known state of the connections to Intercom and to iTop. No request is sent."""
        return stacked((_intercom_state(workspace), _itop_state(workspace.itop)))

    @admin.display(description="addresses")
    def addresses(self, workspace: Workspace | None) -> str:
        """Return the addresses and topics to enter in Intercom. `workspace` is None while it is being connected."""
        url_names = (
            ("Canvas Kit, For teammates, Initialize URL", "canvas-initialize"),
            ("Canvas Kit, For teammates, Submit URL", "canvas-submit"),
            ("Webhooks, Endpoint URL", "webhooks-intercom"),
        )
        return render_to_string(
            "admin/intercom_bridge/addresses.html",
            {
                "rows": [(label, f"{settings.PUBLIC_URL}{reverse(name)}") for label, name in url_names],
                "topics": FOLLOWED_TOPICS,
                "missing": workspace.missing_topics(FOLLOWED_TOPICS) if workspace and workspace.pk else [],
                "is_https": settings.PUBLIC_URL.startswith("https://"),
            },
        )

    def get_urls(self) -> list[URLPattern]:
        page = path("connect/", self.admin_site.admin_view(self.connect), name=CONNECT_PAGE)
        return [page, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        connect_url = reverse(f"admin:{CONNECT_PAGE}") if self.has_add_permission(request) else ""
        links = {"connect_url": connect_url, "scopes_url": reverse(f"admin:{SCOPES_PAGE}")}
        return super().changelist_view(request, {**(extra_context or {}), **links})

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the page that connects a workspace. It replaces Django's page for adding a row."""
        return HttpResponseRedirect(reverse(f"admin:{CONNECT_PAGE}", current_app=self.admin_site.name))

    def connect(self, request: HttpRequest) -> HttpResponse:
        """Display the page that connects a workspace. On a valid POST, save the workspace, its iTop and its profile.

        Unless the user selected "Save anyway", the connection is tested first, and problems prevent the saving.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        is_submitted = request.method == "POST"
        form = ConnectForm(
            request.POST if is_submitted else None,
            may_add_itop=request.user.has_perm("intercom_bridge.add_itopinstance"),
            may_add_profile=request.user.has_perm("intercom_bridge.add_ticketprofile"),
            entered=entered_secrets(request),
        )
        problems: list[Finding] = []
        if is_submitted and form.is_valid():
            workspace = form.build()
            if SAVE_ANYWAY not in request.POST:
                problems = _find_problems(workspace)
            if not problems:
                return self._save_new_workspace(request, workspace)
        # Nothing was saved. Keep the entered secrets, so the user need not enter them again.
        secrets_key = ""
        if is_submitted:
            secrets_key = keep_secrets(request, form)
        else:
            forget_secrets(request)
        return self.page(
            request,
            "connect.html",
            "Connect a workspace",
            form=form,
            addresses=self.addresses(None),
            entered=secrets_key,
            problems=problems,
        )

    def _save_new_workspace(self, request: HttpRequest, workspace: Workspace) -> HttpResponse:
        """Save a new workspace, and its iTop and profile if they are new. Redirect to the connection test."""
        for row in save_new(workspace):
            self.log_addition(request, row, "Connected.")
        forget_secrets(request)
        if not self.has_change_permission(request, workspace):
            # The connection test requires this permission.
            self.message_user(request, f"{workspace} was saved.", messages.SUCCESS)
            return self.response_post_save_add(request, workspace)
        text = f"{workspace} was saved. Select “Test now” to check everything else."
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:intercom_bridge_workspace_test", args=[workspace.pk]))

    def save_model(self, request: HttpRequest, obj: Workspace, form: Any, change: bool) -> None:
        """Save the edited columns. If the workspace was enabled, look for messages that it missed while disabled."""
        # Save only the edited columns. The others may have changed since the page was opened: the encryption keys may
        # have been rotated, or the time when a secret was last used may have been stored.
        changed = columns_of(obj, form.changed_data)
        changed.update(obj.reset_outdated(changed))
        obj.save(update_fields=changed)
        if {"itop", "scope"} & changed:
            problem = scope_problem(obj)
            if problem:
                text = f"The scope was saved, but the panel serves nobody until the scope is corrected: {problem}"
                self.message_user(request, text, messages.WARNING)
        if obj.enabled and "enabled" in changed:
            Conversation.objects.compare_syncing_now(obj)
            transaction.on_commit(lambda: wake(EVERYTHING))

    def examine(self, row: Workspace) -> Iterator[Finding]:
        return doctor.examine(row, doctor.PAGE_SECONDS)

    def get_readonly_fields(self, request: HttpRequest, obj: Workspace | None = None) -> tuple[str, ...]:
        """Return the read-only fields. The ID of a saved workspace is read-only: its conversations depend on it."""
        return (*self.readonly_fields, "workspace_id") if obj else self.readonly_fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the workspaces. `is_token_refused` is True while work waits because Intercom refuses the token."""
        workspaces = super().get_queryset(request).select_related("itop", "profile")
        annotated: QuerySet[Any] = workspaces.annotate(is_token_refused=is_token_refused())
        return annotated

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(*args, **kwargs)
        if "scope" in form.base_fields:
            form.base_fields["scope"].widget.attrs.update(rows=3, spellcheck="false")
        return form


def _intercom_state(workspace: Any) -> SafeString | str:
    """Return what is wrong with the connection to Intercom, or when Intercom sent its last request.

    The caller has annotated `workspace` with `is_token_refused` (see `get_queryset`).
    """
    if not workspace.client_secret:
        return warning("Intercom: no client secret")
    if not workspace.access_token:
        return warning("Intercom: no access token")
    if workspace.is_token_refused:
        return warning("Intercom: refuses the access token")
    if workspace.client_secret_used_at is None:
        return "Intercom: no request received yet"
    return f"Intercom: last request received {datetime_text(workspace.client_secret_used_at)}"


def _itop_state(itop: ItopInstance) -> SafeString | str:
    if itop.paused_until is not None:
        since = f"Since {datetime_text(itop.paused_since)}." if itop.paused_since else ""
        return warning(f"iTop: {reason_label(itop.pause_code)} {since}".strip())
    if itop.last_success_at is None:
        return "iTop: nothing written yet"
    return f"iTop: last written {datetime_text(itop.last_success_at)}"


def _find_problems(workspace: Workspace) -> list[Finding]:
    """Test the connections of a workspace that is not saved yet. Return the warnings and failures, worst first."""
    findings = [finding for finding in doctor.examine_unsaved(workspace) if finding.level is not Level.OK]
    return worst_first(findings)
