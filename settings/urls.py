from __future__ import annotations

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from intercom_bridge.admin.dashboard import dashboard
from intercom_bridge.admin.login import LoginForm

admin.autodiscover()
admin.site.login_form = LoginForm

has_sandbox = apps.is_installed("sandbox")
# The inbox page shows the stand-in for Intercom. Only `make demo` starts the stand-in and sets INTERCOM_API_URL.
has_inbox = has_sandbox and bool(settings.INTERCOM_API_URL)

urlpatterns = [
    path(
        "",
        RedirectView.as_view(
            pattern_name="sandbox:inbox" if has_inbox else "admin:index", http_method_names=["get", "head"]
        ),
        name="root",
    ),
    path("admin/intercom_bridge/dashboard/", admin.site.admin_view(dashboard), name="dashboard"),
    path("admin/", admin.site.urls),
    path("", include("intercom_bridge.urls")),
]
if has_sandbox:
    urlpatterns.append(path("sandbox/", include("sandbox.urls")))
