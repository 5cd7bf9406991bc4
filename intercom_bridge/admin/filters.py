"""Filters whose choices are known beforehand: to ask a long table what there is in a column means to read it all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from intercom_bridge import reasons
from intercom_bridge.models import Delivery, Notification, Posting, Submission
from intercom_bridge.models.delivery import COPIED, LEFT_OUT, MISSING, PAUSED, UNLINKED
from intercom_bridge.models.notification import NOT_LINKED
from intercom_bridge.sync.intake import FOLLOWED_TOPICS
from intercom_bridge.sync.message import PRIVATE, PUBLIC

FAILED, SKIPPED = Delivery.State.FAILED, Delivery.State.SKIPPED
WAITING, WRITTEN, RESTORED = Delivery.State.WAITING, Delivery.State.WRITTEN, Delivery.State.RESTORED


@dataclass(frozen=True)
class Kind:
    """Reasons that are alike: rows in this state whose reason begins like one of these."""

    label: str
    state: str
    begins: tuple[str, ...]

    def q(self, state_field: str) -> Q:
        begins = Q()
        for words in self.begins:
            begins |= Q(reason__startswith=words)
        # `reason > ''` for an index that has only rows with something to say.
        return Q(**{state_field: self.state}) & Q(reason__gt="") & begins


def _start(sentence: str) -> str:
    """What a reason begins with, up to the first thing that varies."""
    return sentence.partition("%(")[0]


OF_DELIVERIES = {
    "gone": Kind("failed: the ticket is gone", FAILED, (reasons.TICKET_GONE_BEFORE,)),
    "full": Kind("failed: the log is full", FAILED, (reasons.LOG_FULL_BEFORE,)),
    "refused": Kind("failed: iTop refused it", FAILED, (_start(reasons.REFUSED),)),
    "only": Kind("failed: at this one only", FAILED, (_start(reasons.ONLY_THIS_ONE),)),
    "given_up": Kind("failed: seven days of trouble", FAILED, (_start(reasons.GIVEN_UP),)),
    "trouble": Kind("waiting: iTop is in trouble", WAITING, (_start(reasons.TRIED),)),
    "erased": Kind("to be written again: erased by a save", WAITING, (_start(reasons.ERASED),)),
    "restored": Kind("written again: erased by a save", RESTORED, (_start(reasons.ERASED),)),
    "missing": Kind("written: no longer in the log", WRITTEN, (MISSING,)),
    "met": Kind("written: met somebody's save", WRITTEN, ("written while somebody saved",)),
    "earlier": Kind("written: by an earlier try", WRITTEN, ("iTop had it already", "found in the log")),
    "closed": Kind("written: to a ticket that had ended", WRITTEN, ("The ticket is no longer open",)),
    "copied": Kind("written: with the ticket", WRITTEN, (COPIED,)),
    "paused": Kind("left out: paused, to be decided", SKIPPED, (PAUSED,)),
    "left_out": Kind("left out: paused, decided", SKIPPED, (LEFT_OUT,)),
    "unlinked": Kind("left out: unlinked", SKIPPED, (UNLINKED,)),
    "before": Kind("left out: before it was linked", SKIPPED, ("written before the ticket was linked",)),
    "ours": Kind("left out: our own post", SKIPPED, ("our own post",)),
    "bot": Kind("left out: a bot's", SKIPPED, ("written by a bot",)),
    "redacted": Kind("left out: redacted", SKIPPED, ("redacted in Intercom",)),
    "nothing": Kind("left out: nothing in it", SKIPPED, ("nothing ", "empty: ")),
    "somebody": Kind("left out: by an admin", SKIPPED, ("skipped by ",)),
}

HANDLED, UNHANDLED, PASSED = (
    Notification.Verdict.HANDLED,
    Notification.Verdict.FAILED,
    Notification.Verdict.SKIPPED,
)

OF_NOTIFICATIONS = {
    "broke": Kind("failed: it broke us", UNHANDLED, ("could not be handled",)),
    "unlinked": Kind("skipped: not linked to a ticket", PASSED, (NOT_LINKED,)),
    "known": Kind("skipped: known already", PASSED, ("known already",)),
    "off": Kind("skipped: the workspace is off", PASSED, ("the workspace is turned off",)),
    "topic": Kind("skipped: topic not followed", PASSED, ("the topic ",)),
    "unreadable": Kind("skipped: cannot be read", PASSED, ("cannot be read", "there is no ")),
    "paused": Kind("skipped: the sync was paused", PASSED, (PAUSED,)),
    "ours": Kind("skipped: our own post", PASSED, ("our own post",)),
    "bot": Kind("skipped: a bot's", PASSED, ("written by a bot",)),
    "nothing": Kind("skipped: nothing in it", PASSED, ("nothing ", "empty: ", "redacted in Intercom")),
    "before": Kind("skipped: before it was linked", PASSED, ("written before the ticket was linked",)),
    "waits": Kind("waiting: maybe our own post", Notification.Verdict.RECEIVED, ("waits to know",)),
    "test": Kind("handled: Intercom's test", HANDLED, ("Intercom tested",)),
}

_NO_ANSWER = ("no complete answer", "no connection", "the connection was lost", "no time was left")
_ANSWER = ("HTTP ", "iTop's answer makes no sense")

OF_SUBMISSIONS = {
    "unreached": Kind("being created: no answer in time", Submission.State.CREATING, _NO_ANSWER),
    "answer": Kind("being created: iTop's answer was no answer", Submission.State.CREATING, _ANSWER),
    "value": Kind("refused: a value", Submission.State.REFUSED, ("Unexpected value for attribute",)),
}

OF_POSTINGS = {
    "refused": Kind("failed: Intercom refused it", Posting.State.FAILED, ("Intercom refused it",)),
    "given_up": Kind("failed: given up", Posting.State.FAILED, ("given up after",)),
    "unreached": Kind("waiting: no answer", Posting.State.WAITING, ("Intercom cannot", "Intercom did not")),
    "answer": Kind(
        "waiting: another answer", Posting.State.WAITING, ("Intercom answered", "Intercom's answer")
    ),
}


class ReasonFilter(admin.SimpleListFilter):
    """`kinds` by the word that stands in the address; subclasses say whose."""

    title = "reason"
    parameter_name = "why"
    state_field = "state"
    kinds: dict[str, Kind] = {}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, kind.label) for name, kind in self.kinds.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        kind = self.kinds.get(self.value() or "")
        return queryset.filter(kind.q(self.state_field)) if kind else queryset


class DeliveryReasonFilter(ReasonFilter):
    kinds = OF_DELIVERIES


class NotificationReasonFilter(ReasonFilter):
    kinds = OF_NOTIFICATIONS
    state_field = "verdict"


class SubmissionReasonFilter(ReasonFilter):
    kinds = OF_SUBMISSIONS


class PostingReasonFilter(ReasonFilter):
    kinds = OF_POSTINGS


class TopicFilter(admin.SimpleListFilter):
    title = "topic"
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(topic, topic) for topic in (*FOLLOWED_TOPICS, "ping")] + [("others", "others")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "others":
            # All of those, and no others, are skipped for their topic, or before it was looked at.
            return queryset.filter(OF_NOTIFICATIONS["topic"].q("verdict"))
        return queryset.filter(topic=self.value()) if self.value() else queryset


class LogFilter(admin.SimpleListFilter):
    title = "log"
    parameter_name = "log"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(PUBLIC, "public"), (PRIVATE, "private")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(log=self.value()) if self.value() else queryset
