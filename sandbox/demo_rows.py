"""Set up the bridge for the demo as an admin would: an account, an iTop, a ticket profile and a workspace."""

from __future__ import annotations

from django.contrib.auth import get_user_model

from intercom_bridge.models import ItopInstance, Messenger, MessengerKey, TicketProfile, Workspace

from . import intercom

ADMIN = "admin"
SANDBOX_TIME_ZONE = "Europe/Paris"
# One organization is outside the scope, so the demo also shows what the panel displays for its customers.
SANDBOX_SCOPE = "SELECT Organization WHERE name != 'Globex Iberia'"


def set_up(
    *, itop_url: str, itop_token: str, itop_name: str, is_sandbox: bool, time_zone: str = ""
) -> Workspace:
    """Fill a new database. The admin's name and password are both `ADMIN`.

    `time_zone` is that of the iTop. If it is "", the stand-in's time zone is used, or UTC for a real iTop.
    """
    get_user_model().objects.create_superuser(ADMIN, "admin@bridge.example", ADMIN)
    time_zone = time_zone or (SANDBOX_TIME_ZONE if is_sandbox else "UTC")
    itop = ItopInstance.objects.create(name=itop_name, url=itop_url, token=itop_token, time_zone=time_zone)
    workspace = Workspace.objects.create(
        workspace_id=intercom.WORKSPACE_ID,
        name="Acme support",
        client_secret=intercom.SECRET,
        access_token=intercom.TOKEN,
        scope=SANDBOX_SCOPE if is_sandbox else "SELECT Organization",
        itop=itop,
        profile=TicketProfile.objects.create(name="User requests"),
    )
    MessengerKey.objects.current(itop)
    Messenger.objects.create(workspace=workspace, enabled=True, api_secret=intercom.MESSENGER_SECRET)
    return workspace
