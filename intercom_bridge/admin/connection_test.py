"""“Test connection”: a button on a row's page, and a page of its own that asks the doctor and shows what was found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from intercom_bridge import doctor
from intercom_bridge.doctor import Finding

from .base import STYLES, ModelAdmin


class ConnectionTestAdmin(ModelAdmin):
    """For the admin of what can be tested live. Needs the permission to change, though it changes nothing."""

    def examine(self, row: Any) -> Iterator[Finding]:
        raise NotImplementedError

    @property
    def _page(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_test"

    def get_urls(self) -> list[URLPattern]:
        page = path("<int:pk>/test/", self.admin_site.admin_view(self.test_connection), name=self._page)
        return [page, *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        if row and self.has_change_permission(request, row):
            context["test_url"] = reverse(
                f"admin:{self._page}", args=[row.pk], current_app=self.admin_site.name
            )
        return super().render_change_form(request, context, *args, **kwargs)

    def test_connection(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET offers it, POST does it: it takes seconds, and calls others."""
        row = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        findings = list(self.examine(row)) if request.method == "POST" else None
        if findings is not None:
            self.log_change(request, row, f"Tested the connection: {doctor.summary(findings)}.")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": row,
            "title": "Test connection",
            "findings": findings,
            "summary": doctor.summary(findings or ()),
            "overall": doctor.overall(findings or ()),
            "styles": STYLES["all"],
        }
        return TemplateResponse(request, "admin/intercom_bridge/test_connection.html", context)
