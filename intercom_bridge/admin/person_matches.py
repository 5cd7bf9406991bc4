"""The admin of person matches, with the export and erasure of a contact's data."""

import json
import re
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from intercom_bridge.models import Conversation, PersonMatch
from intercom_bridge.privacy.contact import Contact, CreationPendingError, anonymize_admin_log
from intercom_bridge.privacy.person_copy import person_copy
from intercom_bridge.tickets.people.evidence import describe_evidence

from .base import MAX_COUNTED, section
from .display import NOTHING, datetime_text, json_block, stacked
from .masking import may_read_messages
from .records import RecordAdmin
from .row_actions import FROM_ROW_PAGE, RowAction, RowActionsAdmin

# The most matches that one export or erasure accepts.
MAX_CONTACTS = 20
REMOVAL = RowAction(
    short_description="Remove the match",
    eligible=lambda rows: rows,
    change=lambda rows, _: rows.delete()[0],
    history="Match removed.",
    done="removed. The panel will match the contact again.",
    refused="already removed.",
)


@admin.register(PersonMatch)
class PersonMatchAdmin(RowActionsAdmin, RecordAdmin):
    """The admin in which matches are removed, and the data of a contact is exported or erased.

    The export requires the permission to read messages. The erasure requires the permission to delete matches.
    """

    list_display = ("name", "email", "organization", "found_by", "picked", "workspace")
    actions = ("forget", "export_for_person", "export_for_controller", "erase_data")
    dangerous_actions = ("erase_data",)
    list_filter = ("how", "workspace")
    list_select_related = ("workspace",)
    search_fields = ("name", "email", "contact_id__exact", "picked_by__icontains")
    search_help_text = (
        "A name, an e-mail address, an Intercom contact ID, or the teammate who picked the person."
    )
    fieldsets = (
        section("In Intercom", ("workspace", "contact_id", "stated", "conversations")),
        section("Match", ("found_by", "picked_by", "picked_at")),
        section(
            "In iTop",
            ("itop", "name", "email", "person_id", "organization_with_id", "attributes_json", "matched_at"),
        ),
    )

    @admin.display(description="organization", ordering="org_name")
    def organization(self, match: PersonMatch) -> str:
        return match.org_name or "-"

    @admin.display(description="organization")
    def organization_with_id(self, match: PersonMatch) -> str:
        return f"{match.org_name or 'Without a name'} (ID {match.org_id})" if match.org_id else NOTHING

    @admin.display(description="found by", ordering="how")
    def found_by(self, match: PersonMatch) -> str:
        return match.get_how_display()

    @admin.display(description="picked", ordering="picked_at")
    def picked(self, match: PersonMatch) -> str:
        if not match.picked_at:
            return match.picked_by or "-"
        return stacked((match.picked_by, datetime_text(match.picked_at)))

    @admin.display(description="data of the contact")
    def stated(self, match: PersonMatch) -> str:
        """Return the contact's data in Intercom that was used to find the person."""
        return stacked(describe_evidence(match.evidence))

    @admin.display(description="conversations")
    def conversations(self, match: PersonMatch) -> str:
        has_contact = {"participants__contact_id": match.contact_id}
        count = Conversation.objects.filter(workspace=match.workspace_id, **has_contact).count()
        filters: dict[str, object] = {"workspace__id__exact": match.workspace_id, **has_contact}
        return str(self.list_link(Conversation, count, **filters)) if count else NOTHING

    @admin.display(description="attributes")
    def attributes_json(self, match: PersonMatch) -> str:
        return json_block(match.attributes, with_texts=self.may_read)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return may_read_messages(request.user)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("intercom_bridge.delete_personmatch"))

    @admin.action(description=REMOVAL.short_description, permissions=["act"])
    def forget(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> None:
        """Remove matches. The panel matches these contacts again when it is opened the next time."""
        match_ids = list(queryset.values_list("pk", flat=True)[:MAX_COUNTED])
        self.run_action(request, queryset, REMOVAL)
        # The admin's history contains the persons' names. Remove them now: without the match, a later erasure would
        # not find these entries.
        anonymize_admin_log(match_ids, "removed")

    @admin.action(description="Export for the person", permissions=["export"])
    def export_for_person(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> HttpResponse | None:
        """Return a file with one contact's own messages, tickets and times.

        If several contacts are selected, display an error and return None, because the file is given to one person.
        """
        selected = self._selected_matches(request, queryset)
        if len(selected) > 1:
            text = "Select only one person, because the file is meant for that person. Nothing was done."
            self.message_user(request, text, messages.ERROR)
            return None
        if not selected:
            return None
        [match] = selected
        self.log_change(request, match, "Exported the contact's data for the person.")
        copy = person_copy(Contact(match.workspace, match.contact_id))
        return _download(copy, f"for-the-person-{_file_part(match.contact_id)}.json")

    @admin.action(description="Export for the controller (internal)", permissions=["export"])
    def export_for_controller(
        self, request: HttpRequest, queryset: QuerySet[PersonMatch]
    ) -> HttpResponse | None:
        """Return a file with everything stored about the contacts, including internal notes and others' data."""
        selected = self._selected_matches(request, queryset)
        if not selected:
            return None
        for match in selected:
            self.log_change(request, match, "Exported the contact's data for the controller.")
        exports = [Contact(match.workspace, match.contact_id).export() for match in selected]
        suffix = _file_part(selected[0].contact_id) if len(selected) == 1 else f"{len(selected)}-contacts"
        return _download(exports, f"internal-for-the-controller-{suffix}.json")

    @admin.action(description="Erase stored data", permissions=["erase"])
    def erase_data(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> HttpResponse | None:
        """Erase the data of the selected contacts. The first request returns a page that asks for confirmation."""
        selected = self._selected_matches(request, queryset)
        if not selected:
            return None
        contacts = [Contact(match.workspace, match.contact_id) for match in selected]
        if "confirmed" not in request.POST:
            return self._confirmation(request, selected, contacts)
        for match, contact in zip(selected, contacts, strict=True):
            try:
                with transaction.atomic():
                    self.log_deletions(request, PersonMatch.objects.filter(pk=match.pk))
                    # Erase last, because `erase` also removes the person's name from that log entry.
                    contact.erase()
            except CreationPendingError:
                text = (
                    f"Nothing was erased for {match}: a ticket is being created. Try again in a few minutes."
                )
                self.message_user(request, text, messages.WARNING)
            else:
                text = "Erased. Now erase the contact in Intercom, and the person and the tickets in iTop."
                self.message_user(request, text, messages.SUCCESS)
        return None

    def _selected_matches(self, request: HttpRequest, queryset: QuerySet[PersonMatch]) -> list[PersonMatch]:
        """Return the selected matches. If they are more than MAX_CONTACTS, display an error and return []."""
        selected = list(queryset.select_related("workspace__itop").order_by("pk")[: MAX_CONTACTS + 1])
        if len(selected) > MAX_CONTACTS:
            text = f"Select at most {MAX_CONTACTS} people. Nothing was done."
            self.message_user(request, text, messages.ERROR)
            return []
        return selected

    def _confirmation(
        self, request: HttpRequest, selected: list[PersonMatch], contacts: list[Contact]
    ) -> HttpResponse:
        rows = [
            (match, contact.conversation_count, contact.webhook_events.count())
            for match, contact in zip(selected, contacts, strict=True)
        ]
        return self.page(request, "erase.html", "Erase stored data", rows=rows, checkbox=ACTION_CHECKBOX_NAME)

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        """Return to the list after an action on a row's page, because the action may have deleted the row."""
        response = super().response_action(request, *args, **kwargs)
        if isinstance(response, HttpResponseRedirect) and FROM_ROW_PAGE in request.POST:
            return HttpResponseRedirect(
                reverse("admin:intercom_bridge_personmatch_changelist", current_app=self.admin_site.name)
            )
        return response


def _download(data: Any, file_name: str) -> HttpResponse:
    text = json.dumps(data, indent=2, ensure_ascii=False)
    response = HttpResponse(text.encode("utf-8", "backslashreplace"), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


def _file_part(contact_id: str) -> str:
    """Return the contact ID with only those characters that are safe in a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", contact_id)
