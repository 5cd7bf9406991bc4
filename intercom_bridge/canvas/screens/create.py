"""The create form, and the page on which one of many choices is picked."""

from __future__ import annotations

from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import (
    Button,
    Canvas,
    Component,
    Dropdown,
    Input,
    Item,
    List,
    Option,
    Submit,
    Text,
    TextArea,
    inert,
    shorten,
)
from intercom_bridge.canvas.form import SERVICE, SUBCATEGORY, Form, FormField, fields_of
from intercom_bridge.desk import Choice, Desk, Person
from intercom_bridge.labels import CHOICES, attribute_label

from .parts import pager

PAGE = 10
LABEL_LENGTH = 80


def create_form(desk: Desk, form: Form, problem: str = "") -> Canvas:
    """The form as it stands; `problem` is what iTop said of no field in particular."""
    person = desk.person()
    form = _with_single_choices(desk, form.that_fits(), person)
    components: list[Component] = [
        Text(text=_("New ticket"), style="header", bottom_margin="none"),
        Text(text=_for_whom(person), style="muted"),
    ]
    if problem:
        components.append(Text(text=inert(problem), style="error"))
    named = {one.code for one in fields_of(desk.profile)}
    for code, error in form.errors.items():
        if code not in named:
            components.append(Text(text=f"{inert(attribute_label(code))}: {inert(error)}", style="error"))
    for one in fields_of(desk.profile):
        components += _asked(desk, form, one, person)
        if one.code in form.errors:
            components.append(Text(text=inert(form.errors[one.code]), style="error"))
    components += [
        Button(id=click("form", "submit"), label=_("Create the ticket"), style="primary", action=Submit()),
        Button(id=click("home"), label=_("Cancel"), style="link", action=Submit()),
    ]
    return Canvas(components=tuple(components), stored_data=form.stored())


def _for_whom(person: Person) -> str:
    name = inert(shorten(person.name, LABEL_LENGTH))
    organization = inert(shorten(person.org_name, LABEL_LENGTH))
    return _("For %(person)s, %(organization)s. The whole conversation is copied into it.") % {
        "person": name,
        "organization": organization,
    }


def _with_single_choices(desk: Desk, form: Form, person: Person) -> Form:
    """Where there is but one choice, it is chosen."""
    for one in fields_of(desk.profile):
        if one.kind == "pick" and not form.values.get(one.code):
            choices = form.choices(one.code, desk, person)
            if len(choices) == 1:
                form = form.choose(one.code, choices[0].id)
    return form


def _asked(desk: Desk, form: Form, one: FormField, person: Person) -> list[Component]:
    label = attribute_label(one.code) + (" *" if one.is_mandatory else "")
    value = form.values.get(one.code, "")
    failed = one.code in form.errors
    if one.kind == "text":
        return [TextArea(id=one.component_id, label=label, value=value, error=failed)]
    if one.kind == "line":
        return [Input(id=one.component_id, label=label, value=value, save_state="failed" if failed else "")]
    if one.kind == "choice":
        choices = [Choice(id=code, label=str(name)) for code, name in CHOICES[one.code].items()]
        return [_dropdown(one, label, choices, value, failed=failed)]
    if one.kind == "pick":
        return _pick(form, one, label, form.choices(one.code, desk, person), failed=failed)
    return [
        Text(
            text=_("%(field)s cannot be asked for here; iTop's default is used.") % {"field": inert(label)},
            style="muted",
        )
    ]


def _pick(form: Form, one: FormField, label: str, choices: list[Choice], *, failed: bool) -> list[Component]:
    """None: says so. One: shown. Two to ten: a dropdown. More: a page to pick from."""
    value = form.values.get(one.code, "")
    if one.code == SUBCATEGORY and not form.values.get(SERVICE):
        # A dropdown cannot tell us that it was changed (facts: it has no action), so a press has to.
        show = Button(
            id=click("form", "show"),
            label=_("Show the subcategories of the chosen service"),
            style="link",
            action=Submit(),
        )
        return [show]
    if not choices:
        nothing = _("%(field)s: iTop offers none for this organization.") % {"field": inert(label)}
        if one.code == SUBCATEGORY:
            nothing = _("%(field)s: this service has none.") % {"field": inert(label)}
        return [Text(text=nothing, style="muted")]
    if len(choices) == 1:
        return [Text(text=f"{inert(label)}: **{inert(shorten(choices[0].label, LABEL_LENGTH))}**")]
    if len(choices) <= Dropdown.MAX_OPTIONS:
        return [_dropdown(one, label, choices, value, failed=failed)]
    chosen = next((choice.label for choice in choices if choice.id == value), "")
    item = Item(
        id=click("form", "pick", one.code, 1),
        title=f"{label}: {shorten(chosen, LABEL_LENGTH)}" if chosen else label,
        subtitle=_("Choose another") if chosen else _("Choose one of %(count)d") % {"count": len(choices)},
        action=Submit(),
    )
    return [List(items=(item,))]


def _dropdown(one: FormField, label: str, choices: list[Choice], value: str, *, failed: bool) -> Dropdown:
    return Dropdown(
        id=one.component_id,
        label=label,
        options=tuple(Option(id=choice.id, text=choice.label) for choice in choices),
        value=value if value in {choice.id for choice in choices} else "",
        save_state="failed" if failed else "",
    )


def pick_page(desk: Desk, form: Form, code: str, page: int, words: str) -> Canvas:
    """All choices of one field, ten at a time; `words` narrows them to those that contain each word."""
    person = desk.person()
    wanted = words.casefold().split()
    choices = [
        choice
        for choice in form.choices(code, desk, person)
        if all(word in choice.label.casefold() for word in wanted)
    ]
    pages = max(1, -(-len(choices) // PAGE))
    page = min(max(page, 1), pages)
    shown = choices[(page - 1) * PAGE : page * PAGE]
    components: list[Component] = [
        Text(text=inert(attribute_label(code)), style="header"),
        Input(
            id=click("form", "search", code),
            label=_("Search"),
            value=words[:100],
            placeholder=_("Part of the name"),
            action=Submit(),
        ),
    ]
    if shown:
        items = tuple(
            Item(id=click("form", "choose", code, choice.id), title=choice.label, action=Submit())
            for choice in shown
        )
        components.append(List(items=items))
    else:
        components.append(Text(text=_("Nothing has these words in its name."), style="muted"))
    if pages > 1:
        place = _("Page %(page)d of %(pages)d") % {"page": page, "pages": pages}
        components.append(Text(text=place, style="muted"))
    components += [
        *pager("form", "pick", code, page=page, pages=pages),
        Button(id=click("form", "show"), label=_("Back to the form"), style="link", action=Submit()),
    ]
    return Canvas(components=tuple(components), stored_data=form.stored() | {"search": words[:100]})
