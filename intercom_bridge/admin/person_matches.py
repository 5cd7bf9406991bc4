from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from intercom_bridge.models import Conversation, PersonMatch
from intercom_bridge.privacy import forget_names

from .base import MOST_COUNTED
from .neighbours import NOTHING, to_list
from .privacy import PrivacyAdmin
from .readonly import ReadOnlyAdmin, short_time
from .row_actions import FROM_ITS_PAGE


@admin.register(PersonMatch)
class PersonMatchAdmin(PrivacyAdmin, ReadOnlyAdmin):
    picked = short_time("picked_at", "picked")
    list_display = ("name", "email", "org_name", "how", "picked_by", "picked", "contact_id", "workspace")
    actions = ("forget", "hand_over", "erase")
    list_filter = ("how", "workspace")
    list_select_related = ("workspace",)
    search_fields = ("name", "email", "contact_id__exact", "picked_by__icontains")
    search_help_text = "A name, an e-mail address, an Intercom contact's id, or the teammate who picked."
    ordering = ("-pk",)
    fieldsets = (
        ("In Intercom", {"fields": ("workspace", "contact_id", "evidence", "conversations")}),
        ("How we know", {"fields": ("how", "picked_by", "picked_at")}),
        (
            "In iTop",
            {
                "fields": (
                    "itop",
                    "name",
                    "email",
                    "person_id",
                    "org_name",
                    "org_id",
                    "attributes",
                    "matched_at",
                )
            },
        ),
    )

    readonly_fields = ("conversations",)

    @admin.display(description="conversations")
    def conversations(self, match: Any) -> str:
        """Those that tickets were linked to, or created from."""
        took_part = {"participants__contact_id": match.contact_id}
        count = Conversation.objects.filter(workspace=match.workspace_id, **took_part).count()
        there = {"workspace__id__exact": match.workspace_id, **took_part}
        return str(to_list(match.viewer, Conversation, count, **there)) if count else NOTHING

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        return ("forget", "hand_over", "erase")

    @admin.action(description="Forget", permissions=["act"])
    def forget(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> None:
        keys = list(queryset.values_list("pk", flat=True)[:MOST_COUNTED])
        self.act(
            request,
            queryset,
            lambda rows: rows.delete()[0],
            eligible=lambda rows: rows,
            recorded="Forgotten: who the contact is will be asked anew.",
            done="forgotten: the panel asks anew who the contact is.",
            refused="they had been forgotten already.",
        )
        # Once they are gone, no erasing would find them there.
        forget_names(keys, "forgotten")

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        response = super().response_action(request, *args, **kwargs)
        if isinstance(response, HttpResponseRedirect) and FROM_ITS_PAGE in request.POST:
            # Its page is no longer there.
            return HttpResponseRedirect(
                reverse(
                    f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist",
                    current_app=self.admin_site.name,
                )
            )
        return response
