"""The base of the admins of what is written to a ticket for a part of a conversation: its message, and its files."""

from typing import Any

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models.reason import ReasonCode

from .display import unix_time
from .records import ConversationRecordAdmin
from .row_actions import RetriableAdmin, RowAction
from .search import SearchResult


class PartRecordAdmin(RetriableAdmin, ConversationRecordAdmin):
    """Records that can be skipped as long as nothing is written, and that are also found by the part's ID."""

    list_select_related = ("ticket",)
    search_help_text = f"{ConversationRecordAdmin.search_help_text} Or a message ID."

    def search_condition(self, found: SearchResult) -> Q:
        return super().search_condition(found) | Q(part_id=found.text)

    @admin.display(description="sent in Intercom")
    def sent_at(self, row: Any) -> str:
        return unix_time(row.part_created_at)


def skip_action(refused: str) -> RowAction:
    """Return the action that skips rows. `refused` says which rows it cannot skip."""
    return RowAction(
        short_description="Skip",
        eligible=lambda rows: rows.unwritten(),
        change=lambda rows, username: rows.skip(ReasonCode.SKIPPED_BY_ADMIN, username),
        history="Skipped.",
        done="skipped.",
        refused=refused,
    )
