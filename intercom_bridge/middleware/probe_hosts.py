"""Allow any Host header on the addresses of probes."""

from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware import common

# The same paths are in SECURE_REDIRECT_EXEMPT (settings/production.py).
PROBES = ("/healthz", "/readyz", "/metrics")


class CommonMiddleware(common.CommonMiddleware):
    """Django's middleware, which rejects a Host that is not in ALLOWED_HOSTS, except on the addresses of probes.

    Load balancers and Prometheus call each machine by its IP address. These views do not use the Host header.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        if request.path_info in PROBES:
            return None
        return super().process_request(request)
