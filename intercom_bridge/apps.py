from __future__ import annotations

from django.apps import AppConfig


class IntercomBridgeConfig(AppConfig):
    name = "intercom_bridge"
    verbose_name = "Intercom and iTop"

    def ready(self) -> None:
        from .checks import register_checks

        register_checks()
