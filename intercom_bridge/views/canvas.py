from typing import Any

from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from intercom_bridge.models import Workspace
from intercom_bridge.panel import router

from .authentication import CanvasSignature, SignedBody, SignedPostMixin
from .throttling import CanvasRateLimit


class CanvasView(SignedPostMixin, APIView):
    """Answer Intercom when a teammate opens the panel or clicks in it.

    A signed request always gets 200 and a valid canvas.
    """

    authentication_classes = [CanvasSignature]
    throttle_classes = [CanvasRateLimit]
    http_method_names = ["post"]
    submitted = False

    def post(self, request: Request, *_: Any, **__: Any) -> Response:
        workspace: Workspace = request.user
        body: SignedBody = request.auth
        return Response(router.respond(workspace, body.data, submitted=self.submitted))

    def handle_exception(self, exc: Exception) -> Response:
        """Return a canvas that explains the rate limit. Intercom does not document how it displays a 429."""
        if isinstance(exc, Throttled):
            workspace, body = self.request.user, self.request.auth
            return Response(router.respond_rate_limited(workspace, body.data, submitted=self.submitted))
        return super().handle_exception(exc)


class InitializeView(CanvasView):
    """Intercom's "initialize" request: a teammate opened a conversation. Intercom may send up to five at once."""


class SubmitView(CanvasView):
    """Intercom's "submit" request: a teammate used a component that has a submit action, for example a button."""

    submitted = True
