"""What is known of a contact: handed over as a file, and erased, from the person's row."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from intercom_bridge.models import PersonMatch
from intercom_bridge.privacy import Contact, StillCreating
from intercom_bridge.sync.mentions import not_noted

from .hidden import may_read_messages
from .row_actions import RowActionsAdmin

MOST_AT_ONCE = 20
# So many notifications are read in a moment.
READ_AT_ONCE = 2000


class PrivacyAdmin(RowActionsAdmin):
    """For the admin of person matches. To hand over needs the right to read messages, to erase that to delete."""

    def has_hand_over_permission(self, request: HttpRequest) -> bool:
        return may_read_messages(request.user)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("intercom_bridge.delete_personmatch"))

    @admin.action(description="Export what is known", permissions=["hand_over"])
    def hand_over(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> HttpResponse | None:
        chosen = self._few(request, queryset)
        if not chosen:
            return None
        for match in chosen:
            self.log_change(request, match, "Exported what is known of the contact.")
        known = [Contact(match.workspace, match.contact_id).export() for match in chosen]
        text = json.dumps(known, indent=2, ensure_ascii=False)
        response = HttpResponse(text.encode("utf-8", "backslashreplace"), content_type="application/json")
        response["Content-Disposition"] = 'attachment; filename="what-is-known.json"'
        return response

    @admin.action(description="Erase what is known", permissions=["erase"])
    def erase(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> HttpResponse | None:
        chosen = self._few(request, queryset)
        if not chosen:
            return None
        known = [Contact(match.workspace, match.contact_id) for match in chosen]
        if "confirmed" not in request.POST:
            return self._ask(request, chosen, known)
        for match, contact in zip(chosen, known, strict=True):
            try:
                with transaction.atomic():
                    # Before, and without the name: Django's log is not to tell it either.
                    self.log_deletions(request, PersonMatch.objects.filter(pk=match.pk))
                    contact.erase()
            except StillCreating:
                what = f"Of {match} nothing was erased: a ticket is just being created. Try again once that is done."
                self.message_user(request, what, messages.WARNING)
            else:
                done = (
                    "Erased here. Erase the contact in Intercom, and the person and tickets in iTop, as well."
                )
                self.message_user(request, done, messages.SUCCESS)
        return None

    def _few(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> list[PersonMatch]:
        chosen = list(queryset.select_related("workspace__itop").order_by("pk")[: MOST_AT_ONCE + 1])
        if len(chosen) > MOST_AT_ONCE:
            self.message_user(request, f"Choose {MOST_AT_ONCE} at most. Nothing was done.", messages.ERROR)
            return []
        left = sum(not_noted(workspace).count() for workspace in {match.workspace for match in chosen})
        if left > READ_AT_ONCE:
            what = (
                f"{left:,} notifications from before the last update have not been gone through yet, to find whom they "
                "name. The worker does it in the night after the update; export_contact and erase_contact, the "
                "commands, do it at once. Nothing was done."
            )
            self.message_user(request, what, messages.ERROR)
            return []
        return chosen

    def _ask(self, request: HttpRequest, chosen: list[PersonMatch], known: list[Contact]) -> HttpResponse:
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Erase what is known",
            "rows": [
                (match, contact.conversation_count, contact.notifications.count())
                for match, contact in zip(chosen, known, strict=True)
            ],
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/intercom_bridge/erase.html", context)
