"""The create form, and the page on which one of many choices is picked."""

from __future__ import annotations

from collections.abc import Sequence

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
from intercom_bridge.canvas.field import FormField
from intercom_bridge.canvas.form import Form
from intercom_bridge.canvas.typed import example
from intercom_bridge.datamodel import Kind
from intercom_bridge.datamodel.known import attribute_label, value_label
from intercom_bridge.desk import Desk, Offer, Person, TicketRow
from intercom_bridge.desk.choices import needs_of

from .parts import pager

PAGE = 10
LABEL_LENGTH = 80
WORDS_LENGTH = 100


def create_form(desk: Desk, form: Form, problem: str = "", duplicates: Sequence[TicketRow] = ()) -> Canvas:
    """The form as it stands; `problem` is what iTop said of no field in particular. Before its button stand tickets
    that the new one may be a double of."""
    person = desk.person()
    form = _with_single_choices(desk, form.that_fits(), person)
    fields = form.fields(desk)
    components: list[Component] = [
        Text(text=_("New ticket"), style="header", bottom_margin="none"),
        Text(text=_for_whom(person), style="muted"),
    ]
    if problem:
        components.append(Text(text=inert(problem), style="error"))
    named = {one.code for one in fields}
    for code, error in form.errors.items():
        if code not in named:
            label = attribute_label(desk.ticket_class, code)
            components.append(Text(text=f"{inert(label)}: {inert(error)}", style="error"))
    for one in fields:
        components += _asked(desk, form, one, person)
        if one.code in form.errors:
            components.append(Text(text=inert(form.errors[one.code]), style="error"))
    components += [
        *_duplicates(desk, duplicates),
        Button(
            id=click("form", "submit"),
            label=_("Create anyway") if duplicates else _("Create the ticket"),
            style="primary",
            action=Submit(),
        ),
        Button(id=click("home"), label=_("Cancel"), style="link", action=Submit()),
    ]
    # A ticket that is looked at from here leads back here.
    stored = form.stored() | {"back": click("form", "show")}
    return Canvas(components=tuple(components), stored_data=stored)


def _for_whom(person: Person) -> str:
    name = inert(shorten(person.name, LABEL_LENGTH))
    organization = inert(shorten(person.org_name, LABEL_LENGTH))
    return _("For %(person)s, %(organization)s. The whole conversation is copied into it.") % {
        "person": name,
        "organization": organization,
    }


def _with_single_choices(desk: Desk, form: Form, person: Person) -> Form:
    """Where there is but one choice, it is chosen."""
    for one in form.fields(desk):
        if one.has_choices and not form.values.get(one.code):
            choices = form.offer(one, desk, person).choices
            if len(choices) == 1:
                form = form.choose(one.code, choices[0].id, desk)
    return form


def _duplicates(desk: Desk, rows: Sequence[TicketRow]) -> list[Component]:
    if not rows:
        return []
    components: list[Component] = [
        Text(text=_("Perhaps there is a ticket for this already:"), style="error", bottom_margin="none"),
    ]
    for row in rows:
        state = value_label(desk.ticket_class, desk.profile.code("status"), row.status)
        linked = _("Linked to this conversation") if row.is_linked else ""
        item = Item(
            id=click("ticket", row.ticket_class, row.id),
            title=f"{row.ref} · {state}",
            subtitle=row.title,
            tertiary_text=linked,
            action=Submit(),
        )
        components.append(List(items=(item,)))
        if not row.is_linked:
            label = _("Link %(ticket)s") % {"ticket": row.ref}
            components.append(
                Button(id=click("link", row.ticket_class, row.id), label=label, style="link", action=Submit())
            )
    return components


def _asked(desk: Desk, form: Form, one: FormField, person: Person) -> list[Component]:
    name = attribute_label(desk.ticket_class, one.code)
    label = name + (" *" if one.is_mandatory else "")
    value = form.values.get(one.code, "")
    failed = one.code in form.errors
    if one.has_choices:
        return _choice(desk, form, one, label, person, failed=failed)
    match one.attribute.kind:
        case Kind.TEXT | Kind.HTML:
            return [TextArea(id=one.component_id, label=label, value=value, error=failed)]
        case Kind.LOG | Kind.OTHER:
            return [Text(text=_not_asked(one, name, failed=failed), style="muted")]
    return [
        Input(
            id=one.component_id,
            label=label,
            placeholder=_like(desk, one),
            value=value,
            save_state="failed" if failed else "",
        )
    ]


def _like(desk: Desk, one: FormField) -> str:
    """How the value is written, and in which zone a time is meant."""
    if one.attribute.kind == Kind.DATETIME:
        zone = desk.workspace.time_zone
        return _("Like %(example)s, time of %(zone)s") % {"example": example(one.attribute), "zone": zone}
    if written := example(one.attribute):
        return _("Like %(example)s") % {"example": written}
    return ""


def _not_asked(one: FormField, name: str, *, failed: bool) -> str:
    if one.is_mandatory or failed:
        needed = _(
            "%(field)s cannot be asked for here, and iTop may need it. An admin can give it a default in the ticket "
            "profile."
        )
        return needed % {"field": inert(name)}
    return _("%(field)s cannot be asked for here; iTop's default is used.") % {"field": inert(name)}


def _choice(
    desk: Desk, form: Form, one: FormField, label: str, person: Person, *, failed: bool
) -> list[Component]:
    """None: says so. One: shown. Two to ten: a dropdown. More: a page to pick from."""
    offer = form.offer(one, desk, person)
    value = form.values.get(one.code, "")
    if offer.is_refused:
        what = _("%(field)s: iTop could not say what may be chosen. An admin can correct its filter in iTop.")
        return [Text(text=what % {"field": inert(label)}, style="muted")]
    if offer.first:
        first = attribute_label(desk.ticket_class, offer.first)
        what = _("%(field)s: choose %(other)s first.") % {"field": inert(label), "other": inert(first)}
        said = Text(text=what, style="muted")
        return [said, *_once_more(desk, form, one, person)]
    if not offer.choices:
        nothing = _("%(field)s: iTop offers none for what is chosen here.") % {"field": inert(label)}
        return [Text(text=nothing, style="muted"), *_once_more(desk, form, one, person)]
    if offer.total == 1:
        only = inert(shorten(offer.choices[0].label, LABEL_LENGTH))
        return [Text(text=f"{inert(label)}: **{only}**"), *_once_more(desk, form, one, person)]
    if offer.total <= Dropdown.MAX_OPTIONS:
        dropdown = Dropdown(
            id=one.component_id,
            label=label,
            options=tuple(Option(id=choice.id, text=choice.label) for choice in offer.choices),
            value=value if offer.label_of(value) else "",
            save_state="failed" if failed else "",
        )
        return [dropdown, *_once_more(desk, form, one, person)]
    return [
        List(items=(_to_the_page(desk, form, one, label, offer, person),)),
        *_once_more(desk, form, one, person),
    ]


def _to_the_page(desk: Desk, form: Form, one: FormField, label: str, offer: Offer, person: Person) -> Item:
    value = form.values.get(one.code, "")
    chosen = offer.label_of(value)
    if value and not chosen and not offer.is_whole:
        choice = form.choice_of(one, value, desk, person)
        chosen = choice.label if choice else ""
    return Item(
        id=click("form", "pick", one.code, 1),
        title=f"{label}: {shorten(chosen, LABEL_LENGTH)}" if chosen else label,
        subtitle=_("Choose another") if chosen else _("Choose one of %(count)d") % {"count": offer.total},
        action=Submit(),
    )


def _show_choices(desk: Desk, one: FormField) -> Button:
    """A dropdown cannot tell us that it was changed (facts: it has no action), so a press has to."""
    label = _("Show the choices of %(field)s") % {"field": attribute_label(desk.ticket_class, one.code)}
    return Button(id=click("form", "show", one.code), label=label, style="link", action=Submit())


def _once_more(desk: Desk, form: Form, one: FormField, person: Person) -> list[Component]:
    """Where the choices hang on other fields of this form, which may be changed without our being told."""
    needs = needs_of(one.attribute)
    unseen = [
        other
        for other in form.fields(desk)
        if other.is_asked and other.code in needs and _changes_unseen(desk, form, other, person)
    ]
    return [_show_choices(desk, one)] if unseen else []


def _changes_unseen(desk: Desk, form: Form, one: FormField, person: Person) -> bool:
    """What is picked on a page of its own comes with a click; what is typed, or chosen in a dropdown, does not."""
    return not one.has_choices or 1 < form.offer(one, desk, person).total <= Dropdown.MAX_OPTIONS


def pick_page(desk: Desk, form: Form, one: FormField, page: int, words: str) -> Canvas:
    """All choices of one field, ten at a time; `words` narrows them to those that contain each word."""
    person = desk.person()
    words = words[:WORDS_LENGTH]
    offer = form.found(one, words.split(), desk, person)
    pages = max(1, -(-len(offer.choices) // PAGE))
    page = min(max(page, 1), pages)
    shown = offer.choices[(page - 1) * PAGE : page * PAGE]
    components: list[Component] = [
        Text(text=inert(attribute_label(desk.ticket_class, one.code)), style="header"),
        Input(
            id=click("form", "search", one.code),
            label=_("Search"),
            value=words,
            placeholder=_("Part of the name"),
            action=Submit(),
        ),
    ]
    if shown:
        items = tuple(
            Item(id=click("form", "choose", one.code, choice.id), title=choice.label, action=Submit())
            for choice in shown
        )
        components.append(List(items=items))
    else:
        nothing = (
            _("Nothing has these words in its name.") if words.strip() else _("There is nothing to choose.")
        )
        components.append(Text(text=nothing, style="muted"))
    if pages > 1:
        place = _("Page %(page)d of %(pages)d") % {"page": page, "pages": pages}
        components.append(Text(text=place, style="muted"))
    if not offer.is_whole:
        more = _("There are %(count)d. Search for part of the name to see the others.") % {
            "count": offer.total
        }
        components.append(Text(text=more, style="muted"))
    components += pager("form", "pick", one.code, page=page, pages=pages)
    if form.values.get(one.code) and not one.is_mandatory:
        components.append(
            Button(
                id=click("form", "choose", one.code, ""),
                label=_("Choose none"),
                style="link",
                action=Submit(),
            )
        )
    components.append(
        Button(id=click("form", "show"), label=_("Back to the form"), style="link", action=Submit())
    )
    return Canvas(components=tuple(components), stored_data=form.stored() | {"search": words})
