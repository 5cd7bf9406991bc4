"""The admin site: its titles, and the order of the applications on its first page.

The site is not in the package `admin`, because the modules there register with it when they are imported.
"""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

PRODUCT = "Intercom and iTop"
APP_LABEL = "intercom_bridge"
APP_NAMES = {"axes": "Failed log-ins", "auth": "Users and permissions"}


class BridgeAdminSite(AdminSite):
    """Django's admin site with the bridge's own models first."""

    site_header = site_title = PRODUCT
    index_title = "The bridge"
    index_template = "admin/intercom_bridge/index.html"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the applications with the names of APP_NAMES, the bridge first."""
        apps = [
            {**app, "name": APP_NAMES.get(app["app_label"], app["name"])}
            for app in super().get_app_list(request, app_label)
        ]
        return sorted(apps, key=lambda app: app["app_label"] != APP_LABEL)
