from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe


@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """The process answers. Says nothing of the database, of iTop or of Intercom."""
    return JsonResponse({"status": "ok"})
