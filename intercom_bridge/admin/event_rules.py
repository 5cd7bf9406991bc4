"""The page with a workspace's rules: what its conversations hear of changes in iTop."""

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

# The rows of the table: an event, and what a person sees happen in iTop.
EVENTS = (
    (
        EventKind.PUBLIC_ENTRY,
        "An agent answers",
        "A new entry in the public log. Only those of members of a team in iTop are sent to customers.",
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
    (EventKind.ASSIGNMENT, "The ticket is assigned", "To an agent or a team, or to another one."),
    (EventKind.PENDING, "The ticket is pending", "With the reason that the agent gives."),
    (EventKind.RESOLVED, "The ticket is resolved", "With the solution."),
    (EventKind.CLOSED, "The ticket is closed", "Nobody will read later messages in it."),
    (EventKind.REOPENED, "The ticket is reopened", "It was resolved or closed."),
    (EventKind.STATUS, "The status changes in another way", "For example, it is approved or escalated."),
)
TITLES = {kind: title for kind, title, _ in EVENTS}
ALWAYS_NOTED = "If the ticket is deleted in iTop or no longer visible to the bridge, a note always says so."


@dataclass(frozen=True)
class EventRow:
    """A row of the table: a radio button per action, None where the action is not possible, and a checkbox."""

    title: str
    explanation: str
    choices: Sequence[Any | None]
    reopening: Any
    errors: Sequence[Any]


class EventRulesForm(forms.ModelForm):  # type: ignore[type-arg] # generic in the stubs only
    """The rules of one workspace. The choices come from Intercom, and the stored ones are always among them."""

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
            "post_as_admin_id": "Intercom shows a teammate as the author of each note and reply: the one who has the "
            "agent's e-mail address, or else the one selected here.",
            "shows_agent_names": "Otherwise replies to customers name no agent, and the teammate selected above is "
            "their author. Notes always name the agent.",
            "assign_to": "Who gets a conversation that the bridge has reopened.",
            "reopens_tickets": "If the customer writes in the conversation and the ticket is resolved, it is reopened "
            "(ev_reopen) where its life cycle allows it. Without this, the message is only added to its log.",
            "updates_attributes": "For views and workflows of the inbox. Conversations have these attributes if they "
            "were created in Intercom: Settings, Data, Conversations.",
        }

    def __init__(self, *args: Any, may_change: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.problems: list[str] = []
        self._names: dict[str, str] = {}
        rules = self.instance
        self._list(
            "post_as_admin_id", teammates.teammates, rules.post_as_name, "The owner of the access token"
        )
        self._list("assign_to_team_id", teammates.teams, "", "Select a team")
        for field in self.fields.values():
            field.disabled = not may_change

    def _list(
        self, name: str, load: Callable[[Workspace], Sequence[Any]], known_name: str, empty: str
    ) -> None:
        """Offer what Intercom has, and the stored choice even if Intercom no longer has it."""
        field = self.fields[name]
        choices = {"": empty}
        stored = str(getattr(self.instance, name))
        try:
            for each in load(self.instance.workspace):
                choices[str(each.id)] = _label(each)
                self._names[str(each.id)] = each.name
            gone = "no longer in Intercom"
        except (IntercomError, SecretDecryptionError, ImproperlyConfigured) as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            gone = "Intercom's list could not be loaded"
        if stored not in choices:
            choices[stored] = f"{known_name or stored} ({gone})"
        self.fields[name] = forms.ChoiceField(
            choices=list(choices.items()), required=False, label=field.label, help_text=field.help_text
        )

    def rows(self) -> Iterator[EventRow]:
        """Return the rows of the table."""
        reopening = {widget.data["value"]: widget for widget in self["reopens_on"]}
        for kind, title, explanation in EVENTS:
            offered = {widget.data["value"]: widget for widget in self[kind]}
            yield EventRow(
                title,
                explanation,
                [offered.get(action) for action in Action.values],
                reopening.get(kind),
                self.errors.get(kind, ()),
            )

    def other_fields(self) -> list[tuple[str, list[BoundField]]]:
        """Return the fields below the table, by heading."""
        return [
            ("Files and pictures", [self["files"]]),
            ("Author", [self["post_as_admin_id"], self["shows_agent_names"]]),
            ("Conversations that are reopened", [self["assign_to"], self["assign_to_team_id"]]),
            ("When the customer writes to a resolved ticket", [self["reopens_tickets"]]),
            ("Attributes of the conversation", [self["updates_attributes"]]),
        ]

    def save(self, commit: bool = True) -> EventRules:
        """Store the edited columns, and the name of the selected teammate."""
        rules = self.instance
        changed = columns_of(rules, self.changed_data)
        if "post_as_admin_id" in changed:
            rules.post_as_name = self._names.get(rules.post_as_admin_id, "")
            rules.post_as_missing_since = None
            changed |= {"post_as_name", "post_as_missing_since"}
        rules.save(update_fields=changed if rules.pk else None)
        return rules


class EventRulesAdmin(ModelAdmin):
    """The part of the workspace admin with the rules."""

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        return {**super().row_pages(), "rules": self.rules}

    def page_links(self, request: HttpRequest, row: Any) -> dict[str, str]:
        """Link the rules also for those who may only view the workspace."""
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
            changed = ", ".join(form.changed_data)
            self.log_change(
                request, workspace, f"Changed the rules for changes in iTop: {changed or 'nothing'}."
            )
            self.message_user(
                request, "The rules were saved. They apply to changes from now on.", messages.SUCCESS
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
    """Return the name of a teammate or a team, and the teammate's address."""
    email = getattr(entry, "email", "")
    return f"{entry.name} ({email})" if email and entry.name else str(entry.name or email or entry.id)
