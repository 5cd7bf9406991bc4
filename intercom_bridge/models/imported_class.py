from __future__ import annotations

from django.db import models
from django.utils import timezone

from .itop_instance import ItopInstance
from .ticket_profile import TicketProfile


class ImportedClassQuerySet(models.QuerySet["ImportedClass"]):
    def for_profile(self, profile: TicketProfile) -> ImportedClassQuerySet:
        """Return the classes of the iTops whose workspaces use the profile, or all classes if no workspace uses it."""
        if profile.pk is None:
            return self
        using_itops = ItopInstance.objects.filter(workspaces__profile=profile)
        return self.filter(itop__in=using_itops) if using_itops.exists() else self


class ImportedClass(models.Model):
    """A ticket class of an iTop's imported data model. datamodel/lookup.py decodes the JSON in `definition`."""

    itop = models.ForeignKey(ItopInstance, models.CASCADE, related_name="imported_classes")
    name = models.CharField(max_length=100)
    definition = models.JSONField()
    file_name = models.CharField(max_length=255)
    imported_at = models.DateTimeField(default=timezone.now)

    objects = ImportedClassQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "imported classes"
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["itop", "name"], name="imported_class_unique")]

    def __str__(self) -> str:
        return self.name
