from django.apps import AppConfig


class IntercomBridgeConfig(AppConfig):
    name = "intercom_bridge"
    verbose_name = "Intercom and iTop"

    def ready(self) -> None:
        from intercom_bridge.ops.checks import register_checks
        from intercom_bridge.queue import QueueSender
        from intercom_bridge.wake import set_receiver

        register_checks()
        set_receiver(QueueSender())
