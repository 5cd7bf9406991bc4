from __future__ import annotations

from django.apps import AppConfig


class ItopClientConfig(AppConfig):
    """Lets Django find the package. Nothing else in it uses Django."""

    name = "itop_client"
    verbose_name = "iTop"
