"""What a field of the create form may point to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from intercom_bridge.datamodel import Attribute
from intercom_bridge.deadline import Deadline
from intercom_bridge.intercom.text import clean_text
from intercom_bridge.models import ItopAnswer, ItopInstance
from itop_client import Client, ItopRefused, OqlError, Query, parse

log = structlog.get_logger(__name__)

REMEMBERED_SECONDS = 300.0
MOST_CHOICES = 500


@dataclass(frozen=True)
class Choice:
    id: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The choices of a field, by name. `total`: how many iTop has; more than there are here when those are too many.

    `first` is the field that has to be chosen before there are any. `is_refused`: iTop does not understand the
    filter in its own data model, so nobody can say what may be chosen.
    """

    choices: tuple[Choice, ...] = ()
    total: int = 0
    first: str = ""
    is_refused: bool = False

    @property
    def is_whole(self) -> bool:
        return self.total <= len(self.choices)

    def label_of(self, choice_id: str) -> str:
        return next((choice.label for choice in self.choices if choice.id == choice_id), "")


class Choices:
    """Bound to an iTop and to one click. One call for each list, then none for five minutes; a refused filter is asked
    once. Raises ItopError."""

    def __init__(self, itop: ItopInstance, client: Client, deadline: Deadline) -> None:
        self._itop = itop
        self._client = client
        self._deadline = deadline
        self._said: dict[str, Offer | ItopRefused] = {}

    def of(self, attribute: Attribute, this: Mapping[str, str | int], asked: Collection[str] = ()) -> Offer:
        """The objects that an external key may point to in a new ticket with the values `this`.

        `asked` are the fields of the form: one of them that the filter needs and that has no value comes first.
        """
        try:
            template = _filter(attribute)
            needed = template.object_codes - template.codes_that_may_be_empty
            first = next((code for code in asked if code in needed and not this.get(code)), "")
            if first:
                return Offer(first=first)
            return self._ask(template.fill_object(this))
        except (OqlError, ItopRefused) as refusal:
            # Not what it said: that may quote what was typed into the form.
            log.warning("choices.filter_refused", attribute=attribute.code, error=type(refusal).__name__)
            return Offer(is_refused=True)

    def find(self, attribute: Attribute, this: Mapping[str, str | int], words: Collection[str]) -> Offer:
        """Those of them with all these words in their names, asked of iTop: for lists that are not whole."""
        return self._ask(_filter(attribute).fill_object(this).containing("friendlyname", words))

    def choice(self, attribute: Attribute, this: Mapping[str, str | int], choice_id: int) -> Choice | None:
        """The one of them with this id, asked of iTop: for lists that are not whole."""
        found = self._ask(_filter(attribute).fill_object(this).narrow("id", choice_id))
        return next(iter(found.choices), None)

    def _ask(self, query: Query) -> Offer:
        question = f"choices: {query}"
        if question not in self._said:
            try:
                self._said[question] = self._look_up(query, question)
            except ItopRefused as refusal:
                self._said[question] = refusal
        said = self._said[question]
        if isinstance(said, ItopRefused):
            raise said
        return said

    def _look_up(self, query: Query, question: str) -> Offer:
        answer = ItopAnswer.objects.fresh(self._itop, question, REMEMBERED_SECONDS)
        if answer is not None:
            total, pairs = answer.value
            return Offer(choices=tuple(Choice(*pair) for pair in pairs), total=total)
        found = self._client.get(
            query.class_name,
            str(query),
            fields=("id", "friendlyname"),
            limit=MOST_CHOICES,
            deadline=self._deadline.remaining(),
        )
        choices = [
            Choice(id=str(one.id), label=clean_text(one.text("friendlyname")).strip() or str(one.id))
            for one in found
        ]
        choices.sort(key=lambda choice: choice.label.casefold())
        ItopAnswer.objects.keep(
            self._itop, question, [found.total, [[choice.id, choice.label] for choice in choices]]
        )
        return Offer(choices=tuple(choices), total=found.total)


def _filter(attribute: Attribute) -> Query:
    """Raises OqlError."""
    return parse(attribute.filter or f"SELECT {attribute.target_class}")


def needs_of(attribute: Attribute) -> frozenset[str]:
    """The attributes whose change makes the choices others: as the data model says, and as its filter does."""
    try:
        asked = parse(attribute.filter).object_codes if attribute.filter else frozenset()
    except OqlError:
        asked = frozenset()
    return asked | frozenset(attribute.depends_on)
