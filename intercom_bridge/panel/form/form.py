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
from intercom_bridge.tickets.conversation import creations_in, successful_creations_in
from intercom_bridge.tickets.creation.title import suggest_title, without_greeting
from intercom_bridge.tickets.people.caller import find_caller
from intercom_bridge.tickets.people.evidence import parse_id
from intercom_bridge.tickets.people.person import Person
from itop_client import ItopObject

from .field import FormField, dependent_codes, fields_of
from .parsing import InvalidInputError, from_itop, to_itop

# Limits of the suggested title and description, in characters.
MAX_TITLE_LENGTH = 80
MAX_DESCRIPTION_LENGTH = 4000
# Intercom allows 64 KB for a canvas's content, and 64 KB for its stored data. The form's values are in both, so they
# may take this much of each; the rest is for labels, options and errors.
MAX_VALUES_BYTES = 36_000

# The dropdown that asks whether to copy the conversation so far to the ticket, and its two options.
COPY_FIELD = click_id("form", "copy")
COPY, DO_NOT_COPY = "yes", "no"

_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a teammate has entered into the create form. One form creates at most one ticket.

    key: the idempotency key. It stays the same until iTop has rejected the form.
    values, errors: by attribute code.
    added_codes: attributes that the profile's form does not contain, but iTop required.
    cleared_codes: fields that the current click has emptied, because they depend on a field that changed.
    seen_creation_id: the newest ticket creation that the teammate knows of in this conversation, 0 for none.
    duplicates_shown: the teammate has seen the possible duplicates, and is not asked about them again.
    copies_conversation: the conversation so far is copied to the ticket.
    """

    key: str
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    added_codes: tuple[str, ...] = ()
    cleared_codes: frozenset[str] = frozenset()
    seen_creation_id: int = 0
    duplicates_shown: bool = False
    copies_conversation: bool = True

    @classmethod
    def new(cls, context: PanelContext) -> Form:
        """Return a form that contains the default values. Title and description are taken from the conversation."""
        profile, conversation = context.profile, context.request.conversation
        message = _first_message(conversation)
        subjects = (part.subject for part in conversation.messages if part.subject)
        title = first_line(to_text(conversation.title or next(subjects, "")), MAX_TITLE_LENGTH)
        suggestions = {
            profile.code("title"): title or suggest_title(message, MAX_TITLE_LENGTH),
            profile.code("description"): message[:MAX_DESCRIPTION_LENGTH],
        }
        values = {}
        for form_field in fields_of(profile, context.ticket_class):
            if value := suggestions.get(form_field.code) or _default(form_field, context):
                values[form_field.code] = value
        return cls(key=new_key(), values=values, seen_creation_id=newest_creation_id(context))

    def filled_from_closed(self, ticket: ItopObject, context: PanelContext) -> Form:
        """Return this form filled with the values of a closed ticket, to create a follow-up ticket.

        The title and the description name the closed ticket. The description ends with the customer's last message.
        The new ticket does not get iTop's relation to a parent ticket, because iTop copies a parent's log entries to
        its children.
        """
        profile, itop = context.profile, context.itop
        fields = {form_field.code: form_field for form_field in self.fields(context)}
        values = dict(self.values)
        for code, form_field in fields.items():
            value = ticket.text(code)
            # iTop returns "0" for an external key that points to nothing.
            if form_field.is_editable and value not in ("", "0"):
                values[code] = from_itop(form_field.attribute, value, context.workspace.zone, itop)
        names = {"ticket": ticket.text("friendlyname"), "title": ticket.text(profile.code("title"))}
        reference = _("Follow-up of %(ticket)s, which is closed.") % names
        description = f"{reference}\n\n{_last_customer_message(context.request.conversation)}".strip()
        texts = {
            profile.code("title"): _("Follow-up of %(ticket)s: %(title)s") % names,
            profile.code("description"): description[:MAX_DESCRIPTION_LENGTH],
        }
        values.update((code, text) for code, text in texts.items() if code in fields)
        return replace(self, values=values)

    @classmethod
    def parse(cls, context: PanelContext) -> Form:
        """Return the form that Intercom sent with a click: the stored form, updated with the input fields' contents.

        Both the stored data and the input values are untrusted.
        """
        form = cls.restore(context, context.request.stored_data.get("form"))
        fields, inputs = form.fields(context), context.request.input_values
        typed = {}
        for form_field in fields:
            text = inputs.get(form_field.component_id)
            if form_field.is_editable and isinstance(text, str):
                typed[form_field.code] = text
        copy_choice = clean_text(inputs.get(COPY_FIELD))
        if copy_choice in (COPY, DO_NOT_COPY):
            form = replace(form, copies_conversation=copy_choice == COPY)
        return form._with_values(typed, fields)  # noqa: SLF001 - same class

    @classmethod
    def restore(cls, context: PanelContext, stored: object) -> Form:
        """Return the form for JSON values that `to_stored` returned earlier.

        `stored` is untrusted. The profile may have changed meanwhile, so values of fields that no longer exist are
        ignored.
        """
        stored = stored if isinstance(stored, Mapping) else {}
        key, seen, values = stored.get("key"), stored.get("seen"), stored.get("values")
        # Which values the form can have depends on `added_codes`, so the values are read last.
        form = cls(
            key=parse_key(key) or new_key(),
            values={},
            added_codes=_parse_added_codes(stored.get("added"), context),
            # In Python, True is an int.
            seen_creation_id=seen if isinstance(seen, int) and not isinstance(seen, bool) else 0,
            duplicates_shown=stored.get("warned") is True,
            copies_conversation=stored.get("copies") is not False,
        )
        if not isinstance(values, Mapping):
            return form
        cleaned = {
            form_field.code: clean_text(values.get(form_field.code)) for form_field in form.fields(context)
        }
        return replace(form, values={code: value for code, value in cleaned.items() if value})

    def fields(self, context: PanelContext) -> tuple[FormField, ...]:
        return fields_of(context.profile, context.ticket_class, self.added_codes)

    def find_field(self, context: PanelContext, code: str) -> FormField | None:
        return next((form_field for form_field in self.fields(context) if form_field.code == code), None)

    def with_value(self, code: str, value: str, context: PanelContext) -> Form:
        """Return the form with a new value of one field. Fields that depend on it are emptied."""
        return self._with_values({code: value}, self.fields(context))

    def with_problems(self, problems: Iterable[Mapping[str, Any]], context: PanelContext) -> Form:
        """Return the form after iTop rejected it: with a new key, iTop's errors, and fields for the attributes in them.

        An attribute that iTop does not know, or that the bridge fills in, gets no field.
        """
        problems = list(problems)
        fields = {form_field.code for form_field in self.fields(context)}
        needs_no_field = fields | context.profile.filled_in()
        added = list(self.added_codes)
        for problem in problems:
            code = problem["attribute"]
            if problem["kind"] != UNKNOWN_ATTRIBUTE and code not in (*needs_no_field, *added):
                added.append(code)
        return replace(self, key=new_key(), errors=explain_problems(problems), added_codes=tuple(added))

    def to_stored(self) -> dict[str, Any]:
        """Return the form as JSON values for `stored_data`, which Intercom sends back with the next click."""
        stored: dict[str, Any] = {
            "key": self.key,
            "values": truncate_values(self.values),
            "seen": self.seen_creation_id,
        }
        # Defaults are left out, to save space in the canvas.
        if self.added_codes:
            stored["added"] = list(self.added_codes)
        if self.duplicates_shown:
            stored["warned"] = True
        if not self.copies_conversation:
            stored["copies"] = False
        return {"form": stored}

    def truncated_to_limit(self) -> Form:
        """Return the form with its values shortened to fit into a canvas. Each shortened field has an error."""
        values = truncate_values(self.values)
        errors = {
            code: truncation_text(value) for code, value in values.items() if value != self.values[code]
        }
        return replace(self, values=values, errors={**errors, **self.errors})

    def validate(self, context: PanelContext) -> Form:
        """Return the form with an error for each field whose value is missing or not valid.

        A choice that is not one of the options is removed from the values. The field cannot show it, so the teammate
        could not deselect it.
        """
        person = find_caller(context).person
        values, errors = dict(self.values), {}
        for form_field in self.fields(context):
            if form_field.is_editable and (error := self._error(form_field, context, person)):
                errors[form_field.code] = error
                if form_field.has_choices:
                    values.pop(form_field.code, None)
        return replace(self, values=values, errors=errors)

    def choices_of(self, form_field: FormField, context: PanelContext, person: Person) -> ChoiceList:
        """Return the choices of an enum or an external key.

        Those of an external key may depend on the form's other values and on the caller, `person`.
        """
        attribute = form_field.attribute
        if attribute.kind == Kind.ENUM:
            codes = [value.code for value in attribute.values if value.code.strip()]
            labels = [value_label(context.ticket_class, attribute.code, code) or code for code in codes]
            choices = tuple(map(Choice, codes, labels))
            return ChoiceList(choices=choices, total=len(choices))
        editable = [other.code for other in self.fields(context) if other.is_editable]
        return get_choices(context, attribute, self._object_values(context, person), editable)

    def matching_choices(
        self, form_field: FormField, query: str, context: PanelContext, person: Person
    ) -> ChoiceList:
        """Return the choices whose names contain all words of `query`; all choices if it is empty."""
        all_choices, words = self.choices_of(form_field, context, person), query.split()
        if not words:
            return all_choices
        if not all_choices.is_complete:
            # There are more choices than the list holds, so iTop must search.
            new_ticket = self._object_values(context, person)
            return search_choices(context, form_field.attribute, new_ticket, words)
        words = [word.casefold() for word in words]
        matching = tuple(
            choice for choice in all_choices.choices if all(word in choice.label.casefold() for word in words)
        )
        return replace(all_choices, choices=matching, total=len(matching))

    def choice_with_id(
        self, form_field: FormField, value: str, context: PanelContext, person: Person
    ) -> Choice | None:
        """Ask iTop for the choice whose id is `value`. Needed if `choices_of` cannot return all choices."""
        choice_id = parse_id(value)
        if not choice_id:
            return None
        return find_choice(context, form_field.attribute, self._object_values(context, person), choice_id)

    def to_itop(self, context: PanelContext) -> dict[str, str]:
        """Return the values to send to iTop, in iTop's format, by attribute code. Empty values are left out.

        Attributes that cannot be entered in the form get the profile's defaults. Raise InvalidInputError if a value is
        not valid, which cannot happen if `validate` found no error.
        """
        profile, zone, itop_zone = context.profile, context.workspace.zone, context.itop.zone
        values = {code: profile.default_of(code) for code in profile.defaults}
        for form_field in self.fields(context):
            if form_field.is_editable:
                typed = self.values.get(form_field.code, "")
                values[form_field.code] = to_itop(form_field.attribute, typed, zone, itop_zone)
        # The bridge sets these itself, for example the caller.
        filled_in = profile.filled_in()
        return {code: value for code, value in values.items() if value and code not in filled_in}

    def _with_values(self, values: Mapping[str, str], fields: tuple[FormField, ...]) -> Form:
        """Return the form with these values. Empty the fields that depend on a changed field.

        A dependent field that is itself changed by `values` keeps its new value.
        """
        changed = {code for code, value in values.items() if self.values.get(code, "") != value}
        dependent: set[str] = set()
        for code in changed:
            dependent |= dependent_codes(fields, code)
        cleared = {code for code in dependent - changed if self.values.get(code)}
        remaining = {code: value for code, value in {**self.values, **values}.items() if code not in cleared}
        return replace(self, values=remaining, cleared_codes=self.cleared_codes | cleared)

    def _error(self, form_field: FormField, context: PanelContext, person: Person) -> str:
        """Return why the value of a field is not valid; "" if it is."""
        value = self.values.get(form_field.code, "")
        if form_field.code in self.cleared_codes and not value:
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
        """Return why `value` is not one of the field's choices; "" if it is."""
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
        """Return the new ticket's values by attribute code, for `:this->code` in iTop's filters of external keys.

        The value of an external key is a number, 0 for none.
        """
        code_of = context.profile.code
        ticket: dict[str, str | int] = {}
        for attribute in context.ticket_class.attributes.values():
            default = context.profile.default_of(attribute.code) or attribute.default
            ticket[attribute.code] = parse_id(default) if attribute.kind == Kind.KEY else default
        for form_field in self.fields(context):
            value = self.values.get(form_field.code, "")
            is_key = form_field.attribute.kind == Kind.KEY
            ticket[form_field.code] = parse_id(value) if is_key else value
        filled_in_by_bridge: dict[str, str | int] = {
            "id": 0,
            "finalclass": context.profile.ticket_class,
            code_of("org_id"): person.org_id,
            f"{code_of('org_id')}_friendlyname": person.org_name,
            "org_name": person.org_name,
            code_of("caller_id"): person.id,
            f"{code_of('caller_id')}_friendlyname": person.name,
            code_of("origin"): "chat",
        }
        return ticket | filled_in_by_bridge


def _first_message(conversation: Conversation) -> str:
    """Return the text of the first message that says more than a greeting. If there is none, return the first text."""
    first_text = ""
    for part in conversation.messages:
        text = to_text(part.body).strip()
        if without_greeting(text):
            return text
        first_text = first_text or text
    return first_text


def _last_customer_message(conversation: Conversation) -> str:
    customer_messages = [part for part in conversation.messages if part.author.type not in ("admin", "bot")]
    return to_text(customer_messages[-1].body).strip() if customer_messages else ""


def newest_creation_id(context: PanelContext) -> int:
    """Return the id of the newest ticket creation from this conversation, or 0."""
    newest = successful_creations_in(context).first()
    return newest.pk if newest else 0


def parse_key(key: object) -> str:
    """Return an untrusted key if it has the format of `new_key`, else ""."""
    return key if isinstance(key, str) and _KEY.fullmatch(key) else ""


def new_key() -> str:
    """Return a random key of 16 hexadecimal digits."""
    # Lower case only: the key is part of an idempotency key, and iTop ignores case when it compares those.
    return secrets.token_hex(8)


def truncate_values(values: Mapping[str, str], limit: int = MAX_VALUES_BYTES) -> dict[str, str]:
    """Return the values, the longest ones shortened until all values together take at most `limit` bytes as JSON."""
    truncated = dict(values)
    while sum(_json_size(value) for value in truncated.values()) > limit:
        longest = max(truncated, key=lambda code: _json_size(truncated[code]))
        # Ten percent at a time, so that several long values end up about equally long.
        truncated[longest] = truncated[longest][: len(truncated[longest]) * 9 // 10]
    return truncated


def _json_size(text: str) -> int:
    return len(json.dumps(text))


def truncation_text(shortened: str) -> str:
    """Return the error message for a field whose value was shortened to `shortened`."""
    text = _("Too long for this form. Only the first %(count)d characters were kept.")
    return text % {"count": len(shortened)}


def _default(form_field: FormField, context: PanelContext) -> str:
    """Return the initial value of a field: the profile's default, or else iTop's own default.

    iTop's own default is ignored if it is not a valid input. For example, it may be an expression for today's date,
    which iTop evaluates when no value is sent.
    """
    zone, itop = context.workspace.zone, context.itop
    attribute = form_field.attribute
    if profile_default := context.profile.default_of(form_field.code):
        return from_itop(attribute, profile_default, zone, itop)
    if not attribute.default or not form_field.is_editable:
        return ""
    itop_default = from_itop(attribute, attribute.default, zone, itop)
    if attribute.kind == Kind.KEY:
        return itop_default if parse_id(itop_default) else ""
    if attribute.kind == Kind.ENUM:
        allowed = {value.code for value in attribute.values}
        return itop_default if itop_default in allowed else ""
    try:
        to_itop(attribute, itop_default, zone, itop.zone)
    except InvalidInputError:
        return ""
    return itop_default


def _parse_added_codes(stored: object, context: PanelContext) -> tuple[str, ...]:
    """Return those stored codes that iTop named when it rejected a form in this conversation.

    Any other code may be forged to set an attribute that is not in the profile's form.
    """
    if not isinstance(stored, list) or not stored:
        return ()
    rejected = creations_in(context).filter(state=TicketCreation.State.REFUSED)
    problems = itertools.chain.from_iterable(rejected.values_list("problems", flat=True))
    named_by_itop = {str(problem["attribute"]) for problem in problems} - context.profile.filled_in()
    return tuple(dict.fromkeys(code for code in stored if isinstance(code, str) and code in named_by_itop))
