"""Check the address of customers' tickets in an iTop's portal, if an admin has set one."""

from collections.abc import Iterator

from intercom_bridge import USER_AGENT
from itop_client import open_session
from itop_client.http import HttpError, exchange

from .finding import Finding
from .probe import Probe


def examine_portal(probe: Probe) -> Iterator[Finding]:
    """Check that the portal responds at the address that is set. If none is set, check nothing."""
    check = probe.subject.check("itop.portal")
    if not probe.itop.portal_url:
        return
    if "{id}" not in probe.itop.portal_url:
        yield check.warning(
            "its portal address lacks {id}: the link would be the same for all tickets",
            "Enter it in the admin like https://itop.example.com/portal/object/view/{class}/{id}",
        )
        return
    ticket_class = next((profile.ticket_class for profile in probe.profiles), "UserRequest")
    url = probe.itop.customer_url(ticket_class, 0)
    try:
        with open_session(user_agent=USER_AGENT) as session:
            response = exchange(session, "GET", url, deadline=probe.request_seconds)
    except HttpError as error:
        yield check.warning(
            f"its portal address does not respond to this machine: {error}",
            "Open the address in a browser. If it works there, a firewall may be blocking this machine.",
        )
        return
    # The request has no login, so a portal redirects it to the login page or refuses access. Both show that it exists.
    if response.status == 404 or response.status >= 500:
        yield check.warning(
            f"its portal address returns the status {response.status}",
            "Open a ticket in the portal and compare its address with the one in the admin.",
        )
        return
    yield check.ok("its portal address responds")
