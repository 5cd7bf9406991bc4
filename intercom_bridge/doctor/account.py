"""The bridge's account in an iTop: its permissions, and which features are affected by missing ones.

Nothing is changed in iTop: test writes contain an attribute that no class has, which iTop rejects before it creates
or changes anything (recording 074), and test updates address an object that does not exist.
"""

from collections.abc import Iterator

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

# Class, whether the bridge needs to read it, and the consequence if it cannot.
_READ_CLASSES = (
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
        "a log entry that another person's save has removed is detected, but not written again",
    ),
)


def examine_account(probe: Probe) -> Iterator[Finding]:
    """Check the account's permissions. Raise ItopError when iTop stops responding."""
    profiles = list({profile.ticket_class: profile for profile in probe.profiles}.values())
    yield from _examine_reading(probe, [profile.ticket_class for profile in profiles])
    set_authors: list[bool] = []
    for profile in profiles:
        may_create, may_set_authors = _may_create(probe, profile)
        may_modify = _may_modify(probe, profile.ticket_class)
        yield from _writing_findings(probe, profile.ticket_class, may_create, may_modify)
        if may_set_authors is not None:
            set_authors.append(may_set_authors)
    if set_authors:
        yield _administrator_finding(probe, is_administrator=all(set_authors))


def _examine_reading(probe: Probe, ticket_classes: list[str]) -> Iterator[Finding]:
    check = probe.subject.check("itop.reading")
    classes = [(ticket_class, True, "nothing works") for ticket_class in ticket_classes]
    readable = []
    for class_name, is_required, consequence in (*classes, *_READ_CLASSES):
        try:
            probe.test(class_name)
        except UnknownClassError:
            continue  # reported by examine_profiles
        except ItopPermissionError:
            create_finding = check.failure if is_required else check.warning
            yield create_finding(f"its account may not read {class_name}: {consequence}", GRANT_PROFILE)
            continue
        except ItopRejectedError:
            pass  # permission was granted
        readable.append(class_name)
    if readable:
        yield check.ok(f"its account may read {', '.join(readable)}")


def _may_create(probe: Probe, profile: TicketProfile) -> tuple[bool | None, bool | None]:
    """Return whether the account may create tickets, and write entries in others' names; None for unknown."""
    entry = {"message": COMMENT, "format": "text", "user_id": 0, "user_login": COMMENT}
    try:
        probe.client.create(
            profile.ticket_class,
            # iTop checks the fields in this order, and always rejects the second.
            {profile.code("public_log"): {"items": [entry]}, UNKNOWN_ATTRIBUTE: ""},
            comment=COMMENT,
            deadline=probe.seconds,
        )
    except ItopNotAdministratorError:
        return True, False
    except ItopPermissionError:
        # A lacking permission or read-only mode: neither says whether the account is an Administrator.
        return False, None
    except UnknownAttributeError as error:
        if error.attribute == UNKNOWN_ATTRIBUTE:
            return True, True
    except ItopRejectedError:
        pass  # the class or its log is wrong: reported by examine_profiles
    except ItopUnavailableError as error:
        # iTop crashes on an abstract class (recording 076).
        if error.status != 500:
            raise
        return False, None
    return None, None


def _may_modify(probe: Probe, ticket_class: str) -> bool | None:
    try:
        probe.client.update(
            ticket_class,
            f"SELECT {ticket_class} AS t WHERE t.id = 0",
            {UNKNOWN_ATTRIBUTE: ""},
            comment=COMMENT,
            deadline=probe.seconds,
        )
    except ItopPermissionError:
        return False
    except UnknownClassError:
        return None
    except ItopRejectedError:
        pass  # the object or the attribute does not exist, but permission was granted
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
    check = probe.subject.check("itop.administrator")
    if probe.itop.is_administrator is not is_administrator:
        probe.itop.learn(is_administrator=is_administrator)
    if is_administrator:
        return check.ok("its account is an Administrator: log entries show their real authors")
    return check.warning(
        "its account is not an Administrator: all log entries show this account, with the author's name in the text",
        "To show the real authors, add the profile Administrator to the account in iTop. Other findings say "
        "what else it is needed for.",
    )
