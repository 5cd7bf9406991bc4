"""Probes may come under any Host."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware import common

# As the paths in SECURE_REDIRECT_EXEMPT (settings/production.py).
PROBES = ("/healthz", "/readyz", "/metrics")


class CommonMiddleware(common.CommonMiddleware):
    """Django's, which refuses a Host that is not in ALLOWED_HOSTS; but not on the addresses of probes.

    A load balancer, or Prometheus, asks each machine by its IP address. These views neither look at the Host nor
    build an address from it.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        if request.path_info in PROBES:
            return None
        return super().process_request(request)
