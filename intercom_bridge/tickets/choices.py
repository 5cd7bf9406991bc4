"""The objects that an external key of the create form may point to."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import structlog

from intercom_bridge.datamodel import Attribute
from intercom_bridge.intercom.text import clean_text
from intercom_bridge.models import CachedAnswer
from itop_client import ItopRejectedError, OqlError, Query, parse

from .context import PanelContext, get_objects

log = structlog.get_logger(__name__)

CACHE_SECONDS = 300.0
MAX_CHOICES = 500


@dataclass(frozen=True)
class Choice:
    id: str
    label: str


@dataclass(frozen=True, kw_only=True)
class ChoiceList:
    """The choices of a field, sorted by name.

    `total`: how many iTop has, which may be more than `choices`. `needs`: the field that must be chosen first.
    `is_rejected`: iTop does not understand the filter in its own data model, so the choices are unknown.
    """

    choices: tuple[Choice, ...] = ()
    total: int = 0
    needs: str = ""
    is_rejected: bool = False

    @property
    def is_complete(self) -> bool:
        return self.total <= len(self.choices)

    def label_of(self, choice_id: str) -> str:
        return next((choice.label for choice in self.choices if choice.id == choice_id), "")


def get_choices(
    context: PanelContext,
    attribute: Attribute,
    this: Mapping[str, str | int],
    form_codes: Collection[str] = (),
) -> ChoiceList:
    """Return the objects that an external key may point to in a new ticket with the values `this`.

    `form_codes` are the fields of the form: if the filter needs one that has no value, it has to be chosen first.
    Raise ItopError.
    """
    try:
        template = _filter(attribute)
        needed = template.object_codes - template.optional_codes
        missing = next((code for code in form_codes if code in needed and not this.get(code)), "")
        if missing:
            return ChoiceList(needs=missing)
        return _query_choices(context, template.fill_object(this))
    except (OqlError, ItopRejectedError) as error:
        # The message is not logged, because it may quote what was typed into the form.
        log.warning("choices.filter_rejected", attribute=attribute.code, error=type(error).__name__)
        return ChoiceList(is_rejected=True)


def search_choices(
    context: PanelContext, attribute: Attribute, this: Mapping[str, str | int], terms: Collection[str]
) -> ChoiceList:
    """Return the choices with all these words in their names, for a list that is not complete."""
    query = _filter(attribute).fill_object(this)
    return _query_choices(context, query.containing("friendlyname", terms))


def find_choice(
    context: PanelContext, attribute: Attribute, this: Mapping[str, str | int], choice_id: int
) -> Choice | None:
    """Return the choice with this id, for a list that is not complete."""
    found = _query_choices(context, _filter(attribute).fill_object(this).narrow("id", choice_id))
    return next(iter(found.choices), None)


def depends_on(attribute: Attribute) -> frozenset[str]:
    """Return the attributes that decide on the choices, by the data model and by the filter."""
    try:
        in_filter = parse(attribute.filter).object_codes if attribute.filter else frozenset()
    except OqlError:
        in_filter = frozenset()
    return in_filter | frozenset(attribute.depends_on)


def _filter(attribute: Attribute) -> Query:
    return parse(attribute.filter or f"SELECT {attribute.target_class}")


def _query_choices(context: PanelContext, query: Query) -> ChoiceList:
    """Return the choices, from the cache for five minutes. A rejected query is sent once per request."""
    question = f"choices: {query}"
    if question not in context.memo:
        try:
            context.memo[question] = _cached_choices(context, query, question)
        except ItopRejectedError as error:
            context.memo[question] = error
    result: ChoiceList | ItopRejectedError = context.memo[question]
    if isinstance(result, ItopRejectedError):
        raise result
    return result


def _cached_choices(context: PanelContext, query: Query, question: str) -> ChoiceList:
    answer = CachedAnswer.objects.fresh(context.itop, question, CACHE_SECONDS)
    if answer is not None:
        choices = tuple(Choice(**choice) for choice in answer.value["choices"])
        return ChoiceList(choices=choices, total=answer.value["total"])
    found = get_objects(
        context, query.class_name, str(query), fields=("id", "friendlyname"), limit=MAX_CHOICES
    )
    labels = {str(item.id): clean_text(item.text("friendlyname")).strip() or str(item.id) for item in found}
    by_label = sorted(labels.items(), key=lambda choice: choice[1].casefold())
    choices = tuple(Choice(id=choice_id, label=label) for choice_id, label in by_label)
    stored = [asdict(choice) for choice in choices]
    CachedAnswer.objects.store(context.itop, question, {"total": found.total, "choices": stored})
    return ChoiceList(choices=choices, total=found.total)
