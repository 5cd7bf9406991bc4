from typing import Any

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register


class BridgeAdminConfig(admin_apps.SimpleAdminConfig):
    """Django's admin, whose modules settings/urls.py imports: a worker needs none of them."""

    # This module has two configurations. Django must use IntercomBridgeConfig for the app.
    default = False
    default_site = "intercom_bridge.admin_site.BridgeAdminSite"

    def ready(self) -> None:
        register(check_dependencies, Tags.admin)
        register(_check_admin, Tags.admin)


def _check_admin(**options: Any) -> list[CheckMessage]:
    from django.contrib import admin

    # Django runs the checks in no certain order, so the addresses may not have been imported yet.
    admin.autodiscover()
    return check_admin_app(**options)


class IntercomBridgeConfig(AppConfig):
    name = "intercom_bridge"
    verbose_name = "Intercom and iTop"

    def ready(self) -> None:
        from intercom_bridge.ops import checks  # noqa: F401 - the import registers the checks
        from intercom_bridge.queue import QueueSender
        from intercom_bridge.wake import set_receiver

        set_receiver(QueueSender())
