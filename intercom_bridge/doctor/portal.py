"""The address at which customers see their tickets, where another one than the standard portal is set."""

from __future__ import annotations

from collections.abc import Iterator

from itop_client import open_session
from itop_client.transport import NoAnswer, Unreachable, exchange

from .asking import Asking
from .finding import Finding


def examine_portal(asking: Asking) -> Iterator[Finding]:
    if not asking.itop.portal_url:
        return
    if "{id}" not in asking.itop.portal_url:
        yield asking.subject.warning(
            "itop.portal",
            "its portal address lacks {id}: each customer gets the same link, whichever the ticket",
            "Write it in the admin like https://itop.example.com/portal/object/view/{class}/{id}",
        )
        return
    ticket_class = next((profile.ticket_class for profile in asking.profiles), "UserRequest")
    try:
        with open_session() as session:
            answer = exchange(
                session, "GET", asking.itop.customer_url(ticket_class, 0), deadline=asking.seconds
            )
    except (Unreachable, NoAnswer) as error:
        yield asking.subject.warning(
            "itop.portal",
            f"its portal address does not answer from here: {error}",
            "Open it in a browser as a customer would. If it works there, only this machine may not see it.",
        )
        return
    # Somebody who has not logged in is sent to the login page, or refused: either way it is there.
    if answer.status == 404 or answer.status >= 500:
        yield asking.subject.warning(
            "itop.portal",
            f"its portal address answers {answer.status}",
            "Open a ticket in the portal, and compare its address with the one in the admin.",
        )
        return
    yield asking.subject.ok("itop.portal", "its portal address is there")
