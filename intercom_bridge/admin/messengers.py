"""The admin of the Messenger in iTop's pages: settings, the iTop extension, and texts to copy into other systems."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db import models
from django.forms import Field as FormField
from django.forms import Textarea
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_POST

from intercom_bridge.messenger.itop_extension import MODULE, build_extension
from intercom_bridge.messenger.page_snippet import policy_lines, visitor_snippet
from intercom_bridge.models import Messenger, MessengerKey
from intercom_bridge.models.encryption import SecretDecryptionError

from .base import ModelAdmin, columns_of, section
from .display import datetime_text, stacked
from .profile_form import CodesFormField
from .secrets import SECRET_OVERRIDES, SecretsForm

# The bridge accepts a replaced key for this long, so that an admin has time to install the new extension.
KEY_OVERLAP = dt.timedelta(days=7)
# Columns that contain a list of names.
NAME_LISTS = ("pages", "allowed_profiles")


class LinesField(CodesFormField):
    """A JSON list of names, entered one per line. A name may contain a comma."""

    widget = Textarea(attrs={"rows": 3, "cols": 40, "spellcheck": "false"})

    def to_python(self, value: Any) -> list[str]:
        return [line.strip() for line in str(value or "").split("\n") if line.strip()]


@admin.register(Messenger)
class MessengerAdmin(ModelAdmin):
    """The admin of Messenger settings, one row per workspace. The iTop extension is downloaded here."""

    change_form_template = "admin/intercom_bridge/messenger.html"
    form = SecretsForm
    formfield_overrides = {
        **SECRET_OVERRIDES,
        models.JSONField: {"show_hidden_initial": False, "widget": Textarea(attrs={"rows": 3})},
    }
    list_display = ("workspace", "enabled", "position", "shown_in", "profiles", "last_request")
    list_filter = ("enabled", "workspace__itop")
    list_select_related = ("workspace__itop",)
    search_fields = ("workspace__workspace_id", "workspace__name")
    autocomplete_fields = ("workspace",)
    readonly_fields = ("keys", "policy", "snippet")
    save_on_top = True
    fieldsets = (
        section(None, ("workspace", "enabled")),
        section(
            "Identity",
            ("api_secret", "next_api_secret", "next_api_secret_from"),
            description="The secret signs the person's identity and never leaves the bridge. In Intercom, "
            "enforce Messenger security. Otherwise anyone can pretend to be another person by editing the page "
            "in the browser.",
        ),
        section(
            "Who sees the Messenger",
            ("pages", "allowed_profiles", "position"),
            description="The Messenger is shown to active persons in the workspace's scope who are signed in to iTop. "
            "The bridge evaluates the scope with the rights of its own iTop account, not with the person's rights.",
        ),
        section(
            "Data sent to Intercom",
            ("sends_company", "sends_language", "person_attributes"),
            description="Intercom always gets the person's name and e-mail address, and the class and ID of the Person "
            "in iTop. Select what it gets in addition.",
        ),
        section(
            "iTop extension",
            ("keys",),
            description="Install the extension in iTop as described in the handbook under "
            "“Show the Messenger in iTop”. The downloaded file contains a key of this iTop: delete the file after the "
            "installation.",
        ),
        section(
            "If your proxy sends a Content-Security-Policy",
            ("policy",),
            description="iTop itself sends no such header. Add these sources to the directives that your "
            "proxy sends.",
            is_collapsed=True,
        ),
        section(
            "Without the extension",
            ("snippet",),
            description="One line of HTML that shows the Messenger to the visitors of a website. Put it into the "
            "pages, or let the web server add it (nginx: <code>sub_filter</code>). The visitors' identity is not "
            "verified, and the panel marks them as “Not verified”.",
            is_collapsed=True,
        ),
    )

    class Media:
        js = ("intercom_bridge/copy.js",)

    @admin.display(description="shown in")
    def shown_in(self, messenger: Messenger) -> str:
        return ", ".join(messenger.pages) or "nowhere"

    @admin.display(description="profiles")
    def profiles(self, messenger: Messenger) -> str:
        return ", ".join(messenger.allowed_profiles) or "all"

    @admin.display(description="last request of iTop")
    def last_request(self, messenger: Messenger) -> str:
        keys = messenger.workspace.itop.messenger_keys.all()
        last_used_at = max((key.last_used_at for key in keys if key.last_used_at), default=None)
        return datetime_text(last_used_at) if last_used_at else "never"

    @admin.display(description="keys of this iTop")
    def keys(self, messenger: Messenger) -> str:
        if messenger.pk is None:
            return "Save the Messenger first. Then download the extension here."
        keys = MessengerKey.objects.valid().filter(itop=messenger.workspace.itop)
        return (
            stacked(map(_describe, keys))
            if keys
            else "None. The first download of the extension creates a key."
        )

    @admin.display(description="sources")
    def policy(self, _messenger: Messenger) -> str:
        return _with_copy_button("Content-Security-Policy", policy_lines())

    @admin.display(description="line of HTML")
    def snippet(self, messenger: Messenger) -> str:
        if messenger.pk is None:
            return "Save the Messenger first."
        return _with_copy_button("Line of HTML", visitor_snippet(messenger.workspace))

    def formfield_for_dbfield(
        self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> FormField | None:
        """Return the form field of a column. A list of names is edited with one name per line."""
        if db_field.name in NAME_LISTS:
            return LinesField.for_column(db_field)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Messenger | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "workspace") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Messenger, form: Any, change: bool) -> None:
        """Save the row. Of an existing row, save only the edited columns.

        The encryption keys may have been rotated since the page was opened. Saving all columns would undo that.
        """
        obj.save(update_fields=columns_of(obj, form.changed_data) if change else None)

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        return {"extension": require_POST(self.download), "new_key": require_POST(self.new_key)}

    def page_links(self, request: HttpRequest, row: Any) -> dict[str, str]:
        """Return the addresses for the buttons. They are only for users who may change the row."""
        links = super().page_links(request, row)
        return {**links, "sandbox_url": _sandbox_url()} if links else {}

    def download(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return the iTop extension as a zip file.

        It contains a key, so the user needs the permission to change the row. If the key cannot be decrypted, the page
        of the row displays the error.
        """
        messenger: Messenger = self.changeable_row(request, pk)
        try:
            content = build_extension(messenger.workspace.itop)
        except SecretDecryptionError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:intercom_bridge_messenger_change", args=[pk]))
        self.log_change(request, messenger, "iTop extension downloaded.")
        response = HttpResponse(content, content_type="application/zip")
        response["Content-Disposition"] = f'attachment; filename="{MODULE}.zip"'
        return response

    def new_key(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Create a new key. The previous key is still accepted for KEY_OVERLAP."""
        messenger: Messenger = self.changeable_row(request, pk)
        MessengerKey.objects.rotate(messenger.workspace.itop, KEY_OVERLAP)
        self.log_change(request, messenger, "New key of the iTop extension.")
        self.message_user(
            request,
            "The new key was created. Download the extension again and install it in iTop within "
            f"{KEY_OVERLAP.days} days. Until then, the bridge also accepts the previous key.",
            messages.SUCCESS,
        )
        return HttpResponseRedirect(reverse("admin:intercom_bridge_messenger_change", args=[pk]))


def _describe(key: MessengerKey) -> str:
    """Return the beginning of a key's id, and when the key was created, was last used, and expires."""
    used = f"last used {datetime_text(key.last_used_at)}" if key.last_used_at else "not used yet"
    text = f"{key}…: created {datetime_text(key.created_at)}, {used}"
    # Only a replaced key expires.
    return f"{text}, accepted until {datetime_text(key.expires_at)}" if key.expires_at else text


def _with_copy_button(label: str, text: str) -> str:
    return render_to_string("admin/intercom_bridge/copied.html", {"label": label, "text": text})


def _sandbox_url() -> str:
    """Return the address of the sandbox's portal page, or "" if this service runs without the sandbox."""
    try:
        return reverse("sandbox:portal") if settings.DEBUG else ""
    except NoReverseMatch:
        return ""
