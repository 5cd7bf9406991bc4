"""Handle a request of the panel: find the handler of the click, and return its screen or an error screen."""

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

# Time for all queries to iTop and Intercom within one request. Intercom waits about ten seconds, but a teammate only
# about five. One second is left for the network, and for reading the cache if iTop has not responded.
RESPONSE_SECONDS = 4.0
MAX_LOGGED_LENGTH = 200

Handler = Callable[[PanelContext, Click], Canvas | Redirect]


@dataclass(frozen=True, kw_only=True)
class Route:
    """How a click is handled.

    mutates: the click may create work for the worker, so the worker is woken.
    keeps_state: the new screen stores the same target of Back and the same create form as the clicked screen.
    resubmits: repeating the click may repeat a write, so after an internal error Retry is not offered.
    cached: returns the screen with cached data if iTop does not respond. Raises CacheMissError if nothing is cached.
    """

    handler: Handler
    mutates: bool = False
    keeps_state: bool = False
    resubmits: bool = False
    cached: Callable[[PanelContext, Click, PanelError], Canvas] | None = None


# Keys are a click's verb, or its verb and first argument.
ROUTES: dict[str, Route] = {
    "home": Route(handler=actions.show_home, cached=actions.cached_home),
    "linked": Route(handler=actions.list_linked, cached=actions.cached_linked),
    "ongoing": Route(handler=actions.list_ongoing, cached=actions.cached_ongoing),
    "ticket": Route(handler=ticket_screen, keeps_state=True, cached=actions.cached_ticket),
    "text": Route(handler=ticket_text_screen, keeps_state=True),
    "find": Route(handler=actions.search_for_tickets),
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
    "try-again": Route(handler=actions.retry_failed, mutates=True),
    "write-left-out": Route(handler=actions.write_left_out, mutates=True),
    "forget-left-out": Route(handler=actions.discard_left_out, mutates=True),
    "create": Route(handler=actions.open_form),
    "follow-up": Route(handler=actions.open_follow_up_form),
    # The create form. After an internal error, "Back to the form" is offered instead of Retry, hence `resubmits`.
    # "field": an option was chosen in a single-select of the form. The click is the id of the single-select.
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
# The verbs that open a create form. The form is not saved as a draft before the teammate has changed it.
OPEN_FORM_VERBS = ("create", "follow-up")
UNKNOWN_ROUTE = Route(handler=lambda context, _click: errors.unknown_action(stored_form(context)))


def respond(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
    """Return the response to a signed request: always `{"canvas": ...}`, within five seconds.

    `data` is the request's JSON. `submitted`: the request is a Submit, caused by a click, and not an Initialize.
    """
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
            # The handler may have increased the version, so it is added after the handler.
            stored = {**canvas.stored_data, **stored_version(context)}
            response = replace(canvas, stored_data=stored).to_json()
        observe(panel_seconds, time.monotonic() - started, _route_name(click) or "other")
        return response


def respond_rate_limited(workspace: Workspace, data: Any, *, submitted: bool) -> dict[str, Any]:
    """Return the response to a signed request above the rate limit, without a query to iTop.

    The input in the create form is kept.
    """
    with translation.override(workspace.language):
        try:
            request = CanvasRequest.parse(data)
        except PayloadError:
            return errors.no_conversation().to_json()
        click = _click(request, submitted=submitted)
        log.warning("panel.rate_limited", workspace=workspace.workspace_id, click=click.verb)
        context = PanelContext(workspace=workspace, request=request, deadline=Deadline(RESPONSE_SECONDS))
        try:
            return errors.rate_limited(str(click), _state_for_retry(context, click)).to_json()
        except Exception:
            log.exception("panel.internal_error")
            return errors.rate_limited(HOME, {}).to_json()


def _click(request: CanvasRequest, *, submitted: bool) -> Click:
    """Return the click of a Submit. An Initialize counts as a click on HOME."""
    return Click.parse(request.component_id if submitted else HOME)


def _route_name(click: Click) -> str:
    """Return the click's key in ROUTES, or "" for an unknown click. A click without an id leads to the first screen."""
    verb = click.verb or "home"
    names = (f"{verb}:{click.argument(0)}", verb)
    return next((name for name in names if name in ROUTES), "")


def _route(click: Click) -> Route:
    return ROUTES.get(_route_name(click), UNKNOWN_ROUTE)


def _handle(context: PanelContext, click: Click, *, submitted: bool) -> Canvas:
    """Return the screen that the click leads to, or an error screen. Save a create form's input as a draft."""
    mutates = _route(click).mutates
    state_for_retry: dict[str, Any] = {}
    done_text = ""
    try:
        read_version(context)
        state_for_retry = _state_for_retry(context, click)
        if not context.workspace.enabled:
            return errors.workspace_disabled(state_for_retry)
        if submitted:
            # Saved before the click is handled, so that the input survives an error.
            _save_draft(context, click, state_for_retry.get("form"))
            apply_changes_of(context)
        result = _route(click).handler(context, click)
        while isinstance(result, Redirect):
            click, done_text = result.click, result.done
            mutates = mutates or _route(click).mutates
            state_for_retry = {} if result.drops_form else _state_for_retry(context, click)
            result = _route(click).handler(context, click)
        canvas = _with_kept_state(context, click, result)
        form = canvas.stored_data.get("form")
        if submitted and form != state_for_retry.get("form"):
            # The handler has changed the form: it applied a choice, or gave the form a new key after iTop rejected it.
            _save_draft(context, click, form)
        return canvas
    except Exception as error:  # noqa: BLE001 - every exception gets a screen
        return _error_screen(error, _Failure(context, click, state_for_retry, done_text))
    finally:
        if mutates:
            wake(EVERYTHING)


def _save_draft(context: PanelContext, click: Click, form: Any) -> None:
    """Save a create form as the teammate's draft, unless the click has just opened the form."""
    if form is not None and click.verb not in OPEN_FORM_VERBS:
        save_draft(context, form)


def _with_kept_state(context: PanelContext, click: Click, canvas: Canvas) -> Canvas:
    """Add the create form and the target of Back to the canvas's `stored_data`, if the click's route keeps them.

    What the screen itself has stored takes precedence.
    """
    if not _route(click).keeps_state:
        return canvas
    # If the new screen stores a target without a search text, the old search text must not be kept.
    back = {} if "back" in canvas.stored_data else BackLink.parse(context.request.stored_data).to_stored()
    return replace(canvas, stored_data={**stored_form(context), **back, **canvas.stored_data})


def _state_for_retry(context: PanelContext, click: Click) -> dict[str, Any]:
    """Return the `stored_data` that Retry needs: person picker, target of Back, search, create form and version."""
    back = replace(BackLink.parse(context.request.stored_data), query=actions.search_query(context, click))
    # Retry sends the version of the clicked screen again. `claim_version` accepts it only if nothing has changed since.
    version = {VERSION: clicked_version(context)}
    return stored_picker(context.request) | back.to_stored() | stored_form(context) | version


# --- Errors ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Failure:
    """A click that could not be handled completely.

    state_for_retry: the `stored_data` of the error screen.
    done_text: what was completed before the error, as a sentence; "" for nothing.
    """

    context: PanelContext
    click: Click
    state_for_retry: dict[str, Any]
    done_text: str


def _outdated_screen(failure: _Failure, _error: OutdatedScreenError) -> Canvas:
    """Return the current sync page or first screen, with a notice that the click has changed nothing."""
    context = failure.context
    log.info("panel.outdated_screen", click=failure.click.verb)
    if BackLink.parse(context.request.stored_data).target == SYNC:
        canvas = sync_status_screen(context)
    else:
        canvas = actions.show_home(context, Click.parse(HOME))
    title, *rest = canvas.components
    return replace(canvas, components=(title, errors.outdated_notice(), *rest))


def _remote_error_screen(failure: _Failure, error: PanelError) -> Canvas:
    """Return the requested screen with cached data if possible, else a screen about the error of iTop or Intercom.

    Cached data are not shown if iTop rejected the request, or if there is a `done_text`, because they do not show it.
    """
    context, click, state = failure.context, failure.click, failure.state_for_retry
    is_rejected = isinstance(error, ItopRejectedError)
    # The message of a rejection is not logged, because it may quote the form's input.
    message = {} if is_rejected else {"message": str(error)[:MAX_LOGGED_LENGTH]}
    log.warning("panel.remote_error", itop=context.itop.name, error=type(error).__name__, **message)
    show_cached = _route(click).cached
    is_itop_unavailable = isinstance(error, ItopError | SecretDecryptionError) and not is_rejected
    if show_cached and is_itop_unavailable and not failure.done_text:
        try:
            return _with_kept_state(context, click, show_cached(context, click, error))
        except CacheMissError:
            pass
    return errors.remote_error(
        error, str(click), state, is_linked=bool(find_links(context)), done=failure.done_text
    )


def _internal_error_screen(failure: _Failure, error: Exception) -> Canvas:
    """Log the exception with a new reference, and return a screen with this reference."""
    reference = secrets.token_hex(4)
    log.error("panel.internal_error", reference=reference, exc_info=error)
    retry = "" if _route(failure.click).resubmits else str(failure.click)
    state = failure.state_for_retry
    try:
        return errors.internal_error(reference, retry, state)
    except LimitError:
        # The state itself does not fit into a canvas.
        return errors.internal_error(reference, retry, {}, is_form_lost="form" in state)


ERROR_SCREENS: tuple[tuple[type[Exception], Callable[[_Failure, Any], Canvas]], ...] = (
    (PersonNotResolvedError, lambda failure, error: unresolved_person(failure.context, error, failure.click)),
    (OutdatedScreenError, _outdated_screen),
    (OutOfScopeError, lambda failure, _error: errors.out_of_scope(failure.state_for_retry)),
    (DefaultCallerError, lambda failure, _error: errors.no_default_caller(failure.state_for_retry)),
    (TicketNotFoundError, lambda failure, _error: errors.ticket_not_found(failure.state_for_retry)),
    (ItopError, _remote_error_screen),
    (IntercomError, _remote_error_screen),
    (SecretDecryptionError, _remote_error_screen),
)


def _error_screen(error: Exception, failure: _Failure) -> Canvas:
    """Return the screen for an error: that of the first matching class in ERROR_SCREENS.

    The screens for OutdatedScreenError and PersonNotResolvedError query iTop. If a query fails, return the screen for
    the second error. Otherwise, an exception while the screen is built is an internal error.
    """
    build_screen = next((build for kind, build in ERROR_SCREENS if isinstance(error, kind)), None)
    if build_screen is None:
        return _internal_error_screen(failure, error)
    try:
        return build_screen(failure, error)
    except Exception as second_error:  # noqa: BLE001 - every exception gets a screen
        # Building the screen for the second error would fail in the same way, endlessly.
        is_repeated = isinstance(second_error, OutdatedScreenError) or type(second_error) is type(error)
        if is_repeated or not isinstance(error, OutdatedScreenError | PersonNotResolvedError):
            return _internal_error_screen(failure, second_error)
        if isinstance(error, OutdatedScreenError):
            failure = replace(failure, click=Click.parse(HOME))
        return _error_screen(second_error, failure)
