"""Who is it? Where it is not known who the contact is in iTop, or not right, a teammate picks; the pick is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import Click, click
from intercom_bridge.canvas.components import (
    FIRST_SCREEN_HEIGHT,
    Button,
    Canvas,
    Component,
    Input,
    Item,
    List,
    Submit,
    Text,
    height_of,
    inert,
    shorten,
)
from intercom_bridge.canvas.form import Form
from intercom_bridge.desk import Candidates, Desk, NobodyFound, Person, Why, positive
from intercom_bridge.desk.person import MOST_CANDIDATES
from intercom_bridge.intercom.payloads import CanvasRequest
from intercom_bridge.intercom.text import clean_text

from .parts import back_button, link_button, moment
from .trouble import trouble

WORDS_LENGTH = 100
NAME_LENGTH = 60
SEARCH = click("who", "search")
# Where a pick may lead on to: what only shows something. From elsewhere it leads home.
RESUMED = ("linked", "ongoing", "ticket", "create")


def who_it_may_be(desk: Desk, error: NobodyFound, clicked: Click) -> Canvas:
    """Instead of the screen that needed to know; after the pick it is shown."""
    if not desk.request.contact.id:
        return _no_contact()
    first = clicked.verb in ("home", "")
    on_request = clicked.verb == "who"
    known = error.candidates or (_known(desk.request) if on_request else ())
    then = _then(desk.request) if on_request else _resumable(clicked)
    title, what = _why(desk, error)
    found = desk.likely_people(known)
    return _page(
        title=title,
        said=f"{what} {_briefly(found)}",
        found=found,
        stored=_stored(known, then) | _form(desk, then),
        ways_on=(link_button(click("who", "again"), _("Look again")),),
        height=FIRST_SCREEN_HEIGHT if first else 0,
    )


def who_is_it(desk: Desk, clicked: Click) -> Canvas:
    """A click on the page, or the way to it from home: who:not:<the person it is not>."""
    if not desk.request.contact.id:
        return _no_contact()
    known, then = _known(desk.request), _then(desk.request)
    words = _words(desk.request) if clicked.argument(0) == "search" else ""
    without = clicked.number(1) if clicked.argument(0) == "not" else _without(desk.request)
    found = desk.search_people(words) if words else desk.likely_people(known, without=without)
    picked = desk.picked_as(without)
    said = [_what_to_do(found, words)]
    ways_on = [back_button(str(then))]
    if picked is not None:
        # Looking undoes nothing: a click by mistake costs no choice.
        said.insert(0, _stands(picked))
        ways_on.insert(0, link_button(click("who", "undo", picked.id), _("Undo the choice")))
    return _page(
        title=_("Who is it?"),
        said=" ".join(said),
        found=found,
        stored=_stored(known, then, words, without) | _form(desk, then),
        ways_on=tuple(ways_on),
        words=words,
    )


def _what_to_do(found: Candidates, words: str) -> str:
    if words and not found.people and not found.more:
        return _("This workspace serves nobody with these words in the name or the e-mail address.")
    if found.people or found.more:
        return _("Pick the person who writes here. The choice is remembered for this contact.")
    return _("Search for the person who writes here. The choice is remembered for this contact.")


def _briefly(found: Candidates) -> str:
    """On the first screen each line is one of the candidates less."""
    return _("Pick or search: it is remembered.") if found.people else _("Search: it is remembered.")


def _stands(picked: Person) -> str:
    return _("%(teammate)s picked %(person)s, and that stands until somebody else is picked.") % {
        "teammate": inert(shorten(picked.picked_by, NAME_LENGTH)) or _("A teammate"),
        "person": inert(shorten(picked.name, NAME_LENGTH)) or _("somebody"),
    }


def after_the_pick(desk: Desk) -> Click:
    """What was wanted when it was not known who it is."""
    return _then(desk.request)


def kept(request: CanvasRequest) -> dict[str, Any]:
    """What a Retry of a click on the page needs."""
    if not _kept(request):
        return {}
    return _stored(_known(request), _then(request), _words(request), _without(request))


def _page(
    *,
    title: str,
    said: str,
    found: Candidates,
    stored: Mapping[str, Any],
    ways_on: tuple[Component, ...],
    words: str = "",
    height: int = 0,
) -> Canvas:
    """With as many of the candidates as the height allows; 0 for as high as it gets."""
    for count in range(len(found.people), -1, -1):
        components = _components(title, said, found, count, ways_on, words)
        if not height or height_of(components) <= height:
            break
    return Canvas(components=tuple(components), stored_data=stored)


def _components(
    title: str, said: str, found: Candidates, count: int, ways_on: tuple[Component, ...], words: str
) -> list[Component]:
    components: list[Component] = [
        Text(text=title, style="header", bottom_margin="none"),
        Text(text=said, style="muted"),
    ]
    if count:
        components.append(List(items=tuple(_item(person) for person in found.people[:count])))
    if count < len(found.people):
        label = ngettext("Show %(count)d candidate", "Show all %(count)d candidates", len(found.people))
        components.append(
            Button(id=click("who"), label=label % {"count": len(found.people)}, style="link", action=Submit())
        )
    elif found.more:
        components.append(Text(text=_("There are more: search with other words."), style="muted"))
    return [
        *components,
        Input(
            id=SEARCH,
            label=_("Search by name or e-mail"),
            value=words,
            action=Submit(),
        ),
        *ways_on,
    ]


def _no_contact() -> Canvas:
    what = _(
        "Intercom did not say which contact this is, so nobody can be picked. Open the conversation again."
    )
    return trouble(_("Who is it?"), what)


def _item(person: Person) -> Item:
    facts = [person.org_name, person.email, "" if person.is_active else _("inactive")]
    return Item(
        id=click("who", "pick", person.id),
        title=shorten(person.name, NAME_LENGTH) or person.email or f"Person {person.id}",
        subtitle=" · ".join(shorten(fact, NAME_LENGTH) for fact in facts if fact.strip()),
        action=Submit(),
    )


def _why(desk: Desk, error: NobodyFound) -> tuple[str, str]:
    """The title, and what happened."""
    email = inert(shorten(error.email, NAME_LENGTH * 2))
    match error.why:
        case Why.SEVERAL:
            return _("More than one person fits"), _("Several people in iTop fit this contact.")
        case Why.CONTRADICTION:
            return _("Who is it?"), _("Ids and e-mail address lead to different people in iTop.")
        case Why.UNKNOWN if email:
            what = _("iTop has no person with the e-mail address %(email)s.") % {"email": email}
            return _("Not known in iTop"), what
        case Why.UNKNOWN:
            return _("Not known in iTop"), _("iTop has no person with this contact's id.")
        case Why.GONE | Why.OUTSIDE:
            return _("Who is it?"), _no_longer(desk, error)
    what = _("This contact has no e-mail address to find the person in iTop by.")
    return _("Not known in iTop"), what


def _no_longer(desk: Desk, error: NobodyFound) -> str:
    if error.why is Why.OUTSIDE:
        return _("The person who was picked is outside the part of iTop that this workspace serves.")
    if error.picked_at is None:
        return _("iTop no longer has the person who was picked. Nothing was changed.")
    return _("%(teammate)s picked %(person)s on %(moment)s, but iTop no longer has this person.") % {
        "teammate": inert(shorten(error.picked_by, NAME_LENGTH)) or _("A teammate"),
        "person": inert(shorten(error.name, NAME_LENGTH)),
        "moment": moment(timezone.localtime(error.picked_at, desk.workspace.zone)),
    }


# What the page keeps for the next click


def _stored(known: tuple[int, ...], then: Click, words: str = "", without: int = 0) -> dict[str, Any]:
    return {"who": {"known": list(known), "then": str(then), "search": words, "not": without}}


def _form(desk: Desk, then: Click) -> dict[str, Any]:
    """The create form that was being filled in."""
    return Form.read(desk).stored() if then.verb == "form" else {}


def _words(request: CanvasRequest) -> str:
    """What is looked for: what stands in the field, else what did before there was trouble."""
    typed = request.input_values.get(SEARCH, _kept(request).get("search"))
    return shorten(typed, WORDS_LENGTH) if isinstance(typed, str) else ""


def _kept(request: CanvasRequest) -> Mapping[str, Any]:
    kept = request.stored_data.get("who")
    return kept if isinstance(kept, Mapping) else {}


def _known(request: CanvasRequest) -> tuple[int, ...]:
    known = _kept(request).get("known")
    found = [positive(one) for one in known[:MOST_CANDIDATES]] if isinstance(known, list) else []
    return tuple(one for one in found if one)


def _without(request: CanvasRequest) -> int:
    """Whom one came from home to say that it is not."""
    return positive(_kept(request).get("not"))


def _then(request: CanvasRequest) -> Click:
    return _resumable(Click.read(clean_text(_kept(request).get("then"))))


def _resumable(clicked: Click) -> Click:
    """A press of Create is not pressed again by itself: the form is shown."""
    if clicked.verb == "form":
        return Click("form", ("show",))
    return clicked if clicked.verb in RESUMED else Click("home")
