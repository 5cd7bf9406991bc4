from __future__ import annotations

from typing import Any

import nh3
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from intercom_bridge.models import Delivery, Workspace
from intercom_bridge.models.delivery import DeliveryQuerySet

from .filters import DeliveryReasonFilter, LogFilter
from .find import FindingAdmin, Found
from .hidden import hidden
from .neighbours import to_intercom, to_itop
from .readonly import ReadOnlyAdmin, as_kept, as_time, may_read, reason_column, short_time
from .row_actions import RowActionsAdmin
from .tries import tries_table

State = Delivery.State
# Of an entry that is shown nothing is fetched from elsewhere.
SHOWN_TAGS = nh3.ALLOWED_TAGS - {"img", "picture", "source", "video", "audio"}


@admin.register(Delivery)
class DeliveryAdmin(FindingAdmin, RowActionsAdmin, ReadOnlyAdmin):
    created = short_time("created_at", "created")
    shown_reason = reason_column
    list_display = ("created", "state", "shown_reason", "ticket", "conversation")
    actions = ("try_again", "skip", "read_back")
    list_filter = (
        "state",
        DeliveryReasonFilter,
        LogFilter,
        "kind",
        "created_at",
        ("conversation__workspace", admin.RelatedFieldListFilter),
    )
    list_select_related = ("ticket", "conversation")
    list_defer = ("part", "item", "tries")
    texts = ("part", "item", "reason", "tries")
    search_help_text = f"{FindingAdmin.search_help_text} Or a part's id."
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ticket", "in_itop", "conversation", "in_intercom", "workspace", "notification")}),
        ("The message", {"fields": ("kind", "part_id", "author", "sent_at")}),
        (
            "What became of it",
            {
                "fields": (
                    "state",
                    "shown_reason",
                    "attempts",
                    "erased_times",
                    "due_at",
                    "created_at",
                    "written_at",
                    "checked_at",
                )
            },
        ),
        ("The log entry", {"fields": ("log_code", "entry_author", "entry")}),
        ("Every try", {"fields": ("every_try",)}),
        ("What is sent to iTop", {"fields": ("marker", "shown_item"), "classes": ("collapse",)}),
        ("What came from Intercom", {"fields": ("shown_part",), "classes": ("collapse",)}),
    )
    readonly_fields = (
        "workspace",
        "shown_reason",
        "in_itop",
        "in_intercom",
        "sent_at",
        "log_code",
        "entry_author",
        "entry",
        "every_try",
        "shown_item",
        "shown_part",
        "erased_times",
        "checked_at",
    )

    def finding(self, found: Found) -> Q:
        return found.here() | Q(part_id=found.words)

    @admin.display(description="workspace")
    def workspace(self, delivery: Delivery) -> Workspace:
        return delivery.conversation.workspace

    @admin.display(description="in iTop")
    def in_itop(self, delivery: Delivery) -> str:
        return to_itop(delivery.ticket)

    @admin.display(description="in Intercom")
    def in_intercom(self, delivery: Delivery) -> str:
        return to_intercom(delivery.conversation)

    @admin.display(description="sent in Intercom at")
    def sent_at(self, delivery: Delivery) -> str:
        return as_time(delivery.part_created_at)

    @admin.display(description="log")
    def log_code(self, delivery: Delivery) -> str:
        if not delivery.log:
            return "None: it is not written."
        return str(delivery.conversation.workspace.profile.code(delivery.log))

    @admin.display(description="as")
    def entry_author(self, delivery: Delivery) -> str:
        """In whose name it stands in the log: so iTop was told."""
        item = delivery.item or {}
        if item.get("user_id"):
            return f"iTop account {item['user_id']}"
        if item.get("user_login"):
            return str(item["user_login"])
        return "our own account: the author stands in the text" if item else "-"

    @admin.display(description="entry")
    def entry(self, delivery: Delivery) -> str:
        """As people read it in the log."""
        if delivery.cleaned_at:
            return as_kept(delivery, delivery.item)
        if delivery.item is None:
            if delivery.written_at:
                return "Written with the ticket: see its submission."
            return "Not rendered yet." if delivery.log else "None: it is not written."
        message = str(delivery.item.get("message", ""))
        if not may_read(delivery):
            return hidden(message)
        shown = SafeString(nh3.clean(message, tags=SHOWN_TAGS))
        return format_html('<div class="bridge-entry">{}</div>', shown)

    @admin.display(description="tries")
    def every_try(self, delivery: Delivery) -> str:
        return tries_table(delivery)

    @admin.display(description="entry")
    def shown_item(self, delivery: Delivery) -> str:
        if delivery.item is None and delivery.cleaned_at is None:
            return "Not rendered yet."
        return as_kept(delivery, delivery.item)

    @admin.display(description="part")
    def shown_part(self, delivery: Delivery) -> str:
        return as_kept(delivery, delivery.part)

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        if row.state == State.FAILED:
            return ("skip",) if row.cleaned_at else ("try_again", "skip")
        if row.state in (State.WRITTEN, State.RESTORED):
            return ("read_back",) if row.item is not None and row.cleaned_at is None else ()
        return ("skip",) if row.state == State.WAITING else ()

    @admin.action(description="Try again", permissions=["act"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        self.act(
            request,
            queryset,
            DeliveryQuerySet.try_again,
            eligible=DeliveryQuerySet.retriable,
            recorded="Put back, to be written again.",
            done="will be tried again.",
            refused="only what failed, and is still kept, can be tried again.",
        )

    @admin.action(description="Skip", permissions=["act"])
    def skip(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        reason = f"skipped by {request.user.get_username()}"
        self.act(
            request,
            queryset,
            lambda rows: DeliveryQuerySet.skip(rows, reason),
            eligible=DeliveryQuerySet.unwritten,
            recorded="Skipped: it will not be written.",
            done="will not be written.",
            refused="only what waits, or failed, can be skipped.",
        )

    @admin.action(description="Read back from the log", permissions=["act"])
    def read_back(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        self.act(
            request,
            queryset,
            DeliveryQuerySet.read_back_now,
            eligible=DeliveryQuerySet.readable_back,
            recorded="To be read back from the ticket's log.",
            done="will be looked for in the ticket's log. One that somebody's save has erased is written again; "
            "of any other that is missing the reason says so.",
            refused="only what is written, and is still kept, can be read back.",
        )
