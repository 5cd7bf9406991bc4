from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from intercom_bridge.ops.metrics import exposition


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return metrics for Prometheus to a request with the bearer token METRICS_TOKEN.

    401 with another token or none; 404 if METRICS_TOKEN is not set.
    """
    if not settings.METRICS_TOKEN:
        return JsonResponse({"detail": "Not found."}, status=404)
    given_header = request.headers.get("Authorization", "").encode("utf-8", "replace")
    if not constant_time_compare(given_header, f"Bearer {settings.METRICS_TOKEN}".encode()):
        refusal = JsonResponse({"detail": "The token does not match."}, status=401)
        refusal["WWW-Authenticate"] = "Bearer"
        return refusal
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
