"""Accept requests at the PHP extension's addresses.

An Intercom app that was set up for the extension then needs only a new host name in its URLs.
"""

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from intercom_bridge.config_import import MODULE

from .canvas import InitializeView, SubmitView
from .webhooks import WebhookView

_VIEWS = {
    ("incoming-canvas-kits.php", "initialize-conversation-details"): InitializeView.as_view(),
    ("incoming-canvas-kits.php", "submit-conversation-details"): SubmitView.as_view(),
    ("incoming-webhooks.php", ""): WebhookView.as_view(),
}


@csrf_exempt  # The views in _VIEWS verify a signature instead of a CSRF token.
def legacy_address(request: HttpRequest) -> HttpResponseBase:
    """Serve `/pages/exec.php?exec_module=…&exec_page=…&operation=…`. An `auth_token` is ignored."""
    page = request.GET.get("exec_page", "")
    # The webhook page has one operation, so its `operation` parameter is ignored.
    operation = "" if page == "incoming-webhooks.php" else request.GET.get("operation", "")
    view = _VIEWS.get((page, operation))
    if request.GET.get("exec_module") != MODULE or view is None:
        return JsonResponse({"detail": "Not found."}, status=404)
    response: HttpResponseBase = view(request)
    return response
