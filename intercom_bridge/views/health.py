from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from intercom_bridge import __version__
from intercom_bridge.ops.readiness import not_ready_reasons


@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """Return 200 as long as the process responds. The database, iTop and Intercom are not checked."""
    return JsonResponse({"status": "ok", "version": __version__})


@never_cache
@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """Return 200 if the bridge can process work, otherwise 503 with the reasons. For monitoring.

    A load balancer should use /healthz. The bridge must accept webhooks even if no worker is running, because Intercom
    repeats a webhook only once.
    """
    if reasons := not_ready_reasons():
        return JsonResponse({"status": "not ready", "reasons": reasons}, status=503)
    return JsonResponse({"status": "ok"})
