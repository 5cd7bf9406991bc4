from __future__ import annotations

from django.contrib import admin
from django.db import models

from intercom_bridge.models import ItopInstance

from .base import STYLES, ModelAdmin
from .secrets import SECRET_OVERRIDES, SecretsForm


@admin.register(ItopInstance)
class ItopInstanceAdmin(ModelAdmin):
    form = SecretsForm
    formfield_overrides = {**SECRET_OVERRIDES, models.URLField: {"assume_scheme": "https"}}
    list_display = ("name", "url", "account", "time_zone", "has_intercom_attributes", "is_administrator")
    search_fields = ("name", "url")
    readonly_fields = ("has_intercom_attributes", "is_administrator")
    save_on_top = True
    fieldsets = (
        (None, {"fields": ("name", "url", "time_zone")}),
        (
            "Account",
            {
                "fields": ("token", "user", "password"),
                "description": "A token-based account with the profiles REST Services User and Administrator (iTop "
                "lets only the latter write into a log in somebody's name). Or, without a token, an account and its "
                "password. Secrets are kept encrypted and never shown again.",
            },
        ),
        ("For customers", {"fields": ("portal_url",), "classes": ("collapse",)}),
        (
            "Learned from its answers",
            {
                "fields": ("has_intercom_attributes", "is_administrator"),
                "description": "Unknown until this iTop has been asked for the first time.",
            },
        ),
    )

    @admin.display(description="account")
    def account(self, itop: ItopInstance) -> str:
        if itop.token:
            return "token"
        return itop.user or "none"

    class Media:
        css = STYLES
