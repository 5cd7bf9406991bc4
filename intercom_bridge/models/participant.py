from collections.abc import Iterable

from django.db import models

from .conversation import Conversation


class ParticipantQuerySet(models.QuerySet["Participant"]):
    def note(self, conversation: Conversation, contact_ids: Iterable[str]) -> None:
        """Store that these contacts take part in the conversation, in addition to the known ones."""
        rows = [
            Participant(conversation=conversation, contact_id=contact_id[:64]) for contact_id in contact_ids
        ]
        self.bulk_create([row for row in rows if row.contact_id], ignore_conflicts=True)


class Participant(models.Model):
    """An Intercom contact who takes part in a conversation, so that a person's data can be found."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="participants")
    contact_id = models.CharField("Intercom contact", max_length=64, db_index=True)

    objects = ParticipantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["conversation", "contact_id"], name="participant_unique_contact")
        ]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.conversation}"
