from __future__ import annotations

from django.apps import AppConfig


class ItopClientConfig(AppConfig):
    name = "itop_client"
    verbose_name = "iTop"
