"""The choices of an external key in the create form: the objects in iTop that it may point to."""

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

    total: the number of choices in iTop, which may be larger than the number of `choices`.
    needs: the code of another field that needs a value before this field has choices, or "".
    is_rejected: iTop rejects the filter that its own data model gives for this field, so the choices are unknown.
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
    """Return the choices of an external key in a new ticket. Raise ItopError.

    `this` are the new ticket's values by attribute code. The data model's filter refers to them as `:this->code`.
    `form_codes` are the fields of the form. If the filter needs one of them that has no value yet, name it in `needs`.
    """
    try:
        template = _filter(attribute)
        needed_codes = template.object_codes - template.optional_codes
        missing_code = next((code for code in form_codes if code in needed_codes and not this.get(code)), "")
        if missing_code:
            return ChoiceList(needs=missing_code)
        return _query_choices(context, template.fill_object(this))
    except (OqlError, ItopRejectedError) as error:
        # The error's message is not logged, because it may quote what the teammate typed into the form.
        log.warning("choices.filter_rejected", attribute=attribute.code, error=type(error).__name__)
        return ChoiceList(is_rejected=True)


def search_choices(
    context: PanelContext, attribute: Attribute, this: Mapping[str, str | int], terms: Collection[str]
) -> ChoiceList:
    """Return the choices whose names contain all these words. Needed if `get_choices` does not return all choices."""
    query = _filter(attribute).fill_object(this)
    return _query_choices(context, query.containing("friendlyname", terms))


def find_choice(
    context: PanelContext, attribute: Attribute, this: Mapping[str, str | int], choice_id: int
) -> Choice | None:
    """Return the choice with this id, or None. Needed if `get_choices` does not return all choices."""
    found = _query_choices(context, _filter(attribute).fill_object(this).narrow("id", choice_id))
    return next(iter(found.choices), None)


def depends_on(attribute: Attribute) -> frozenset[str]:
    """Return the codes of the attributes on which the choices depend: those in the filter and in `depends_on`."""
    try:
        codes_in_filter = _filter(attribute).object_codes
    except OqlError:
        codes_in_filter = frozenset()
    return codes_in_filter | frozenset(attribute.depends_on)


def _filter(attribute: Attribute) -> Query:
    """Return the query for the choices, with placeholders. Without a filter, all objects of the class are choices."""
    return parse(attribute.filter or f"SELECT {attribute.target_class}")


def _query_choices(context: PanelContext, query: Query) -> ChoiceList:
    """Return the choices. In one panel request, send a query at most once, even if iTop rejects it."""
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
    """Return the choices from the cache or, if they are older than CACHE_SECONDS, from iTop."""
    answer = CachedAnswer.objects.fresh(context.itop, question, CACHE_SECONDS)
    if answer is not None:
        choices = tuple(Choice(**choice) for choice in answer.value["choices"])
        return ChoiceList(choices=choices, total=answer.value["total"])
    found = get_objects(
        context, query.class_name, str(query), fields=("id", "friendlyname"), limit=MAX_CHOICES
    )
    unsorted = []
    for item in found:
        name = clean_text(item.text("friendlyname")).strip()
        unsorted.append(Choice(id=str(item.id), label=name or str(item.id)))
    choices = tuple(sorted(unsorted, key=lambda choice: choice.label.casefold()))
    stored = [asdict(choice) for choice in choices]
    CachedAnswer.objects.store(context.itop, question, {"total": found.total, "choices": stored})
    return ChoiceList(choices=choices, total=found.total)
