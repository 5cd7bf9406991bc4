from __future__ import annotations

from typing import Any

from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from intercom_bridge.canvas import panel
from intercom_bridge.models import Workspace

from .authentication import CanvasSignature, SignedBody, SignedPostMixin
from .throttling import CanvasShare


class CanvasView(SignedPostMixin, APIView):
    """A teammate looks at the panel or clicks in it. Once signed, always 200 with a valid canvas."""

    authentication_classes = [CanvasSignature]
    throttle_classes = [CanvasShare]
    http_method_names = ["post"]
    submitted = False

    def post(self, request: Request, *_: Any, **__: Any) -> Response:
        workspace: Workspace = request.user
        body: SignedBody = request.auth
        return Response(panel.answer(workspace, body.data, submitted=self.submitted))

    def handle_exception(self, exc: Exception) -> Response:
        """Too many clicks are told of in the panel: what Intercom shows for a 429 is not documented."""
        if isinstance(exc, Throttled):
            workspace, body = self.request.user, self.request.auth
            return Response(panel.too_many(workspace, body.data, submitted=self.submitted))
        return super().handle_exception(exc)


class InitializeView(CanvasView):
    """Intercom's "initialize": the conversation was opened. Without side effects, as it comes up to five at a time."""


class SubmitView(CanvasView):
    """Intercom's "submit": something with a submit action was used."""

    submitted = True
