from __future__ import annotations

from django.apps import apps
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from intercom_bridge.admin.dashboard import dashboard
from intercom_bridge.admin.login import LoginForm

admin.site.site_header = "Intercom and iTop"
admin.site.site_title = "Intercom and iTop"
admin.site.index_title = "The bridge"
admin.site.login_form = LoginForm
admin.site.index_template = "admin/intercom_bridge/index.html"

has_sandbox = apps.is_installed("sandbox")

urlpatterns = [
    path(
        "",
        RedirectView.as_view(
            pattern_name="sandbox:inbox" if has_sandbox else "admin:index", http_method_names=["get", "head"]
        ),
        name="root",
    ),
    path("admin/intercom_bridge/dashboard/", admin.site.admin_view(dashboard), name="dashboard"),
    path("admin/", admin.site.urls),
    path("", include("intercom_bridge.urls")),
]
if has_sandbox:
    urlpatterns.append(path("sandbox/", include("sandbox.urls")))
