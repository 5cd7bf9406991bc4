"""The PHP extension's own addresses, so that an installed Intercom app only changes its root URL."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from .canvas import InitializeView, SubmitView
from .webhooks import WebhookView

MODULE = "combodo-intercom-integration"

_VIEWS = {
    ("incoming-canvas-kits.php", "initialize-conversation-details"): InitializeView.as_view(),
    ("incoming-canvas-kits.php", "submit-conversation-details"): SubmitView.as_view(),
    ("incoming-webhooks.php", ""): WebhookView.as_view(),
}


@csrf_exempt  # Signed instead: the views it hands on to check every request.
def php_address(request: HttpRequest) -> HttpResponseBase:
    """`/pages/exec.php?exec_module=…&exec_page=…&operation=…`. An `auth_token` in it is not looked at."""
    page = request.GET.get("exec_page", "")
    operation = request.GET.get("operation", "") if page != "incoming-webhooks.php" else ""
    view = _VIEWS.get((page, operation))
    if request.GET.get("exec_module") != MODULE or view is None:
        return JsonResponse({"detail": "There is no such address."}, status=404)
    answer: HttpResponseBase = view(request)
    return answer
