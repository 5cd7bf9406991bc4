from __future__ import annotations

from django.apps import apps
from django.contrib import admin
from django.urls import include, path

admin.site.site_header = "Intercom and iTop"
admin.site.site_title = "Intercom and iTop"
admin.site.index_title = "The bridge"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("intercom_bridge.urls")),
]
if apps.is_installed("sandbox"):
    urlpatterns.append(path("sandbox/", include("sandbox.urls")))
