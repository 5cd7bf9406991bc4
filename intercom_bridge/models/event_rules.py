from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models

from .ticket_event import EventKind
from .workspace import Workspace


class Action(models.TextChoices):
    """What the bridge does in the conversation when something happens to the ticket."""

    NOTHING = "nothing", "nothing"
    NOTE = "note", "internal note"
    REPLY = "reply", "reply to the customer"


class FileAction(models.TextChoices):
    """What the bridge does in the conversation with files that people add to the ticket, and pictures in entries."""

    NOTHING = "nothing", "nothing"
    NOTE = "note", "internal note"
    # If the customer gets the text that a file belongs to, the customer gets the file. Other files go into a note.
    WITH_REPLY = "with_reply", "with their entry if it is sent to the customer, otherwise internal note"


# The choices for changes that the bridge must never send to the customer.
_INTERNAL_ACTIONS = [(action.value, action.label) for action in (Action.NOTHING, Action.NOTE)]
REOPENING_KINDS = frozenset(EventKind.values) - {EventKind.GONE}


def validate_kinds(value: object) -> None:
    """Accept a list of event kinds that may reopen a conversation."""
    if not isinstance(value, list) or not set(map(str, value)) <= REOPENING_KINDS:
        raise ValidationError(f"Write a list of these: {', '.join(sorted(REOPENING_KINDS))}.")


class EventRules(models.Model):
    """What the bridge does in a workspace's conversations when a linked ticket changes in iTop.

    A workspace without a row has the defaults (`rules_of`). By default, nothing is sent to customers.
    """

    class Assignee(models.TextChoices):
        """Who gets a conversation that a change in iTop reopened."""

        UNCHANGED = "unchanged", "nobody else: the conversation keeps its assignee"
        LINKED_BY = "linked_by", "the teammate who linked the ticket"
        LAST_TEAMMATE = "last_teammate", "the teammate who wrote last"
        TEAM = "team", "a team"

    workspace = models.OneToOneField(Workspace, models.CASCADE, related_name="event_rules")
    public_entry = models.CharField(
        "public entry by an agent", max_length=10, choices=Action.choices, default=Action.NOTE
    )
    customer_entry = models.CharField(
        "public entry by the customer in the portal",
        max_length=10,
        choices=_INTERNAL_ACTIONS,
        default=Action.NOTE,
    )
    private_entry = models.CharField(max_length=10, choices=_INTERNAL_ACTIONS, default=Action.NOTHING)
    status = models.CharField(
        "other change of status", max_length=10, choices=Action.choices, default=Action.NOTE
    )
    assignment = models.CharField(max_length=10, choices=Action.choices, default=Action.NOTHING)
    pending = models.CharField(max_length=10, choices=Action.choices, default=Action.NOTE)
    resolved = models.CharField(max_length=10, choices=Action.choices, default=Action.NOTE)
    closed = models.CharField(max_length=10, choices=Action.choices, default=Action.NOTHING)
    reopened = models.CharField(max_length=10, choices=Action.choices, default=Action.NOTHING)
    files = models.CharField(
        "files and pictures",
        max_length=10,
        choices=FileAction.choices,
        default=FileAction.NOTE,
        help_text="Files that people add to the ticket in iTop, and pictures in log entries.",
    )
    shows_agent_names = models.BooleanField(
        "show agents' names to customers",
        default=True,
        help_text="If this is off, replies to the customer name no agent, and the bridge posts them as the teammate "
        "below.",
    )
    post_as_admin_id = models.CharField(
        "post as",
        max_length=64,
        blank=True,
        help_text="If no teammate has the agent's e-mail address, the bridge posts in the name of this teammate. If "
        "empty, it posts in the name of the access token's owner.",
    )
    post_as_name = models.CharField(max_length=200, blank=True, editable=False)
    # When the bridge noticed that this teammate no longer exists in Intercom; null otherwise.
    post_as_missing_since = models.DateTimeField(null=True, blank=True, editable=False)
    reopens_on = models.JSONField(
        "reopen the conversation on",
        default=list,
        blank=True,
        validators=[validate_kinds],
        help_text="These changes reopen a closed or snoozed conversation, at most three times a day per ticket.",
    )
    assign_to = models.CharField(
        "assign it to", max_length=20, choices=Assignee.choices, default=Assignee.UNCHANGED
    )
    assign_to_team_id = models.CharField("team", max_length=64, blank=True)
    reopens_tickets = models.BooleanField(
        "reopen resolved tickets",
        default=False,
        help_text="When the customer writes in the conversation, the bridge reopens a resolved ticket (stimulus "
        "ev_reopen) if the ticket's life cycle allows this.",
    )
    updates_attributes = models.BooleanField(
        "update conversation attributes",
        default=True,
        help_text="If Intercom has the conversation attributes “iTop ticket” and “iTop status”, the bridge keeps them "
        "up to date. Inbox views and workflows can use them.",
    )

    # Values that an import set and the admin has not changed: attribute -> value (config_import).
    imported = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        verbose_name = "rules for changes in iTop"
        verbose_name_plural = "rules for changes in iTop"

    def __str__(self) -> str:
        return f"Rules of {self.workspace}"

    def clean(self) -> None:
        self.reopens_on = self.reopens_on or []
        if self.assign_to == self.Assignee.TEAM and not self.assign_to_team_id:
            raise ValidationError({"assign_to_team_id": "Choose the team that reopened conversations go to."})

    def action_for(self, kind: str) -> str:
        """Return the Action for an event of this kind."""
        if kind == EventKind.FILE:
            # For WITH_REPLY, events/rules.py replaces the note with the reply that contains the file's entry.
            return Action.NOTHING if self.files == FileAction.NOTHING else Action.NOTE
        if kind == EventKind.GONE:
            return Action.NOTE
        # Each other kind has a field with the same name.
        return str(getattr(self, kind))


def rules_of(workspace: Workspace) -> EventRules:
    """Return the workspace's rules, or an unsaved row with the defaults if it has none."""
    return EventRules.objects.filter(workspace=workspace).first() or EventRules(workspace=workspace)
