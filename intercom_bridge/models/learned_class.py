from __future__ import annotations

from django.db import models
from django.utils import timezone

from intercom_bridge.datamodel.attribute import TicketClass
from intercom_bridge.datamodel.stored import from_json

from .itop_instance import ItopInstance
from .ticket_profile import TicketProfile


class LearnedClassQuerySet(models.QuerySet["LearnedClass"]):
    def for_profile(self, profile: TicketProfile) -> LearnedClassQuerySet:
        """All that was learned of the iTops where the profile is used; of any iTop while no workspace has it."""
        used = (
            ItopInstance.objects.filter(workspaces__profile=profile)
            if profile.pk
            else ItopInstance.objects.none()
        )
        return self.filter(itop__in=used) if used.exists() else self


class LearnedClass(models.Model):
    """A class of tickets as the data model of an iTop has it, from which file, and when it was imported."""

    itop = models.ForeignKey(ItopInstance, models.CASCADE, related_name="learned_classes")
    name = models.CharField(max_length=100)
    definition = models.JSONField()
    file_name = models.CharField(max_length=255)
    imported_at = models.DateTimeField(default=timezone.now)

    objects = LearnedClassQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "learned classes"
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["itop", "name"], name="a_class_once_an_itop")]

    def __str__(self) -> str:
        return self.name

    def ticket_class(self) -> TicketClass:
        return from_json(self.definition)
