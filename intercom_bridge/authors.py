"""Under whose iTop account a message is written."""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog

from intercom_bridge.models import ItopAnswer, ItopInstance
from itop_client import Client, ItopNotAllowed, ItopRefused, quote

log = structlog.get_logger(__name__)

# An account that is created or removed in iTop is noticed within this time.
REMEMBERED_SECONDS = 3600.0
LOOKED_UP_AT_ONCE = 100
QUESTION = "account of "


def accounts_of(
    itop: ItopInstance, client: Client, emails: Iterable[str], *, deadline: float | None = None
) -> dict[str, int]:
    """The id of the iTop account behind each address that has exactly one enabled account; one call at most.

    Raises ItopError. iTop compares as its database's collation does, where é equals e: only an address that
    is the same but for case counts.
    """
    wanted = {email.strip().casefold() for email in emails if email.strip()}
    known: dict[str, int] = {}
    unknown = []
    for email in sorted(wanted):
        answer = ItopAnswer.objects.fresh(itop, question_about(email), REMEMBERED_SECONDS)
        if answer is None:
            unknown.append(email)
        elif answer.value:
            known[email] = answer.value
    end = time.monotonic() + (client.deadline if deadline is None else deadline)
    for start in range(0, len(unknown), LOOKED_UP_AT_ONCE):
        asked = unknown[start : start + LOOKED_UP_AT_ONCE]
        known |= _ask(itop, client, asked, end - time.monotonic())
    return known


def forget_accounts(itop: ItopInstance) -> int:
    """An account that was remembered is gone: all are asked for again. Answers how many were remembered."""
    return ItopAnswer.objects.filter(itop=itop, question__startswith=QUESTION).delete()[0]


def _ask(itop: ItopInstance, client: Client, emails: list[str], deadline: float) -> dict[str, int]:
    addresses = ", ".join(quote(email) for email in emails)
    query = f"SELECT User AS u WHERE u.email IN ({addresses}) AND u.status != 'disabled'"
    found: dict[str, list[int]] = {email: [] for email in emails}
    try:
        users = client.get("User", query, fields=("id", "email"), deadline=deadline)
    except ItopRefused as refusal:
        # Its data model finds accounts in another way; a message is not to wait or fail for that.
        log.warning("authors.cannot_be_asked", itop=itop.name, reason=refusal.reason[:200])
        return {}
    except ItopNotAllowed:
        # Who may not read accounts is no Administrator, and may not name authors either.
        itop.learn(is_administrator=False)
        return {}
    for user in users:
        found.get(user.text("email").strip().casefold(), []).append(user.id)
    sure = {}
    for email, ids in found.items():
        user_id = ids[0] if len(ids) == 1 else 0
        ItopAnswer.objects.keep(itop, question_about(email), user_id)
        if user_id:
            sure[email] = user_id
    return sure


def question_about(email: str) -> str:
    return f"{QUESTION}{email}"
