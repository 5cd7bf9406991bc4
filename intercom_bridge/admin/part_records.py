"""The base class of the admins of deliveries and of files for iTop. Both belong to one part of a conversation."""

from typing import Any

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models.reason import ReasonCode

from .display import unix_time
from .records import ConversationRecordAdmin
from .row_actions import RetriableAdmin, RowAction
from .search import SearchResult


class PartRecordAdmin(RetriableAdmin, ConversationRecordAdmin):
    """An admin of records that belong to a part of a conversation. They can also be searched by the part's ID."""

    list_select_related = ("ticket",)
    search_help_text = f"{ConversationRecordAdmin.search_help_text} Or a message ID."

    def search_condition(self, found: SearchResult) -> Q:
        return super().search_condition(found) | Q(part_id=found.text)

    @admin.display(description="sent in Intercom")
    def sent_at(self, row: Any) -> str:
        return unix_time(row.part_created_at)


def skip_action(refused: str) -> RowAction:
    """Return the action that skips rows that are not written yet. `refused` says which rows can be skipped."""
    return RowAction(
        short_description="Skip",
        eligible=lambda rows: rows.unwritten(),
        change=lambda rows, username: rows.skip(ReasonCode.SKIPPED_BY_ADMIN, username),
        history="Skipped.",
        done="skipped.",
        refused=refused,
    )
