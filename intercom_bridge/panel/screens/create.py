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
    draft_saved_at: dt.datetime | None = None,
    is_caller_new: bool = False,
) -> Canvas:
    """Return the screen of the create form.

    problem: a text about an error that belongs to no field.
    draft_saved_at: set if the form is a restored draft.
    is_caller_new: iTop rejected the form because the caller was deleted, and the contact now matches another person.
    """
    caller = find_caller(context)
    form = _with_single_choices(context, form.truncated_to_limit(), caller.person)
    notices = _form_notices(
        context, caller, problem, draft_saved_at=draft_saved_at, is_caller_new=is_caller_new
    )
    # A ticket that is opened from this screen leads back to it.
    stored = form.to_stored() | BackLink(target=FORM).to_stored()
    if is_caller_new:
        # The button "Not this person?" leads to the person picker, which then leads back to this screen.
        stored |= PickerState(click_after_choice=Click.parse(FORM)).to_stored()
    return screen(
        subtitle(_("New ticket")),
        notices,
        _fields_with_errors(context, form, caller.person),
        _copy_choice(form),
        _copied_files(context),
        _announcement(context),
        primary_button(click_id("form", "submit"), _("Create ticket")),
        no_message_button(context),
        link_button(DISCARD_FORM, _("Discard the form")),
        back_button(HOME),
        stored=stored,
    )


def _form_notices(
    context: PanelContext,
    caller: Caller,
    problem: str,
    *,
    draft_saved_at: dt.datetime | None,
    is_caller_new: bool,
) -> list[Component]:
    """Return the texts above the fields: the caller and whether it is verified, the draft's age, and the problem."""
    person = caller.person
    components: list[Component] = [muted(_caller_text(caller))]
    if not caller.is_default and (warning := unverified_text(context, person)):
        components.append(error_text(warning))
    if is_caller_new:
        text = _("The caller no longer exists in iTop. No ticket was created. The caller is now %(person)s.")
        components.append(error_text(text % {"person": safe_name(person.name)}))
        components.append(link_button(click_id("who", "not", person.id), _("Not this person?")))
    if draft_saved_at:
        moment = format_time(timezone.localtime(draft_saved_at, context.workspace.zone))
        components.append(muted(_("You filled in this form on %(moment)s.") % {"moment": moment}))
    if problem:
        components.append(error_text(escape_markdown(problem)))
    return components


def _fields_with_errors(context: PanelContext, form: Form, person: Person) -> list[Component]:
    """Return each field with its error below it. Errors of attributes that are not in the form come first."""
    components: list[Component] = []
    fields = form.fields(context)
    field_codes = {field.code for field in fields}
    for code, error in form.errors.items():
        if code not in field_codes:
            label = attribute_label(context.ticket_class, code)
            components.append(error_text(escape_markdown(f"{label}: {error}")))
    for field in fields:
        components += _FieldView(context, form, person, field).components()
        if field.code in form.errors:
            components.append(error_text(escape_markdown(form.errors[field.code])))
    return components


def choice_page(context: PanelContext, form: Form, field: FormField, page: int, query: str) -> Canvas:
    """Return a page of one field's choices, with a search field. `query` is the search text, "" for all choices."""
    query = query[:MAX_QUERY_LENGTH]
    choices = form.matching_choices(field, query, context, find_caller(context).person)
    choices_on_page, page, pages = page_of(choices.choices, page)
    items = [
        item(click_id("form", "choose", field.code, choice.id), choice.label) for choice in choices_on_page
    ]
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
    empty_click = click_id("form", "choose", field.code, "")
    return screen(
        escape_markdown(attribute_label(context.ticket_class, field.code)),
        search_field,
        list_of(items, no_choices),
        page_number(page, pages),
        None if choices.is_complete else muted(incomplete % {"count": choices.total}),
        pager(lambda number: click_id("form", "pick", field.code, number), page, pages),
        link_button(empty_click, _("None of these")) if can_be_emptied else None,
        form_button(),
        stored=form.to_stored() | {"search": query},
    )


def _caller_text(caller: Caller) -> str:
    text = _("Caller: %(person)s, %(organization)s")
    if caller.is_default:
        text = _(
            "iTop does not know this customer. The caller of the ticket will be %(person)s, %(organization)s. The "
            "description will begin with the customer's name."
        )
    return text % {"person": safe_name(caller.person.name), "organization": safe_name(caller.person.org_name)}


def _announcement(context: PanelContext) -> Text | None:
    """Return the notice that the customer will get a message, or None if the bridge sends none.

    The message needs an author, so the bridge sends none if Intercom did not name the teammate.
    """
    if not context.workspace.announce_tickets or not context.request.admin.id:
        return None
    return muted(_("The customer will get a message about the ticket."))


def _copied_files(context: PanelContext) -> list[Text]:
    """Return texts about the files that are copied together with the conversation."""
    workspace, conversation = context.workspace, context.request.conversation
    if not workspace.copies_files:
        return []
    transcript = transcript_of(context, conversation.messages)
    files = files_to_copy(workspace, transcript.entries)
    if not conversation.is_complete and workspace.access_token:
        # Intercom sends the panel only a part of a long conversation. The bridge fetches the rest after the form was
        # submitted, and it may contain further files.
        files = replace(files, is_count_known=False)
    return copied_files_texts(workspace, files)


def _copy_choice(form: Form) -> Dropdown:
    """Return the field that asks whether to copy the conversation so far.

    It is no checkbox, because Intercom does not document what an empty checkbox returns.
    """
    return Dropdown(
        id=COPY_FIELD,
        label=_("Conversation so far"),
        options=(
            Option(id=COPY, text=_("Copy to the ticket")),
            Option(id=DO_NOT_COPY, text=_("Do not copy")),
        ),
        value=COPY if form.copies_conversation else DO_NOT_COPY,
    )


def _with_single_choices(context: PanelContext, form: Form, person: Person) -> Form:
    """Return the form after filling in each empty field that has only one choice."""
    for field in form.fields(context):
        if field.has_choices and not form.values.get(field.code):
            choices = form.choices_of(field, context, person).choices
            if len(choices) == 1:
                form = form.with_value(field.code, choices[0].id, context)
    return form


def possible_duplicates_screen(context: PanelContext, form: Form, duplicates: Sequence[TicketRow]) -> Canvas:
    """Return the screen that offers to link one of the possible duplicates instead of creating a ticket."""
    components: list[Component] = []
    first_to_link = next((row for row in duplicates if not row.is_linked), None)
    for row in duplicates:
        components.append(List(items=(candidate_item(context, row),)))
        if not row.is_linked:
            make_button = primary_button if row is first_to_link else button
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
    """How a field of the create form is displayed. `person` is the caller, on whom choices may depend."""

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
        """Return an example of the format, "" for free text. For a time, add the time zone."""
        example_text = example(self.field.attribute)
        if not example_text:
            return ""
        if self.field.attribute.kind == Kind.DATETIME:
            zone = self.context.workspace.time_zone
            return _("e.g. %(example)s (%(zone)s)") % {"example": example_text, "zone": zone}
        return _("e.g. %(example)s") % {"example": example_text}

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
        """Return a text for at most one choice, a field for two to ten, else a link to the page that lists them."""
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
            component = self._select(choices)
        else:
            component = List(items=(self._page_item(choices),))
        return [component, *self._reload_button()]

    def _select(self, choices: ChoiceList) -> Dropdown | SingleSelect:
        """Return a single-select if the choices of other fields depend on this field, else a dropdown.

        Intercom sends us a choice in a single-select at once, but a choice in a dropdown only with the next click.
        """
        properties: dict[str, Any] = {
            "id": self.field.component_id,
            "label": self.label,
            "options": tuple(Option(id=choice.id, text=choice.label) for choice in choices.choices),
            "value": self.value if choices.label_of(self.value) else "",
            "save_state": "failed" if self.has_error else "",
        }
        if dependent_codes(self.form.fields(self.context), self.field.code):
            return SingleSelect(**properties, action=Submit())
        return Dropdown(**properties)

    def _page_item(self, choices: ChoiceList) -> Item:
        """Return the item that leads to the page with the choices, and shows the current choice."""
        chosen = choices.label_of(self.value)
        # An incomplete list may lack the chosen option.
        if self.value and not chosen and not choices.is_complete:
            choice = self.form.choice_with_id(self.field, self.value, self.context, self.person)
            chosen = choice.label if choice else ""
        if chosen:
            title, hint = f"{self.label}: {shorten(chosen, MAX_NAME_LENGTH)}", _("Change")
        else:
            title, hint = self.label, _("Choose from %(count)d options") % {"count": choices.total}
        return item(click_id("form", "pick", self.field.code, 1), title, hint)

    def _reload_button(self) -> list[Component]:
        """Return the button that shows the choices for the current input, if they depend on a text field.

        Intercom sends us what is typed only with the next click.
        """
        parent_codes = depends_on(self.field.attribute)
        depends_on_text = any(
            other.is_editable and not other.has_choices and other.code in parent_codes
            for other in self.form.fields(self.context)
        )
        if not depends_on_text:
            return []
        label = _("Show options for %(field)s") % {"field": self.name}
        return [link_button(click_id("form", "show", self.field.code), label)]
