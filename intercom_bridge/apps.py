from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class BridgeAdminConfig(admin_apps.AdminConfig):
    # This module has two configurations. Django must use IntercomBridgeConfig for the app.
    default = False
    default_site = "intercom_bridge.admin_site.BridgeAdminSite"


class IntercomBridgeConfig(AppConfig):
    name = "intercom_bridge"
    verbose_name = "Intercom and iTop"

    def ready(self) -> None:
        from intercom_bridge.ops import checks  # noqa: F401 - the import registers the checks
        from intercom_bridge.queue import QueueSender
        from intercom_bridge.wake import set_receiver

        set_receiver(QueueSender())
