"""The create form, and the page that lists the choices of one field."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from intercom_bridge.datamodel import Kind
from intercom_bridge.datamodel.lookup import attribute_label
from intercom_bridge.files.parts import files_to_copy
from intercom_bridge.panel.click import DISCARD_FORM, FORM, HOME, BackLink, Click, click_id
from intercom_bridge.panel.components import (
    Canvas,
    Component,
    Dropdown,
    Input,
    Item,
    List,
    Option,
    SingleSelect,
    Submit,
    Text,
    TextArea,
    escape_markdown,
    shorten,
)
from intercom_bridge.panel.form.field import FormField, dependent_codes
from intercom_bridge.panel.form.form import COPY, COPY_FIELD, DO_NOT_COPY, Form
from intercom_bridge.panel.form.parsing import example
from intercom_bridge.tickets.choices import ChoiceList, depends_on
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.creation.transcript import transcript_of
from intercom_bridge.tickets.people.caller import Caller, find_caller
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.rows import TicketRow

from .parts import (
    back_button,
    button,
    copied_files_texts,
    error_text,
    form_button,
    format_time,
    item,
    link_button,
    list_of,
    muted,
    no_message_button,
    page_number,
    page_of,
    pager,
    primary_button,
    safe_name,
    screen,
    subtitle,
    unverified_text,
)
from .person_picker import PickerState
from .ticket_list import candidate_item

MAX_NAME_LENGTH = 80
MAX_QUERY_LENGTH = 100


def create_form(
    context: PanelContext,
    form: Form,
    problem: str = "",
    *,
    restored_from: dt.datetime | None = None,
    is_caller_new: bool = False,
) -> Canvas:
    """Return the form. `problem` is an error of no field in particular.

    `restored_from` is the time of the draft that the form was restored from. `is_caller_new`: iTop no longer has the
    person who was the caller before.
    """
    caller = find_caller(context)
    person = caller.person
    form = _with_single_choices(context, form.truncated_to_limit(), person)
    fields = form.fields(context)
    components: list[Component] = [subtitle(_("New ticket")), muted(_caller_text(caller))]
    if not caller.is_default and (warning := unverified_text(context, person)):
        components.append(error_text(warning))
    if is_caller_new:
        text = _("The caller no longer exists in iTop. No ticket was created. The caller is now %(person)s.")
        components.append(error_text(text % {"person": safe_name(person.name)}))
        components.append(link_button(click_id("who", "not", person.id), _("Not this person?")))
    if restored_from:
        moment = format_time(timezone.localtime(restored_from, context.workspace.zone))
        components.append(muted(_("You filled in this form on %(moment)s.") % {"moment": moment}))
    if problem:
        components.append(error_text(escape_markdown(problem)))
    codes = {field.code for field in fields}
    for code, error in form.errors.items():
        if code not in codes:
            label = attribute_label(context.ticket_class, code)
            components.append(error_text(escape_markdown(f"{label}: {error}")))
    for field in fields:
        components += _FieldView(context, form, person, field).components()
        if field.code in form.errors:
            components.append(error_text(escape_markdown(form.errors[field.code])))
    components += [
        _copy_choice(form),
        *_copied_files(context),
        *filter(None, [_announcement(context)]),
        primary_button(click_id("form", "submit"), _("Create ticket")),
        *filter(None, [no_message_button(context)]),
        link_button(DISCARD_FORM, _("Discard the form")),
        back_button(HOME),
    ]
    # A ticket that is opened from here leads back here.
    stored = form.to_stored() | BackLink(target=FORM).to_stored()
    if is_caller_new:
        stored |= PickerState(then=Click.parse(FORM)).to_stored()
    return Canvas(components=tuple(components), stored_data=stored)


def choice_page(context: PanelContext, form: Form, field: FormField, page: int, query: str) -> Canvas:
    """Return the choices of one field, ten per page. `query` selects those that contain each of its words."""
    query = query[:MAX_QUERY_LENGTH]
    choices = form.matching_choices(field, query, context, find_caller(context).person)
    on_page, page, pages = page_of(choices.choices, page)
    items = [item(click_id("form", "choose", field.code, choice.id), choice.label) for choice in on_page]
    no_choices = _("No name contains these words.") if query.strip() else _("There are no options.")
    search_field = Input(
        id=click_id("form", "search", field.code),
        label=_("Search"),
        value=query,
        placeholder=_("Part of the name"),
        action=Submit(),
    )
    incomplete = _("There are %(count)d options. Search by name to find the others.")
    can_be_emptied = form.values.get(field.code) and not field.is_mandatory
    return screen(
        escape_markdown(attribute_label(context.ticket_class, field.code)),
        search_field,
        list_of(items, no_choices),
        page_number(page, pages),
        None if choices.is_complete else muted(incomplete % {"count": choices.total}),
        pager(lambda number: click_id("form", "pick", field.code, number), page, pages),
        link_button(click_id("form", "choose", field.code, ""), _("None of these"))
        if can_be_emptied
        else None,
        form_button(),
        stored=form.to_stored() | {"search": query},
    )


def _caller_text(caller: Caller) -> str:
    text = _("For %(person)s, %(organization)s.")
    if caller.is_default:
        text = _(
            "iTop does not know this customer. The caller of the ticket will be %(person)s, %(organization)s. The "
            "description will begin with the customer's name."
        )
    return text % {"person": safe_name(caller.person.name), "organization": safe_name(caller.person.org_name)}


def _announcement(context: PanelContext) -> Text | None:
    if not context.workspace.announce_tickets or not context.request.admin.id:
        return None
    return muted(_("The customer will get a message about the ticket."))


def _copied_files(context: PanelContext) -> list[Text]:
    """Return which files are copied. Of a long conversation, the panel does not get all messages."""
    workspace, payload = context.workspace, context.request.conversation
    if not workspace.copies_files:
        return []
    transcript = transcript_of(context, payload.messages)
    files = files_to_copy(workspace, transcript.entries)
    if not payload.is_complete and workspace.access_token:
        files = replace(files, is_count_known=False)
    return copied_files_texts(workspace, files)


def _copy_choice(form: Form) -> Dropdown:
    """Return the choice whether to copy the conversation. Intercom does not say what an empty checkbox returns."""
    return Dropdown(
        id=COPY_FIELD,
        label=_("Conversation so far"),
        options=(
            Option(id=COPY, text=_("Copy to the ticket")),
            Option(id=DO_NOT_COPY, text=_("Do not copy")),
        ),
        value=COPY if form.copies else DO_NOT_COPY,
    )


def _with_single_choices(context: PanelContext, form: Form, person: Person) -> Form:
    """Choose the only choice of each field that has only one."""
    for field in form.fields(context):
        if field.has_choices and not form.values.get(field.code):
            choices = form.choices_of(field, context, person).choices
            if len(choices) == 1:
                form = form.choose(field.code, choices[0].id, context)
    return form


def possible_duplicates_screen(context: PanelContext, form: Form, rows: Sequence[TicketRow]) -> Canvas:
    """Offer to link one of these tickets instead of creating the ticket of the form."""
    components: list[Component] = []
    first = next((row for row in rows if not row.is_linked), None)
    for row in rows:
        components.append(List(items=(candidate_item(context, row),)))
        if not row.is_linked:
            make_button = primary_button if row is first else button
            label = _("Link %(ticket)s") % {"ticket": row.ref}
            components.append(make_button(click_id("link", row.ticket_class, row.id), label))
    return screen(
        _("There may already be a ticket for this:"),
        components,
        muted(_("Your ticket is not created yet. Your input is kept.")),
        _announcement(context),
        button(click_id("form", "submit"), _("Create anyway")),
        no_message_button(context),
        form_button(),
        stored=form.to_stored() | BackLink(target=FORM).to_stored(),
    )


@dataclass(frozen=True)
class _FieldView:
    """The components of one field."""

    context: PanelContext
    form: Form
    person: Person
    field: FormField

    @property
    def name(self) -> str:
        return attribute_label(self.context.ticket_class, self.field.code)

    @property
    def label(self) -> str:
        return self.name + (" *" if self.field.is_mandatory else "")

    @property
    def value(self) -> str:
        return self.form.values.get(self.field.code, "")

    @property
    def has_error(self) -> bool:
        return self.field.code in self.form.errors

    def components(self) -> list[Component]:
        if self.field.has_choices:
            return self._choice()
        match self.field.attribute.kind:
            case Kind.TEXT | Kind.HTML:
                return [
                    TextArea(
                        id=self.field.component_id, label=self.label, value=self.value, error=self.has_error
                    )
                ]
            case Kind.LOG | Kind.OTHER:
                return [muted(self._not_editable_text())]
        return [
            Input(
                id=self.field.component_id,
                label=self.label,
                placeholder=self._placeholder(),
                value=self.value,
                save_state="failed" if self.has_error else "",
            )
        ]

    def _placeholder(self) -> str:
        """Return an example of the format, and the time zone of a time."""
        text = example(self.field.attribute)
        if self.field.attribute.kind == Kind.DATETIME:
            zone = self.context.workspace.time_zone
            return _("e.g. %(example)s (%(zone)s)") % {"example": text, "zone": zone}
        return _("e.g. %(example)s") % {"example": text} if text else ""

    def _not_editable_text(self) -> str:
        if self.field.is_mandatory or self.has_error:
            text = _(
                "%(field)s cannot be entered here, and iTop may require it. An admin can set a default in the ticket "
                "profile."
            )
        else:
            text = _("%(field)s cannot be entered here. iTop's default is used.")
        return text % {"field": escape_markdown(self.name)}

    def _choice(self) -> list[Component]:
        """Return a text for no or one choice, a field for two to ten, and a link to a page for more.

        If choices depend on this one, the field is a single-select, whose change reaches us.
        """
        choices = self.form.choices_of(self.field, self.context, self.person)
        label = escape_markdown(self.label)
        if choices.is_rejected:
            text = _("%(field)s: iTop could not list the options. An admin can correct the filter in iTop.")
            return [muted(text % {"field": label})]
        component: Component
        if choices.needs:
            other = escape_markdown(attribute_label(self.context.ticket_class, choices.needs))
            component = muted(_("%(field)s: choose %(other)s first.") % {"field": label, "other": other})
        elif not choices.choices:
            component = muted(_("No %(field)s available for the current selection.") % {"field": label})
        elif choices.total == 1:
            choice = safe_name(choices.choices[0].label)
            component = Text(text=f"{label}: **{choice}**")
        elif choices.total <= Dropdown.MAX_OPTIONS:
            properties: dict[str, Any] = {
                "id": self.field.component_id,
                "label": self.label,
                "options": tuple(Option(id=choice.id, text=choice.label) for choice in choices.choices),
                "value": self.value if choices.label_of(self.value) else "",
                "save_state": "failed" if self.has_error else "",
            }
            if dependent_codes(self.form.fields(self.context), self.field.code):
                component = SingleSelect(**properties, action=Submit())
            else:
                component = Dropdown(**properties)
        else:
            component = List(items=(self._page_item(choices),))
        return [component, *self._reload_button()]

    def _page_item(self, choices: ChoiceList) -> Item:
        chosen = choices.label_of(self.value)
        if self.value and not chosen and not choices.is_complete:
            choice = self.form.choice_with_id(self.field, self.value, self.context, self.person)
            chosen = choice.label if choice else ""
        count = _("Choose from %(count)d options") % {"count": choices.total}
        return item(
            click_id("form", "pick", self.field.code, 1),
            f"{self.label}: {shorten(chosen, MAX_NAME_LENGTH)}" if chosen else self.label,
            _("Change") if chosen else count,
        )

    def _reload_button(self) -> list[Component]:
        """Return a button if the choices depend on what is typed into a field, because that does not reach us."""
        needed = depends_on(self.field.attribute)
        is_typed = any(
            other.is_editable and not other.has_choices and other.code in needed
            for other in self.form.fields(self.context)
        )
        if not is_typed:
            return []
        label = _("Show options for %(field)s") % {"field": self.name}
        return [link_button(click_id("form", "show", self.field.code), label)]
