from collections.abc import Iterable

from django.db import models

from .conversation import Conversation
from .workspace import Workspace


class ParticipantQuerySet(models.QuerySet["Participant"]):
    def record(self, conversation: Conversation, contact_ids: Iterable[str]) -> None:
        """Store that these contacts take part in the conversation at the same time. Keep the stored participants."""
        ids = set(filter(None, contact_ids))
        self.bulk_create(
            [
                Participant(conversation=conversation, contact_id=contact_id[:64], in_group=len(ids) > 1)
                for contact_id in sorted(ids)
            ],
            ignore_conflicts=True,
        )

    def follow_merge(self, workspace: Workspace, merged_id: str, contact_id: str) -> None:
        """Make the contact a participant of all conversations of the contact that was merged into it."""
        merged = self.filter(conversation__workspace=workspace, contact_id=merged_id)
        self.bulk_create(
            [
                Participant(conversation_id=row.conversation_id, contact_id=contact_id, in_group=row.in_group)
                for row in merged
            ],
            ignore_conflicts=True,
        )


class Participant(models.Model):
    """An Intercom contact who takes part in a conversation. The GDPR export finds the person's data by this row."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="participants")
    contact_id = models.CharField("Intercom contact", max_length=64, db_index=True)
    # Whether other contacts took part at the same time. If a contact without others is followed by another contact, the
    # first may have been merged into the second.
    in_group = models.BooleanField(default=False, editable=False)

    objects = ParticipantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["conversation", "contact_id"], name="participant_unique_contact")
        ]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.conversation}"
