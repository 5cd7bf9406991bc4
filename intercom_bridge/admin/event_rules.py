"""The page with a workspace's rules: what the bridge does in its conversations when a ticket changes in iTop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.forms.boundfield import BoundField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404

from intercom_bridge.events import teammates
from intercom_bridge.intercom.client import IntercomError
from intercom_bridge.models import EventKind, EventRules, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.event_rules import REOPENING_KINDS, Action, rules_of

from .base import ModelAdmin, columns_of

# The rows of the table: the kind of event, its title, and an explanation.
EVENTS = (
    (
        EventKind.PUBLIC_ENTRY,
        "An agent answers",
        "A new entry in the public log. It is sent to customers only if its author belongs to a team in iTop.",
    ),
    (
        EventKind.CUSTOMER_ENTRY,
        "The customer writes in iTop's portal",
        "A public entry by the ticket's caller. It is not sent back to the customer.",
    ),
    (
        EventKind.PRIVATE_ENTRY,
        "An agent writes a private entry",
        "A new entry in the private log. It never reaches the customer.",
    ),
    (EventKind.ASSIGNMENT, "The ticket is assigned", "It gets an agent or a team, or another agent or team."),
    (
        EventKind.PENDING,
        "The ticket becomes pending",
        "The note or reply contains the reason that the agent gave.",
    ),
    (EventKind.RESOLVED, "The ticket is resolved", "The note or reply contains the solution."),
    (EventKind.CLOSED, "The ticket is closed", "Agents will not read messages that are added later."),
    (EventKind.REOPENED, "The ticket is reopened", "The ticket was resolved or closed before."),
    (
        EventKind.STATUS,
        "The status changes in another way",
        "For example, the ticket is approved or escalated.",
    ),
)
TITLES = {kind: title for kind, title, _ in EVENTS}
ALWAYS_NOTED = (
    "If the ticket is deleted in iTop or no longer visible to the bridge, the bridge always posts a note."
)


@dataclass(frozen=True)
class EventRow:
    """A row of the table."""

    title: str
    explanation: str
    # One radio button per action, or None if the action is not possible for this event.
    choices: Sequence[Any | None]
    # The checkbox "Reopen the conversation".
    reopening: Any
    errors: Sequence[Any]


class EventRulesForm(forms.ModelForm):  # type: ignore[type-arg] # generic in the stubs only
    """The form with the rules of one workspace. Teammates and teams to choose from are loaded from Intercom."""

    instance: EventRules
    reopens_on = forms.MultipleChoiceField(
        choices=[(kind, title) for kind, title in TITLES.items() if kind in REOPENING_KINDS],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = EventRules
        exclude = ("workspace",)  # noqa: DJ006 - all columns are rules
        widgets = {kind: forms.RadioSelect for kind, _, _ in EVENTS}
        labels = {
            "post_as_admin_id": "Write as",
            "shows_agent_names": "Show agents' names to customers",
            "assign_to": "Assign to",
            "assign_to_team_id": "Team",
            "reopens_tickets": "Reopen the ticket in iTop",
            "updates_attributes": "Keep the attributes “iTop ticket” and “iTop status” up to date",
        }
        help_texts = {
            "post_as_admin_id": "Intercom shows a teammate as the author of each note and reply: the teammate with the "
            "agent's e-mail address. If there is none, it is the teammate selected here.",
            "shows_agent_names": "If this is off, replies to customers name no agent, and their author is the teammate "
            "selected above. Notes always name the agent.",
            "assign_to": "Who gets a conversation that the bridge has reopened.",
            "reopens_tickets": "If the customer writes in the conversation and the ticket is resolved, the bridge "
            "reopens the ticket (ev_reopen), provided that its life cycle in iTop allows it. If this is off, the "
            "message is only added to the ticket's log.",
            "updates_attributes": "Views and workflows of the inbox can use these conversation attributes. To have "
            "them, create them in Intercom under Settings, Data, Conversations.",
        }

    def __init__(self, *args: Any, may_change: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Why the lists of teammates and teams could not be loaded from Intercom.
        self.problems: list[str] = []
        self._names_by_id: dict[str, str] = {}
        self._offer_choices_from_intercom(
            "post_as_admin_id",
            teammates.teammates,
            stored_name=self.instance.post_as_name,
            empty_label="The owner of the access token",
        )
        self._offer_choices_from_intercom(
            "assign_to_team_id", teammates.teams, stored_name="", empty_label="Select a team"
        )
        for field in self.fields.values():
            field.disabled = not may_change

    def _offer_choices_from_intercom(
        self,
        field_name: str,
        load: Callable[[Workspace], Sequence[Any]],
        *,
        stored_name: str,
        empty_label: str,
    ) -> None:
        """Let the field offer the teammates or teams that `load` returns.

        The stored choice is always offered, even if Intercom no longer has it or does not respond. `stored_name` is its
        name, or "" if only its ID is stored.
        """
        field = self.fields[field_name]
        stored_id = str(getattr(self.instance, field_name))
        choices = {"": empty_label}
        try:
            for entry in load(self.instance.workspace):
                choices[str(entry.id)] = _label(entry)
                self._names_by_id[str(entry.id)] = entry.name
            why_not_listed = "no longer in Intercom"
        except (IntercomError, SecretDecryptionError, ImproperlyConfigured) as error:
            # Both lists usually fail with the same error.
            if str(error) not in self.problems:
                self.problems.append(str(error))
            why_not_listed = "Intercom's list could not be loaded"
        if stored_id not in choices:
            choices[stored_id] = f"{stored_name or stored_id} ({why_not_listed})"
        self.fields[field_name] = forms.ChoiceField(
            choices=list(choices.items()), required=False, label=field.label, help_text=field.help_text
        )

    def rows(self) -> Iterator[EventRow]:
        checkboxes = {widget.data["value"]: widget for widget in self["reopens_on"]}
        for kind, title, explanation in EVENTS:
            radio_buttons = {widget.data["value"]: widget for widget in self[kind]}
            yield EventRow(
                title=title,
                explanation=explanation,
                choices=[radio_buttons.get(action) for action in Action.values],
                reopening=checkboxes.get(kind),
                errors=self.errors.get(kind, ()),
            )

    def other_fields(self) -> list[tuple[str, list[BoundField]]]:
        """Return the headings below the table, each with its fields."""
        return [
            ("Files and pictures", [self["files"]]),
            ("Author", [self["post_as_admin_id"], self["shows_agent_names"]]),
            ("Conversations that are reopened", [self["assign_to"], self["assign_to_team_id"]]),
            ("When the customer writes to a resolved ticket", [self["reopens_tickets"]]),
            ("Attributes of the conversation", [self["updates_attributes"]]),
        ]

    def save(self, commit: bool = True) -> EventRules:
        """Store the edited columns. If another author was selected, store the teammate's name too."""
        rules = self.instance
        columns = columns_of(rules, self.changed_data)
        if "post_as_admin_id" in columns:
            rules.post_as_name = self._names_by_id.get(rules.post_as_admin_id, "")
            rules.post_as_missing_since = None
            columns |= {"post_as_name", "post_as_missing_since"}
        rules.save(update_fields=columns if rules.pk else None)
        return rules


class EventRulesAdmin(ModelAdmin):
    """The part of the workspace admin with the page of the rules."""

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        return {**super().row_pages(), "rules": self.rules}

    def page_links(self, request: HttpRequest, row: Any) -> dict[str, str]:
        """Return the links to further pages. Users who may only view the workspace get the link to the rules alone."""
        links = super().page_links(request, row)
        return {**links, "rules_url": self.row_page_url("rules", row)} if row else links

    def rules(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Display the rules of a workspace, or save them."""
        workspace = get_object_or_404(Workspace, pk=pk)
        if not self.has_view_permission(request, workspace):
            raise PermissionDenied
        may_change = self.has_change_permission(request, workspace)
        is_submitted = request.method == "POST"
        if is_submitted and not may_change:
            raise PermissionDenied
        form = EventRulesForm(
            request.POST if is_submitted else None, instance=rules_of(workspace), may_change=may_change
        )
        if is_submitted and form.is_valid():
            form.save()
            changed_fields = ", ".join(form.changed_data)
            self.log_change(
                request, workspace, f"Changed the rules for changes in iTop: {changed_fields or 'nothing'}."
            )
            self.message_user(
                request, "The rules were saved. They apply to changes in iTop from now on.", messages.SUCCESS
            )
            return HttpResponseRedirect(request.path)
        return self.page(
            request,
            "event_rules.html",
            "Rules for changes in iTop",
            original=workspace,
            form=form,
            may_change=may_change,
            actions=Action.labels,
            always_noted=ALWAYS_NOTED,
        )


def _label(entry: Any) -> str:
    """Return the name of a teammate or a team. A teammate's e-mail address is added in brackets."""
    email = getattr(entry, "email", "")
    if email and entry.name:
        return f"{entry.name} ({email})"
    return str(entry.name or email or entry.id)
