"""The functions that handle clicks. `router.ROUTES` says which function handles which click."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from django.utils.translation import gettext as _

from intercom_bridge.intercom.html import text_to_html
from intercom_bridge.intercom.text import clean_text
from intercom_bridge.models import TicketCreation
from intercom_bridge.tickets import news as news_of_conversation
from intercom_bridge.tickets import sync_status
from intercom_bridge.tickets.answers import Answer, can_send, find_answer, find_sent, send_again, send_answer
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import creation_to_report, creations_in
from intercom_bridge.tickets.creation.drafts import discard_draft, find_draft
from intercom_bridge.tickets.creation.duplicates import possible_duplicates
from intercom_bridge.tickets.creation.submit import (
    AlreadyCreatedError,
    CreationPendingError,
    created_since,
    is_submitted,
    submit_creation,
)
from intercom_bridge.tickets.details import get_ticket
from intercom_bridge.tickets.errors import MatchFailure, OutdatedScreenError, PersonNotResolvedError
from intercom_bridge.tickets.links.merge import find_merge
from intercom_bridge.tickets.listing import get_cached_tickets, get_tickets
from intercom_bridge.tickets.people import match
from intercom_bridge.tickets.people.caller import find_caller
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.rows import TicketList, TicketRow
from intercom_bridge.tickets.version import claim_version
from itop_client import ItopError, ItopRejectedError
from itop_client.errors import ProblemKind

from .click import FIND, HOME, NEWS, SYNC, BackLink, Click
from .components import Canvas
from .errors import PanelError, explain, explain_cached
from .form.field import FormField
from .form.form import Form, new_key, newest_creation_id
from .screens import errors
from .screens.create import choice_page, create_form, possible_duplicates_screen
from .screens.created import created_by_colleague, creation_pending, ticket_created
from .screens.home import HomeScreen
from .screens.merged import TARGET_FIELD as MERGE_TARGET_FIELD
from .screens.merged import links_moved_away, links_moved_here
from .screens.parts import format_time, muted, retry_button, unverified_text
from .screens.person_picker import PickerState
from .screens.send import TEXT_FIELD as ANSWER_FIELD
from .screens.send import send_form, sent_screen
from .screens.sync_status import sync_status_screen
from .screens.ticket import cached_ticket_screen
from .screens.ticket_list import linked_tickets, ongoing_tickets, search_screen, status_label

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Redirect:
    """A handler returns this instead of a canvas: the router then handles `click`, and displays its screen.

    done: what has been completed already, as a sentence that is displayed if handling `click` fails.
    drops_form: if handling `click` fails, the error screen does not keep the create form.
    """

    click: Click
    done: str = ""
    drops_form: bool = False


def stored_form(context: PanelContext) -> dict[str, Any]:
    """Return the entries for `stored_data` that preserve the create form with its input; {} if there is no form."""
    has_form = isinstance(context.request.stored_data.get("form"), dict)
    return Form.parse(context).to_stored() if has_form else {}


def search_query(context: PanelContext, click: Click) -> str:
    """Return the text that was just entered into the search field, or else the text of the previous search."""
    stored, inputs = context.request.stored_data, context.request.input_values
    # Only a click on the field's own button searches for the entered text. Other clicks keep the previous search.
    if str(click) == FIND and FIND in inputs:
        stored = {"query": inputs[FIND]}
    # Both texts are untrusted. BackLink cleans and shortens them.
    return BackLink.parse(stored).query


# --- Tickets --------------------------------------------------------------------------------------


def show_home(context: PanelContext, _click: Click) -> Canvas:
    person = match.find_person(context)
    return home_screen(context, person, get_tickets(context))


def home_screen(context: PanelContext, person: Person, tickets: TicketList, notice: str = "") -> Canvas:
    """Return the first screen. If `tickets` are cached, `notice` is the text that says so."""
    return HomeScreen(
        person=person,
        warning=unverified_text(context, person),
        closed_states=tuple(context.profile.excluded_states),
        status_label=partial(status_label, context),
        rows=tickets.rows,
        has_more=tickets.has_more,
        status=sync_status.get_sync_status(context),
        creation=creation_to_report(context),
        merge=find_merge(context),
        news=news_of_conversation.get_news(context),
        notice=notice,
    ).to_canvas()


def list_linked(context: PanelContext, click: Click) -> Canvas:
    return linked_tickets(context, get_tickets(context), page=click.number(0, 1))


def list_ongoing(context: PanelContext, click: Click) -> Canvas:
    person = match.find_person(context)
    return ongoing_tickets(context, person, get_tickets(context), page=click.number(0, 1))


def search_for_tickets(context: PanelContext, click: Click) -> Canvas:
    """Handle `find`, a new search for the entered text, and `find:2`, the second page of the previous search."""
    return search_screen(context, search_query(context, click), page=click.number(0, 1))


# --- Screens from cached data, while iTop does not respond. They raise CacheMissError -------------


def cached_home(context: PanelContext, _click: Click, error: PanelError) -> Canvas:
    tickets = get_cached_tickets(context)
    notice = explain_cached(error, format_time(tickets.fetched_at))
    return home_screen(context, match.find_cached_person(context), tickets, notice)


def cached_linked(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    tickets = get_cached_tickets(context)
    screen = linked_tickets(context, tickets, page=click.number(0, 1))
    return _with_notice(screen, tickets, click, error)


def cached_ongoing(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    person, tickets = match.find_cached_person(context), get_cached_tickets(context)
    screen = ongoing_tickets(context, person, tickets, page=click.number(0, 1))
    return _with_notice(screen, tickets, click, error)


def cached_ticket(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    tickets = get_cached_tickets(context)
    return _with_notice(cached_ticket_screen(context, tickets, click), tickets, click, error)


def _with_notice(screen: Canvas, tickets: TicketList, click: Click, error: PanelError) -> Canvas:
    """Add a notice about cached data below the screen's title, and the button Retry above its button Back."""
    notice = muted(explain_cached(error, format_time(tickets.fetched_at)))
    title, *rest, back = screen.components
    return replace(screen, components=(title, notice, *rest, retry_button(str(click)), back))


# --- Agents' answers from iTop, sent to the customer ----------------------------------------------


def show_answer(context: PanelContext, click: Click) -> Canvas:
    """Show the form that sends an answer. If the answer was sent before, show the sent message instead."""
    answer = _clicked_answer(context, click)
    message = find_sent(context, [answer]).get(answer.once_key)
    if message is not None:
        return sent_screen(context, answer, message, is_new=False)
    return send_form(context, answer)


def send_now(context: PanelContext, click: Click) -> Canvas:
    """Send the text in the form to the customer. If the answer was sent before, show only the sent message."""
    answer = _clicked_answer(context, click)
    text = clean_text(context.request.input_values.get(ANSWER_FIELD)).strip()
    # `text_to_html` returns "" if the text contains nothing visible.
    if not text_to_html(text):
        return send_form(context, answer, text, problem=_("Required."))
    message, is_new = send_answer(context, answer, text)
    return sent_screen(context, answer, message, is_new=is_new)


def send_message_again(context: PanelContext, click: Click) -> Redirect:
    send_again(context, click.number(0))
    return Redirect(Click.parse(NEWS))


def _clicked_answer(context: PanelContext, click: Click) -> Answer:
    """Return the answer that the click names. Raise OutdatedScreenError if it can no longer be sent."""
    answer = find_answer(context, click.arguments)
    if answer is None or not can_send(context):
        raise OutdatedScreenError(f"{click} is not there any more")
    return answer


# --- The person -----------------------------------------------------------------------------------


def pick_person(context: PanelContext, click: Click) -> Redirect:
    """Store that the contact is the chosen person, and show the screen for which the person was needed."""
    person_id = click.number(1)
    # Choosing the same person again changes nothing, so this is allowed on an outdated screen.
    if not match.picks_of(context, person_id).exists():
        claim_version(context)
    match.pick_person(context, person_id)
    return Redirect(PickerState.parse(context.request).click_after_choice, done=_("Your choice is stored."))


def clear_pick(context: PanelContext, click: Click) -> Redirect:
    """Forget that a teammate chose this person. The bridge then looks for the contact's person again."""
    picks = match.picks_of(context, click.number(1))
    # A second click finds nothing to delete, so it is allowed on an outdated screen.
    if picks.exists():
        claim_version(context)
        picks.delete()
    return Redirect(Click.parse(HOME), done=_("The match is cleared."))


def match_again(context: PanelContext, _click: Click) -> Redirect:
    """Ask iTop again who the contact is, for example after a teammate has created the person there."""
    match.expire_match(context)
    return Redirect(PickerState.parse(context.request).click_after_choice)


# --- The sync -------------------------------------------------------------------------------------


def move_here(context: PanelContext, click: Click) -> Canvas:
    return links_moved_here(context, click.number(0))


def move_away(context: PanelContext, _click: Click) -> Canvas:
    target = context.request.input_values.get(MERGE_TARGET_FIELD)
    return links_moved_away(context, target.strip() if isinstance(target, str) else "")


def _then_show_same_screen(action: Callable[[PanelContext], None]) -> Callable[[PanelContext, Click], Canvas]:
    """Return a handler that calls `action`, and then displays the clicked screen: the sync page or the first screen.

    If iTop does not respond, the sync page replaces the first screen, because the sync page needs only the database.
    """

    def handle(context: PanelContext, _click: Click) -> Canvas:
        action(context)
        if BackLink.parse(context.request.stored_data).target == SYNC:
            return sync_status_screen(context)
        try:
            return show_home(context, Click.parse(HOME))
        except ItopError:
            return sync_status_screen(context)

    return handle


pause = _then_show_same_screen(partial(sync_status.switch_sync, on=False))
resume = _then_show_same_screen(partial(sync_status.switch_sync, on=True))
resume_posting = _then_show_same_screen(news_of_conversation.resume_posting)
retry_failed = _then_show_same_screen(sync_status.retry_failed)
write_left_out = _then_show_same_screen(sync_status.write_left_out)
discard_left_out = _then_show_same_screen(sync_status.discard_left_out)


# --- The create form ------------------------------------------------------------------------------


def open_form(context: PanelContext, _click: Click) -> Canvas:
    """Show the teammate's draft of the create form, or a new form if there is no draft."""
    draft = find_draft(context)
    if draft is None:
        return create_form(context, Form.new(context))
    return create_form(context, Form.restore(context, draft.form), draft_saved_at=draft.saved_at)


def open_follow_up_form(context: PanelContext, click: Click) -> Canvas:
    """Show the create form filled with the values of a closed ticket.

    The form replaces the teammate's draft only when it is changed or submitted.
    """
    form = Form.new(context)
    codes = [field.code for field in form.fields(context)]
    ticket = get_ticket(context, click.argument(0), click.number(1), extra=codes)
    return create_form(context, form.filled_from_closed(ticket, context))


def discard_form(context: PanelContext, _click: Click) -> Redirect:
    discard_draft(context)
    return Redirect(Click.parse(HOME), done=_("The form is discarded."), drops_form=True)


def show_form(context: PanelContext, _click: Click) -> Canvas:
    return create_form(context, Form.parse(context))


def list_choices(context: PanelContext, click: Click) -> Canvas:
    """Handle `form:pick:<field>:<page>`: show a page of a field's choices."""
    query = clean_text(context.request.stored_data.get("search"))
    return _show_choices(context, click, page=click.number(2, 1), query=query)


def search_choices(context: PanelContext, click: Click) -> Canvas:
    """Handle `form:search:<field>`, which is also the id of the search field in `input_values`."""
    query = context.request.input_values.get(str(click))
    return _show_choices(context, click, page=1, query=query if isinstance(query, str) else "")


def choose(context: PanelContext, click: Click) -> Canvas:
    """Handle `form:choose:<field>:<choice>`: show the form with this choice. An empty choice empties the field."""
    form = Form.parse(context)
    field = _clicked_choice_field(context, form, click)
    if field is None:
        return errors.unknown_action(form.to_stored())
    # An enum's value can contain colons.
    choice_id = ":".join(click.arguments[2:])
    return create_form(context, form.with_value(field.code, choice_id, context))


def _show_choices(context: PanelContext, click: Click, *, page: int, query: str) -> Canvas:
    form = Form.parse(context)
    field = _clicked_choice_field(context, form, click)
    if field is None:
        return errors.unknown_action(form.to_stored())
    return choice_page(context, form, field, page, query)


def _clicked_choice_field(context: PanelContext, form: Form, click: Click) -> FormField | None:
    """Return the field that the click names, or None if the form has no such field with choices."""
    field = form.find_field(context, click.argument(1))
    return field if field is not None and field.has_choices else None


def submit_form(context: PanelContext, click: Click) -> Canvas:
    """Create the ticket and show it. First show the form's errors, or ask if there may already be such a ticket."""
    form = Form.parse(context).validate(context)
    if form.errors:
        return create_form(context, form)
    if (question := _ask_before_creating(context, form)) is not None:
        return question
    try:
        creation = submit_creation(
            context,
            form.key,
            form.values,
            form.to_itop(context),
            newest_seen_id=form.seen_creation_id,
            announce=click.argument(1) != "quiet",
            copy=form.copies_conversation,
        )
    except CreationPendingError:
        return creation_pending(form)
    except AlreadyCreatedError as error:
        return _show_other_creation(context, form, error.creation)
    except ItopRejectedError as error:
        rejected = creations_in(context).filter(form_key=form.key).first()
        # Problems of attributes are shown at their fields, any other reason above the form.
        problem = "" if rejected and rejected.problems else explain(error).advice
        return _form_with_problems(context, form, rejected, problem)
    return _show_created(context, creation)


def _ask_before_creating(context: PanelContext, form: Form) -> Canvas | None:
    """Return a screen that asks whether to create the ticket although there are others; None if there is no doubt."""
    if is_submitted(context, form.key):
        # A repeated click. The teammate has already decided.
        return None
    other_creation = created_since(context, form.key, form.seen_creation_id)
    if other_creation is not None:
        return _show_other_creation(context, form, other_creation)
    if form.duplicates_shown:
        return None
    duplicates = _find_duplicates(context, form)
    # If a simultaneous click has submitted this form meanwhile, the form's own ticket can be among the duplicates.
    if not duplicates or is_submitted(context, form.key):
        return None
    return possible_duplicates_screen(context, replace(form, duplicates_shown=True), duplicates)


def show_form_creation(context: PanelContext, _click: Click) -> Canvas:
    """Show what became of the form in `stored_data`, which was submitted before."""
    return _creation_screen(context, Form.parse(context))


def show_creation(context: PanelContext, click: Click) -> Canvas:
    """Handle `creation:<form key>`, a click on the first screen: show what became of the submitted form."""
    return _creation_screen(context, Form(key=click.argument(0), values={}))


def _creation_screen(context: PanelContext, form: Form) -> Canvas:
    """Return the screen for the current state of the ticket creation that has this form's key."""
    creations = creations_in(context)
    creation = creations.filter(form_key=form.key).select_related("ticket").first()
    if creation is None:
        # This form was not submitted, because another form of the conversation was being processed. After that, the
        # teammate can submit this form.
        return creation_pending(form) if creations.waiting().exists() else create_form(context, form)
    if creation.state == TicketCreation.State.REFUSED:
        return _show_rejected(context, creation)
    if creation.state == TicketCreation.State.CREATING:
        return creation_pending(form)
    return _show_created(context, creation)


def _show_rejected(context: PanelContext, creation: TicketCreation) -> Canvas:
    """Return the form with iTop's errors. The worker submitted the form, so the teammate has not seen them yet."""
    form = Form(
        key=new_key(),
        values=creation.values,
        seen_creation_id=newest_creation_id(context),
        duplicates_shown=True,
        # `since_part_at` is set if the teammate chose not to copy the conversation so far.
        copies_conversation=not creation.since_part_at,
    )
    problem = "" if creation.problems else creation.reason_detail
    canvas = _form_with_problems(context, form, creation, problem)
    # The first screen reports a rejection until the teammate has seen it here.
    creation.rejection_seen = True
    creation.save(update_fields=["rejection_seen"])
    return canvas


def _form_with_problems(
    context: PanelContext, form: Form, rejected: TicketCreation | None, problem: str
) -> Canvas:
    """Return the form with iTop's errors. `problem` is a text about an error that belongs to no field.

    If iTop rejected the form because the caller was deleted, find the contact's person again. Raise
    PersonNotResolvedError if iTop has no person for the contact.
    """
    problems = rejected.problems if rejected else []
    other_problems = [row for row in problems if not _is_caller_missing(context, row)]
    if rejected and len(other_problems) < len(problems):
        caller = find_caller(context).person
        if caller.id == rejected.caller_id:
            # The deleted person may come from the cache, which keeps a match for ten minutes.
            caller = _look_up_caller_again(context, caller)
        if caller.id != rejected.caller_id:
            return create_form(context, form.with_problems(other_problems, context), is_caller_new=True)
    return create_form(context, form.with_problems(problems, context), problem=problem)


def _is_caller_missing(context: PanelContext, problem: dict[str, Any]) -> bool:
    """Return whether iTop reported that it has no such caller."""
    is_about_caller = problem.get("attribute") == context.profile.code("caller_id")
    return is_about_caller and problem.get("kind") == ProblemKind.NO_SUCH_OBJECT


def _look_up_caller_again(context: PanelContext, deleted: Person) -> Person:
    """Ask iTop for the caller, without the cache. If there is none, PersonNotResolvedError names the deleted person."""
    match.expire_match(context)
    # The memo holds results of this request that are based on the deleted person.
    context.memo.clear()
    try:
        return find_caller(context).person
    except PersonNotResolvedError as error:
        if error.failure is MatchFailure.GONE:
            # A teammate had chosen the deleted person. The error already names both.
            raise
        raise PersonNotResolvedError(
            MatchFailure.GONE, name=deleted.name, email=error.email, candidates=error.candidates
        ) from error


def _find_duplicates(context: PanelContext, form: Form) -> list[TicketRow]:
    """Return the person's open tickets that may be about the same problem as the form."""
    try:
        rows = get_tickets(context).rows
    except ItopError as error:
        # Continue without this check. If iTop cannot create the ticket either, the teammate is told so then.
        log.warning("panel.duplicates_unknown", itop=context.itop.name, error=type(error).__name__)
        return []
    profile = context.profile
    title = form.values.get(profile.code("title"), "")
    description = form.values.get(profile.code("description"), "")
    return possible_duplicates(title, description, rows, profile.excluded_states)


def _show_other_creation(context: PanelContext, form: Form, creation: TicketCreation) -> Canvas:
    """Return the screen about a ticket that another form has created in this conversation."""
    if creation.ticket is None:
        # The bridge no longer stores the ticket.
        return errors.ticket_not_found({})
    form = replace(form, seen_creation_id=creation.pk, duplicates_shown=True)
    return created_by_colleague(context, form, creation, creation.ticket)


def _show_created(context: PanelContext, creation: TicketCreation) -> Canvas:
    if creation.ticket is None:
        # The bridge no longer stores the ticket.
        return errors.ticket_not_found({})
    return ticket_created(context, creation, creation.ticket)
