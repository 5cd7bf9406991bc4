"""What an iTop's data model teaches: read from its file, kept for the iTop, held against the profiles there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from intercom_bridge.models import ItopInstance, LearnedClass, TicketProfile

from .attribute import TicketClass
from .design import DataModelError
from .fit import Fit, meant
from .reader import read_data_model
from .stored import to_json


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What was learned. `forgotten`: classes learned earlier that this data model has no more."""

    classes: tuple[TicketClass, ...]
    languages: tuple[str, ...]
    forgotten: tuple[str, ...]
    misfits: tuple[str, ...]


def learn(
    itop: ItopInstance,
    stream: BinaryIO,
    file_name: str,
    *,
    also: Sequence[str] = (),
    dry_run: bool = False,
) -> Lesson:
    """Replaces what was learned of this iTop by what the file says; with `dry_run` only says it.

    Learned is every class of tickets, and any other that a profile, `also` or an earlier file has named. Raises
    DataModelError, and has changed nothing then.
    """
    profiles = list(TicketProfile.objects.all())
    earlier = list(itop.learned_classes.values_list("name", flat=True))
    model = read_data_model(stream, [*also, *(one.ticket_class for one in profiles), *earlier])
    for name in also:
        if name not in model.names:
            raise DataModelError(f"there is no class {name} in this file.{meant(name, model.names)}")
    if not dry_run:
        _keep(itop, model.classes.values(), PurePath(file_name).name)
    return Lesson(
        classes=tuple(model.classes.values()),
        languages=model.languages,
        forgotten=tuple(name for name in earlier if name not in model.classes),
        misfits=tuple(_misfits(itop, profiles, model.classes, model.names)),
    )


@transaction.atomic
def _keep(itop: ItopInstance, classes: Collection[TicketClass], file_name: str) -> None:
    now = timezone.now()
    itop.learned_classes.exclude(name__in=[one.name for one in classes]).delete()
    for one in classes:
        LearnedClass.objects.update_or_create(
            itop=itop,
            name=one.name,
            defaults={"definition": to_json(one), "file_name": file_name[:255], "imported_at": now},
        )


def _misfits(
    itop: ItopInstance,
    profiles: Iterable[TicketProfile],
    classes: Mapping[str, TicketClass],
    names: Collection[str],
) -> Iterator[str]:
    """What does not fit in the profiles that this iTop's workspaces have; those that no workspace has count too."""
    elsewhere = set(
        TicketProfile.objects.filter(workspaces__isnull=False)
        .exclude(workspaces__itop=itop)
        .values_list("pk", flat=True)
    )
    for profile in profiles:
        if profile.pk in elsewhere:
            continue
        ticket_class = classes.get(profile.ticket_class)
        if ticket_class is None:
            near = meant(profile.ticket_class, names)
            yield f"{profile}: there is no class {profile.ticket_class} in this data model.{near}"
            continue
        fit = Fit(profile, ticket_class)
        for name, sentences in fit.mistakes().items():
            label = profile._meta.get_field(name).verbose_name  # type: ignore[union-attr]
            yield f"{profile}, {label}: {' '.join(sentences)}"
        if lacking := fit.lacking():
            yield f"{profile}: its form does not ask for {', '.join(lacking)}, which a new {ticket_class.name} needs."
