from __future__ import annotations

from django.urls import path

from .portal import portal
from .views import inbox, pass_through

app_name = "sandbox"

urlpatterns = [
    path("", inbox, name="inbox"),
    path("portal/", portal, name="portal"),
    path("api/<path:path>", pass_through, name="api"),
]
