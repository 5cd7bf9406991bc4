"""Find the Person who will be the caller of a new ticket."""

from __future__ import annotations

from dataclasses import dataclass

from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.errors import DefaultCallerError, MatchFailure, PersonNotResolvedError
from intercom_bridge.tickets.scope import serves

from .match import find_person, get_person
from .person import Person

# The failures which mean that iTop has no Person for the contact.
NO_PERSON_FAILURES = (MatchFailure.UNKNOWN, MatchFailure.NOTHING_TO_GO_BY, MatchFailure.GONE)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The caller of a new ticket. `is_default`: the person is the workspace's caller for unknown customers."""

    person: Person
    is_default: bool = False


def find_caller(context: PanelContext) -> Caller:
    """Return the contact's Person. If iTop does not know the contact, return the caller for unknown customers.

    The result is kept for the rest of the request. Raise PersonNotResolvedError, OutOfScopeError, DefaultCallerError
    or ItopError.
    """
    if "find_caller" not in context.memo:
        context.memo["find_caller"] = _find_caller(context)
    caller: Caller = context.memo["find_caller"]
    return caller


def _find_caller(context: PanelContext) -> Caller:
    try:
        return Caller(person=find_person(context))
    except PersonNotResolvedError as error:
        if not can_create_for(context, error):
            raise
    person = find_default_caller(context)
    if person is None:
        raise DefaultCallerError
    return Caller(person=person, is_default=True)


def can_create_for(context: PanelContext, error: PersonNotResolvedError) -> bool:
    """Return whether a ticket can be created with the workspace's caller for unknown customers.

    `error` says why the contact's Person was not found.
    """
    return bool(context.workspace.default_caller_id) and error.failure in NO_PERSON_FAILURES


def find_default_caller(context: PanelContext) -> Person | None:
    """Return the workspace's caller for unknown customers, or None if iTop has no such person in scope."""
    person = get_person(context, context.workspace.default_caller_id or 0)
    return person if person and serves(context, person) else None
