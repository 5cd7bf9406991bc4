"""Choose who a contact is in iTop, if that is unknown or wrong. The choice is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.intercom.payloads import CanvasRequest
from intercom_bridge.intercom.text import clean_text
from intercom_bridge.models import PersonMatch
from intercom_bridge.panel.click import FORM, SYNC, Click, click_id
from intercom_bridge.panel.components import (
    MAX_FIRST_SCREEN_HEIGHT,
    Button,
    Canvas,
    Component,
    Input,
    Item,
    List,
    OpenUrl,
    Submit,
    estimated_height,
    shorten,
)
from intercom_bridge.panel.form.form import Form
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_links
from intercom_bridge.tickets.errors import MatchFailure, PersonNotResolvedError
from intercom_bridge.tickets.people.caller import UNKNOWN, can_create_for
from intercom_bridge.tickets.people.candidates import Candidates, search_people, suggest_people
from intercom_bridge.tickets.people.evidence import parse_id
from intercom_bridge.tickets.people.match import MAX_CANDIDATES, picks_of
from intercom_bridge.tickets.people.person import Person

from .errors import error_screen
from .parts import back_button, button, format_time, item, link_button, muted, safe_name, subtitle

MAX_QUERY_LENGTH = 100
MAX_NAME_LENGTH = 60
MAX_PREFILLED_LENGTH = 200
SEARCH = click_id("who", "search")
# The screens that a choice can lead to, because they only display. Others lead home.
RESUMABLE = ("linked", "ongoing", "ticket", "create", "creation")


@dataclass(frozen=True, kw_only=True)
class PickerState:
    """The state that the screen stores for the next click.

    `candidate_ids`: persons who match in part; `then`: the screen to display after the choice; `query`: the search
    text; `exclude`: the person who is not the contact.
    """

    candidate_ids: tuple[int, ...] = ()
    then: Click = Click("home")
    query: str = ""
    exclude: int = 0

    @classmethod
    def parse(cls, request: CanvasRequest) -> PickerState:
        """Parse untrusted stored data and the search field."""
        stored = request.stored_data.get("who")
        stored = stored if isinstance(stored, Mapping) else {}
        ids = stored.get("candidates")
        parsed = [parse_id(value) for value in ids[:MAX_CANDIDATES]] if isinstance(ids, list) else []
        query = request.input_values.get(SEARCH, stored.get("search"))
        return cls(
            candidate_ids=tuple(number for number in parsed if number),
            then=_resumable(Click.parse(clean_text(stored.get("then")))),
            query=shorten(query, MAX_QUERY_LENGTH) if isinstance(query, str) else "",
            exclude=parse_id(stored.get("not")),
        )

    def to_stored(self) -> dict[str, Any]:
        return {
            "who": {
                "candidates": list(self.candidate_ids),
                "then": str(self.then),
                "search": self.query,
                "not": self.exclude,
            }
        }


def unresolved_person(context: PanelContext, error: PersonNotResolvedError, click: Click) -> Canvas:
    """Return the screen that replaces one that needed to know the person. After the choice that one is displayed."""
    if not context.request.contact.id:
        return _no_contact()
    candidate_ids, then = error.candidates, _resumable(click)
    if click.verb == "who":
        state = PickerState.parse(context.request)
        candidate_ids, then = candidate_ids or state.candidate_ids, state.then
    found = suggest_people(context, candidate_ids)
    title, text = _failure(context, error)
    # Short: each line of text on the first screen leaves space for one candidate less.
    hint = _("Choose or search for the person.")
    if not found.people:
        hint = _("Search for the person; your choice will be remembered.")
    return _screen(
        context,
        PickerState(candidate_ids=candidate_ids, then=then),
        found,
        title=title,
        text=f"{text} {hint}",
        buttons=_buttons_below_search(context, error),
        max_height=MAX_FIRST_SCREEN_HEIGHT if click.verb in ("home", "") else 0,
    )


def _buttons_below_search(context: PanelContext, error: PersonNotResolvedError) -> tuple[Component, ...]:
    """Return the buttons below the search: create a ticket without the person, add the person in iTop, check again."""
    components: list[Component] = []
    if can_create_for(context, error):
        if links := find_links(context):
            title = ngettext("%(count)d linked ticket", "%(count)d linked tickets", len(links))
            components.append(link_button(click_id("linked", 1), title % {"count": len(links)}))
            components.append(link_button(SYNC, _("Sync status")))
        components.append(button(click_id("create"), _("Create a ticket")))
    contact = context.request.contact
    if error.failure in UNKNOWN and context.profile.show_open_in_backoffice_button:
        url = context.itop.new_person_url(contact.name[:MAX_PREFILLED_LENGTH], contact.email)
        label = _("Create the person in iTop")
        components.append(Button(id="new-person", label=label, style="link", action=OpenUrl(url)))
    components.append(link_button(click_id("who", "again"), _("Check again")))
    return tuple(components)


def person_picker(context: PanelContext, click: Click) -> Canvas:
    """Return the screen for `who:search`, or for `who:not:<the person who is not the contact>`."""
    if not context.request.contact.id:
        return _no_contact()
    state = PickerState.parse(context.request)
    query = state.query if click.argument(0) == "search" else ""
    exclude = click.number(1) if click.argument(0) == "not" else state.exclude
    if query:
        found = search_people(context, query)
    else:
        found = suggest_people(context, state.candidate_ids, exclude=exclude)
    texts = [_instruction(found, query)]
    buttons = [back_button(str(state.then))]
    if (pick := picks_of(context, exclude).first()) is not None:
        # Opening this screen by mistake must not undo a choice.
        texts.insert(0, _pick_text(pick))
        buttons.insert(0, link_button(click_id("who", "undo", pick.person_id), _("Clear this match")))
    return _screen(
        context,
        PickerState(candidate_ids=state.candidate_ids, then=state.then, query=query, exclude=exclude),
        found,
        title=_("Who is this?"),
        text=" ".join(texts),
        buttons=tuple(buttons),
    )


def stored_picker(request: CanvasRequest) -> dict[str, Any]:
    """Return the `stored_data` that Retry needs after an error on this screen."""
    return PickerState.parse(request).to_stored() if request.stored_data.get("who") else {}


def _screen(  # noqa: PLR0913 - the parts of the screen
    context: PanelContext,
    state: PickerState,
    found: Candidates,
    *,
    title: str,
    text: str,
    buttons: tuple[Component, ...],
    max_height: int = 0,
) -> Canvas:
    """Return as many candidates as the height allows; 0 means no limit."""
    for count in range(len(found.people), -1, -1):
        components: list[Component] = [
            subtitle(title),
            muted(text),
            *_candidates(found, count),
            Input(id=SEARCH, label=_("Search by name or e-mail"), value=state.query, action=Submit()),
            *buttons,
        ]
        if not max_height or estimated_height(components) <= max_height:
            break
    stored = state.to_stored()
    if state.then.verb == "form":
        stored |= Form.parse(context).to_stored()
    return Canvas(components=tuple(components), stored_data=stored)


def _candidates(found: Candidates, count: int) -> list[Component]:
    components: list[Component] = []
    if count:
        components.append(List(items=tuple(_person_item(person) for person in found.people[:count])))
    if count < len(found.people):
        label = ngettext("Show %(count)d candidate", "Show all %(count)d candidates", len(found.people))
        components.append(link_button(click_id("who"), label % {"count": len(found.people)}))
    elif found.has_more:
        components.append(muted(_("There are more results. Refine your search.")))
    return components


def _person_item(person: Person) -> Item:
    facts = [person.org_name, person.email, "" if person.is_active else _("inactive")]
    return item(
        click_id("who", "pick", person.id),
        shorten(person.name, MAX_NAME_LENGTH) or person.email or f"Person {person.id}",
        " · ".join(shorten(fact, MAX_NAME_LENGTH) for fact in facts if fact.strip()),
    )


def _no_contact() -> Canvas:
    text = _("Intercom did not send the contact, so no person can be chosen. Open the conversation again.")
    return error_screen(_("Who is this?"), text, stored={})


def _instruction(found: Candidates, query: str) -> str:
    if found.people or found.has_more:
        return _("Choose the person in this conversation. The choice is remembered for this contact.")
    if query:
        return _("No one in this workspace's scope matches.")
    return _("Search for the person in this conversation. The choice is remembered for this contact.")


def _pick_text(pick: PersonMatch) -> str:
    return _("%(teammate)s chose %(person)s. This remains until someone else is chosen.") % {
        "teammate": safe_name(pick.picked_by, MAX_NAME_LENGTH) or _("A teammate"),
        "person": safe_name(pick.name, MAX_NAME_LENGTH) or _("a person without a name"),
    }


def _failure(context: PanelContext, error: PersonNotResolvedError) -> tuple[str, str]:
    """Return title and text."""
    email = safe_name(error.email, MAX_NAME_LENGTH * 2)
    match error.failure:
        case MatchFailure.SEVERAL:
            return _("Several people match"), _("Several people in iTop match this contact.")
        case MatchFailure.CONTRADICTION:
            return _("Who is this?"), _("The ID and e-mail address belong to different people.")
        case MatchFailure.GONE | MatchFailure.OUTSIDE:
            return _("Who is this?"), _invalid_pick(context, error)
        case MatchFailure.UNKNOWN if email:
            text = _("iTop has no person with the e-mail address %(email)s.") % {"email": email}
        case MatchFailure.UNKNOWN:
            text = _("iTop has no person with this contact's ID.")
        case MatchFailure.NOTHING_TO_GO_BY:
            text = _("This contact has no e-mail address to search for in iTop.")
    return _("Not found in iTop"), text


def _invalid_pick(context: PanelContext, error: PersonNotResolvedError) -> str:
    if error.failure is MatchFailure.OUTSIDE:
        return _("The chosen person is outside the scope of this workspace.")
    if error.picked_at is None and error.name:
        text = _("%(person)s no longer exists in iTop. No ticket was created.")
        return text % {"person": safe_name(error.name, MAX_NAME_LENGTH)}
    if error.picked_at is None:
        return _("The chosen person no longer exists in iTop. Nothing was changed.")
    return _("%(teammate)s chose %(person)s on %(moment)s, but this person no longer exists in iTop.") % {
        "teammate": safe_name(error.picked_by, MAX_NAME_LENGTH) or _("A teammate"),
        "person": safe_name(error.name, MAX_NAME_LENGTH),
        "moment": format_time(timezone.localtime(error.picked_at, context.workspace.zone)),
    }


def _resumable(click: Click) -> Click:
    """Return where a choice leads: a form is displayed again, but not submitted again."""
    if click.verb == "form":
        return Click.parse(FORM)
    return click if click.verb in RESUMABLE else Click("home")
