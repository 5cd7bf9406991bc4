"""The admin of ticket creations. A ticket creation is one submission of the create form."""

from django.contrib import admin

from intercom_bridge.models import TicketCreation
from intercom_bridge.models.ticket_creation import TicketCreationQuerySet

from .base import section
from .display import json_block, payload_block
from .filters import ReasonFilter
from .records import WORKSPACE_FILTER, ConversationRecordAdmin
from .row_actions import RowAction, RowActionsAdmin


@admin.register(TicketCreation)
class TicketCreationAdmin(RowActionsAdmin, ConversationRecordAdmin):
    """The admin in which unfinished creations are retried immediately."""

    list_display = (
        "created",
        "state",
        "reason_text",
        "ticket",
        "conversation",
        "customer",
        "workspace",
        "admin_name",
        "attempts",
    )
    actions = ("retry",)
    retry = RowAction(
        short_description="Retry now",
        eligible=TicketCreationQuerySet.waiting,
        change=lambda rows, _: rows.release_postponed(),
        history="Retried.",
        done="will be retried as soon as iTop cannot be executing the previous attempt any more.",
        refused="only unfinished creations can be retried.",
    )
    list_filter = ("state", ReasonFilter, "created_at", WORKSPACE_FILTER)
    list_select_related = ("ticket", "conversation__workspace")
    list_defer = ("fields", "parts", "values", "problems", "attempt_log")
    search_help_text = f"{ConversationRecordAdmin.search_help_text} Or a teammate's name."
    teammate_column = "admin_name"
    fieldsets = (
        section(None, ("conversation", "in_intercom", "workspace", "admin_name", "admin_id", "form_key")),
        section("Status", ("state", "reason_text", "ticket", "in_itop", "attempts", "due_at", "created_at")),
        section("Attempts", ("attempt_history",)),
        section("Request to iTop", ("ticket_class", "caller_id", "idempotency_key", "fields_json")),
        section("Form input", ("values_json",), is_collapsed=True),
    )

    @admin.display(description="fields")
    def fields_json(self, creation: TicketCreation) -> str:
        return payload_block(creation, creation.fields, with_texts=self.may_read)

    @admin.display(description="values")
    def values_json(self, creation: TicketCreation) -> str:
        return json_block(creation.values, with_texts=self.may_read)
