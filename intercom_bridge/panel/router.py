"""From a click to a screen. The response is always a canvas."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog
from django.utils import translation

from intercom_bridge.intercom.client import IntercomError
from intercom_bridge.intercom.payloads import CanvasRequest, PayloadError
from intercom_bridge.models import Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.ops.metrics import observe, panel_seconds
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_links
from intercom_bridge.tickets.creation.drafts import save_draft
from intercom_bridge.tickets.errors import (
    CacheMissError,
    DefaultCallerError,
    OutdatedScreenError,
    OutOfScopeError,
    PersonNotResolvedError,
    TicketNotFoundError,
)
from intercom_bridge.tickets.links.adopt import apply_changes_of
from intercom_bridge.tickets.version import KEY as VERSION
from intercom_bridge.tickets.version import clicked_version, read_version, stored_version
from intercom_bridge.wake import EVERYTHING, wake
from itop_client import Deadline, ItopError, ItopRejectedError

from . import actions
from .actions import Redirect, stored_form
from .click import HOME, SYNC, BackLink, Click
from .components import Canvas, LimitError
from .errors import PanelError
from .screens import errors
from .screens.broadcast import (
    broadcast_confirmation,
    broadcast_form,
    broadcast_status,
    retry_broadcast,
    send_broadcast,
)
from .screens.link import link_screen
from .screens.merged import merge_screen
from .screens.news import news_screen
from .screens.person_picker import person_picker, stored_picker, unresolved_person
from .screens.sync_status import sync_status_screen
from .screens.ticket import ticket_screen, ticket_text_screen
from .screens.unlink import relinked_screen, unlink_screen

log = structlog.get_logger(__name__)

# Intercom waits about ten seconds, a teammate about five. The rest is for the network, and for reading the cache if
# iTop has not responded.
RESPONSE_SECONDS = 4.0
MAX_LOGGED_LENGTH = 200

Handler = Callable[[PanelContext, Click], Canvas | Redirect]


@dataclass(frozen=True, kw_only=True)
class Route:
    """How a verb is handled.

    `mutates`: the worker may have new work. `keeps_state`: the way back and a form that is being filled in are kept.
    `resubmits`: Retry after an internal error would be a new attempt at the same write, so it is not offered. `cached`
    displays the screen from the cache if iTop does not respond, or raises CacheMissError.
    """

    handler: Handler
    mutates: bool = False
    keeps_state: bool = False
    resubmits: bool = False
    cached: Callable[[PanelContext, Click, PanelError], Canvas] | None = None


# By verb, or by verb and first argument.
ROUTES: dict[str, Route] = {
    "home": Route(handler=actions.home, cached=actions.cached_home),
    "linked": Route(handler=actions.linked, cached=actions.cached_linked),
    "ongoing": Route(handler=actions.ongoing, cached=actions.cached_ongoing),
    "ticket": Route(handler=ticket_screen, keeps_state=True, cached=actions.cached_ticket),
    "text": Route(handler=ticket_text_screen, keeps_state=True),
    "find": Route(handler=actions.find),
    "link": Route(handler=link_screen, mutates=True, keeps_state=True),
    "unlink": Route(handler=unlink_screen, mutates=True, keeps_state=True),
    "undo-unlink": Route(handler=relinked_screen, mutates=True, keeps_state=True),
    "news": Route(handler=lambda context, _click: news_screen(context), keeps_state=True),
    "send": Route(handler=actions.show_answer, keeps_state=True),
    "send-now": Route(handler=actions.send_now, mutates=True, keeps_state=True, resubmits=True),
    "send-again": Route(handler=actions.send_message_again, mutates=True, keeps_state=True),
    "broadcast:form": Route(handler=broadcast_form, keeps_state=True),
    "broadcast:confirm": Route(handler=broadcast_confirmation, keeps_state=True),
    "broadcast:send": Route(handler=send_broadcast, mutates=True, keeps_state=True, resubmits=True),
    "broadcast:status": Route(handler=broadcast_status, keeps_state=True),
    "broadcast:retry": Route(handler=retry_broadcast, mutates=True, keeps_state=True),
    "resume-posting": Route(handler=actions.resume_posting, mutates=True),
    "who": Route(handler=person_picker),
    "who:pick": Route(handler=actions.pick_person),
    "who:undo": Route(handler=actions.clear_pick),
    "who:again": Route(handler=actions.match_again),
    "merged": Route(handler=lambda context, _click: merge_screen(context)),
    "move-here": Route(handler=actions.move_here, mutates=True),
    "move-away": Route(handler=actions.move_away, mutates=True),
    "sync": Route(handler=lambda context, _click: sync_status_screen(context)),
    "pause": Route(handler=actions.pause, mutates=True),
    "resume": Route(handler=actions.resume, mutates=True),
    "try-again": Route(handler=actions.retry, mutates=True),
    "write-left-out": Route(handler=actions.write_left_out, mutates=True),
    "forget-left-out": Route(handler=actions.discard_left_out, mutates=True),
    "create": Route(handler=actions.create),
    "follow-up": Route(handler=actions.follow_up),
    # A choice in a single-select: its id is that of the form's field.
    "field": Route(handler=actions.show_form, resubmits=True),
    "form:show": Route(handler=actions.show_form, resubmits=True),
    "form:pick": Route(handler=actions.list_choices, resubmits=True),
    "form:search": Route(handler=actions.search_choices, resubmits=True),
    "form:choose": Route(handler=actions.choose, resubmits=True),
    "form:discard": Route(handler=actions.discard_form),
    "form:submit": Route(handler=actions.submit_form, mutates=True, resubmits=True),
    "form:status": Route(handler=actions.show_form_creation, mutates=True, resubmits=True),
    "creation": Route(handler=actions.show_creation, mutates=True),
}
# These show a form that is not saved as a draft until a teammate has changed it.
NEW_FORM = ("create", "follow-up")
UNKNOWN = Route(handler=lambda context, _click: errors.unknown_action(stored_form(context)))


def respond(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
    """Return the response to a signed Initialize or Submit: always `{"canvas": ...}`, within five seconds."""
    started = time.monotonic()
    deadline = Deadline(RESPONSE_SECONDS)
    with translation.override(workspace.language):
        try:
            request = CanvasRequest.parse(data)
        except PayloadError:
            return errors.no_conversation().to_json()
        click = _click(request, submitted=submitted)
        with structlog.contextvars.bound_contextvars(
            workspace=workspace.workspace_id, conversation=request.conversation.id, click=click.verb
        ):
            context = PanelContext(workspace=workspace, request=request, deadline=deadline)
            canvas = _handle(context, click, submitted=submitted)
            # Added last: the next click is compared with it.
            stored = {**canvas.stored_data, **stored_version(context)}
            response = replace(canvas, stored_data=stored).to_json()
        observe(panel_seconds, time.monotonic() - started, _route_name(click) or "other")
        return response


def respond_rate_limited(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
    """Return the response to a signed request above the rate limit. Do not query iTop; keep the form's input."""
    with translation.override(workspace.language):
        try:
            request = CanvasRequest.parse(data)
        except PayloadError:
            return errors.no_conversation().to_json()
        click = _click(request, submitted=submitted)
        log.warning("panel.rate_limited", workspace=workspace.workspace_id, click=click.verb)
        context = PanelContext(workspace=workspace, request=request, deadline=Deadline(RESPONSE_SECONDS))
        try:
            return errors.rate_limited(str(click), _stored(context, click)).to_json()
        except Exception:
            log.exception("panel.internal_error")
            return errors.rate_limited(HOME, {}).to_json()


def _click(request: CanvasRequest, *, submitted: bool) -> Click:
    return Click.parse(request.component_id if submitted else HOME)


def _route_name(click: Click) -> str:
    """Return the key in ROUTES, or "" for an unknown click."""
    verb = click.verb or "home"
    names = (f"{verb}:{click.argument(0)}", verb)
    return next((name for name in names if name in ROUTES), "")


def _handle(context: PanelContext, click: Click, *, submitted: bool) -> Canvas:
    route = ROUTES.get(_route_name(click), UNKNOWN)
    stored: dict[str, Any] = {}
    done = ""
    try:
        read_version(context)
        stored = _stored(context, click)
        if not context.workspace.enabled:
            return errors.workspace_disabled(stored)
        if submitted:
            if "form" in stored and click.verb not in NEW_FORM:
                save_draft(context, stored["form"])
            apply_changes_of(context)
        result = route.handler(context, click)
        while isinstance(result, Redirect):
            click, done = result.click, result.done
            stored = {} if result.drops_form else _stored(context, click)
            result = ROUTES[_route_name(click)].handler(context, click)
        result = _with_state(context, click, result)
        form = result.stored_data.get("form")
        if submitted and form not in (None, stored.get("form")) and click.verb not in NEW_FORM:
            # The handler has changed it: a choice on a page of its own, or what iTop has rejected.
            save_draft(context, form)
        return result
    except Exception as error:  # noqa: BLE001 - each has a screen
        return _error_screen(error, _Failure(context, click, stored, done))
    finally:
        if route.mutates:
            wake(EVERYTHING)


def _with_state(context: PanelContext, click: Click, canvas: Canvas) -> Canvas:
    """Add what the route of the displayed screen keeps. A screen may have set its own way back."""
    if not ROUTES.get(_route_name(click), UNKNOWN).keeps_state:
        return canvas
    back = BackLink.parse(context.request.stored_data).to_stored()
    kept = stored_form(context) | ({} if "back" in canvas.stored_data else back)
    return replace(canvas, stored_data={**kept, **canvas.stored_data})


def _stored(context: PanelContext, click: Click) -> dict[str, Any]:
    """Return the `stored_data` that Retry needs: the form, the way back, and the state of the person picker."""
    back = replace(BackLink.parse(context.request.stored_data), query=actions.search_query(context, click))
    # A click that is not handled at all does not use up the version of its screen.
    version = {VERSION: clicked_version(context)}
    return stored_picker(context.request) | back.to_stored() | stored_form(context) | version


# --- Errors ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Failure:
    """A click that could not be handled. `done` says what had been done before."""

    context: PanelContext
    click: Click
    stored: dict[str, Any]
    done: str


def _outdated_screen(failure: _Failure, _error: OutdatedScreenError) -> Canvas:
    """Return the current screen, with a notice below its title."""
    context = failure.context
    log.info("panel.outdated_screen", click=failure.click.verb)
    is_on_sync_page = BackLink.parse(context.request.stored_data).target == SYNC
    canvas = sync_status_screen(context) if is_on_sync_page else actions.home(context, Click.parse(HOME))
    title, *rest = canvas.components
    return replace(canvas, components=(title, errors.outdated_notice(), *rest))


def _remote_error_screen(failure: _Failure, error: PanelError) -> Canvas:
    """Return the screen from the cache if there is one, and iTop did not reject the request."""
    context = failure.context
    message = {} if isinstance(error, ItopRejectedError) else {"message": str(error)[:MAX_LOGGED_LENGTH]}
    # A rejection may quote the form's input.
    log.warning("panel.remote_error", itop=context.itop.name, error=type(error).__name__, **message)
    route = ROUTES.get(_route_name(failure.click), UNKNOWN)
    is_itop = isinstance(error, ItopError | SecretDecryptionError)
    if route.cached and is_itop and not isinstance(error, ItopRejectedError) and not failure.done:
        try:
            return _with_state(context, failure.click, route.cached(context, failure.click, error))
        except CacheMissError:
            pass
    return errors.remote_error(
        error, str(failure.click), failure.stored, is_linked=bool(find_links(context)), done=failure.done
    )


def _internal_error_screen(failure: _Failure, error: Exception) -> Canvas:
    reference = secrets.token_hex(4)
    log.error("panel.internal_error", reference=reference, exc_info=error)
    route = ROUTES.get(_route_name(failure.click), UNKNOWN)
    retry = "" if route.resubmits else str(failure.click)
    try:
        return errors.internal_error(reference, retry, failure.stored)
    except LimitError:
        return errors.internal_error(reference, retry, {}, is_form_lost="form" in failure.stored)


ERROR_SCREENS: tuple[tuple[type[Exception], Callable[[_Failure, Any], Canvas]], ...] = (
    (PersonNotResolvedError, lambda failure, error: unresolved_person(failure.context, error, failure.click)),
    (OutdatedScreenError, _outdated_screen),
    (OutOfScopeError, lambda failure, _error: errors.out_of_scope(failure.stored)),
    (DefaultCallerError, lambda failure, _error: errors.no_default_caller(failure.stored)),
    (TicketNotFoundError, lambda failure, _error: errors.ticket_not_found(failure.stored)),
    (ItopError, _remote_error_screen),
    (IntercomError, _remote_error_screen),
    (SecretDecryptionError, _remote_error_screen),
)


def _error_screen(error: Exception, failure: _Failure) -> Canvas:
    """Return the screen of the first matching class. An error while building it is an internal error."""
    for error_class, screen in ERROR_SCREENS:
        if isinstance(error, error_class):
            try:
                return screen(failure, error)
            except Exception as next_error:  # noqa: BLE001 - each has a screen
                if isinstance(error, OutdatedScreenError):
                    return _error_screen(next_error, replace(failure, click=Click.parse(HOME)))
                if isinstance(error, PersonNotResolvedError) and type(next_error) is not type(error):
                    # The picker asks iTop, too.
                    return _error_screen(next_error, failure)
                return _internal_error_screen(failure, next_error)
    return _internal_error_screen(failure, error)
