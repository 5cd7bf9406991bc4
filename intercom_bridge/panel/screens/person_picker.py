"""The person picker: a teammate chooses which person in iTop the contact is, if this is unknown or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from intercom_bridge.tickets.people.caller import NO_PERSON_FAILURES, can_create_for
from intercom_bridge.tickets.people.candidates import Candidates, search_people, suggest_people
from intercom_bridge.tickets.people.evidence import parse_id
from intercom_bridge.tickets.people.match import MAX_CANDIDATES, picks_of
from intercom_bridge.tickets.people.person import Person

from .errors import error_screen
from .parts import back_button, button, format_time, item, join_facts, link_button, muted, safe_name, subtitle

MAX_QUERY_LENGTH = 100
MAX_NAME_LENGTH = 60
MAX_PREFILLED_LENGTH = 200
SEARCH = click_id("who", "search")
# After the choice, the click that needed the person is handled again if it has one of these verbs, which only display a
# screen. After any other click, the choice leads to the first screen.
RESUMABLE_VERBS = ("linked", "ongoing", "ticket", "create", "creation")


@dataclass(frozen=True, kw_only=True)
class PickerState:
    """The state that the screen keeps in `stored_data` for the next click.

    candidate_ids: the persons who match the contact in part.
    click_after_choice: the click to handle after the choice. It leads to the screen for which the person was needed.
    query: the search text.
    excluded_id: the id of the person for whom the teammate clicked "Not this person?", 0 for none.
    """

    candidate_ids: tuple[int, ...] = ()
    click_after_choice: Click = Click("home")
    query: str = ""
    excluded_id: int = 0

    @classmethod
    def parse(cls, request: CanvasRequest) -> PickerState:
        """Return the state from the previous screen with the text in the search field. Both are untrusted."""
        stored = request.stored_data.get("who")
        stored = stored if isinstance(stored, Mapping) else {}
        stored_ids = stored.get("candidates")
        stored_ids = stored_ids[:MAX_CANDIDATES] if isinstance(stored_ids, list) else []
        query = request.input_values.get(SEARCH, stored.get("search"))
        return cls(
            # `parse_id` returns 0 for a value that is no id.
            candidate_ids=tuple(person_id for person_id in map(parse_id, stored_ids) if person_id),
            click_after_choice=_resumable_click(Click.parse(clean_text(stored.get("then")))),
            query=shorten(query, MAX_QUERY_LENGTH) if isinstance(query, str) else "",
            excluded_id=parse_id(stored.get("not")),
        )

    def to_stored(self) -> dict[str, Any]:
        """Return the entries for `stored_data`."""
        return {
            "who": {
                "candidates": list(self.candidate_ids),
                "then": str(self.click_after_choice),
                "search": self.query,
                "not": self.excluded_id,
            }
        }


def unresolved_person(context: PanelContext, error: PersonNotResolvedError, click: Click) -> Canvas:
    """Return the person picker instead of the clicked screen, which cannot be displayed without the person.

    After the choice, the clicked screen is displayed. After a click in the person picker itself, it is the screen that
    the picker had replaced.
    """
    if not context.request.contact.id:
        return _no_contact()
    candidate_ids, click_after_choice = error.candidates, _resumable_click(click)
    if click.verb == "who":
        state = PickerState.parse(context.request)
        candidate_ids = candidate_ids or state.candidate_ids
        click_after_choice = state.click_after_choice
    candidates = suggest_people(context, candidate_ids)
    title, text = _failure_texts(context, error)
    # The hints are short: each further line on the first screen leaves space for one candidate less.
    hint = _("Choose or search for the person.")
    if not candidates.people:
        hint = _("Search for the person; your choice will be remembered.")
    is_first_screen = click.verb in ("home", "")
    return _screen(
        context,
        PickerState(candidate_ids=candidate_ids, click_after_choice=click_after_choice),
        candidates,
        title=title,
        text=f"{text} {hint}",
        buttons=_buttons_below_search(context, error),
        max_height=MAX_FIRST_SCREEN_HEIGHT if is_first_screen else None,
    )


def _buttons_below_search(context: PanelContext, error: PersonNotResolvedError) -> tuple[Component, ...]:
    """Return the buttons below the search: create a ticket without the person, add the person in iTop, check again.

    A ticket can be created without the person if the workspace has a caller for unknown customers.
    """
    components: list[Component] = []
    if can_create_for(context, error):
        # The first screen cannot be displayed, so its links are offered here.
        if links := find_links(context):
            title = ngettext("%(count)d linked ticket", "%(count)d linked tickets", len(links))
            components.append(link_button(click_id("linked", 1), title % {"count": len(links)}))
            components.append(link_button(SYNC, _("Sync status")))
        components.append(button(click_id("create"), _("Create a ticket")))
    contact = context.request.contact
    if error.failure in NO_PERSON_FAILURES and context.profile.show_open_in_backoffice_button:
        url = context.itop.new_person_url(contact.name[:MAX_PREFILLED_LENGTH], contact.email)
        label = _("Create the person in iTop")
        components.append(Button(id="new-person", label=label, style="link", action=OpenUrl(url)))
    components.append(link_button(click_id("who", "again"), _("Check again")))
    return tuple(components)


def person_picker(context: PanelContext, click: Click) -> Canvas:
    """Return the person picker, for one of these clicks.

    `who` lists all candidates. `who:search` searches for the entered text. `who:not:<id>` is the button "Not this
    person?", with the id of the person who is displayed now.
    """
    if not context.request.contact.id:
        return _no_contact()
    state = PickerState.parse(context.request)
    query = state.query if click.argument(0) == "search" else ""
    excluded_id = click.number(1) if click.argument(0) == "not" else state.excluded_id
    if query:
        candidates = search_people(context, query)
    else:
        candidates = suggest_people(context, state.candidate_ids, exclude=excluded_id)
    text = _instruction(candidates, query)
    buttons: list[Component] = [back_button(str(state.click_after_choice))]
    # The excluded person may be an earlier choice. It is only undone if the teammate presses a button for that,
    # because this screen can be opened by mistake.
    if (pick := picks_of(context, excluded_id).first()) is not None:
        text = f"{_pick_text(pick)} {text}"
        buttons.insert(0, link_button(click_id("who", "undo", pick.person_id), _("Clear this match")))
    return _screen(
        context,
        replace(state, query=query, excluded_id=excluded_id),
        candidates,
        title=_("Who is this?"),
        text=text,
        buttons=tuple(buttons),
    )


def stored_picker(request: CanvasRequest) -> dict[str, Any]:
    """Return the entries for `stored_data` that preserve the person picker's state; {} if there is none."""
    return PickerState.parse(request).to_stored() if request.stored_data.get("who") else {}


def _screen(  # noqa: PLR0913 - the parts of the screen
    context: PanelContext,
    state: PickerState,
    candidates: Candidates,
    *,
    title: str,
    text: str,
    buttons: tuple[Component, ...],
    max_height: int | None = None,
) -> Canvas:
    """Return the screen with as many candidates as `max_height` pixels allow; None means no limit."""
    for count in range(len(candidates.people), -1, -1):
        components: list[Component] = [
            subtitle(title),
            muted(text),
            *_first_candidates(candidates, count),
            Input(id=SEARCH, label=_("Search by name or e-mail"), value=state.query, action=Submit()),
            *buttons,
        ]
        if max_height is None or estimated_height(components) <= max_height:
            break
    stored = state.to_stored()
    if state.click_after_choice.verb == "form":
        # The choice leads back to the create form, so its input must be kept.
        stored |= Form.parse(context).to_stored()
    return Canvas(components=tuple(components), stored_data=stored)


def _first_candidates(candidates: Candidates, count: int) -> list[Component]:
    """Return the first `count` candidates, and a button that shows all if these are not all."""
    components: list[Component] = []
    people = candidates.people
    if count:
        components.append(List(items=tuple(_person_item(person) for person in people[:count])))
    if count < len(people):
        label = ngettext("Show %(count)d candidate", "Show all %(count)d candidates", len(people))
        components.append(link_button(click_id("who"), label % {"count": len(people)}))
    elif candidates.has_more:
        components.append(muted(_("There are more results. Refine your search.")))
    return components


def _person_item(person: Person) -> Item:
    facts = [person.org_name, person.email, "" if person.is_active else _("inactive")]
    return item(
        click_id("who", "pick", person.id),
        shorten(person.name, MAX_NAME_LENGTH) or person.email or f"Person {person.id}",
        join_facts(*(shorten(fact, MAX_NAME_LENGTH) for fact in facts)),
    )


def _no_contact() -> Canvas:
    text = _("Intercom did not send the contact, so no person can be chosen. Open the conversation again.")
    return error_screen(_("Who is this?"), text, stored={})


def _instruction(candidates: Candidates, query: str) -> str:
    if candidates.people or candidates.has_more:
        return _("Choose the person in this conversation. The choice is remembered for this contact.")
    if query:
        return _("No person in this workspace's scope has this name or e-mail address.")
    return _("Search iTop for the person in this conversation. The choice is remembered for this contact.")


def _pick_text(pick: PersonMatch) -> str:
    return _("%(teammate)s chose %(person)s. This choice stays until someone chooses another person.") % {
        "teammate": safe_name(pick.picked_by, MAX_NAME_LENGTH) or _("A teammate"),
        "person": safe_name(pick.name, MAX_NAME_LENGTH) or _("a person without a name"),
    }


def _failure_texts(context: PanelContext, error: PersonNotResolvedError) -> tuple[str, str]:
    """Return the screen's title, and a sentence about why the bridge does not know the person."""
    email = safe_name(error.email, MAX_NAME_LENGTH * 2)
    match error.failure:
        case MatchFailure.SEVERAL:
            return _("Several people match"), _("Several people in iTop match this contact.")
        case MatchFailure.CONTRADICTION:
            return _("Who is this?"), _("The ID and e-mail address belong to different people.")
        case MatchFailure.GONE | MatchFailure.OUTSIDE:
            return _("Who is this?"), _invalid_person_text(context, error)
        case MatchFailure.UNKNOWN if email:
            text = _("iTop has no person with the e-mail address %(email)s.") % {"email": email}
        case MatchFailure.UNKNOWN:
            text = _("iTop has no person with this contact's ID.")
        case MatchFailure.NOTHING_TO_GO_BY:
            text = _("This contact has no e-mail address to search for in iTop.")
    return _("Not found in iTop"), text


def _invalid_person_text(context: PanelContext, error: PersonNotResolvedError) -> str:
    """Return what is wrong with the person whom a teammate chose, or who was the caller of a rejected ticket."""
    name = safe_name(error.name, MAX_NAME_LENGTH)
    if error.failure is MatchFailure.OUTSIDE:
        return _("The chosen person is outside the scope of this workspace.")
    if error.picked_at is not None:
        # An earlier choice.
        text = _("%(teammate)s chose %(person)s on %(moment)s, but this person no longer exists in iTop.")
        return text % {
            "teammate": safe_name(error.picked_by, MAX_NAME_LENGTH) or _("A teammate"),
            "person": name,
            "moment": format_time(timezone.localtime(error.picked_at, context.workspace.zone)),
        }
    if error.name:
        # The caller of a rejected ticket.
        return _("%(person)s no longer exists in iTop. No ticket was created.") % {"person": name}
    return _("The chosen person no longer exists in iTop. Nothing was changed.")


def _resumable_click(click: Click) -> Click:
    """Return the click to handle after the choice. A create form is displayed again, but not submitted again."""
    if click.verb == "form":
        return Click.parse(FORM)
    return click if click.verb in RESUMABLE_VERBS else Click("home")
