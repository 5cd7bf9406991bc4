"""Our account in an iTop: what it may do, and which of our features goes without what it may not.

Nothing is left behind. What is asked to be written names an attribute that no class has, which iTop refuses before it
creates or changes anything (recording 074), and what is asked to be changed is an object that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from intercom_bridge.models import TicketProfile
from itop_client import (
    ItopNotAdministrator,
    ItopNotAllowed,
    ItopRefused,
    ItopTrouble,
    UnknownAttribute,
    UnknownClass,
)

from .asking import Asking
from .finding import Finding

NO_SUCH_ATTRIBUTE = "intercom_bridge_doctor"
COMMENT = "Intercom bridge: may this account write?"
_GIVE_PROFILE = "Give the account a profile in iTop that may, for example Administrator."

# A class that is read, whether nothing works without it, and what goes without.
_READ = (
    ("Person", True, "nobody can be found in iTop, and the panel stays empty"),
    (
        "Organization",
        True,
        "a scope on organizations cannot be evaluated, and candidates bear no organization",
    ),
    ("User", False, "messages stand in the log under our own account: the author's name stands in the text"),
    (
        "CMDBChangeOpSetAttributeCaseLog",
        False,
        "an entry that somebody else's save has erased from a log is noticed, but not written again",
    ),
)


@dataclass(frozen=True)
class _Rights:
    """What an account may do with a class of tickets; None where iTop's answer does not tell."""

    create: bool | None
    modify: bool | None
    name_authors: bool | None


def examine_account(asking: Asking) -> Iterator[Finding]:
    """Raises ItopError when iTop stops answering."""
    yield from _examine_reading(asking)
    authors: list[bool] = []
    for profile in _one_of_each_class(asking.profiles):
        rights = _rights(asking, profile)
        yield from _judge_writing(asking, profile.ticket_class, rights)
        if rights.name_authors is not None:
            authors.append(rights.name_authors)
    if authors:
        yield _judge_administrator(asking, is_administrator=all(authors))


def _one_of_each_class(profiles: list[TicketProfile]) -> list[TicketProfile]:
    return list({profile.ticket_class: profile for profile in profiles}.values())


def _examine_reading(asking: Asking) -> Iterator[Finding]:
    classes = [(one.ticket_class, True, "nothing works") for one in _one_of_each_class(asking.profiles)]
    readable = []
    for class_name, is_needed, consequence in (*classes, *_READ):
        try:
            may_read = asking.may_read(class_name)
        except UnknownClass:
            continue  # a profile's class: said with the profile
        except ItopRefused:
            may_read = True
        if may_read:
            readable.append(class_name)
            continue
        judge = asking.subject.failure if is_needed else asking.subject.warning
        yield judge("itop.reading", f"its account may not read {class_name}: {consequence}", _GIVE_PROFILE)
    if readable:
        yield asking.subject.ok("itop.reading", f"its account may read {', '.join(readable)}")


def _rights(asking: Asking, profile: TicketProfile) -> _Rights:
    create = name_authors = None
    entry = {"message": COMMENT, "format": "text", "user_id": 0, "user_login": COMMENT}
    try:
        asking.client.create(
            profile.ticket_class,
            # In this order: iTop refuses the first that it does not like. The second, it never likes.
            {profile.code("public_log"): {"items": [entry]}, NO_SUCH_ATTRIBUTE: ""},
            comment=COMMENT,
            deadline=asking.seconds,
        )
    except ItopNotAdministrator:
        create, name_authors = True, False
    except ItopNotAllowed:
        create = name_authors = False
    except UnknownAttribute as refusal:
        if refusal.attribute == NO_SUCH_ATTRIBUTE:
            create = name_authors = True
    except ItopRefused:
        pass  # the class or its log, of which the profile's findings tell
    except ItopTrouble as error:
        # iTop dies of a class that has no objects of its own (recording 076).
        if not error.reason.startswith("HTTP 500"):
            raise
        create = False
    return _Rights(create=create, modify=_may_modify(asking, profile.ticket_class), name_authors=name_authors)


def _may_modify(asking: Asking, ticket_class: str) -> bool | None:
    try:
        asking.client.update(
            ticket_class,
            f"SELECT {ticket_class} AS t WHERE t.id = 0",
            {NO_SUCH_ATTRIBUTE: ""},
            comment=COMMENT,
            deadline=asking.seconds,
        )
    except ItopNotAllowed:
        return False
    except UnknownClass:
        return None
    except ItopRefused:
        pass  # that there is no such object, or no such attribute: it would have been let
    return True


def _judge_writing(asking: Asking, ticket_class: str, rights: _Rights) -> Iterator[Finding]:
    if rights.create is False:
        yield asking.subject.failure(
            "itop.writing",
            f"its account may not create a {ticket_class}: the panel's “Create a ticket” fails",
            f"{_GIVE_PROFILE} A class that other classes descend from has no objects of its own: name one of those in "
            "the ticket profile.",
        )
    if rights.modify is False:
        yield asking.subject.failure(
            "itop.writing",
            f"its account may not modify a {ticket_class}: no message gets into a log",
            f"{_GIVE_PROFILE} Messages wait meanwhile.",
        )
    if rights.create and rights.modify:
        yield asking.subject.ok("itop.writing", f"its account may create and modify {ticket_class}")


def _judge_administrator(asking: Asking, *, is_administrator: bool) -> Finding:
    if asking.itop.is_administrator is not is_administrator:
        asking.itop.learn(is_administrator=is_administrator)
    if is_administrator:
        return asking.subject.ok(
            "itop.administrator", "its account is an Administrator: messages stand under their authors' names"
        )
    return asking.subject.warning(
        "itop.administrator",
        "its account is no Administrator: iTop shows all messages as written by it, and the author's name stands in "
        "the text instead",
        "Add the profile Administrator to the account in iTop, if you want the names. Everything else works without.",
    )
