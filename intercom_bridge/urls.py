from django.urls import path

from intercom_bridge.views.canvas import InitializeView, SubmitView
from intercom_bridge.views.health import healthz, readyz
from intercom_bridge.views.itop_push import ItopPushView
from intercom_bridge.views.legacy_addresses import legacy_address
from intercom_bridge.views.messenger import IdentityView
from intercom_bridge.views.metrics import metrics
from intercom_bridge.views.webhooks import WebhookView

urlpatterns = [
    path("canvas-kit/initialize", InitializeView.as_view(), name="canvas-initialize"),
    path("canvas-kit/submit", SubmitView.as_view(), name="canvas-submit"),
    path("webhooks/intercom", WebhookView.as_view(), name="webhooks-intercom"),
    path("webhooks/itop/<slug:public_id>", ItopPushView.as_view(), name="webhooks-itop"),
    path("messenger/identity", IdentityView.as_view(), name="messenger-identity"),
    path("pages/exec.php", legacy_address, name="php-address"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
