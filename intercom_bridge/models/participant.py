from collections.abc import Iterable

from django.db import models

from .conversation import Conversation
from .workspace import Workspace


class ParticipantQuerySet(models.QuerySet["Participant"]):
    def note(self, conversation: Conversation, contact_ids: Iterable[str]) -> None:
        """Store that these contacts take part in the conversation together, in addition to the known ones."""
        ids = set(filter(None, contact_ids))
        self.bulk_create(
            [
                Participant(conversation=conversation, contact_id=contact_id[:64], in_group=len(ids) > 1)
                for contact_id in sorted(ids)
            ],
            ignore_conflicts=True,
        )

    def follow_merge(self, workspace: Workspace, merged_id: str, contact_id: str) -> None:
        """Store that the contact takes part where the contact did that was merged into it."""
        merged = self.filter(conversation__workspace=workspace, contact_id=merged_id)
        self.bulk_create(
            [
                Participant(conversation_id=row.conversation_id, contact_id=contact_id, in_group=row.in_group)
                for row in merged
            ],
            ignore_conflicts=True,
        )


class Participant(models.Model):
    """An Intercom contact who takes part in a conversation, so that a person's data can be found."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="participants")
    contact_id = models.CharField("Intercom contact", max_length=64, db_index=True)
    # Others took part at the same time. The only contact of a conversation that has none of these may have been merged
    # with the one before.
    in_group = models.BooleanField(default=False, editable=False)

    objects = ParticipantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["conversation", "contact_id"], name="participant_unique_contact")
        ]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.conversation}"
