"""From a click to a screen. Whatever happens, the answer is a canvas."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Any

import structlog
from django.utils import translation
from django.utils.translation import gettext as _

from intercom_bridge.desk import Deadline, Desk, NobodyFound, OutOfScope, TicketGone, TicketRow
from intercom_bridge.desk.creations import creations_in
from intercom_bridge.desk.duplicates import possible_duplicates
from intercom_bridge.intercom.api import IntercomError
from intercom_bridge.intercom.payloads import CanvasRequest, PayloadError
from intercom_bridge.intercom.text import clean_text
from intercom_bridge.metrics import observe, panel_seconds
from intercom_bridge.models import Submission, Workspace
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.press import CreatedMeanwhile, StillCreating, created_since, press_create, was_pressed
from intercom_bridge.sync.tasks import wake_for_everything
from itop_client import ItopError, ItopRefused

from .click import Click, click
from .components import Canvas, LimitError
from .form import Form, new_key, newest_creation
from .screens import away, trouble
from .screens.create import create_form, pick_page
from .screens.done import created, on_its_way
from .screens.home import home
from .screens.linking import link
from .screens.meanwhile import created_meanwhile
from .screens.moving import FIELD as NAMED
from .screens.moving import merged, moved_away, moved_here
from .screens.search import FIELD, find
from .screens.sync import how_the_sync_stands
from .screens.ticket import ticket
from .screens.ticket_list import linked_tickets, ongoing_tickets
from .screens.unlinking import ask_to_unlink, unlinked, unlinking_undone
from .screens.who import after_the_pick, kept, who_is_it, who_it_may_be
from .trail import Trail

log = structlog.get_logger(__name__)

# Intercom waits about ten seconds, a teammate hardly five; what is left of those is for the way there and back, and for
# reading what is known where iTop has not answered.
ANSWER_SECONDS = 4.0
# What is counted by its own name (metrics.py); a click is input.
VERBS = frozenset(
    [
        "home",
        "linked",
        "ongoing",
        "ticket",
        "find",
        "link",
        "who",
        "unlink",
        "undo-unlink",
        "merged",
        "move-here",
        "move-away",
        "sync",
        "pause",
        "resume",
        "try-again",
        "write-left-out",
        "forget-left-out",
        "create",
        "form",
        "creation",
    ]
)


def answer(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
    """The answer to a signed Initialize or Submit: always `{"canvas": ...}`, within five seconds."""
    began = time.monotonic()
    deadline = Deadline(ANSWER_SECONDS)
    with translation.override(workspace.language):
        try:
            request = CanvasRequest.parse(data)
        except PayloadError:
            return trouble.unreadable().to_json()
        clicked = Click.read(request.component_id) if submitted else Click("home")
        with structlog.contextvars.bound_contextvars(
            workspace=workspace.workspace_id, conversation=request.conversation.id, click=clicked.verb
        ):
            shown = _safely(Desk(workspace, request, deadline), clicked).to_json()
        observe(panel_seconds, time.monotonic() - began, _name_of(clicked))
        return shown


def _name_of(clicked: Click) -> str:
    """One of a closed set: what is clicked is input."""
    verb = clicked.verb or "home"
    return verb if verb in VERBS else "other"


def too_many(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
    """The answer to a signed request that is beyond the workspace's share. Asks iTop nothing, keeps what was typed."""
    with translation.override(workspace.language):
        try:
            request = CanvasRequest.parse(data)
        except PayloadError:
            return trouble.unreadable().to_json()
        clicked = Click.read(request.component_id) if submitted else Click("home")
        log.warning("panel.too_many", workspace=workspace.workspace_id, click=clicked.verb)
        desk = Desk(workspace, request, Deadline(ANSWER_SECONDS))
        try:
            return trouble.too_many(str(clicked), _kept(desk, clicked)).to_json()
        except Exception:
            # It is answered all the same: with a Retry that begins anew.
            log.exception("panel.broke")
            return trouble.too_many(click("home"), {}).to_json()


def _safely(desk: Desk, clicked: Click) -> Canvas:
    """The screen for the click, or the one that says why there is none."""
    retry = str(clicked)
    stored: dict[str, Any] = {}
    try:
        stored = _kept(desk, clicked)
        if not desk.workspace.enabled:
            return trouble.turned_off(stored)
        return _answered(desk, clicked)
    except OutOfScope:
        return trouble.out_of_scope(stored)
    except TicketGone:
        return trouble.ticket_gone(stored)
    except ItopError as error:
        return _itop_trouble(desk, error, retry, stored)
    except IntercomError as error:
        log.warning("panel.intercom_trouble", error=type(error).__name__, said=str(error)[:200])
        return trouble.intercom_trouble(error, retry, stored)
    except SecretUnreadable:
        log.exception("panel.secret_unreadable")
        return trouble.unreadable_secret(retry, stored)
    except Exception:
        reference = secrets.token_hex(4)
        log.exception("panel.broke", reference=reference)
        retry = retry if clicked.verb != "form" else ""
        try:
            return trouble.ours(reference, retry, stored)
        except LimitError:
            return trouble.ours(reference, retry, {}, is_lost="form" in stored)


def _itop_trouble(desk: Desk, error: ItopError, retry: str, stored: dict[str, Any], done: str = "") -> Canvas:
    log.warning("panel.itop_trouble", itop=desk.itop.name, **_said(error))
    return trouble.itop_trouble(error, retry, stored, is_linked=bool(desk.links()), done=done)


def _said(error: Exception) -> dict[str, str]:
    """For the log. What iTop says when it refuses may quote what somebody typed."""
    said = {"error": type(error).__name__}
    return said if isinstance(error, ItopRefused) else said | {"said": str(error)[:200]}


def _answered(desk: Desk, clicked: Click) -> Canvas:
    """The screen for the click; where iTop does not answer, what it said of that earlier."""
    try:
        return _screen_or_who(desk, clicked)
    except (ItopError, SecretUnreadable) as error:
        known = away.last_known(desk, clicked, error, _trail(desk), _form_kept(desk))
        if known is None:
            raise
        log.warning("panel.itop_away", itop=desk.itop.name, **_said(error))
        return known


def _kept(desk: Desk, clicked: Click) -> dict[str, Any]:
    """What a Retry needs: the form with what was typed into it, or where one came from, or whom was asked for."""
    trail = replace(_trail(desk), words=_words(desk, clicked))
    return kept(desk.request) | trail.stored() | _form_kept(desk)


def _form_kept(desk: Desk) -> dict[str, Any]:
    return Form.read(desk).stored() if isinstance(desk.request.stored_data.get("form"), dict) else {}


def _keeping(desk: Desk, canvas: Canvas) -> Canvas:
    """With the form that the teammate is about to go back to."""
    return replace(canvas, stored_data={**_form_kept(desk), **canvas.stored_data})


def _screen_or_who(desk: Desk, clicked: Click) -> Canvas:
    """Any screen may find that it is not known who the contact is."""
    try:
        return _screen(desk, clicked)
    except NobodyFound as error:
        return who_it_may_be(desk, error, clicked)


def _screen(desk: Desk, clicked: Click) -> Canvas:
    match clicked.verb:
        case "home" | "":
            return home(desk)
        case "linked":
            return linked_tickets(desk, clicked.number(0, 1))
        case "ongoing":
            return ongoing_tickets(desk, clicked.number(0, 1))
        case "ticket":
            return _keeping(desk, ticket(desk, clicked.argument(0), clicked.number(1), _trail(desk)))
        case "find":
            return _find(desk, clicked)
        case "link":
            canvas = link(desk, clicked.argument(0), clicked.number(1), clicked.argument(2), _trail(desk))
            wake_for_everything()
            return _keeping(desk, canvas)
        case "who" if clicked.argument(0) == "pick":
            desk.pick(clicked.number(1))
            return _now_that(_("The choice is kept."), desk, after_the_pick(desk))
        case "who" if clicked.argument(0) == "undo":
            desk.undo_pick(clicked.number(1))
            return _now_that(_("The choice is undone."), desk, Click("home"))
        case "who" if clicked.argument(0) == "again":
            desk.ask_anew()
            return _screen(desk, after_the_pick(desk))
        case "who":
            return who_is_it(desk, clicked)
        case "unlink" | "undo-unlink":
            return _keeping(desk, _unlinking(desk, clicked))
        case "merged" | "move-here" | "move-away":
            return _merged(desk, clicked)
        case "sync":
            return how_the_sync_stands(desk)
        case "pause" | "resume" | "try-again" | "write-left-out" | "forget-left-out":
            return _decided(desk, clicked)
        case "create":
            return create_form(desk, Form.opened(desk))
        case "form":
            return _form_screen(desk, clicked)
        case "creation":
            return _status(desk, Form(key=clicked.argument(0), values={}))
        case _:
            return trouble.unknown_click(_form_kept(desk))


def _now_that(done: str, desk: Desk, then: Click) -> Canvas:
    """The screen that follows; where iTop cannot give it, what was done is said, and a Retry does not do it again."""
    try:
        return _screen(desk, then)
    except ItopError as error:
        return _itop_trouble(desk, error, str(then), _kept(desk, then), done)


def _decided(desk: Desk, clicked: Click) -> Canvas:
    """About the sync. The screen it was pressed on says what came of it; where iTop cannot answer, the page that asks
    nobody."""
    match clicked.verb:
        case "pause" | "resume":
            desk.switch_sync(on=clicked.verb == "resume")
        case "try-again":
            desk.try_again()
        case "write-left-out":
            desk.write_left_out()
        case "forget-left-out":
            desk.forget_left_out()
    wake_for_everything()
    if _trail(desk).back == click("sync"):
        return how_the_sync_stands(desk)
    try:
        return home(desk)
    except ItopError:
        return how_the_sync_stands(desk)


def _unlinking(desk: Desk, clicked: Click) -> Canvas:
    """Asked once, and done; then there is an Undo."""
    if clicked.verb == "undo-unlink":
        canvas = unlinking_undone(desk, clicked.number(0), _trail(desk))
    elif clicked.argument(2) == "yes":
        canvas = unlinked(desk, clicked.argument(0), clicked.number(1), _trail(desk))
    else:
        return ask_to_unlink(desk, clicked.argument(0), clicked.number(1), _trail(desk))
    wake_for_everything()
    return canvas


def _merged(desk: Desk, clicked: Click) -> Canvas:
    if clicked.verb == "merged":
        return merged(desk)
    if clicked.verb == "move-here":
        canvas = moved_here(desk, clicked.number(0))
    else:
        named = desk.request.input_values.get(NAMED)
        canvas = moved_away(desk, named.strip() if isinstance(named, str) else "")
    wake_for_everything()
    return canvas


def _trail(desk: Desk) -> Trail:
    return Trail.read(desk.request.stored_data)


def _find(desk: Desk, clicked: Click) -> Canvas:
    """`find` with what was typed; `find:2` is a page of what was found last."""
    return find(desk, _words(desk, clicked), clicked.number(0, 1))


def _words(desk: Desk, clicked: Click) -> str:
    typed = desk.request.input_values.get(FIELD) if str(clicked) == FIELD else None
    return Trail.read({"words": typed}).words if typed is not None else _trail(desk).words


def _form_screen(desk: Desk, clicked: Click) -> Canvas:
    form = Form.read(desk)
    code = clicked.argument(1)
    picked = next((one for one in form.fields(desk) if one.code == code and one.has_choices), None)
    match clicked.argument(0):
        case "show":
            return create_form(desk, form)
        case "pick" if picked:
            search = clean_text(desk.request.stored_data.get("search"))
            return pick_page(desk, form, picked, clicked.number(2, 1), search)
        case "search" if picked:
            words = desk.request.input_values.get(str(clicked))
            return pick_page(desk, form, picked, 1, words if isinstance(words, str) else "")
        case "choose" if picked:
            return create_form(desk, form.choose(code, ":".join(clicked.arguments[2:]), desk))
        case "submit":
            return _press(desk, form)
        case "status":
            return _status(desk, form)
        case _:
            return trouble.unknown_click(_form_kept(desk))


def _press(desk: Desk, form: Form) -> Canvas:
    checked = form.checked(desk, desk.person())
    if checked.errors:
        return create_form(desk, checked)
    if not was_pressed(desk, form.key):
        if (faster := created_since(desk, form.key, form.seen)) is not None:
            return _told_of(desk, form, faster)
        # The search may have found what this very form's other press is making.
        if not form.warned and (doubles := _doubles(desk, form)) and not was_pressed(desk, form.key):
            return create_form(desk, replace(form, warned=True), duplicates=doubles)
    try:
        submission = press_create(desk, form.key, form.values, form.for_itop(desk), seen=form.seen)
    except StillCreating:
        return on_its_way(form)
    except CreatedMeanwhile as meanwhile:
        return _told_of(desk, form, meanwhile.submission)
    except ItopRefused as refusal:
        presses = creations_in(desk.workspace, desk.request.conversation.id)
        refused = presses.filter(form_key=form.key).first()
        problems = refused.problems if refused else []
        return create_form(desk, form.refused(problems, desk), problem="" if problems else refusal.reason)
    return _created(desk, submission)


def _doubles(desk: Desk, form: Form) -> list[TicketRow]:
    """Open tickets that may be about the same, by the search of the first screen."""
    try:
        rows, _more = desk.tickets()
    except ItopError as error:
        # No reason to create no ticket: where iTop is in trouble, the creation says so, or is finished by the worker.
        log.warning("panel.no_duplicates_known", itop=desk.itop.name, **_said(error))
        return []
    return possible_duplicates(form.values.get(desk.profile.code("title"), ""), rows)


def _told_of(desk: Desk, form: Form, faster: Submission) -> Canvas:
    if faster.ticket is None:
        return trouble.ticket_gone({})
    told = replace(form, seen=faster.pk, warned=True)
    return created_meanwhile(desk, told, faster, faster.ticket)


def _status(desk: Desk, form: Form) -> Canvas:
    presses = creations_in(desk.workspace, desk.request.conversation.id)
    submission = presses.filter(form_key=form.key).select_related("ticket").first()
    if submission is None:
        return on_its_way(form) if presses.unfinished().exists() else create_form(desk, form)
    if submission.state == Submission.State.REFUSED:
        return _refused(desk, submission)
    if submission.state == Submission.State.CREATING:
        wake_for_everything()
        return on_its_way(form)
    return _created(desk, submission)


def _refused(desk: Desk, submission: Submission) -> Canvas:
    """The form as it was, with iTop's refusal at the fields it names: it came when the panel had answered."""
    submission.told = True
    submission.save(update_fields=["told"])
    form = Form(key=new_key(), values=submission.values, seen=newest_creation(desk), warned=True)
    problem = "" if submission.problems else submission.reason
    return create_form(desk, form.refused(submission.problems, desk), problem=problem)


def _created(desk: Desk, submission: Submission) -> Canvas:
    if submission.ticket is None:
        return trouble.ticket_gone({})
    return created(desk, submission, submission.ticket)
