"""Accept any Host header in requests of health probes and of Prometheus."""

from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware import common

# The same paths are in SECURE_REDIRECT_EXEMPT (settings/production.py).
PROBES = ("/healthz", "/readyz", "/metrics")


class CommonMiddleware(common.CommonMiddleware):
    """Django's middleware, without its checks for the paths in PROBES.

    Django rejects a Host that is not in ALLOWED_HOSTS. Load balancers and Prometheus call each machine by its IP
    address. The views at these paths do not use the Host header, so they may accept any.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        if request.path_info in PROBES:
            return None
        return super().process_request(request)
