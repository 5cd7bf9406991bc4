from __future__ import annotations

from django.urls import path

from .views.canvas import InitializeView, SubmitView
from .views.health import healthz, readyz
from .views.metrics import metrics
from .views.php_addresses import php_address
from .views.webhooks import WebhookView

urlpatterns = [
    path("canvas-kit/initialize", InitializeView.as_view(), name="canvas-initialize"),
    path("canvas-kit/submit", SubmitView.as_view(), name="canvas-submit"),
    path("webhooks/intercom", WebhookView.as_view(), name="webhooks-intercom"),
    path("pages/exec.php", php_address, name="php-address"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
