"""The functions that handle clicks. `router.ROUTES` maps verbs to them."""

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
from .screens.merged import FIELD as MERGE_TARGET
from .screens.merged import links_moved_away, links_moved_here
from .screens.parts import format_time, muted, retry_button, unverified_text
from .screens.person_picker import PickerState
from .screens.send import FIELD as ANSWER
from .screens.send import send_form, sent_screen
from .screens.sync_status import sync_status_screen
from .screens.ticket import cached_ticket_screen
from .screens.ticket_list import linked_tickets, ongoing_tickets, search_screen, status_label

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Redirect:
    """Handle another click next.

    `done` is a text about the completed action, in case the next screen fails. `drops_form`: the form that was being
    filled in is discarded.
    """

    click: Click
    done: str = ""
    drops_form: bool = False


def stored_form(context: PanelContext) -> dict[str, Any]:
    """Return the create form that is being filled in, for `stored_data`."""
    has_form = isinstance(context.request.stored_data.get("form"), dict)
    return Form.parse(context).to_stored() if has_form else {}


def search_query(context: PanelContext, click: Click) -> str:
    """Return the text entered into the search field, or that of the previous search."""
    stored = context.request.stored_data
    if str(click) == FIND and (entered := context.request.input_values.get(FIND)) is not None:
        stored = {"query": entered}
    return BackLink.parse(stored).query


# --- Tickets --------------------------------------------------------------------------------------


def home(context: PanelContext, _click: Click) -> Canvas:
    person = match.find_person(context)
    return home_screen(context, person, get_tickets(context))


def home_screen(context: PanelContext, person: Person, tickets: TicketList, notice: str = "") -> Canvas:
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


def linked(context: PanelContext, click: Click) -> Canvas:
    return linked_tickets(context, get_tickets(context), click.number(0, 1))


def ongoing(context: PanelContext, click: Click) -> Canvas:
    person = match.find_person(context)
    return ongoing_tickets(context, person, get_tickets(context), click.number(0, 1))


def find(context: PanelContext, click: Click) -> Canvas:
    """`find` takes the text that was entered, `find:2` shows a page of the previous search."""
    return search_screen(context, search_query(context, click), click.number(0, 1))


# --- From the cache, while iTop does not respond. These raise CacheMissError ---------------------


def cached_home(context: PanelContext, _click: Click, error: PanelError) -> Canvas:
    tickets = get_cached_tickets(context)
    notice = explain_cached(error, format_time(tickets.fetched_at))
    return home_screen(context, match.find_cached_person(context), tickets, notice)


def cached_linked(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    tickets = get_cached_tickets(context)
    return _with_notice(linked_tickets(context, tickets, click.number(0, 1)), tickets, click, error)


def cached_ongoing(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    person, tickets = match.find_cached_person(context), get_cached_tickets(context)
    screen = ongoing_tickets(context, person, tickets, click.number(0, 1))
    return _with_notice(screen, tickets, click, error)


def cached_ticket(context: PanelContext, click: Click, error: PanelError) -> Canvas:
    tickets = get_cached_tickets(context)
    return _with_notice(cached_ticket_screen(context, tickets, click), tickets, click, error)


def _with_notice(screen: Canvas, tickets: TicketList, click: Click, error: PanelError) -> Canvas:
    """Add the notice about the cached list below the title, and Retry above the way back."""
    notice = muted(explain_cached(error, format_time(tickets.fetched_at)))
    title, *rest, way_back = screen.components
    return replace(screen, components=(title, notice, *rest, retry_button(str(click)), way_back))


# --- Changes in iTop ------------------------------------------------------------------------------


def show_answer(context: PanelContext, click: Click) -> Canvas:
    answer = _answer(context, click)
    message = find_sent(context, [answer]).get(answer.once_key)
    if message is not None:
        return sent_screen(context, answer, message, is_new=False)
    return send_form(context, answer)


def send_now(context: PanelContext, click: Click) -> Canvas:
    answer = _answer(context, click)
    typed = context.request.input_values.get(ANSWER)
    text = clean_text(typed).strip()
    if not text_to_html(text):
        return send_form(context, answer, text, _("Required."))
    message, is_new = send_answer(context, answer, text)
    return sent_screen(context, answer, message, is_new=is_new)


def send_message_again(context: PanelContext, click: Click) -> Redirect:
    send_again(context, click.number(0))
    return Redirect(Click.parse(NEWS))


def _answer(context: PanelContext, click: Click) -> Answer:
    answer = find_answer(context, click.arguments)
    if answer is None or not can_send(context):
        raise OutdatedScreenError(f"{click} is not there any more")
    return answer


# --- The person -----------------------------------------------------------------------------------


def pick_person(context: PanelContext, click: Click) -> Redirect:
    if not match.picks_of(context, click.number(1)).exists():
        claim_version(context)
    match.pick_person(context, click.number(1))
    return Redirect(PickerState.parse(context.request).then, _("Your choice is stored."))


def clear_pick(context: PanelContext, click: Click) -> Redirect:
    picks = match.picks_of(context, click.number(1))
    if picks.exists():
        claim_version(context)
        picks.delete()
    return Redirect(Click.parse(HOME), _("The match is cleared."))


def match_again(context: PanelContext, _click: Click) -> Redirect:
    match.expire_match(context)
    return Redirect(PickerState.parse(context.request).then)


# --- The sync -------------------------------------------------------------------------------------


def move_here(context: PanelContext, click: Click) -> Canvas:
    return links_moved_here(context, click.number(0))


def move_away(context: PanelContext, _click: Click) -> Canvas:
    target = context.request.input_values.get(MERGE_TARGET)
    return links_moved_away(context, target.strip() if isinstance(target, str) else "")


def decision(decide: Callable[[PanelContext], None]) -> Callable[[PanelContext, Click], Canvas]:
    """Return a handler that carries a decision out, and displays the screen that it was made on.

    Without iTop, display the one that needs only the database.
    """

    def handle(context: PanelContext, _click: Click) -> Canvas:
        decide(context)
        if BackLink.parse(context.request.stored_data).target == SYNC:
            return sync_status_screen(context)
        try:
            return home(context, Click.parse(HOME))
        except ItopError:
            return sync_status_screen(context)

    return handle


pause = decision(partial(sync_status.switch_sync, on=False))
resume = decision(partial(sync_status.switch_sync, on=True))
resume_posting = decision(news_of_conversation.resume_posting)
retry = decision(sync_status.retry_failed)
write_left_out = decision(sync_status.write_left_out)
discard_left_out = decision(sync_status.discard_left_out)


# --- The create form ------------------------------------------------------------------------------


def create(context: PanelContext, _click: Click) -> Canvas:
    draft = find_draft(context)
    if draft is None:
        return create_form(context, Form.new(context))
    return create_form(context, Form.restore(context, draft.form), restored_from=draft.saved_at)


def follow_up(context: PanelContext, click: Click) -> Canvas:
    """Show the form filled from a closed ticket. A draft is only replaced when the form is changed or submitted."""
    form = Form.new(context)
    ticket = get_ticket(
        context, click.argument(0), click.number(1), extra=[field.code for field in form.fields(context)]
    )
    return create_form(context, form.following(ticket, context))


def discard_form(context: PanelContext, _click: Click) -> Redirect:
    discard_draft(context)
    return Redirect(Click.parse(HOME), _("The form is discarded."), drops_form=True)


def show_form(context: PanelContext, _click: Click) -> Canvas:
    return create_form(context, Form.parse(context))


def list_choices(context: PanelContext, click: Click) -> Canvas:
    form = Form.parse(context)
    query = clean_text(context.request.stored_data.get("search"))
    return _choice_page(context, form, click, click.number(2, 1), query)


def search_choices(context: PanelContext, click: Click) -> Canvas:
    query = context.request.input_values.get(str(click))
    return _choice_page(context, Form.parse(context), click, 1, query if isinstance(query, str) else "")


def choose(context: PanelContext, click: Click) -> Canvas:
    form = Form.parse(context)
    field = _choice_field(context, form, click)
    if field is None:
        return errors.unknown_action(form.to_stored())
    return create_form(context, form.choose(field.code, ":".join(click.arguments[2:]), context))


def _choice_page(context: PanelContext, form: Form, click: Click, page: int, query: str) -> Canvas:
    field = _choice_field(context, form, click)
    if field is None:
        return errors.unknown_action(form.to_stored())
    return choice_page(context, form, field, page, query)


def _choice_field(context: PanelContext, form: Form, click: Click) -> FormField | None:
    field = form.find_field(context, click.argument(1))
    return field if field is not None and field.has_choices else None


def submit_form(context: PanelContext, click: Click) -> Canvas:  # noqa: PLR0911 - one per outcome
    form = Form.parse(context).validate(context)
    if form.errors:
        return create_form(context, form)
    if not is_submitted(context, form.key):
        if (faster := created_since(context, form.key, form.seen)) is not None:
            return _already_created(context, form, faster)
        duplicates = [] if form.warned else _find_duplicates(context, form)
        # The list may contain the ticket that another submission of this form is creating.
        if duplicates and not is_submitted(context, form.key):
            return possible_duplicates_screen(context, replace(form, warned=True), duplicates)
    try:
        creation = submit_creation(
            context,
            form.key,
            form.values,
            form.to_itop(context),
            newest_seen_id=form.seen,
            announce=click.argument(1) != "quiet",
            copy=form.copies,
        )
    except CreationPendingError:
        return creation_pending(form)
    except AlreadyCreatedError as error:
        return _already_created(context, form, error.creation)
    except ItopRejectedError as error:
        refused = creations_in(context).filter(form_key=form.key).first()
        problem = "" if refused and refused.problems else explain(error)[1]
        return _form_with_problems(context, form, refused, problem)
    return _created(context, creation)


def show_form_creation(context: PanelContext, _click: Click) -> Canvas:
    return _creation_screen(context, Form.parse(context))


def show_creation(context: PanelContext, click: Click) -> Canvas:
    return _creation_screen(context, Form(key=click.argument(0), values={}))


def _creation_screen(context: PanelContext, form: Form) -> Canvas:
    """Return the state of the creation by this form."""
    creations = creations_in(context)
    creation = creations.filter(form_key=form.key).select_related("ticket").first()
    if creation is None:
        return creation_pending(form) if creations.waiting().exists() else create_form(context, form)
    if creation.state == TicketCreation.State.REFUSED:
        return _refused(context, creation)
    if creation.state == TicketCreation.State.CREATING:
        return creation_pending(form)
    return _created(context, creation)


def _refused(context: PanelContext, creation: TicketCreation) -> Canvas:
    """Return the form as it was, with the errors that iTop returned after the panel had responded."""
    form = Form(
        key=new_key(),
        values=creation.values,
        seen=newest_creation_id(context),
        warned=True,
        copies=not creation.since_part_at,
    )
    problem = "" if creation.problems else creation.reason_detail
    canvas = _form_with_problems(context, form, creation, problem)
    creation.rejection_seen = True
    creation.save(update_fields=["rejection_seen"])
    return canvas


def _form_with_problems(
    context: PanelContext, form: Form, refused: TicketCreation | None, problem: str
) -> Canvas:
    """Return the form with iTop's errors.

    If iTop no longer has the caller, ask it again who the contact is, because the match may be ten minutes old. Raise
    PersonNotResolvedError if it does not know.
    """
    problems = refused.problems if refused else []
    if refused and any(map(partial(_is_caller_gone, context), problems)):
        caller = find_caller(context).person
        if caller.id == refused.caller_id:
            caller = _look_up_caller_again(context, caller)
        if caller.id != refused.caller_id:
            others = [row for row in problems if not _is_caller_gone(context, row)]
            return create_form(context, form.with_problems(others, context), is_caller_new=True)
    return create_form(context, form.with_problems(problems, context), problem=problem)


def _is_caller_gone(context: PanelContext, problem: dict[str, Any]) -> bool:
    code = context.profile.code("caller_id")
    return {"attribute": code, "kind": ProblemKind.NO_SUCH_OBJECT}.items() <= problem.items()


def _look_up_caller_again(context: PanelContext, gone: Person) -> Person:
    match.expire_match(context)
    context.memo.clear()
    try:
        return find_caller(context).person
    except PersonNotResolvedError as error:
        if error.failure is MatchFailure.GONE:
            raise
        raise PersonNotResolvedError(
            MatchFailure.GONE, name=gone.name, email=error.email, candidates=error.candidates
        ) from error


def _find_duplicates(context: PanelContext, form: Form) -> list[TicketRow]:
    """Return open tickets that may be about the same."""
    try:
        rows = get_tickets(context).rows
    except ItopError as error:
        # The submission itself reports the problem, or the worker completes it.
        log.warning("panel.duplicates_unknown", itop=context.itop.name, error=type(error).__name__)
        return []
    title, description = (
        form.values.get(context.profile.code(code), "") for code in ("title", "description")
    )
    return possible_duplicates(title, description, rows, context.profile.excluded_states)


def _already_created(context: PanelContext, form: Form, creation: TicketCreation) -> Canvas:
    if creation.ticket is None:
        return errors.ticket_not_found({})
    form = replace(form, seen=creation.pk, warned=True)
    return created_by_colleague(context, form, creation, creation.ticket)


def _created(context: PanelContext, creation: TicketCreation) -> Canvas:
    if creation.ticket is None:
        return errors.ticket_not_found({})
    return ticket_created(context, creation, creation.ticket)
