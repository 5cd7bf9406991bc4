"""From a click to a screen. Whatever happens, the answer is a canvas."""

from __future__ import annotations

import secrets
from typing import Any

import structlog
from django.utils import translation

from intercom_bridge.desk import Deadline, Desk, NobodyFound, OutOfScope, TicketGone
from intercom_bridge.intercom.api import IntercomError
from intercom_bridge.intercom.payloads import CanvasRequest, PayloadError, clean_text
from intercom_bridge.models import Submission, Workspace
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.press import StillCreating, press_create
from intercom_bridge.sync.tasks import wake_for_everything
from itop_client import InvalidValue, ItopError, ItopRefused

from .click import Click, click
from .components import Canvas, LimitError
from .form import Form, fields_of, new_key
from .screens import away, trouble
from .screens.create import create_form, pick_page
from .screens.done import created, on_its_way
from .screens.home import home
from .screens.linking import link
from .screens.sync import how_the_sync_stands
from .screens.ticket import ticket
from .screens.ticket_list import linked_tickets, ongoing_tickets

log = structlog.get_logger(__name__)

# Intercom waits about ten seconds, a teammate hardly five; what is left of those is for the way there and back, and for
# reading what is known where iTop has not answered.
ANSWER_SECONDS = 4.0


def answer(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
    """The answer to a signed Initialize or Submit: always `{"canvas": ...}`, within five seconds."""
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
            return _safely(Desk(workspace, request, deadline), clicked).to_json()


def _safely(desk: Desk, clicked: Click) -> Canvas:
    """The screen for the click, or the one that says why there is none."""
    retry = str(clicked)
    stored: dict[str, Any] = {}
    try:
        stored = _kept(desk)
        if not desk.workspace.enabled:
            return trouble.turned_off()
        return _answered(desk, clicked)
    except NobodyFound as error:
        return trouble.nobody(error)
    except OutOfScope:
        return trouble.out_of_scope()
    except TicketGone:
        return trouble.ticket_gone()
    except ItopError as error:
        log.warning("panel.itop_trouble", error=type(error).__name__, said=str(error)[:200])
        return trouble.itop_trouble(error, retry, stored, is_linked=bool(desk.links()))
    except IntercomError as error:
        log.warning("panel.intercom_trouble", error=type(error).__name__, said=str(error)[:200])
        return trouble.intercom_trouble(error, retry, stored)
    except SecretUnreadable:
        log.exception("panel.secret_unreadable")
        return trouble.unreadable_secret(retry, stored)
    except Exception:
        reference = secrets.token_hex(4)
        log.exception("panel.broke", reference=reference)
        retry = retry if clicked.verb != "form" else click("form", "show")
        try:
            return trouble.ours(reference, retry, stored)
        except LimitError:
            return trouble.ours(reference, click("home"), {})


def _answered(desk: Desk, clicked: Click) -> Canvas:
    """The screen for the click; where iTop does not answer, what it said of that earlier."""
    try:
        return _screen(desk, clicked)
    except (ItopError, SecretUnreadable) as error:
        known = away.last_known(desk, clicked, error, _back(desk))
        if known is None:
            raise
        log.warning("panel.itop_away", error=type(error).__name__, said=str(error)[:200])
        return known


def _kept(desk: Desk) -> dict[str, Any]:
    """What a Retry needs: the form with what was typed into it."""
    if not isinstance(desk.request.stored_data.get("form"), dict):
        return {}
    return Form.read(desk.request, desk.profile).stored()


def _screen(desk: Desk, clicked: Click) -> Canvas:
    match clicked.verb:
        case "home" | "":
            return home(desk)
        case "linked":
            return linked_tickets(desk, clicked.number(0, 1))
        case "ongoing":
            return ongoing_tickets(desk, clicked.number(0, 1))
        case "ticket":
            return ticket(desk, clicked.argument(0), clicked.number(1), _back(desk))
        case "link":
            canvas = link(desk, clicked.argument(0), clicked.number(1), clicked.argument(2), _back(desk))
            wake_for_everything()
            return canvas
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
            return trouble.unknown_click()


def _decided(desk: Desk, clicked: Click) -> Canvas:
    """About the sync. The first screen says what came of it; where iTop cannot answer, the page that asks nobody."""
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
    try:
        return home(desk)
    except ItopError:
        return how_the_sync_stands(desk)


def _back(desk: Desk) -> str:
    """Where Back leads from a ticket: the list it was opened from."""
    back = Click.read(str(desk.request.stored_data.get("back") or ""))
    return str(back) if back.verb in ("linked", "ongoing") else click("home")


def _form_screen(desk: Desk, clicked: Click) -> Canvas:
    form = Form.read(desk.request, desk.profile)
    code = clicked.argument(1)
    can_be_picked = any(one.code == code and one.kind == "pick" for one in fields_of(desk.profile))
    match clicked.argument(0):
        case "show":
            return create_form(desk, form)
        case "pick" if can_be_picked:
            search = clean_text(desk.request.stored_data.get("search"))
            return pick_page(
                desk, form, code, clicked.number(2, 1), search if isinstance(search, str) else ""
            )
        case "search" if can_be_picked:
            words = desk.request.input_values.get(str(clicked))
            return pick_page(desk, form, code, 1, words if isinstance(words, str) else "")
        case "choose" if can_be_picked:
            return create_form(desk, form.choose(code, clicked.argument(2)))
        case "submit":
            return _press(desk, form)
        case "status":
            return _status(desk, form)
        case _:
            return trouble.unknown_click()


def _press(desk: Desk, form: Form) -> Canvas:
    checked = form.checked(desk, desk.person())
    if checked.errors:
        return create_form(desk, checked)
    try:
        submission = press_create(desk, form.key, form.for_itop(desk.profile))
    except StillCreating:
        return on_its_way(form)
    except InvalidValue as refusal:
        # A refused form is another form: its next press is a new one.
        errors = {attribute: reason for attribute, _label, reason in refusal.problems}
        return create_form(desk, Form(key=new_key(), values=form.values, errors=errors))
    except ItopRefused as refusal:
        return create_form(desk, Form(key=new_key(), values=form.values), problem=refusal.reason)
    return _created(desk, submission)


def _status(desk: Desk, form: Form) -> Canvas:
    submission = (
        Submission.objects.filter(
            conversation__workspace=desk.workspace,
            conversation__conversation_id=desk.request.conversation.id,
            form_key=form.key,
        )
        .select_related("ticket")
        .first()
    )
    if submission is None:
        other = Submission.objects.unfinished().filter(
            conversation__workspace=desk.workspace,
            conversation__conversation_id=desk.request.conversation.id,
        )
        return on_its_way(form) if other.exists() else create_form(desk, form)
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
    errors = dict(submission.problems)
    problem = "" if errors else submission.reason
    return create_form(desk, Form(key=new_key(), values=submission.values, errors=errors), problem=problem)


def _created(desk: Desk, submission: Submission) -> Canvas:
    if submission.ticket is None:
        return trouble.ticket_gone()
    return created(desk, submission, submission.ticket)
