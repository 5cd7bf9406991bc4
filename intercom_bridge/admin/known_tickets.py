from __future__ import annotations

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models import Conversation, KnownTickets

from .find import FindingAdmin, Found, people
from .readonly import ReadOnlyAdmin, as_block, may_read, short_time


@admin.register(KnownTickets)
class KnownTicketsAdmin(FindingAdmin, ReadOnlyAdmin):
    asked = short_time("at", "asked")
    list_display = ("asked", "person_id", "conversation_id", "workspace", "more")
    list_filter = ("at", "workspace")
    list_select_related = ("workspace",)
    list_defer = ("rows",)
    texts = ("rows",)
    ordering = ("-at", "-pk")
    fieldsets = (
        (None, {"fields": ("workspace", "person_id", "conversation_id", "at")}),
        (
            "What iTop said",
            {
                "fields": ("shown_rows", "more"),
                "description": "The panel shows it when iTop does not answer. It is deleted after some days.",
            },
        ),
    )
    readonly_fields = ("shown_rows",)

    def finding(self, found: Found) -> Q:
        # They are few: none is older than some days.
        ids = Conversation.objects.filter(pk__in=found.talks()).values_list("conversation_id", flat=True)
        persons = people(found.words).values_list("person_id", flat=True)
        return Q(conversation_id__in={found.words, *ids}) | Q(person_id__in=list(persons))

    @admin.display(description="tickets")
    def shown_rows(self, known: KnownTickets) -> str:
        return as_block(known.rows, with_texts=may_read(known))
