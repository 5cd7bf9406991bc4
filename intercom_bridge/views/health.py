from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from intercom_bridge.readiness import reasons_against


@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """The process answers. Says nothing of the database, of iTop or of Intercom."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """200 when messages are taken in and written; 503 with the reasons when not.

    For who watches over the service. A load balancer should ask /healthz: while no worker lives, webhooks have to
    be answered all the same, or Intercom forgets what they told.
    """
    if reasons := reasons_against():
        return JsonResponse({"status": "not ready", "reasons": reasons}, status=503)
    return JsonResponse({"status": "ok"})
