from __future__ import annotations

from django.db import IntegrityError, models, transaction
from django.db.models.functions import Upper
from django.utils import timezone

from .itop_instance import ITOP, ItopInstance
from .workspace import Workspace


class PersonMatchQuerySet(models.QuerySet["PersonMatch"]):
    def follow_merge(self, workspace: Workspace, merged_id: str, contact_id: str) -> None:
        """Move a teammate's choice of a person from the merged contact to the remaining contact, `contact_id`.

        If the remaining contact already has a match, keep that match and delete the choice.
        """
        choice = self.filter(workspace=workspace, contact_id=merged_id, how=PersonMatch.How.CHOSEN)
        try:
            with transaction.atomic():
                choice.update(contact_id=contact_id, merged_from=merged_id)
        except IntegrityError:
            choice.delete()


class PersonMatch(models.Model):
    """The iTop Person of an Intercom contact, and how it was found."""

    class How(models.TextChoices):
        ITOP = "itop", "signed in to iTop"
        ATTRIBUTES = "attributes", "the contact's itop_contact_id"
        EXTERNAL_ID = "external_id", "the contact's external id"
        EMAIL = "email", "the e-mail address"
        CHOSEN = "chosen", "picked by a teammate"

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="person_matches")
    # An admin can move the workspace to another iTop, where the same id belongs to another person.
    itop = models.ForeignKey(ItopInstance, models.CASCADE, verbose_name=ITOP, related_name="person_matches")
    contact_id = models.CharField("Intercom contact", max_length=64)
    # The contact's data that led to this match. If the contact's e-mail address changes, the match is no longer valid,
    # unless a teammate chose the person.
    evidence = models.CharField(max_length=600)
    how = models.CharField("found by", max_length=12, choices=How.choices)
    person_id = models.PositiveBigIntegerField("Person in iTop")
    name = models.CharField(max_length=255)
    email = models.CharField(max_length=320, blank=True)
    org_id = models.PositiveBigIntegerField()
    org_name = models.CharField(max_length=255, blank=True)
    # Further attributes that the workspace's scope uses (:current_contact->attribute).
    attributes = models.JSONField(default=dict, blank=True)
    matched_at = models.DateTimeField("looked up in iTop at", default=timezone.now)
    picked_by = models.CharField(max_length=200, blank=True)
    picked_at = models.DateTimeField(null=True, blank=True)
    # The merged contact for whom a teammate chose the person (`follow_merge`). "" after the choice was compared with
    # this contact's own data.
    merged_from = models.CharField(max_length=64, blank=True, editable=False)

    objects = PersonMatchQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "person matches"
        constraints = [
            models.UniqueConstraint(fields=["workspace", "contact_id"], name="one_person_a_contact")
        ]
        indexes = [
            models.Index(fields=["person_id"], name="person_match_person"),
            models.Index(fields=["contact_id"], name="person_match_contact"),
            # The admin searches case-insensitively.
            models.Index(Upper("email"), name="person_match_email"),
            models.Index(Upper("name"), name="person_match_name"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_chosen(self) -> bool:
        return self.how == self.How.CHOSEN
