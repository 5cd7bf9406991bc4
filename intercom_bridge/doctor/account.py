"""Check the permissions of the bridge's account in an iTop, and report which features a missing one affects.

The checks change nothing in iTop. Each test write contains an attribute that no class has: iTop rejects the attribute
before it creates or changes anything (tests/recordings, number 074). A test update also addresses an object that does
not exist.
"""

from collections.abc import Iterator
from typing import NamedTuple

from intercom_bridge.models import TicketProfile
from itop_client import (
    ItopNotAdministratorError,
    ItopPermissionError,
    ItopRejectedError,
    ItopUnavailableError,
    UnknownAttributeError,
    UnknownClassError,
)

from .finding import Finding
from .probe import Probe

UNKNOWN_ATTRIBUTE = "intercom_bridge_doctor"
COMMENT = "Intercom bridge: permission test"
GRANT_PROFILE = (
    "Give the account an iTop profile with this permission, for example Administrator; "
    "or end iTop's read-only mode."
)

# The classes that the bridge reads besides the ticket classes. For each: the class, whether the bridge requires it, and
# the consequence if the account may not read it.
_OTHER_READ_CLASSES = (
    ("Person", True, "contacts cannot be matched with persons, and the panel stays empty"),
    (
        "Organization",
        True,
        "scopes on organizations cannot be evaluated, and candidates have no organization",
    ),
    (
        "User",
        False,
        "log entries are written as the bridge's account, with the author's name in the text, and messages about new "
        "tickets contain no link to the portal",
    ),
    (
        "CMDBChangeOpSetAttributeCaseLog",
        False,
        "if another person's save removes a log entry, the bridge detects it, but does not write the entry again",
    ),
)


class _CreatePermissions(NamedTuple):
    """The permissions of the account. A field is None if the test creation did not show it."""

    may_create: bool | None
    may_set_authors: bool | None
    """Whether the account may write log entries in other users' names. iTop allows this to Administrators."""


def examine_account(probe: Probe) -> Iterator[Finding]:
    """Check the account's permissions. Raise ItopError when iTop stops responding."""
    profiles_by_class = {profile.ticket_class: profile for profile in probe.profiles}
    yield from _examine_reading(probe, list(profiles_by_class))
    author_permissions: list[bool] = []
    for ticket_class, profile in profiles_by_class.items():
        permissions = _test_creation(probe, profile)
        may_modify = _may_modify(probe, ticket_class)
        yield from _writing_findings(probe, ticket_class, permissions.may_create, may_modify)
        if permissions.may_set_authors is not None:
            author_permissions.append(permissions.may_set_authors)
    if author_permissions:
        yield _administrator_finding(probe, is_administrator=all(author_permissions))


def _examine_reading(probe: Probe, ticket_classes: list[str]) -> Iterator[Finding]:
    check = probe.subject.check("itop.reading")
    read_classes = [(ticket_class, True, "nothing works") for ticket_class in ticket_classes]
    readable = []
    for class_name, is_required, consequence in (*read_classes, *_OTHER_READ_CLASSES):
        try:
            probe.try_reading(class_name)
        except UnknownClassError:
            continue  # reported by examine_profiles
        except ItopPermissionError:
            create_finding = check.failure if is_required else check.warning
            yield create_finding(f"its account may not read {class_name}: {consequence}", GRANT_PROFILE)
            continue
        except ItopRejectedError:
            pass  # iTop checked the permission first, and granted it
        readable.append(class_name)
    if readable:
        yield check.ok(f"its account may read {', '.join(readable)}")


def _test_creation(probe: Probe, profile: TicketProfile) -> _CreatePermissions:
    """Send a creation that iTop always rejects. Its error shows the account's permissions."""
    entry = {"message": COMMENT, "format": "text", "user_id": 0, "user_login": COMMENT}
    try:
        probe.client.create(
            profile.ticket_class,
            # iTop checks the permission, then the fields in this order. In the first, only an Administrator may set the
            # entry's author. iTop always rejects the second.
            {profile.code("public_log"): {"items": [entry]}, UNKNOWN_ATTRIBUTE: ""},
            comment=COMMENT,
            deadline=probe.request_seconds,
        )
    except ItopNotAdministratorError:
        return _CreatePermissions(may_create=True, may_set_authors=False)
    except ItopPermissionError:
        # The permission is missing, or iTop is read-only. Neither shows whether the account is an Administrator.
        return _CreatePermissions(may_create=False, may_set_authors=None)
    except UnknownAttributeError as error:
        if error.attribute == UNKNOWN_ATTRIBUTE:
            return _CreatePermissions(may_create=True, may_set_authors=True)
    except ItopRejectedError:
        pass
    except ItopUnavailableError as error:
        # iTop responds with the status 500 if the class is abstract (tests/recordings, number 076).
        if error.status != 500:
            raise
        return _CreatePermissions(may_create=False, may_set_authors=None)
    # The class or its log does not exist: reported by examine_profiles.
    return _CreatePermissions(may_create=None, may_set_authors=None)


def _may_modify(probe: Probe, ticket_class: str) -> bool | None:
    """Return whether the account may modify tickets; None if the class does not exist."""
    try:
        probe.client.update(
            ticket_class,
            f"SELECT {ticket_class} AS t WHERE t.id = 0",
            {UNKNOWN_ATTRIBUTE: ""},
            comment=COMMENT,
            deadline=probe.request_seconds,
        )
    except ItopPermissionError:
        return False
    except UnknownClassError:
        return None
    except ItopRejectedError:
        pass  # iTop granted the permission, and then rejected the unknown object or attribute
    return True


def _writing_findings(
    probe: Probe, ticket_class: str, may_create: bool | None, may_modify: bool | None
) -> Iterator[Finding]:
    check = probe.subject.check("itop.writing")
    if may_create is False:
        yield check.failure(
            f"its account may not create a {ticket_class}: “Create a ticket” in the panel fails",
            f"{GRANT_PROFILE} If {ticket_class} is an abstract class, enter one of its subclasses in the ticket "
            "profile.",
        )
    if may_modify is False:
        yield check.failure(
            f"its account may not modify a {ticket_class}: no message is written to a log",
            f"{GRANT_PROFILE} Messages wait until then.",
        )
    if may_create and may_modify:
        yield check.ok(f"its account may create and modify {ticket_class}")


def _administrator_finding(probe: Probe, *, is_administrator: bool) -> Finding:
    """Store whether the account is an Administrator, and report it."""
    check = probe.subject.check("itop.administrator")
    if probe.itop.is_administrator is not is_administrator:
        probe.itop.learn(is_administrator=is_administrator)
    if is_administrator:
        return check.ok("its account is an Administrator: log entries show their real authors")
    return check.warning(
        "its account is not an Administrator: all log entries show this account, with the author's name in the text",
        "To show the real authors, add the profile Administrator to the account in iTop. Other findings name "
        "other features that need this profile.",
    )
