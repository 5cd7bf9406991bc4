"""What is known here of one Intercom contact: handed over, or erased.

Only of what this service keeps. The conversation stays in Intercom and the ticket in iTop, each with its own way to
erase. The keys of messages stay too, without names: what was written once is never written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import structlog
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from .authors import question_about
from .desk.candidates import forget_candidates
from .desk.person import answers_about
from .models import (
    Conversation,
    Delivery,
    ItopAnswer,
    KnownTickets,
    Mention,
    Notification,
    Participant,
    PersonMatch,
    Posting,
    Submission,
    Unlinking,
    Workspace,
)
from .models.delivery import reckoned
from .redaction import without_secrets
from .sync.mentions import note_mentions

log = structlog.get_logger(__name__)

ERASED = "erased at the contact's request"


class StillCreating(Exception):
    """A ticket is just being created for the contact: nothing was erased."""


def contacts_called(workspace: Workspace, words: str) -> list[str]:
    """The ids of the contacts that may be meant: by a contact's id, an e-mail address, an iTop person's id."""
    found = PersonMatch.objects.filter(workspace=workspace)
    meant = Q(contact_id=words) | Q(email__iexact=words)
    if words.isascii() and words.isdecimal() and len(words) < 19:
        meant |= Q(person_id=int(words))
    matched = found.filter(meant).values_list("contact_id", flat=True)
    return sorted({*matched, words})


class Contact:
    """One contact of a workspace, and all rows that are about them."""

    def __init__(self, workspace: Workspace, contact_id: str) -> None:
        note_mentions(workspace)
        self.workspace, self.contact_id = workspace, contact_id
        self.matches = PersonMatch.objects.filter(workspace=workspace, contact_id=contact_id)
        self._took_part = Participant.objects.filter(conversation__workspace=workspace, contact_id=contact_id)
        self._named = Mention.objects.filter(notification__workspace=workspace, contact_id=contact_id)
        ids = self._conversation_ids()
        self.conversations = Conversation.objects.filter(
            workspace=workspace, conversation_id__in=ids
        ).order_by("pk")
        in_them = Notification.objects.alias(of=reckoned("workspace_id")).filter(
            of=workspace.pk, conversation_id__in=ids
        )
        self.notifications = Notification.objects.filter(
            pk__in=self._named.values("notification").union(in_them.values("pk"))
        ).order_by("pk")
        self.known_tickets = KnownTickets.objects.filter(
            Q(person_id__in=self.matches.values("person_id")) | Q(conversation_id__in=ids),
            workspace=workspace,
        )
        accounts = [
            question_about(email.casefold())
            for email in self.matches.values_list("email", flat=True)
            if email
        ]
        self.answers = ItopAnswer.objects.filter(
            Q(question__in=accounts) | answers_about(contact_id, workspace),
            itop=workspace.itop,
        )

    def _conversation_ids(self) -> QuerySet[Any]:
        """Also those that no ticket was ever linked to."""
        named = self._named.exclude(notification__conversation_id="")
        return self._took_part.values_list("conversation__conversation_id").union(
            named.values_list("notification__conversation_id")
        )

    @property
    def conversation_count(self) -> int:
        return self._conversation_ids().count()

    @property
    def is_known(self) -> bool:
        return self._took_part.exists() or self._named.exists() or self.matches.exists()

    # Handed over

    def export(self) -> dict[str, Any]:
        """All of it, as what JSON can hold."""
        return {
            "workspace": self.workspace.workspace_id,
            "contact": self.contact_id,
            "exported_at": timezone.now().isoformat(),
            "person_in_itop": [_plain(row, leave=("workspace", "contact_id")) for row in self.matches],
            "conversations": [self._conversation(row) for row in self.conversations],
            "notifications": [
                _plain(row, leave=("workspace", "due_at")) | {"body": _body(bytes(row.body))}
                for row in self.notifications.iterator(chunk_size=200)
            ],
            "kept_ticket_lists": [
                _plain(row, leave=("workspace", "terms", "question")) for row in self.known_tickets
            ],
            "kept_answers_of_itop": [_plain(row, leave=("itop", "key")) for row in self.answers],
        }

    def _conversation(self, row: Conversation) -> dict[str, Any]:
        return {
            "conversation": row.conversation_id,
            "participants": [one.contact_id for one in row.participants.order_by("pk")],
            "tickets": [
                {"ticket": link.ticket.ref, "linked_at": link.created_at.isoformat(), "sync": link.sync_on}
                for link in row.links.select_related("ticket").order_by("pk")
            ],
            "messages": [
                _plain(one, leave=("conversation", "ticket", "notification")) | {"ticket": one.ticket.ref}
                for one in row.deliveries.select_related("ticket").in_order().iterator(chunk_size=200)
            ],
            "creations": [_plain(one, leave=("conversation",)) for one in row.submissions.order_by("pk")],
            "said_by_us": [_plain(one, leave=("conversation",)) for one in row.postings.order_by("pk")],
        }

    # Erased

    def erase(self) -> dict[str, int]:
        """Erases it; answers how many rows of each kind. Raises StillCreating, and then nothing was erased.

        What waited to be written into a log is left out. Links stay: they say which conversation belongs to which
        ticket, and nothing of anybody.
        """
        with transaction.atomic():
            # Locked: a press that comes now is not among them.
            submissions = list(
                Submission.objects.filter(conversation__in=self.conversations).select_for_update()
            )
            if any(one.state == Submission.State.CREATING for one in submissions):
                raise StillCreating
            note_mentions(self.workspace)
            # First: whoever is just making messages of one is done with it before these are looked for.
            notifications = self._erase_notifications()
            deliveries = Delivery.objects.filter(conversation__in=self.conversations)
            deliveries.skip(ERASED)
            postings = Posting.objects.filter(conversation__in=self.conversations)
            postings.unfinished().update(state=Posting.State.FAILED, reason=ERASED)
            # Of what an Undo would put back: iTop's words, which quote.
            Unlinking.objects.filter(conversation__in=self.conversations).update(left_out=[])
            now = timezone.now()
            erased = {
                "messages": deliveries.update(
                    part={}, item=None, author="", marker="", tries=[], notification=None, cleaned_at=now
                ),
                "creations": _erase_submissions(submissions),
                "things said by us": postings.update(body="", cleaned_at=now),
                "notifications": notifications,
                "kept answers of iTop": self.answers.delete()[0] + forget_candidates(self.workspace.itop),
                "kept ticket lists": self.known_tickets.delete()[0],
                "who the person is in iTop": self._erase_matches(),
            }
            # Last: by these all the others are found.
            Mention.objects.filter(notification__in=self.notifications).delete()
            self._took_part.delete()
        log.info("contact.erased", workspace=self.workspace.workspace_id, rows=sum(erased.values()))
        return erased

    def _erase_notifications(self) -> int:
        waiting = self.notifications.filter(verdict=Notification.Verdict.RECEIVED)
        waiting.update(verdict=Notification.Verdict.SKIPPED, reason=ERASED)
        return self.notifications.update(body=b"", cleaned_at=timezone.now())

    def _erase_matches(self) -> int:
        forget_names(self.matches.values_list("pk", flat=True), ERASED)
        return self.matches.delete()[0]


def forget_names(keys: Iterable[int], instead: str) -> None:
    """Takes the names of these person matches out of Django's own log, which holds them beside what was done."""
    here = ContentType.objects.get_for_model(PersonMatch)
    entries = LogEntry.objects.filter(content_type=here, object_id__in=[str(key) for key in keys])
    entries.update(object_repr=instead)


def _erase_submissions(submissions: list[Submission]) -> int:
    for submission in submissions:
        # The parts are the keys of what was written; who wrote them goes.
        submission.parts = [
            [kind, part_id, at, log_name, ""] for kind, part_id, at, log_name, *_ in submission.parts
        ]
        submission.fields, submission.values, submission.problems, submission.tries = {}, {}, [], []
        submission.reason = submission.note = submission.marker = ""
        submission.caller_id, submission.cleaned_at = 0, timezone.now()
        submission.save()
    return len(submissions)


def _plain(row: models.Model, *, leave: Iterable[str]) -> dict[str, Any]:
    """A row's values by the names of its columns, as what JSON can hold."""
    left_out = {"id", *leave}
    return {
        column.name: _value(getattr(row, column.attname))
        for column in row._meta.concrete_fields
        if column.name not in left_out and not isinstance(column, models.BinaryField)
    }


def _value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)


def _body(raw: bytes) -> Any:
    try:
        return without_secrets(json.loads(raw)) if raw else None
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "backslashreplace")
