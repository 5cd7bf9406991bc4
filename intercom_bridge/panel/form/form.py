"""The create form: its fields, values and errors."""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.datamodel import Kind
from intercom_bridge.datamodel.lookup import attribute_label, value_label
from intercom_bridge.intercom.html import first_line, to_text
from intercom_bridge.intercom.payloads import Conversation
from intercom_bridge.intercom.text import clean_text
from intercom_bridge.models import TicketCreation
from intercom_bridge.panel.click import click_id
from intercom_bridge.panel.errors import UNKNOWN_ATTRIBUTE, explain_problems
from intercom_bridge.tickets.choices import Choice, ChoiceList, find_choice, get_choices, search_choices
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import created_in, creations_in
from intercom_bridge.tickets.creation.title import suggest_title, without_greeting
from intercom_bridge.tickets.people.caller import find_caller
from intercom_bridge.tickets.people.evidence import parse_id
from intercom_bridge.tickets.people.person import Person
from itop_client import ItopObject

from .field import FormField, dependent_codes, fields_of
from .parsing import InvalidInputError, from_itop, to_itop

MAX_TITLE_LENGTH = 80
MAX_DESCRIPTION_LENGTH = 4000
# The share of all values in the 64 KB of a canvas, and in those of its stored data.
MAX_VALUES_BYTES = 36_000

# The field with the choice whether the conversation so far is copied to the ticket, and its options.
COPY_FIELD = click_id("form", "copy")
COPY, DO_NOT_COPY = "yes", "no"

_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A create form. One key creates one ticket. `errors` are by attribute code.

    `added`: attributes that iTop required and that the profile does not have. `cleared`: fields that this click cleared
    because a field they depend on changed. `seen`: the newest creation from this conversation that the teammate knows
    of. `warned`: possible duplicates were shown. `copies`: the conversation so far is copied to the ticket.
    """

    key: str
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    cleared: frozenset[str] = frozenset()
    seen: int = 0
    warned: bool = False
    copies: bool = True

    @classmethod
    def new(cls, context: PanelContext) -> Form:
        """Return a form with the defaults and the beginning of the conversation filled in."""
        profile, conversation = context.profile, context.request.conversation
        body = _first_message(conversation)
        subject = next((part.subject for part in conversation.messages if part.subject), "")
        title = first_line(to_text(conversation.title or subject), MAX_TITLE_LENGTH)
        prefilled = {
            profile.code("title"): title or suggest_title(body, MAX_TITLE_LENGTH),
            profile.code("description"): body[:MAX_DESCRIPTION_LENGTH],
        }
        values = {
            form_field.code: value
            for form_field in fields_of(profile, context.ticket_class)
            if (value := prefilled.get(form_field.code) or _default(form_field, context))
        }
        return cls(key=new_key(), values=values, seen=newest_creation_id(context))

    def following(self, ticket: ItopObject, context: PanelContext) -> Form:
        """Return a new form with the values of a closed ticket, and the customer's last message as its description.

        iTop's own relation to a parent is not used: iTop copies each entry of a parent to its children.
        """
        profile, zones = context.profile, (context.workspace.zone, context.itop.zone)
        values = {
            form_field.code: from_itop(form_field.attribute, value, *zones)
            for form_field in self.fields(context)
            if form_field.is_editable and (value := ticket.text(form_field.code)) not in ("", "0")
        }
        facts = {"ticket": ticket.text("friendlyname"), "title": ticket.text(profile.code("title"))}
        messages = [
            part for part in context.request.conversation.messages if part.author.type not in ("admin", "bot")
        ]
        last = to_text(messages[-1].body).strip() if messages else ""
        reference = _("Follow-up of %(ticket)s, which is closed.") % facts
        texts = {
            profile.code("title"): _("Follow-up of %(ticket)s: %(title)s") % facts,
            profile.code("description"): f"{reference}\n\n{last}".strip()[:MAX_DESCRIPTION_LENGTH],
        }
        codes = {form_field.code for form_field in self.fields(context)}
        kept = {code: text for code, text in texts.items() if code in codes}
        return replace(self, values={**self.values, **values, **kept})

    @classmethod
    def parse(cls, context: PanelContext) -> Form:
        """Return the form that the panel sent back. Both stored data and input values are untrusted."""
        form = cls.restore(context, context.request.stored_data.get("form"))
        fields, inputs = form.fields(context), context.request.input_values
        typed = {
            form_field.code: text
            for form_field in fields
            if form_field.is_editable and isinstance(text := inputs.get(form_field.component_id), str)
        }
        copies = {COPY: True, DO_NOT_COPY: False}.get(clean_text(inputs.get(COPY_FIELD)), form.copies)
        return replace(form._with_values(typed, fields), copies=copies)  # noqa: SLF001 - of the same class

    @classmethod
    def restore(cls, context: PanelContext, stored: object) -> Form:
        """Return the form that `to_stored` returned. It is untrusted, and fields may have changed since."""
        stored = stored if isinstance(stored, Mapping) else {}
        key, seen, values = stored.get("key"), stored.get("seen"), stored.get("values")
        form = cls(
            key=parse_key(key) or new_key(),
            values={},
            added=_parse_added(stored.get("added"), context),
            seen=seen if isinstance(seen, int) and not isinstance(seen, bool) else 0,
            warned=stored.get("warned") is True,
            copies=stored.get("copies") is not False,
        )
        stored_values = {
            form_field.code: value
            for form_field in form.fields(context)
            if isinstance(values, Mapping) and (value := clean_text(values.get(form_field.code)))
        }
        return replace(form, values=stored_values)

    def fields(self, context: PanelContext) -> tuple[FormField, ...]:
        return fields_of(context.profile, context.ticket_class, self.added)

    def find_field(self, context: PanelContext, code: str) -> FormField | None:
        return next((found for found in self.fields(context) if found.code == code), None)

    def choose(self, code: str, value: str, context: PanelContext) -> Form:
        """Return the form with this value."""
        return self._with_values({code: value}, self.fields(context))

    def with_problems(self, problems: Iterable[Mapping[str, Any]], context: PanelContext) -> Form:
        """Return a new form with the same values, iTop's errors, and fields for what iTop required in addition."""
        problems = list(problems)
        known = {form_field.code for form_field in self.fields(context)} | context.profile.filled_in()
        missing = dict.fromkeys(
            problem["attribute"]
            for problem in problems
            if problem["attribute"] not in known and problem["kind"] != UNKNOWN_ATTRIBUTE
        )
        return replace(self, key=new_key(), errors=explain_problems(problems), added=(*self.added, *missing))

    def to_stored(self) -> dict[str, Any]:
        """Return the form as JSON values for `stored_data`, which Intercom sends back with the next click."""
        stored: dict[str, Any] = {"key": self.key, "values": truncate_values(self.values), "seen": self.seen}
        if self.added:
            stored["added"] = list(self.added)
        if self.warned:
            stored["warned"] = True
        if not self.copies:
            stored["copies"] = False
        return {"form": stored}

    def truncated_to_limit(self) -> Form:
        """Return the form with values that fit into a canvas. A field whose value was cut has an error."""
        values = truncate_values(self.values)
        errors = {
            code: truncation_text(value) for code, value in values.items() if value != self.values[code]
        }
        return replace(self, values=values, errors={**errors, **self.errors})

    def validate(self, context: PanelContext) -> Form:
        """Return the form with the errors that iTop would find, and those that it would not.

        A choice that is not one of the options is dropped: the field shows nothing that could be deselected.
        """
        person = find_caller(context).person
        errors = {
            form_field.code: error
            for form_field in self.fields(context)
            if form_field.is_editable and (error := self._error(form_field, context, person))
        }
        dropped = {
            form_field.code for form_field in self.fields(context) if form_field.has_choices
        } & errors.keys()
        kept = {code: value for code, value in self.values.items() if code not in dropped}
        return replace(self, values=kept, errors=errors)

    def choices_of(self, form_field: FormField, context: PanelContext, person: Person) -> ChoiceList:
        """Return the choices of an enum or an external key, given the other values."""
        attribute = form_field.attribute
        if attribute.kind == Kind.ENUM:
            choices = tuple(
                Choice(
                    value.code, value_label(context.ticket_class, attribute.code, value.code) or value.code
                )
                for value in attribute.values
                if value.code.strip()
            )
            return ChoiceList(choices=choices, total=len(choices))
        editable = [other.code for other in self.fields(context) if other.is_editable]
        return get_choices(context, attribute, self._object_values(context, person), editable)

    def matching_choices(
        self, form_field: FormField, query: str, context: PanelContext, person: Person
    ) -> ChoiceList:
        """Return the choices with all words of `query` in their names."""
        found, terms = self.choices_of(form_field, context, person), query.split()
        if not terms:
            return found
        if not found.is_complete:
            this = self._object_values(context, person)
            return search_choices(context, form_field.attribute, this, terms)
        terms = [term.casefold() for term in terms]
        choices = tuple(
            choice for choice in found.choices if all(term in choice.label.casefold() for term in terms)
        )
        return replace(found, choices=choices, total=len(choices))

    def choice_with_id(
        self, form_field: FormField, value: str, context: PanelContext, person: Person
    ) -> Choice | None:
        """Return the choice with this id, for a list that is not complete."""
        choice_id = parse_id(value)
        if not choice_id:
            return None
        return find_choice(context, form_field.attribute, self._object_values(context, person), choice_id)

    def to_itop(self, context: PanelContext) -> dict[str, str]:
        """Return the values in iTop's format, with the profile's defaults for attributes that are not in the form.

        Raise InvalidInputError, but not if `validate` found no error.
        """
        profile = context.profile
        editable = {
            form_field.code: form_field for form_field in self.fields(context) if form_field.is_editable
        }
        values = {code: profile.default_of(code) for code in profile.defaults if code not in editable}
        for code, form_field in editable.items():
            typed = self.values.get(code, "")
            values[code] = to_itop(form_field.attribute, typed, context.workspace.zone, context.itop.zone)
        filled_in = profile.filled_in()
        return {code: value for code, value in values.items() if value and code not in filled_in}

    def _with_values(self, values: Mapping[str, str], fields: tuple[FormField, ...]) -> Form:
        """Return the form with these values. Clear fields that depend on a changed one, unless changed themselves."""
        changed = {code for code, value in values.items() if self.values.get(code, "") != value}
        dependent = frozenset[str]().union(*(dependent_codes(fields, code) for code in changed)) - changed
        cleared = frozenset(code for code in dependent if self.values.get(code))
        kept = {code: value for code, value in {**self.values, **values}.items() if code not in cleared}
        return replace(self, values=kept, cleared=self.cleared | cleared)

    def _error(self, form_field: FormField, context: PanelContext, person: Person) -> str:
        value = self.values.get(form_field.code, "")
        if form_field.code in self.cleared and not value:
            return _("Please choose again: this depends on another field that has changed.")
        if not value.strip():
            return _("Required.") if form_field.is_mandatory else ""
        if form_field.has_choices:
            return self._choice_error(form_field, value, context, person)
        try:
            to_itop(form_field.attribute, value, context.workspace.zone, context.itop.zone)
        except InvalidInputError as error:
            return str(error)
        return ""

    def _choice_error(self, form_field: FormField, value: str, context: PanelContext, person: Person) -> str:
        choices = self.choices_of(form_field, context, person)
        if choices.label_of(value):
            return ""
        if not choices.is_complete and self.choice_with_id(form_field, value, context, person):
            return ""
        if form_field.attribute.kind == Kind.ENUM:
            return _("Not one of the options.")
        if choices.needs:
            label = attribute_label(context.ticket_class, choices.needs)
            return _("Please choose %(field)s first.") % {"field": label}
        return _("No longer one of the options. Please choose again.")

    def _object_values(self, context: PanelContext, person: Person) -> dict[str, str | int]:
        """Return the new ticket's values for iTop's filters (`:this->code`). External keys are numbers, 0 for none."""
        code = context.profile.code
        this: dict[str, str | int] = {}
        for attribute in context.ticket_class.attributes.values():
            default = context.profile.default_of(attribute.code) or attribute.default
            this[attribute.code] = parse_id(default) if attribute.kind == Kind.KEY else default
        for form_field in self.fields(context):
            value = self.values.get(form_field.code, "")
            is_key = form_field.attribute.kind == Kind.KEY
            this[form_field.code] = parse_id(value) if is_key else value
        filled_in: dict[str, str | int] = {
            "id": 0,
            "finalclass": context.profile.ticket_class,
            code("org_id"): person.org_id,
            f"{code('org_id')}_friendlyname": person.org_name,
            "org_name": person.org_name,
            code("caller_id"): person.id,
            f"{code('caller_id')}_friendlyname": person.name,
            code("origin"): "chat",
        }
        return this | filled_in


def _first_message(conversation: Conversation) -> str:
    """Return the text of the first message that says more than a greeting, or else of the first one."""
    first = ""
    for part in conversation.messages:
        body = to_text(part.body).strip()
        if without_greeting(body):
            return body
        first = first or body
    return first


def newest_creation_id(context: PanelContext) -> int:
    """Return the newest creation from this conversation, or 0."""
    newest = created_in(context).first()
    return newest.pk if newest else 0


def parse_key(key: object) -> str:
    """Return an untrusted key if `new_key` can have returned it, else ""."""
    return key if isinstance(key, str) and _KEY.fullmatch(key) else ""


def new_key() -> str:
    # Lower case only: it is part of an idempotency key, which iTop compares without regard to case.
    return secrets.token_hex(8)


def truncate_values(values: Mapping[str, str], limit: int = MAX_VALUES_BYTES) -> dict[str, str]:
    """Shorten the longest values until all of them fit into a canvas, by the bytes of their JSON."""
    truncated = dict(values)
    while sum(len(json.dumps(value)) for value in truncated.values()) > limit:
        longest = max(truncated, key=lambda code: len(json.dumps(truncated[code])))
        truncated[longest] = truncated[longest][: len(truncated[longest]) * 9 // 10]
    return truncated


def truncation_text(value: str) -> str:
    """Return the error of a field whose value was cut to this one."""
    return _("Too long for this form. Only the first %(count)d characters were kept.") % {"count": len(value)}


def _default(form_field: FormField, context: PanelContext) -> str:
    """Return the profile's default, or else iTop's own if a person could have entered it."""
    zones = (context.workspace.zone, context.itop.zone)
    attribute = form_field.attribute
    value = context.profile.default_of(form_field.code)
    if value or not attribute.default or not form_field.is_editable:
        return from_itop(attribute, value, *zones)
    value = from_itop(attribute, attribute.default, *zones)
    if attribute.kind == Kind.KEY:
        return value if parse_id(value) else ""
    if attribute.kind == Kind.ENUM:
        return value if value in {allowed.code for allowed in attribute.values} else ""
    try:
        to_itop(attribute, value, *zones)
    except InvalidInputError:
        # A default that iTop computes, such as today's date, if no value is sent.
        return ""
    return value


def _parse_added(stored: object, context: PanelContext) -> tuple[str, ...]:
    """Return the stored codes that iTop has named in an error in this conversation; others may be forged."""
    if not isinstance(stored, list) or not stored:
        return ()
    refused = creations_in(context).filter(state=TicketCreation.State.REFUSED)
    problems = itertools.chain.from_iterable(refused.values_list("problems", flat=True))
    named = {str(problem["attribute"]) for problem in problems} - context.profile.filled_in()
    return tuple(dict.fromkeys(code for code in stored if isinstance(code, str) and code in named))
