"""Check whether the PHP extension that this service replaces is installed in iTop, and may still be active."""

from collections.abc import Iterator
from urllib.parse import urlencode

from intercom_bridge import USER_AGENT
from intercom_bridge.config_import import MODULE
from intercom_bridge.models import Workspace
from intercom_bridge.sync.extension_attributes import attribute_codes
from itop_client import ItopPermissionError, ItopRejectedError, open_session
from itop_client.http import HttpError, Response, exchange

from .finding import Finding
from .ping import webhook_address
from .probe import Probe

WEBHOOK_PAGE = "incoming-webhooks.php"
# The response for a module that does not exist shows what "not found" looks like in this iTop.
_MISSING_MODULE = "a-module-that-nobody-has"


def examine_extension(probe: Probe) -> Iterator[Finding]:
    """Check for the extension's attributes and webhook. Raise ItopError when iTop stops responding."""
    check = probe.subject.check("itop.extension")
    results: list[bool] = []  # of the workspaces whose ticket class can be read
    for workspace in probe.workspaces:
        attributes_exist = _has_attributes(probe, workspace)
        if attributes_exist is None:
            continue
        results.append(attributes_exist)
        if workspace.has_extension_attributes is not attributes_exist:
            workspace.learn_attributes(exist=attributes_exist)
    if not results:
        return
    if not any(results):
        yield check.ok("does not have the PHP extension's attributes (optional)")
        return
    if has_webhook(probe) is False:  # None (unknown) leads to the warning
        yield check.ok(
            "has the PHP extension's attributes, which are kept up to date; its webhook is not installed"
        )
        return
    yield check.warning(
        "has the PHP extension, whose webhook may still receive messages: each would be written twice",
        f"In the Developer Hub, under Webhooks, check that the address is {webhook_address()} in every app that is "
        "installed in your workspaces: the bridge cannot read these addresses. Then remove the extension from iTop or "
        "leave it unused: its attributes do no harm.",
    )


def _has_attributes(probe: Probe, workspace: Workspace) -> bool | None:
    """Return whether the workspace's ticket class has the extension's attributes.

    Return None if the account may not read the class.
    """
    try:
        probe.try_reading(workspace.profile.ticket_class, ("id", *attribute_codes(workspace)))
    except ItopPermissionError:
        return None
    except ItopRejectedError:
        return False
    return True


def has_webhook(probe: Probe) -> bool | None:
    """Return whether the extension's webhook responds to an unsigned GET; None if this cannot be determined."""
    webhook, missing = _get_page(probe, MODULE), _get_page(probe, _MISSING_MODULE)
    if webhook is None or missing is None:
        return None
    if webhook.status != missing.status or _content_type(webhook) != _content_type(missing):
        return True
    # An error page may quote the name of the requested module.
    if webhook.body.replace(MODULE.encode(), b"") == missing.body.replace(_MISSING_MODULE.encode(), b""):
        return False
    return None


def _get_page(probe: Probe, module: str) -> Response | None:
    """Request the webhook's page of a module of iTop. Return None if iTop does not respond."""
    query = urlencode({"exec_module": module, "exec_page": WEBHOOK_PAGE})
    url = f"{probe.client.url}/pages/exec.php?{query}"
    with open_session(user_agent=USER_AGENT) as session:
        try:
            return exchange(session, "GET", url, deadline=probe.request_seconds)
        except HttpError:
            return None


def _content_type(response: Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
